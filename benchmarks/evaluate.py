"""How right scores are: mAP, micro-AP, ties, intervals and coverage, against a truth table or a public benchmark.

ndvr evaluate SCORES --truth truth.csv [--by edit] [--symmetric] [--where visual=1] [--json]
ndvr evaluate SCORES --dataset fivr-5k --annotations DIR [--convention fivr] [--json]
ndvr evaluate A B C  --dataset fivr-5k --annotations DIR --html page.html      several runs, side by side

from ndvr.benchmarks.evaluate import compare, evaluate
print(evaluate("scores", truth="truth.csv", symmetric=True).table())
print(compare({"ours": "scores", "theirs": "their.json"}, truth="truth.csv").table())
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ndvr.benchmarks.evaluation.comparison import Comparison, compare_runs, names_of
from ndvr.benchmarks.evaluation.counting import evaluate_protocol
from ndvr.benchmarks.evaluation.question import choose_protocol, read_tie_order
from ndvr.benchmarks.evaluation.result import Evaluation
from ndvr.benchmarks.evaluation.truth import Siblings
from ndvr.operators.scores.files import ScoreSource, open_scores
from ndvr.pipeline.cluster.score_walks import HERE, Walks, on_ray


def evaluate(
    scores: ScoreSource,
    *,
    truth: str | Path | None = None,
    dataset: str | None = None,
    annotations: str | Path | None = None,
    by: Sequence[str] | None = None,
    where: Sequence[str] = (),
    symmetric: bool = False,
    siblings: Siblings | None = None,
    families: str | Path | None = None,
    convention: str | None = None,
    hard: bool = False,
    tasks: Sequence[str] = (),
    ids: str | Path | Iterable[str] | None = None,
    tie_order: str | Path | Sequence[str] | None = None,
    workers: int | None = None,
    address: str | None = None,
) -> Evaluation:
    """Open the scores (a folder, a file, or {query: {video: score}}), read what is right, count, and give the numbers.

    truth, dataset   what is right: exactly one of a truth table and the name of a public benchmark
    by, where, symmetric, siblings, families   of a truth table: see ndvr.benchmarks.evaluation.truth
    annotations, convention, hard              of a dataset: see its file in ndvr.benchmarks.datasets
    tasks      only these, by name
    ids        the videos that still exist, as a file (first word of each line) or the ids: others leave the database
    tie_order  ids (or a file of them) in the order that equal scores take; None for sorted ids
    workers, address   count in Ray tasks, so many at a time, on the cluster at that address; None or 0 for this process
    """
    opened = open_scores(scores)
    protocol = choose_protocol(
        truth=truth, dataset=dataset, annotations=annotations, by=by, where=where, symmetric=symmetric,
        siblings=siblings, families=families, convention=convention, hard=hard, tasks=tasks, ids=ids,
    )  # fmt: skip
    walks = choose_walks(workers, address)
    return evaluate_protocol(opened, protocol, walks=walks, tie_order=read_tie_order(tie_order))


def compare(
    runs: Mapping[str, ScoreSource] | Sequence[str | Path],
    *,
    tie_order: str | Path | Sequence[str] | None = None,
    workers: int | None = None,
    address: str | None = None,
    **settings: Any,
) -> Comparison:
    """Evaluate several scores under the same settings, those of `evaluate`, by name or named by their paths.

    Where they were computed on different queries or videos, they are also evaluated on what all of them have.
    """
    scores_by_name = runs if isinstance(runs, Mapping) else dict(zip(names_of(runs), runs))
    opened = {name: open_scores(scores) for name, scores in scores_by_name.items()}
    protocol = choose_protocol(**settings)
    walks = choose_walks(workers, address)
    return compare_runs(opened, protocol, walks=walks, tie_order=read_tie_order(tie_order))


def choose_walks(workers: int | None, address: str | None) -> Walks:
    """Return who walks over the scores: this process, or Ray tasks if either setting is given."""
    return HERE if not workers and address is None else on_ray(workers=workers, address=address)
