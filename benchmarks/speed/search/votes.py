"""Seconds of one query's votes in an index of so many keys, which are seeded noise of their length.

    python -m ndvr.benchmarks.speed.search votes      # [--keys 10000 --keys 100000 --keys 1000000] [--rounds 5]

The query has ten seconds; with few parts of pictures (--fast), and with all. Beside it faiss's flat search of the same
vectors, held as float32, for the same neighbours; and the products that it cannot do without, as one matrix product.
More than MOST_FLAT keys have nothing beside them; more than MOST_MADE are so many, several times over.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from ndvr import models
from ndvr.benchmarks.record import record
from ndvr.benchmarks.speed.search.made import film, in_turns, noise, out_option
from ndvr.models.method import Model
from ndvr.operators.index import codes
from ndvr.operators.index.votes import NEIGHBOURS, candidates

MOST_FLAT, MOST_MADE = 2_000_000, 10_000_000  # keys; float32 of the first are half a GB


def measure_votes(model: Model, n_keys: int, folder: Path, rounds: int) -> dict[str, float]:
    """Measure seconds of one query's votes in an index of `n_keys` keys."""
    import faiss

    segments = [noise(folder, min(n_keys, MOST_MADE))] * max(1, n_keys // MOST_MADE)
    query = film(0)
    probes = {"fast": model.probes(query, fast=True), "all": model.probes(query)}
    steps: dict[str, Callable[[], Any]] = {
        f"{name}_votes": partial(candidates, mine, segments) for name, mine in probes.items()
    }
    if n_keys <= MOST_MADE:
        ten = [noise(folder / f"part{number}", n_keys // 10) for number in range(10)]
        steps |= {f"{name}_votes_in_ten": partial(candidates, mine, ten) for name, mine in probes.items()}
    if n_keys <= MOST_FLAT:
        vectors = codes.decode(segments[0].coded.codes, segments[0].coded.factor)
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        for name, mine in probes.items():
            turned = codes.turned(mine.vectors)
            steps[f"{name}_flat_faiss"] = partial(flat.search, turned, NEIGHBOURS)
            steps[f"{name}_products"] = partial(_products, turned, vectors)
    seconds = in_turns(steps, rounds)
    files = sum(path.stat().st_size for path in (folder / "segments").iterdir())
    return {
        "keys": n_keys,
        "bytes_per_key": files / min(n_keys, MOST_MADE),
        **{f"{k}_probes": len(v) for k, v in probes.items()},
    } | seconds


def _products(probes: np.ndarray, vectors: np.ndarray) -> None:
    for start in range(0, len(vectors), 1 << 14):
        probes @ vectors[start : start + (1 << 14)].T


@click.command("votes")
@click.option("--keys", multiple=True, type=int, default=(10_000, 100_000, 1_000_000), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@out_option
def votes_command(keys: tuple[int, ...], rounds: int, out: Path | None) -> None:
    """Measure candidates for a query against ever more keys."""
    model, sizes = models.load("thumbprint"), []
    for n_keys in keys:
        with tempfile.TemporaryDirectory(prefix="search-") as folder:
            sizes.append(measure_votes(model, n_keys, Path(folder), rounds))
        each = sizes[-1]
        told = "; ".join(_votes_text(each, name) for name in ("fast", "all"))
        click.echo(f"{n_keys:,} keys of {each['bytes_per_key']:.0f} bytes: {told}")
    click.echo(record("search_votes", {"sizes": sizes}, out))


def _votes_text(each: dict[str, float], name: str) -> str:
    votes = each[f"{name}_votes"]
    text = f"{name} {each[f'{name}_probes']:,} probes {votes:.3f} s"
    if f"{name}_flat_faiss" in each:
        text += f" = {votes / each[f'{name}_flat_faiss']:.2f} x flat faiss, "
        text += f"{votes / each[f'{name}_products']:.1f} x the bare products"
    if f"{name}_votes_in_ten" in each:
        text += f", in ten segments {each[f'{name}_votes_in_ten'] / votes:.2f} times as long"
    return text
