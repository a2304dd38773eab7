"""How fast a search is, and its parts, beside what bounds them:

    python -m ndvr.benchmarks.speed.search [--keys 10000 --keys 100000 --keys 1000000] [--rounds 5]

votes    probes of one query of ten seconds against an index of so many keys, which are seeded noise of that length;
         whole pictures only, and with all boxes. Beside it faiss's flat search of the same vectors, held as float32,
         for the same neighbours; and the products that a flat search cannot do without, as one matrix product
look     the rough look at the placements that votes propose, per candidate
compare  the full comparison, per pair; what a search without the look would cost

All on one core and in turns in one run, so that a slower minute of the machine hits all.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from ndvr import models
from ndvr.benchmarks.record import record
from ndvr.models.keys import Keys, Place
from ndvr.models.method import Model, use_one_thread
from ndvr.operators.index import codes
from ndvr.operators.index.lists import coded, joined
from ndvr.operators.index.segments import IndexedVideo, IndexFiles, Segment
from ndvr.operators.index.votes import NEIGHBOURS, candidates

_SEED = 20261126
_SECONDS, _FPS = 10, 2
KEYS_PER_VIDEO = 40
CANDIDATES = 50


def film(seed: int) -> np.ndarray:
    """Features of a picture that a camera swings over: (T, 512) uint8."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    world = np.fft.ifft2(np.fft.fft2(rng.standard_normal((512, 512))) / np.maximum(frequency, 1 / 128)).real
    world = np.clip(128 + 55 * world / world.std(), 0, 255).astype(np.uint8)
    path = (200 + 60 * np.sin(np.arange(_SECONDS * _FPS)[:, None] * rng.uniform(0.2, 0.6, 2))).astype(int)
    windows = np.stack([world[y : y + 128, x : x + 128] for y, x in path])
    return models.load("thumbprint").embed(windows)


def measure_votes(model: Model, n_keys: int, folder: Path, rounds: int) -> dict[str, float]:
    """Seconds of one query's votes in an index of `n_keys` keys."""
    import faiss

    segments = [_segment(folder, n_keys)]
    query = film(0)
    probes = {"whole": model.probes(query, whole=True), "boxes": model.probes(query)}
    vectors = segments[0].vectors(0, n_keys)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    steps: dict[str, Callable[[], Any]] = {}
    for name, mine in probes.items():
        turned = codes.turned(mine.vectors)
        steps[f"{name}_votes"] = partial(candidates, mine, segments)
        steps[f"{name}_flat_faiss"] = partial(flat.search, turned, NEIGHBOURS)
        steps[f"{name}_products"] = partial(_products, turned, vectors)
    seconds = _in_turns(steps, rounds)
    files = sum(path.stat().st_size for path in (folder / "segments").iterdir())
    return {
        "keys": n_keys,
        "bytes_per_key": files / n_keys,
        **{f"{k}_probes": len(v) for k, v in probes.items()},
    } | seconds


def _products(probes: np.ndarray, vectors: np.ndarray) -> None:
    for start in range(0, len(vectors), 1 << 14):
        probes @ vectors[start : start + (1 << 14)].T


def _segment(folder: Path, n_keys: int) -> Segment:
    """An index of noise, written and opened again."""
    rng = np.random.default_rng(_SEED)
    videos, keys = [], []
    for number in range(n_keys // KEYS_PER_VIDEO):
        vectors = rng.standard_normal((KEYS_PER_VIDEO, 55), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        keys.append(
            coded(
                Keys(
                    vectors=vectors,
                    windows=np.arange(KEYS_PER_VIDEO, dtype=np.int32) // 4,
                    boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (KEYS_PER_VIDEO, 1)),
                    turns=np.zeros(KEYS_PER_VIDEO, np.int8),
                    novelty=np.ones(KEYS_PER_VIDEO, np.float32),
                )
            )
        )
        videos.append(IndexedVideo(video_id=f"{number}", content=f"{number}", windows=20, sha256=""))
    files = IndexFiles(str(folder))
    return Segment(files.store, files.write_segment(videos, joined(keys, [20] * len(keys)), level=0))


def measure_pairs(model: Model, rounds: int) -> dict[str, float]:
    """Milliseconds per candidate of the rough look, and of the full comparison with and without making signatures."""
    query, others = film(0), [film(seed) for seed in range(1, CANDIDATES + 1)]
    places = [
        [
            Place(query_window=k, video_window=k, placement=(0.1 * p, 0.0, 0.8, 0.8), turn=0)
            for p in range(4)
            for k in (2, 9, 15)
        ]
        for _ in others
    ]
    own, theirs = model.signature(query), [model.signature(other) for other in others]
    steps = {
        "look_ms": lambda: model.spot(query, others, places),
        "signatures_ms": lambda: [model.signature(other) for other in others],
        "compare_ms": lambda: model.similarities(own, theirs),
    }
    return {name: 1e3 * seconds / CANDIDATES for name, seconds in _in_turns(steps, rounds).items()}


def _in_turns(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each step; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            began = time.process_time()
            step()
            times[name].append(time.process_time() - began)
    return {name: statistics.median(each[1:]) for name, each in times.items()}


@click.command()
@click.option("--keys", multiple=True, type=int, default=(10_000, 100_000, 1_000_000), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON; default: benchmarks/results.")
def main(keys: tuple[int, ...], rounds: int, out: Path | None) -> None:
    """Print a line for every size and one for pairs, and write JSON."""
    import faiss

    use_one_thread()
    faiss.omp_set_num_threads(1)
    model = models.load("thumbprint")
    sizes = []
    for n_keys in keys:
        with tempfile.TemporaryDirectory(prefix="search-") as folder:
            sizes.append(measure_votes(model, n_keys, Path(folder), rounds))
        each = sizes[-1]
        told = "; ".join(
            f"{name} {each[f'{name}_probes']:,} probes {each[f'{name}_votes']:.3f} s = "
            f"{each[f'{name}_votes'] / each[f'{name}_flat_faiss']:.2f} x flat faiss, "
            f"{each[f'{name}_votes'] / each[f'{name}_products']:.1f} x the bare products"
            for name in ("whole", "boxes")
        )
        click.echo(f"{n_keys:,} keys of {each['bytes_per_key']:.0f} bytes: {told}")
    pairs = measure_pairs(model, rounds)
    click.echo(
        f"a candidate: rough look {pairs['look_ms']:.2f} ms, signature {pairs['signatures_ms']:.1f} ms, comparison "
        f"{pairs['compare_ms']:.1f} ms; {record('search', {'sizes': sizes, 'pairs': pairs}, out)}"
    )


if __name__ == "__main__":
    main()
