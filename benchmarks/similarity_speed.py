"""How fast S2VS compares videos, as a multiple of the bare product of the same region vectors:

    python -m ndvr.benchmarks.similarity_speed [--device cuda] [--rounds 15]
    OMP_NUM_THREADS=1 python -m ndvr.benchmarks.similarity_speed

The bare product is one float32 matrix product of all regions of the query with all regions of all targets, already
joined in memory: no similarity of these vectors can be had for less. Both are timed in turns in one run, and the
ratio is the median of the rounds' ratios, so that a slower minute of the machine hits both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

FRAMES_PER_VIDEO = (10, 30, 112)  # 112 is the mean of FIVR-200K
TARGET_FRAMES = 1792  # per call: 16 videos of 112 frames
_SEED = 20240501


def measure(n_frames: int, *, device: str, rounds: int) -> dict[str, float]:
    """Seconds and ratio of one query against as many targets of `n_frames` as make TARGET_FRAMES."""
    from ndvr import models

    model = models.load("s2vs", "random", device, parts=("similarity",))
    rng = np.random.default_rng(_SEED)
    query, *targets = (model.signature(_video(rng, n_frames)) for _ in range(1 + max(1, TARGET_FRAMES // n_frames)))
    rows = query.reshape(-1, 512)
    columns = rows.new_empty(len(targets) * len(rows), 512)
    for number, target in enumerate(targets):
        columns[number * len(rows) : (number + 1) * len(rows)] = target.reshape(-1, 512)

    def product() -> None:
        (rows @ columns.T)[0, 0].item()  # reading a number waits for the device

    timed = [(_seconds(product), _seconds(lambda: model.similarities(query, targets))) for _ in range(rounds + 2)]
    timed = timed[2:]  # the first rounds allocate and warm up
    seconds = statistics.median(whole for _, whole in timed)
    return {
        "frames_per_video": n_frames,
        "targets": len(targets),
        "pairs_per_s": len(targets) / seconds,
        "ratio_to_bare_product": statistics.median(whole / bare for bare, whole in timed),
        "similarities_s": seconds,
        "bare_product_s": statistics.median(bare for bare, _ in timed),
    }


def _video(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    features = rng.standard_normal((n_frames, 9, 512), dtype=np.float32)
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
    """Print one line and write JSON."""
    from ndvr.benchmarks.record import record

    lengths = [measure(n_frames, device=device, rounds=rounds) for n_frames in FRAMES_PER_VIDEO]
    results = {"method": "s2vs", "device": device, "lengths": lengths}
    path = record("similarity_speed", results, Path(out) if out else None)
    told = "; ".join(
        f"{found['frames_per_video']} frames {found['pairs_per_s']:,.0f} pairs/s = "
        f"{found['ratio_to_bare_product']:.2f} x the bare product"
        for found in lengths
    )
    click.echo(f"s2vs on {device}: {told}; {path}")


if __name__ == "__main__":
    main()
