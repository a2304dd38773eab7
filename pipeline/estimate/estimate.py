"""What a run will cost, before it is run: headers, a sample that is really extracted, and the rest by proportion.

estimate = make_estimate("videos", methods=["s2vs"], cpus=320, gpus=4)
estimate.to_json()["seconds"], estimate_text(estimate)
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ndvr.operators.library.library import Library
from ndvr.operators.storage.manifest import Manifest, read_manifest
from ndvr.operators.video.decode import Limits
from ndvr.operators.video.headers import size_of
from ndvr.pipeline.estimate.collection import look, sample_size
from ndvr.pipeline.estimate.extrapolate import extrapolate
from ndvr.pipeline.estimate.result import Estimate
from ndvr.pipeline.estimate.trial import Trial, try_out
from ndvr.pipeline.estimate.wall_time import Machines
from ndvr.pipeline.extraction.plan import make_plan
from ndvr.pipeline.extraction.pools import Pools
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.settings import choose, config_of

if TYPE_CHECKING:
    from ndvr.models.method import Model

# One GPU stands for so many cores where none is at hand to be measured.
CORES_PER_GPU = 40


def make_estimate(
    videos: str | Path,
    library: str | Path | None = None,
    *,
    methods: tuple[str, ...] | list[str] = ("thumbprint",),
    weights: dict[str, str] | None = None,
    options: dict[str, Any] | None = None,
    decoder: str = "auto",
    sample: str = "1%",
    seed: int = 0,
    address: str | None = None,
    cpus: int | None = None,
    gpus: int | None = None,
    gpu_cores: float = CORES_PER_GPU,
    pools: Pools | None = None,
    limits: Limits | None = None,
    progress: bool = True,
) -> Estimate:
    """What `extract` with the same arguments will take. Nothing is written.

    sample  videos to extract: "1%" (at least 8, at most 100), another share, or a number
    cpus, gpus  of the cluster meant; None: of the one at `address`, of this machine without one
    gpu_cores  cores that a GPU stands for when embedding, where there is none here to be measured
    """
    began = time.monotonic()
    sample_size(sample, 1)  # a wrong one stops here
    limits, rng = limits or Limits(), np.random.default_rng(seed)
    chosen = choose(tuple(methods), weights, options)
    manifest = read_manifest(videos)
    machines = Machines.given(cpus=cpus, gpus=gpus, address=address, pools=pools or Pools())
    models, load_s = _load(chosen)
    configs = {method: config_of(model, decoder) for method, model in models.items()}
    todo = _todo(manifest, library, {method: config.name for method, config in configs.items()})
    views = {method: setting.view for method, setting in chosen.items()}
    collection = look(todo, views, rng, sizes=_sizes(manifest, todo), progress=progress)
    collection.pick(sample, rng)
    sampling = time.monotonic()
    with Progress("sample", len(collection.picked), "video", show=progress) as bar:
        trial = try_out(
            [collection.rows[index] for index in collection.picked],
            chosen,
            models,
            configs,
            decoder=decoder,
            limits=limits,
            # As many decoders as the run would have here, so that they disturb each other as they will then.
            workers=os.cpu_count() or 1,
            done=bar.advance,
        )
    found = Estimate(
        source=str(videos),
        library=None if library is None else str(library),
        methods=list(chosen),
        untrained=[method for method, config in configs.items() if not config.trained],
        machines=asdict(machines),
        videos=len(manifest),
        already=len(manifest) - len(todo),
        todo=len(todo),
        headers=len(collection.headers),
        sampled=len(collection.picked),
        sample_s=time.monotonic() - sampling,
        **collection.facts(),
    )
    on_gpu = all(model.device.type != "cpu" for model in models.values())
    extrapolate(
        found,
        collection,
        trial,
        machines,
        load_s=load_s,
        stall_s=limits.stall_s,
        gpu_share=1.0 if on_gpu or not machines.gpus else 1 / gpu_cores,
        seed=seed,
    )
    found.warnings = _warnings(found, trial, on_gpu=on_gpu, gpu_cores=gpu_cores)
    found.plan_s = time.monotonic() - began
    return found


def _load(chosen: dict[str, Any]) -> tuple[dict[str, Model], float]:
    """Models by method, and the CPU seconds that it took, which every worker that embeds will need as well."""
    began = time.process_time()
    import torch

    torch.set_num_threads(1)  # as in a run: a batch is one thread's, see ndvr.operators.features.embed
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models = {method: setting.load(device, "embed") for method, setting in chosen.items()}
    return models, time.process_time() - began


def _todo(manifest: Manifest, library: str | Path | None, configs: dict[str, str]) -> list[dict[str, Any]]:
    """Rows of the plan; everything where there is no library yet."""
    if library is not None:
        try:
            return make_plan(manifest, Library(library), configs, retry=frozenset()).todo
        except FileNotFoundError:  # the run would make it
            pass
    return [{"video_id": video_id, "uri": uri, "methods": list(configs)} for video_id, uri in manifest.uris.items()]


def _sizes(manifest: Manifest, todo: list[dict[str, Any]]) -> dict[str, int]:
    """Bytes of the videos; listing an object store has told them."""
    if stats := manifest.stats:
        return {row["video_id"]: (stats.get(row["video_id"]) or (0, 0))[0] for row in todo}
    with ThreadPoolExecutor(32) as pool:  # a network file system answers after milliseconds
        return dict(
            zip([row["video_id"] for row in todo], pool.map(size_of, [row["uri"] for row in todo], chunksize=64))
        )


def _warnings(found: Estimate, trial: Trial, *, on_gpu: bool, gpu_cores: float) -> list[str]:
    """What somebody who pays for the run should know."""
    said = [f"{method}: untrained (random) weights; its features would mean nothing" for method in found.untrained]
    bad = sum(found.unreadable.values())
    if bad:
        classes = ", ".join(f"{kind} {count:,}" for kind, count in found.unreadable.items())
        said.append(f"{bad:,} of {found.todo:,} videos ({bad / found.todo:.1%}) cannot be opened: {classes}")
    if failed := [tried.failed for tried in trial.videos if tried.failed]:
        said.append(f"{len(failed)} of the {found.sampled} videos extracted failed: {', '.join(sorted(set(failed)))}")
    if found.hdr:
        said.append(f"{found.hdr:,} videos are HDR: their colours are taken as they are")
    if found.largest[0] * found.largest[1] > 3840 * 2160:
        said.append(f"a video has {found.largest[0]} x {found.largest[1]} pixels: decoding it needs 2 GB and more")
    if found.headers < found.todo:
        said.append(f"headers of {found.headers:,} of {found.todo:,} videos were read, drawn by size; the rest is told")
    if found.machines["gpus"] and not on_gpu:
        said.append(f"no GPU here to measure: one is taken for {gpu_cores:g} of these cores (--gpu-cores)")
    if found.machines["where"] != "this machine":
        said.append("seconds of a core were measured on this machine; other processors are faster or slower")
    elif trial.others > 0.15 * found.machines["cpus"]:
        said.append(f"other programs keep {trial.others:.1f} cores of this machine busy, and the time counts on that")
    if found.todo and not found.sampled:
        said.append("there was nothing to extract: all of this is guessed from headers")
    return said
