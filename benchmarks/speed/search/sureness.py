"""The stated rate of false matches, fitted to half of the videos, beside the one measured on the other half.

    python -m ndvr.benchmarks.speed.search sureness   # [--library LIBRARY]

Measured on pairs of videos that have nothing to do with each other.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from ndvr.benchmarks.record import record
from ndvr.benchmarks.speed.search.made import film, made_library, out_option
from ndvr.operators.index.sureness import LIMIT, fit, odds
from ndvr.operators.library.feature_reader import FeatureReader
from ndvr.pipeline.search.build import unrelated
from ndvr.pipeline.search.library_index import open_index
from ndvr.pipeline.search.search import index


def measure_sureness(library: Path) -> dict[str, Any]:
    """Measure rates per million, stated by one half of the videos and measured on the other."""
    opened = open_index(library)
    rows = [(number, row) for number, segment in enumerate(opened.segments) for row in segment.alive]
    reader, limits = FeatureReader(opened.library.store), opened.model.card.range
    fitted_on, held_out = (
        [score for number, row in half for score in unrelated(opened, reader, number, row)]
        for half in (rows[::2], rows[1::2])
    )
    sure = fit(fitted_on, videos=len(rows), limits=limits)
    false = np.array(held_out)[odds(np.array(held_out), limits) < LIMIT]  # others may be copies that nobody knows of
    rates = {}
    for rate in (100_000.0, 30_000.0, 10_000.0):
        rates[f"{rate:.0f}"] = 1e6 * float((false >= sure.score_at(rate, limits)).mean()) if len(false) else None
    return {"fitted": sure.fitted, "fitted_on": len(fitted_on), "held_out": len(false), "measured_per_million": rates}


@click.command("sureness")
@click.option("--library", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Default: made videos.")
@click.option("--videos", default=120, show_default=True, help="That are made.")
@out_option
def sureness_command(library: Path | None, videos: int, out: Path | None) -> None:
    """Measure how right the stated rate of false matches is."""
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        if library is None:
            library = made_library(Path(folder) / "library", {f"v{seed:06}": film(seed) for seed in range(videos)})
        index(library, progress=False)
        each = measure_sureness(library)
    told = ", ".join(
        f"{float(rate):,.0f} stated, {measured:,.0f} measured"
        for rate, measured in each["measured_per_million"].items()
    )
    click.echo(
        f"false matches per million, by {each['fitted_on']:,} pairs, on {each['held_out']:,} others: {told}; "
        f"{record('search_sureness', each, out)}"
    )
