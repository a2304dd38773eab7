"""How right scores are: mAP, micro-AP, tie interval and coverage, against a truth table or a public benchmark.

ndvr evaluate SCORES --truth truth.csv [--by edit] [--symmetric] [--where visual=1] [--json]
ndvr evaluate SCORES --dataset fivr-5k --annotations DIR [--convention fivr] [--json]

from ndvr.benchmarks.evaluate import evaluate
print(evaluate("scores", truth="truth.csv", symmetric=True).table())
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ndvr.benchmarks.evaluation import Evaluation
    from ndvr.benchmarks.protocol import Protocol
    from ndvr.benchmarks.rank import Counts
    from ndvr.benchmarks.truth import Siblings
    from ndvr.operators.rank_counts import Survey
    from ndvr.operators.score_files import Scores


def evaluate(
    scores: str | Path | Mapping[str, Mapping[str, float]],
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
) -> Evaluation:
    """Evaluate scores (a folder, a file, or {query: {video: score}}) against exactly one of `truth` and `dataset`.

    by, where, symmetric, siblings, families   of a truth table: see ndvr.benchmarks.truth
    annotations, convention, hard              of a dataset: see its file in ndvr.benchmarks
    tasks   only these, by name
    ids     the videos that still exist, as a file (first word of each line) or the ids: others leave the database
    """
    from ndvr.operators.score_files import open_scores

    opened = open_scores(scores)
    asked = _protocol(
        truth, dataset, annotations, by=by, where=where, symmetric=symmetric, siblings=siblings,
        families=families, convention=convention, hard=hard,
    )  # fmt: skip
    if ids is not None:
        asked = asked.restricted_to(_read_ids(ids))
    return evaluate_protocol(opened, _only_tasks(asked, tasks))


def evaluate_protocol(scores: Scores, protocol: Protocol) -> Evaluation:
    """Evaluate opened scores against a protocol made by hand or by one of the dataset files."""
    from ndvr.benchmarks.coverage import coverage_of
    from ndvr.benchmarks.evaluation import Evaluation
    from ndvr.benchmarks.rank import task_result

    counts = _count(scores, protocol)
    results = {task.name: task_result(protocol, task, counts) for task in protocol.tasks}
    used = {query for result in results.values() for query in result.per_query}
    return Evaluation(
        scores=scores.name,
        method=str(scores.meta.get("method", "")),
        weights=str(scores.meta.get("weights", "")),
        untrained=scores.meta.get("trained") is False,
        benchmark=protocol.name,
        convention=protocol.convention,
        tasks=results,
        coverage=coverage_of(scores, protocol, counts),
        n_pairs=counts.surveyed.n_pairs,
        database_sha256=_digest(counts.database),
        queries_sha256=_digest(used),
        protocol=protocol,
        notes=protocol.notes,
    )


def _protocol(truth: Any, dataset: Any, annotations: Any, **settings: Any) -> Protocol:
    from ndvr.benchmarks import truth as truth_table
    from ndvr.benchmarks.protocol import datasets, load_protocol

    of_truth = {key: settings.pop(key) for key in ("by", "where", "symmetric", "siblings", "families")}
    if truth is None and dataset is None:
        raise ValueError(
            f"scores alone cannot be judged: give --truth FILE, or --dataset ({', '.join(datasets())}) and "
            "--annotations FOLDER"
        )
    if truth is not None and dataset is not None:
        raise ValueError("give either --truth or --dataset, not both: each says what is right")
    if truth is not None:
        if settings["convention"] or settings["hard"] or annotations is not None:
            raise ValueError("--annotations, --convention and --hard belong to --dataset: leave them out with --truth")
        return truth_table.protocol(truth_table.read_truth(truth), **of_truth)
    if any(of_truth.values()):
        name = next(key for key, value in of_truth.items() if value)
        raise ValueError(f"--{name} belongs to --truth: a dataset fixes its own tasks")
    if annotations is None:
        raise ValueError(f"--dataset {dataset} needs --annotations FOLDER: the folder with its official files")
    return load_protocol(dataset, annotations, **settings)


def _only_tasks(protocol: Protocol, names: Sequence[str]) -> Protocol:
    from dataclasses import replace

    known = {task.name: task for task in protocol.tasks}
    for name in names:
        if name not in known:
            raise ValueError(f"unknown task {name!r} of {protocol.name}; choose one of {', '.join(known)}")
    return replace(protocol, tasks=tuple(known[name] for name in names)) if names else protocol


def _count(scores: Scores, protocol: Protocol) -> Counts:
    """Both walks over the scores."""
    import numpy as np

    from ndvr.benchmarks.rank import Counts, evaluated
    from ndvr.operators.rank_counts import survey, tally

    surveyed = survey(scores, protocol.labels())
    if not any(evaluated(task, surveyed) for task in protocol.tasks):
        raise ValueError(_no_common_query(scores, protocol, surveyed))
    seen = {video for video, scored in zip(surveyed.videos.ids, surveyed.scored) if scored}
    attempted = scores.videos or {}
    database = protocol.database if protocol.database is not None else frozenset(seen | attempted.keys())
    order = surveyed.videos.order()
    ranked = np.fromiter((video in database for video in surveyed.videos.ids), bool, len(order))
    groups = {frozenset(evaluated(task, surveyed)) for task in protocol.tasks if task.only is None}
    tallies, (pooled, at_least) = tally(
        scores, surveyed, protocol.right_for_any(), order=order, ranked=ranked, groups=list(groups)
    )
    return Counts(
        surveyed=surveyed,
        tallies=tallies,
        pooled=pooled,
        at_least=dict(zip(groups, at_least)),
        order=order,
        ranked=ranked,
        database=database,
        available=(seen | {video for video, status in attempted.items() if status == "done"}) & database,
    )


def _no_common_query(scores: Scores, protocol: Protocol, surveyed: Survey) -> str:
    scored = sorted(query for query, n in zip(surveyed.queries.ids, surveyed.rows) if n)
    if not scored:
        return f"{scores.name} holds no scores at all: was `ndvr similarity` given an empty library?"
    return (
        f"no query of {scores.name} (such as {scored[0]!r}) has a truth in {protocol.name} "
        f"(which asks about {min(protocol.queries)!r}): the ids must be written the same way"
    )


def _read_ids(ids: str | Path | Iterable[str]) -> frozenset[str]:
    from ndvr.benchmarks.protocol import read_ids

    if not isinstance(ids, (str, Path)):
        return frozenset(ids)
    path = Path(ids)
    if not path.is_file():
        raise FileNotFoundError(f"no id list {path}: give a text file with one id a line")
    return read_ids(path)


def _digest(ids: Iterable[str]) -> str:
    """sha256 over the sorted ids, one a line."""
    return hashlib.sha256("".join(f"{i}\n" for i in sorted(ids)).encode()).hexdigest()


@click.command("evaluate")
@click.argument("scores", type=click.Path())
@click.option("--truth", metavar="FILE", help="CSV: query_id, video_id, relation and any further columns.")
@click.option("--dataset", metavar="NAME", help="A public benchmark, such as fivr-5k or fivr-200k.")
@click.option("--annotations", metavar="FOLDER", help="The official files of the dataset.")
@click.option("--by", multiple=True, metavar="COLUMN", help="One mAP for each value of a column [default: relation].")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Ask only about such rows; others are neither.")
@click.option("--symmetric", is_flag=True, help="Read rows both ways; two edits of one original are neither.")
@click.option("--siblings", type=click.Choice(["ignore", "wrong"]), help="Two edits of one original without a row.")
@click.option("--families", metavar="FILE", help="CSV family,path: pairs of one family without a row are neither.")
@click.option("--convention", metavar="NAME", help="How the dataset's published numbers were computed.")
@click.option("--hard", is_flag=True, help="Also without easy duplicates (FIVR).")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only this task; may be repeated.")
@click.option("--ids", metavar="FILE", help="The videos that still exist, one id a line; others leave the database.")
@click.option("--per-query", is_flag=True, help="With --json: every query of every task.")
@click.option("--json", "as_json", is_flag=True, help="For programs, on stdout.")
def command(scores: str, *, by: tuple[str, ...], per_query: bool, as_json: bool, **settings: Any) -> None:
    """mAP, micro-AP, tie interval and coverage of SCORES."""
    if per_query and not as_json:
        raise ValueError("--per-query needs --json: the table has one line a task")
    result = evaluate(scores, by=by or None, **settings)
    click.echo(json.dumps(result.to_json(per_query=per_query), indent=1) if as_json else result.table())
