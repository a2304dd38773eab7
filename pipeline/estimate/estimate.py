"""What a run will cost, before it is run: headers, a sample that is really extracted, and the rest by proportion.

estimate = make_estimate("videos", methods=["s2vs"], target=Target(cpus=320, gpus=4))
estimate.to_json()["seconds"], estimate.text()
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.operators.library.library import Library
from ndvr.operators.storage.manifest import Manifest, read_manifest
from ndvr.operators.video.decode import Limits
from ndvr.operators.video.headers import size_of
from ndvr.pipeline.estimate._extrapolate import extrapolate
from ndvr.pipeline.estimate._header_sample import pick, read, sample_size
from ndvr.pipeline.estimate.result import Estimate, Scope, warnings_of
from ndvr.pipeline.estimate.trial import LoadedMethods, load_methods, try_out
from ndvr.pipeline.estimate.wall_time import Machines, Target
from ndvr.pipeline.extraction.plan import make_plan
from ndvr.pipeline.extraction.video_ids import IdFrom, renamed
from ndvr.pipeline.settings import choose


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which videos are extracted."""

    sample: str = "1%"  # of the videos (at least 8, at most 100), another share, or a number
    seed: int = 0  # of the draw

    def __post_init__(self) -> None:
        sample_size(self.sample, 1)  # ValueError now rather than later


def make_estimate(
    videos: str | Path,
    library: str | Path | None = None,
    *,
    methods: Sequence[str] = ("thumbprint",),
    weights: dict[str, str] | None = None,
    options: dict[str, Any] | None = None,
    decoder: str = "auto",
    prefix: str = "",
    id_from: IdFrom | None = None,
    limits: Limits | None = None,
    sampling: Sampling | None = None,
    target: Target | None = None,
    progress: bool = True,
) -> Estimate:
    """Say what `extract` with the same arguments will take on the machines of `target`. Nothing is written.

    Read the headers of the videos that are to be done, try out a sample of them, and extrapolate from both.
    """
    began = time.monotonic()
    limits, sampling, target = limits or Limits(), sampling or Sampling(), target or Target()
    rng = np.random.default_rng(sampling.seed)
    settings = choose(tuple(methods), weights, options)
    held = _opened(library)
    manifest = renamed(read_manifest(videos), prefix=prefix, id_from=id_from, library=held)
    machines = target.machines()
    loaded = load_methods(settings, decoder)
    todo = _todo(manifest, held, loaded)
    headers = read(todo, loaded.views, _sizes(manifest, todo), rng, progress=progress)
    drawn = pick(headers, sampling.sample, rng)
    trial = try_out(headers.rows, drawn, loaded, decoder=decoder, limits=limits, progress=progress)
    projection = extrapolate(
        headers, trial, machines, gpu_cores=target.gpu_cores, stall_s=limits.stall_s, seed=sampling.seed
    )
    scope = _scope(videos, library, manifest, n_todo=len(todo), loaded=loaded, machines=machines)
    return Estimate(
        scope=scope,
        headers=headers.facts(),
        trial=trial.facts(),
        projection=projection,
        warnings=warnings_of(scope, headers.facts(), trial, gpu_cores=target.gpu_cores),
        plan_s=time.monotonic() - began,
    )


def _opened(library: str | Path | None) -> Library | None:
    try:
        return None if library is None else Library(library)
    except FileNotFoundError:  # the run would make it
        return None


def _todo(manifest: Manifest, library: Library | None, loaded: LoadedMethods) -> list[dict[str, Any]]:
    """Make the rows of the plan; everything is to be done where there is no library yet."""
    configs = {method: config.name for method, config in loaded.configs.items()}
    if library is not None:
        return make_plan(manifest, library, configs, retry=frozenset()).todo
    return [{"video_id": video_id, "uri": uri, "methods": list(configs)} for video_id, uri in manifest.uris.items()]


def _sizes(manifest: Manifest, todo: list[dict[str, Any]]) -> dict[str, int]:
    """Look up the bytes of the videos by id; the listing of an object store has them already."""
    if stats := manifest.stats:
        return {row["video_id"]: (stats.get(row["video_id"]) or (0, 0))[0] for row in todo}
    with ThreadPoolExecutor(32) as pool:  # a network file system answers after milliseconds
        return dict(
            zip([row["video_id"] for row in todo], pool.map(size_of, [row["uri"] for row in todo], chunksize=64))
        )


def _scope(
    videos: str | Path,
    library: str | Path | None,
    manifest: Manifest,
    *,
    n_todo: int,
    loaded: LoadedMethods,
    machines: Machines,
) -> Scope:
    return Scope(
        source=str(videos),
        library=None if library is None else str(library),
        methods=list(loaded.settings),
        untrained=loaded.untrained,
        machines=machines,
        videos=len(manifest),
        already=len(manifest) - n_todo,
        todo=n_todo,
        other_names=sum(map(len, manifest.other_names.values())),
        unlisted=manifest.unreadable,
    )
