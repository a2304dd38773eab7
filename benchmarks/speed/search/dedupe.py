"""What `ndvr dedupe --by-index` does for a video of 100 s, and what that would be for 10,000 videos.

    python -m ndvr.benchmarks.speed.search dedupe     # [--videos 100] [--queries 12]

Votes among the keys of 10,000 such videos, closer looks among so many made ones.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from ndvr import models
from ndvr.benchmarks.record import record
from ndvr.benchmarks.speed.search.made import film, made_library, noise, out_option
from ndvr.operators.index.segments import Segment
from ndvr.operators.index.votes import candidates
from ndvr.pipeline.search.library_index import open_index
from ndvr.pipeline.search.matcher import Here, Matcher, Wanted
from ndvr.pipeline.search.queries import Queries, Query
from ndvr.pipeline.search.search import index

_MANY, _LONG_S = 10_000, 100  # of a library that is deduplicated: videos, of so long
_MANY_KEYS, _SEGMENTS = 4_000_000, 4  # of it


def measure_dedupe(folder: Path, n_videos: int, n_queries: int) -> dict[str, float]:
    """CPU seconds a video of searching for videos of a library in it, by parts, and hours of two cores for _MANY."""
    videos = {f"v{seed:06}": film(seed, _LONG_S) for seed in range(n_videos)}
    library = made_library(folder, videos)
    index(library, progress=False)
    opened = open_index(library)
    ids = sorted(videos)[:: max(1, n_videos // n_queries)][:n_queries]
    queries = Queries(str(library), dict.fromkeys(ids, ""), dict.fromkeys(ids), opened.library)
    matcher, look_s = Matcher(opened, Wanted(mutual=True)), []
    crew = Here(opened, matcher.verifier)
    asked = list(queries.read(ids, opened))
    list(matcher.answers(asked[:1], crew))
    for query in asked:
        votes_s = _votes_s(query, opened.segments)
        began = time.process_time()
        list(matcher.answers([query], crew))
        look_s.append(time.process_time() - began - votes_s)
    many = [noise(folder / "many", _MANY_KEYS // _SEGMENTS)] * _SEGMENTS
    votes = statistics.median(_votes_s(query, many) for query in asked[:10])
    each = votes + (look := statistics.median(look_s))
    keys = sum(map(len, opened.segments))
    return {"keys": keys, "votes_s": votes, "closer_look_s": look, "hours_of_two_cores": each * _MANY / 2 / 3600}


def _votes_s(query: Query, segments: Sequence[Segment]) -> float:
    """Measure CPU seconds of a query's probes and votes, where every video asks."""
    assert query.features is not None
    began = time.process_time()
    probes = models.load("thumbprint").probes(query.features)
    candidates(probes, segments, top=Wanted().n_candidates, mutual=True)
    return time.process_time() - began


@click.command("dedupe")
@click.option("--videos", default=100, show_default=True, help=f"Of {_LONG_S} s.")
@click.option("--queries", default=12, show_default=True)
@out_option
def dedupe_command(videos: int, queries: int, out: Path | None) -> None:
    """Measure a search for videos of a library in itself."""
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        each = measure_dedupe(Path(folder) / "library", videos, queries)
    click.echo(
        f"a video of {_LONG_S} s: votes among {_MANY_KEYS:,} keys {each['votes_s']:.2f} s, closer looks among "
        f"{videos:,} videos {each['closer_look_s']:.2f} s of a core; {_MANY:,} videos would take "
        f"{each['hours_of_two_cores']:.1f} h of two cores; {record('search_dedupe', each | {'videos': videos}, out)}"
    )
