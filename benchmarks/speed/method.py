"""How fast each method embeds and compares, with seeded weights, which are as fast as trained ones:

    python -m ndvr.benchmarks.speed.method [--method s2vs ...] [--device cuda] [--seconds 10]

Windows a second of `Model.embed` on all cores, and pairs a second of `Model.similarities` between videos of 112
seconds, the mean of FIVR-200K, from signatures in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

VIDEO_S = 112
TARGETS = 32
WINDOWS_PER_BATCH = 32


def measure(name: str, *, device: str, seconds: float, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Parameters, windows/s and pairs/s of one method."""
    from ndvr import models

    model = models.load(name, "random" if models.card(name).weights else None, device, **(options or {}))
    rng = np.random.default_rng(0)
    view = model.view
    if view.window_dtype == "uint8":
        windows = rng.integers(0, 256, (WINDOWS_PER_BATCH, *view.window_shape), np.uint8)
    else:
        windows = rng.uniform(-60, 20, (WINDOWS_PER_BATCH, *view.window_shape)).astype(view.window_dtype)
    count = round(VIDEO_S * view.windows_per_s) or 1
    embedded = model.embed(windows[: max(2, WINDOWS_PER_BATCH // 8)])

    def video() -> Any:
        features = embedded[rng.integers(0, len(embedded), count)]
        if features.dtype == np.float32:
            features = features + rng.standard_normal(features.shape).astype(np.float32) * embedded.std()
        return model.signature(features)

    query, *targets = (video() for _ in range(1 + TARGETS))
    # A heavy method's batch takes longer than the time given; one of its windows is enough.
    began = time.perf_counter()
    model.embed(windows[:1])
    batch = windows if time.perf_counter() - began < seconds / WINDOWS_PER_BATCH else windows[:4]
    networks = {id(model.network(part)): model.network(part) for part in ("embed", "similarity")}
    return {
        "method": name,
        "options": options or {},
        "parameters": sum(value.numel() for network in networks.values() for value in network.parameters()),
        "windows_per_s": len(batch) * _rate(lambda: model.embed(batch), seconds),
        "windows_per_video": count,
        "pairs_per_s": TARGETS * _rate(lambda: model.similarities(query, targets), seconds),
    }


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
@click.option("--out", type=click.Path(dir_okay=False), help="Default: benchmarks/results/method_speed.json")
def main(methods: tuple[str, ...], device: str, seconds: float, out: str | None) -> None:
    """Print a line for each method and write JSON."""
    from ndvr import models
    from ndvr.benchmarks.record import record

    results = []
    for name in methods or models.names():
        results.append(measure(name, device=device, seconds=seconds))
        result = results[-1]
        click.echo(
            f"{name:<11} {result['parameters']:>11,} parameters, {result['windows_per_s']:,.1f} windows/s, "
            f"{result['pairs_per_s']:,.0f} pairs/s of {VIDEO_S} s"
        )
    click.echo(str(record("method_speed", {"device": device, "methods": results}, Path(out) if out else None)))


if __name__ == "__main__":
    main()
