"""How fast each method embeds and compares, with seeded weights, which are as fast as trained ones:

    python -m ndvr.benchmarks.speed.method [--method s2vs ...] [--device cuda] [--seconds 10] [--training]

Windows a second of `Model.embed` on all cores or a GPU, and pairs a second of `Model.similarities` between videos of
112 seconds, the mean of FIVR-200K, from signatures in memory. Of both the share of what the device does in the bare
float32 product of two large matrices: multiplications and additions of the networks over those of the product, in the
same time. With --training also steps a second of methods that can be trained, in float32 and, on a GPU, mixed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

VIDEO_S = 112
TARGETS = {"cpu": 32, "cuda": 256}
WINDOWS_PER_BATCH = {"cpu": 32, "cuda": 256}
SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices
TRAINED_ON = (64, 60)  # videos, windows of each


def rates(device: str, *, seconds: float) -> dict[str, float]:
    """Measure operations a second of the bare product of two square matrices, by type of number,
    and bytes a second copied.
    """
    import torch

    side, found = SIDE[device], {}
    matrix = torch.randn(side, side, device=device)
    allows_tf32 = torch.backends.cuda.matmul.allow_tf32
    kinds = ("float32", "tf32", "bfloat16") if device == "cuda" else ("float32",)
    for kind in kinds:
        torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
        found[kind] = 2 * side**3 * _products_per_s(matrix.bfloat16() if kind == "bfloat16" else matrix, seconds)
    torch.backends.cuda.matmul.allow_tf32 = allows_tf32
    source = torch.randn(1 << (30 if device == "cuda" else 26), device=device)
    target = torch.empty_like(source)
    found["copied_bytes"] = 2 * source.nbytes * _rate(lambda: target.copy_(source)[0].item(), seconds)
    return found


def _products_per_s(matrix: Any, seconds: float) -> float:
    return _rate(lambda: (matrix @ matrix)[0, 0].item(), seconds)


def measure(
    name: str, *, device: str, seconds: float, product: float | None = None, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Measure parameters, windows/s and pairs/s of one method;
    shares of the operations a second of the bare product.
    """
    from ndvr import models

    model = models.load(name, "random" if models.card(name).weights else None, device, **(options or {}))
    rng = np.random.default_rng(0)
    view = model.view
    if view.window_dtype == "uint8":
        windows = rng.integers(0, 256, (WINDOWS_PER_BATCH[device], *view.window_shape), np.uint8)
    else:
        windows = rng.uniform(-60, 20, (WINDOWS_PER_BATCH[device], *view.window_shape)).astype(view.window_dtype)
    count = round(VIDEO_S * view.windows_per_s) or 1
    embedded = model.embed(windows[:4])

    def video() -> Any:
        features = embedded[rng.integers(0, len(embedded), count)]
        if features.dtype == np.float32:
            features = features + rng.standard_normal(features.shape).astype(np.float32) * embedded.std()
        return model.signature(features)

    query, *targets = (video() for _ in range(1 + TARGETS["cpu"]))
    if not model.card.compares_on_cpu:
        targets *= TARGETS[device] // TARGETS["cpu"]
    # A heavy method's batch takes longer than the time given; one of its windows is enough.
    began = time.perf_counter()
    model.embed(windows[:1])
    fast = device == "cuda" or time.perf_counter() - began < seconds / len(windows)
    batch = windows if fast else windows[:4]
    windows_per_s = len(batch) * _rate(lambda: model.embed(batch), seconds)
    pairs_per_s = len(targets) * _rate(lambda: model.similarities(query, targets), seconds)
    networks = {id(model.network(part)): model.network(part) for part in ("embed", "similarity")}
    return {
        "method": name,
        "options": options or {},
        "parameters": sum(value.numel() for network in networks.values() for value in network.parameters()),
        "windows_per_s": windows_per_s,
        "windows_per_video": count,
        "pairs_per_s": pairs_per_s,
        "embed_share": product and _operations(lambda: model.embed(batch[:4])) / 4 * windows_per_s / product,
        "similarities_share": product
        and _operations(lambda: model.similarities(query, targets[:1])) * pairs_per_s / product,
    }


def _operations(run: Callable[[], object]) -> int:
    """Count multiplications and additions of products and convolutions."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def measure_training(name: str, *, device: str, mixed: bool, seconds: float) -> float:
    """Measure steps a second with the recipe's own settings, on made features; all videos are in groups of two."""
    from ndvr import models
    from ndvr.models.training.recipe import Videos
    from ndvr.models.training.recipes import RECIPES
    from ndvr.models.training.trainer import Trainer

    model = models.load(name, "random", parts=("similarity",))
    recipe = RECIPES[name](model.network("similarity"), RECIPES[name].Settings())
    count, length = TRAINED_ON
    rng = np.random.default_rng(0)
    made = rng.standard_normal((count, length, *model.feature_shape), np.float32).astype(np.float16)
    videos = Videos(
        features={f"{n:02}": each for n, each in enumerate(made)},
        related={f"{n:02}": (f"{n ^ 1:02}",) for n in range(count)},
        groups={f"{n:02}": n // 2 for n in range(count)},
        teacher=rng.uniform(-1, 1, (count, count)).astype(np.float32),
    )
    trainer = Trainer(recipe, videos, n_steps=1_000_000, seed=0, device=device, mixed=mixed)
    return _rate(trainer.step, seconds)


def _rate(run: Callable[[], object], seconds: float) -> float:
    """Calls a second, over at least `seconds` after one call to warm up. Both calls give numpy, so the device waits."""
    run()
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or calls < 2:
        run()
        calls += 1
    return calls / (time.perf_counter() - began)


@click.command()
@click.option("--method", "methods", multiple=True, help="Default: all.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="Of each measurement.")
@click.option("--training", is_flag=True, help="Measure training, not the methods.")
@click.option("--out", type=click.Path(dir_okay=False), help="Default: benchmarks/results/method_speed.json")
def main(methods: tuple[str, ...], device: str, seconds: float, training: bool, out: str | None) -> None:
    """Print a line for each method and write JSON."""
    from ndvr import models
    from ndvr.benchmarks.record import record

    measured = rates(device, seconds=min(seconds, 2.0))
    click.echo(", ".join(f"{kind} {value / 1e12:,.3f} T/s" for kind, value in measured.items()))
    results: list[dict[str, Any]] = []
    if training:
        from ndvr.models.training.recipes import RECIPES

        for name in methods or [name for name in RECIPES if "-" not in name]:
            kinds = {"float32": False} | ({"mixed": True} if device == "cuda" else {})
            steps = {
                kind: measure_training(name, device=device, mixed=mixed, seconds=seconds)
                for kind, mixed in kinds.items()
            }
            results.append({"method": name, "steps_per_s": steps})
            click.echo(f"{name:<11} {', '.join(f'{kind} {value:,.1f} steps/s' for kind, value in steps.items())}")
    else:
        for name in methods or models.names():
            results.append(result := measure(name, device=device, seconds=seconds, product=measured["float32"]))
            click.echo(
                f"{name:<11} {result['parameters']:>11,} parameters, {result['windows_per_s']:,.1f} windows/s "
                f"({result['embed_share']:.0%}), {result['pairs_per_s']:,.0f} pairs/s of {VIDEO_S} s "
                f"({result['similarities_share']:.0%} of the bare product)"
            )
    name = "training_speed" if training else "method_speed"
    results_of = {"device": device, "rates": measured, "methods": results}
    click.echo(str(record(name, results_of, Path(out) if out else None)))


if __name__ == "__main__":
    main()
