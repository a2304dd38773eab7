"""Candidates a second of the closer look, reading and decoding included, and its parts.

    python -m ndvr.benchmarks.speed.search pairs      # [--rounds 5]

Its parts: the rough look at the placements that votes propose, signatures, the full comparison; beside the bare
reading, and beside the one product that compares every frame of a pair with every frame.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np

from ndvr import models
from ndvr.benchmarks.record import record
from ndvr.benchmarks.speed.search.made import FPS, SEED, film, in_turns, made_library, out_option
from ndvr.models.keys import Place
from ndvr.models.method import Model
from ndvr.operators.library.feature_reader import FeatureReader
from ndvr.pipeline.search.library_index import open_index
from ndvr.pipeline.search.matcher import Wanted
from ndvr.pipeline.search.queries import Query
from ndvr.pipeline.search.verify import Proposed, Verifier

CANDIDATES = Wanted().n_candidates
_PIXELS = 32 * 32  # of a frame that is compared


def measure_pairs(model: Model, folder: Path, rounds: int) -> dict[str, float]:
    """Measure milliseconds per candidate of the closer look and of its parts, and the bounds."""
    query, videos = film(0), {f"v{seed:02}": film(seed) for seed in range(1, CANDIDATES + 1)}
    opened = open_index(made_library(folder, videos))
    places = [
        Place(query_window=k, video_window=k, placement=(0.1 * p, 0.0, 0.8, 0.8), turn=0)
        for p in range(4)
        for k in (2, 9, 15)
    ]
    proposed = [Proposed(video=video, places=places) for video in opened.lookup(videos).values()]
    asked = Query(query_id="q", uri="", start_s=np.arange(len(query)) / FPS, features=query)
    verifier, reader = Verifier(opened, false_per_million=200.0), FeatureReader(opened.library.store)
    own, theirs = model.signature(query), [model.signature(video) for video in videos.values()]
    pictures = np.random.default_rng(SEED).standard_normal((2, len(query), _PIXELS), dtype=np.float32)
    steps = {
        "closer_look_ms": lambda: verifier.verify(asked, proposed),
        "read_ms": lambda: [reader.read(each.video.pieces) for each in proposed],
        "rough_look_ms": lambda: model.spot(query, list(videos.values()), [places] * len(videos)),
        "signatures_ms": lambda: [model.signature(video) for video in videos.values()],
        "compare_ms": lambda: model.similarities(own, theirs),
        "product_ms": lambda: [pictures[0] @ pictures[1].T for _ in videos],
    }
    measured = {name: 1e3 * seconds / CANDIDATES for name, seconds in in_turns(steps, rounds).items()}
    left = len(verifier.spotted(asked, proposed, []))
    return measured | {"compared": left / CANDIDATES, "pairs_per_s": 1e3 / measured["closer_look_ms"]}


@click.command("pairs")
@click.option("--rounds", default=5, show_default=True)
@out_option
def pairs_command(rounds: int, out: Path | None) -> None:
    """Measure the closer look at candidates."""
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        each = measure_pairs(models.load("thumbprint"), Path(folder) / "library", rounds)
    click.echo(
        f"{each['pairs_per_s']:.0f} candidates a second and core, {each['compared']:.0%} of them compared in full; a "
        f"candidate: read {each['read_ms']:.2f} ms, rough look {each['rough_look_ms']:.2f}, signature "
        f"{each['signatures_ms']:.1f}, comparison {each['compare_ms']:.1f}, one product of its frames "
        f"{each['product_ms']:.3f} ms; {record('search_pairs', each, out)}"
    )
