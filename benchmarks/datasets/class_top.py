"""Top-k mAP of class retrieval: only the k best count, divided by the right ones among them.

python -m ndvr.benchmarks.datasets.class_top SCORES --dataset ucf101 --annotations FOLDER --top 100 [--json]
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from ndvr.benchmarks.datasets.class_retrieval import CONVENTIONS, DATASETS
from ndvr.benchmarks.evaluation.protocol import Protocol, load_protocol
from ndvr.benchmarks.plain_command import PlainCommand
from ndvr.operators.metrics.rank_counts import Counter, Plan
from ndvr.operators.metrics.survey import survey
from ndvr.operators.metrics.top_average_precision import top_average_precision, top_average_precision_ends
from ndvr.operators.scores.files import Scores, ScoreSource, open_scores


@dataclass(frozen=True, kw_only=True)
class TopResult:
    """Means over the queries that have a score and a right video in the database."""

    map: float  # equal scores in the order of their ids
    map_low: float  # the lowest that an order of equal scores can give
    map_high: float
    top: int
    queries: int
    expected_queries: int


def top_map(
    scores: ScoreSource, *, dataset: str, annotations: str | Path, top: int, convention: str | None = None
) -> TopResult:
    """As `ndvr.benchmarks.evaluate.evaluate`, for the k best. A class that the database lacks leaves the mean."""
    if dataset not in DATASETS:
        raise ValueError(f"top-k mAP is defined for {', '.join(DATASETS)}, not for {dataset!r}")
    if top < 1:
        raise ValueError(f"top {top}: at least the best one has to count")
    return _top_map(open_scores(scores), load_protocol(dataset, annotations, convention=convention), top)


def _top_map(scores: Scores, protocol: Protocol, top: int) -> TopResult:
    right = {query: videos for query, videos in protocol.tasks[0].relevant.items() if videos}
    labels = {query: videos | {query} for query, videos in right.items()}  # the query itself is never a wrong one
    surveyed = survey(scores, labels)
    database = protocol.database or frozenset()
    ranked = np.fromiter((video in database for video in surveyed.videos.ids), bool, len(surveyed.videos))
    order = surveyed.videos.order()
    counter = Counter(Plan(surveyed=surveyed, right=right, order=order, ranked=ranked, groups=()))
    counter.walk(scores)
    tallies = counter.counted().tallies
    rows = []
    for query in sorted(right):
        if not surveyed.rows[surveyed.queries.of([query])[0]]:
            continue
        counts = tallies[query]
        # All three rise from the best right video to the last one.
        by_id, above, at_least = (np.sort(counts.above + n) for n in (counts.tied_before, 0, counts.tied))
        rows.append((top_average_precision(by_id, top), *top_average_precision_ends(above, at_least, top)))
    if not rows:
        raise ValueError(f"no query of {scores.name} has a score and a right video in {protocol.name}: check the ids")
    mean, low, high = np.mean(rows, axis=0).tolist()
    return TopResult(map=mean, map_low=low, map_high=high, top=top, queries=len(rows), expected_queries=len(right))


@click.command(cls=PlainCommand)
@click.argument("scores", type=click.Path())
@click.option("--dataset", required=True, type=click.Choice(DATASETS))
@click.option("--annotations", required=True, metavar="FOLDER", help="The split lists of the dataset.")
@click.option("--convention", type=click.Choice(list(CONVENTIONS)), help="How ids are read.")
@click.option("--top", default=100, show_default=True, help="How many of the best count.")
@click.option("--json", "as_json", is_flag=True, help="For programs, on stdout.")
def main(scores: str, *, top: int, as_json: bool, **settings: str) -> None:
    """Top-k mAP of SCORES."""
    result = top_map(scores, top=top, **settings)
    if as_json:
        click.echo(json.dumps(asdict(result), indent=1))
        return
    ties = "" if result.map_low == result.map_high else f", ties {result.map_low:.4f} to {result.map_high:.4f}"
    click.echo(f"top-{top} mAP {result.map:.4f}{ties}; {result.queries:,} of {result.expected_queries:,} queries")


if __name__ == "__main__":
    main()
