"""How fast videos are compared, by S2VS and by methods that keep one vector or code a video:

    python -m ndvr.benchmarks.speed.similarity [--device cuda] [--rounds 15]
    OMP_NUM_THREADS=1 python -m ndvr.benchmarks.speed.similarity

S2VS is measured between two bounds, all in turns in one run, and ratios are medians of the rounds' ratios, so that a
slower minute of the machine hits all:

bare product  one float32 matrix product of all regions of the query with all regions of all targets, already joined
              in memory: no similarity of these vectors can be had for less
naive         the arithmetic as the authors' papers and tools have it: one pair at a time, the products of all regions
              as one tensor of six dimensions, then the comparator and two reductions

Methods of one vector or code: 100 queries with 225,960 videos, the size of FIVR-200K, a cell of the grid at a time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

FRAMES_PER_VIDEO = (10, 30, 112)  # 112 is the mean of FIVR-200K
TARGET_FRAMES = 1792  # per call: 16 videos of 112 frames
QUERIES, VIDEOS, CELL_VIDEOS = 100, 225_960, 4096
COMPACT: dict[str, dict[str, Any]] = {
    "c3dhash": {"bits": 64},
    "tca": {"similarity": "cosine"},
    "dns": {"student": "coarse"},
}
_SEED = 20240501


def measure(n_frames: int, *, device: str, rounds: int) -> dict[str, float]:
    """Measure seconds and ratios of one query against as many targets of `n_frames` as make TARGET_FRAMES."""
    import torch

    from ndvr import models

    model = models.load("s2vs", "random", device, parts=("similarity",))
    rng = np.random.default_rng(_SEED)
    query, *targets = (model.signature(_video(rng, n_frames)) for _ in range(1 + max(1, TARGET_FRAMES // n_frames)))
    rows = query.reshape(-1, 512)
    columns = rows.new_empty(len(targets) * len(rows), 512)
    for number, target in enumerate(targets):
        columns[number * len(rows) : (number + 1) * len(rows)] = target.reshape(-1, 512)
    naive = _naive(model.network("similarity").visil_head)

    def product() -> None:
        (rows @ columns.T)[0, 0].item()  # reading a number waits for the device

    def one_by_one() -> list[float]:
        return [naive(query, target).item() for target in targets]

    with torch.inference_mode():
        if not np.allclose(one_by_one(), model.similarities(query, targets), atol=1e-5):
            raise AssertionError("the naive arithmetic gives other scores: what is timed is not the same")
        steps = (product, lambda: model.similarities(query, targets), one_by_one)
        timed = [[_seconds(step) for step in steps] for _ in range(rounds + 2)][2:]  # the first ones warm up
    bare_s, ours_s, naive_s = (statistics.median(step) for step in zip(*timed))
    return {
        "frames_per_video": n_frames,
        "targets": len(targets),
        "pairs_per_s": len(targets) / ours_s,
        "ratio_to_bare_product": statistics.median(ours_s / bare for bare, ours_s, _ in timed),
        "times_faster_than_naive": statistics.median(naive_s / ours_s for _, ours_s, naive_s in timed),
        "similarities_s": ours_s,
        "bare_product_s": bare_s,
        "naive_s": naive_s,
    }


def _naive(comparator: Any) -> Callable[[Any, Any], Any]:
    """Score a pair by Tensor Dot, Chamfer over regions, CNN, hard tanh, Chamfer over time (ViSiL, section 3)."""
    import torch

    from ndvr.models.layers.head import exact_convolutions

    def score(query: Any, target: Any) -> Any:
        products = torch.einsum("aiok,bjpk->aiojpb", query[None], target[None])  # (1, Tq, Rq, Tt, Rt, 1)
        frames = products.amax(4).mean(2)[..., 0]  # (1, Tq, Tt)
        with exact_convolutions():
            cells = comparator(frames[None]).clamp(-1, 1)[0, 0]
        return cells.amax(1).mean()

    return score


def measure_compact(method: str, *, device: str, rounds: int) -> dict[str, float]:
    """Measure seconds of QUERIES x VIDEOS scores, given the signatures."""
    from ndvr import models

    model = models.load(method, "random", device, parts=("similarity",), **COMPACT[method])
    rng = np.random.default_rng(_SEED)
    probe = model.stack([model.signature(_video(rng, 4, model.feature_shape))])[0]
    videos = model.unstack(_signatures(rng, CELL_VIDEOS, probe))
    queries = model.unstack(_signatures(rng, QUERIES, probe))
    sizes = [min(CELL_VIDEOS, VIDEOS - start) for start in range(0, VIDEOS, CELL_VIDEOS)]

    def all_pairs() -> None:
        for size in sizes:  # the same videos again: reading them is not what is measured
            model.score_matrix(queries, videos[:size])

    seconds = statistics.median([_seconds(all_pairs) for _ in range(rounds + 1)][1:])
    return {"signature_bytes": probe.nbytes, "seconds": seconds, "pairs_per_s": QUERIES * VIDEOS / seconds}


def _signatures(rng: np.random.Generator, count: int, like: np.ndarray) -> np.ndarray:
    if like.dtype == np.uint8:
        return rng.integers(0, 256, (count, *like.shape), dtype=np.uint8)
    vectors = rng.standard_normal((count, *like.shape), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _video(rng: np.random.Generator, n_windows: int, shape: tuple[int, ...] = (9, 512)) -> np.ndarray:
    features = rng.standard_normal((n_windows, *shape), dtype=np.float32)
    return (features / np.linalg.norm(features, axis=-1, keepdims=True)).astype(np.float16)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


@click.command()
@click.option("--device", default="cpu", show_default=True)
@click.option("--rounds", default=15, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False), help="Default: benchmarks/results/similarity_speed.json")
def main(device: str, rounds: int, out: str | None) -> None:
    """Print a line for S2VS and one for the methods of one vector or code, and write JSON."""
    from ndvr.benchmarks.record import record

    lengths = [measure(n_frames, device=device, rounds=rounds) for n_frames in FRAMES_PER_VIDEO]
    compact = {method: measure_compact(method, device=device, rounds=min(rounds, 5)) for method in COMPACT}
    results = {"method": "s2vs", "device": device, "lengths": lengths, "one_vector_or_code": compact}
    path = record("similarity_speed", results, Path(out) if out else None)
    sentence = "; ".join(
        f"{result['frames_per_video']} frames {result['pairs_per_s']:,.0f} pairs/s = "
        f"{result['ratio_to_bare_product']:.2f} x the bare product, "
        f"{result['times_faster_than_naive']:.1f} times as fast as naive"
        for result in lengths
    )
    click.echo(f"s2vs on {device}: {sentence}")
    sentence = ", ".join(f"{method} {result['seconds']:.2f} s" for method, result in compact.items())
    click.echo(f"{QUERIES} queries x {VIDEOS:,} videos: {sentence}; {path}")


if __name__ == "__main__":
    main()
