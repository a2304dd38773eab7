"""How fast S2VS compares videos, as a multiple of the bare product of the same region vectors:

    python -m ndvr.benchmarks.similarity_speed [--device cuda] [--rounds 15]

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

FRAMES_PER_VIDEO = (10, 30, 112)  # 112 is the mean of FIVR-200K
TARGET_FRAMES = 1792  # per call: 16 videos of 112 frames
_SEED = 20240501


def measure(n_frames: int, *, device: str, rounds: int) -> dict[str, float]:
    """Seconds and ratio of one query against as many targets of `n_frames` as make TARGET_FRAMES."""
    import torch

    from ndvr import models

    model = models.load("s2vs", "random", device, parts=("similarity",))
    generator = torch.Generator().manual_seed(_SEED)

    def video() -> torch.Tensor:
        features = torch.randn(n_frames, 9, 512, generator=generator)
        return model.signature(torch.nn.functional.normalize(features, dim=-1).half().numpy())

    query, targets = video(), [video() for _ in range(max(1, TARGET_FRAMES // n_frames))]
    rows, columns = query.view(-1, 512), torch.cat(targets).view(-1, 512).t()

    def product() -> None:
        torch.mm(rows, columns)
        if device != "cpu":
            torch.cuda.synchronize()

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


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


@click.command()
@click.option("--device", default="cpu", show_default=True)
@click.option("--rounds", default=15, show_default=True)
@click.option("--threads", type=int, help="Default: one per core.")
@click.option("--out", type=click.Path(dir_okay=False), help="Default: benchmarks/results/similarity_speed.json")
def main(device: str, rounds: int, threads: int | None, out: str | None) -> None:
    """Print one line and write JSON."""
    import torch

    from ndvr.benchmarks.record import record

    if threads:
        torch.set_num_threads(threads)
    lengths = [measure(n_frames, device=device, rounds=rounds) for n_frames in FRAMES_PER_VIDEO]
    results = {"method": "s2vs", "device": device, "threads": torch.get_num_threads(), "lengths": lengths}
    path = record("similarity_speed", results, Path(out) if out else None)
    told = "; ".join(
        f"{found['frames_per_video']} frames {found['pairs_per_s']:,.0f} pairs/s = "
        f"{found['ratio_to_bare_product']:.2f} x the bare product"
        for found in lengths
    )
    click.echo(f"s2vs on {device}, {results['threads']} threads: {told}; {path}")


if __name__ == "__main__":
    main()
