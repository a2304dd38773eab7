"""How right scores are: mAP, micro-AP, ties, intervals and coverage, against a truth table or a public benchmark.

ndvr evaluate SCORES --truth truth.csv [--by edit] [--symmetric] [--where visual=1] [--json]
ndvr evaluate SCORES --dataset fivr-5k --annotations DIR [--convention fivr] [--json]
ndvr evaluate A B C  --dataset fivr-5k --annotations DIR --html page.html      several runs, side by side

from ndvr.benchmarks.evaluate import compare, evaluate
print(evaluate("scores", truth="truth.csv", symmetric=True).table())
print(compare({"ours": "scores", "theirs": "their.json"}, truth="truth.csv").table())
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ndvr.benchmarks.evaluation.comparison import Comparison
    from ndvr.benchmarks.evaluation.result import Evaluation
    from ndvr.benchmarks.evaluation.truth import Siblings
    from ndvr.operators.scores.files import ScoreSource
    from ndvr.pipeline.cluster.score_walks import Walks


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
    """Evaluate scores (a folder, a file, or {query: {video: score}}) against exactly one of `truth` and `dataset`.

    by, where, symmetric, siblings, families   of a truth table: see ndvr.benchmarks.evaluation.truth
    annotations, convention, hard              of a dataset: see its file in ndvr.benchmarks
    tasks      only these, by name
    ids        the videos that still exist, as a file (first word of each line) or the ids: others leave the database
    tie_order  ids (or a file of them) in the order that equal scores take; None for sorted ids
    workers, address   count in Ray tasks, so many at a time, on the cluster at that address; None for this process
    """
    from ndvr.benchmarks.evaluation.counting import evaluate_protocol
    from ndvr.benchmarks.evaluation.question import asked
    from ndvr.operators.scores.files import open_scores

    opened = open_scores(scores)
    protocol = asked(
        truth=truth, dataset=dataset, annotations=annotations, by=by, where=where, symmetric=symmetric,
        siblings=siblings, families=families, convention=convention, hard=hard, tasks=tasks, ids=ids,
    )  # fmt: skip
    walks = _walks(workers, address)
    return evaluate_protocol(opened, protocol, walks=walks, tie_order=_tie_order(tie_order))


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
    from ndvr.benchmarks.evaluation.comparison import compare_runs, names_of
    from ndvr.benchmarks.evaluation.question import asked
    from ndvr.operators.scores.files import open_scores

    named = runs if isinstance(runs, Mapping) else dict(zip(names_of(runs), runs))
    opened = {name: open_scores(scores) for name, scores in named.items()}
    return compare_runs(opened, asked(**settings), walks=_walks(workers, address), tie_order=_tie_order(tie_order))


def _walks(workers: int | None, address: str | None) -> Walks:
    from ndvr.pipeline.cluster.score_walks import HERE, on_ray

    return HERE if workers is None and address is None else on_ray(workers=workers, address=address)


def _tie_order(ids: str | Path | Sequence[str] | None) -> Sequence[str] | None:
    if not isinstance(ids, (str, Path)):
        return ids
    if not Path(ids).is_file():
        raise FileNotFoundError(f"no id list {ids}: give a text file with one id a line")
    return [line.split()[0] for line in Path(ids).read_text(encoding="utf-8").splitlines() if line.strip()]


@click.command("evaluate")
@click.argument("scores", type=click.Path(), nargs=-1, required=True)
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
@click.option("--tie-order", metavar="FILE", help="Ids in the order that equal scores take [default: sorted].")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Count in N Ray tasks at a time.")
@click.option("--address", metavar="ADDRESS", help="Count on this Ray cluster.")
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Also a page with curves and tables.")
@click.option("--per-query", is_flag=True, help="With --json: every query of every task.")
@click.option("--json", "as_json", is_flag=True, help="For programs, on stdout.")
def command(
    scores: tuple[str, ...], *, by: tuple[str, ...], html: str | None, per_query: bool, as_json: bool, **settings: Any
) -> None:
    """mAP, micro-AP, ties, intervals and coverage of SCORES; of several, side by side in the order given."""
    if per_query and not as_json:
        raise ValueError("--per-query needs --json: the table has one line a task")
    result: Evaluation | Comparison
    if len(scores) == 1:
        result = evaluate(scores[0], by=by or None, **settings)
    else:
        result = compare(scores, by=by or None, **settings)
    if html:
        from ndvr.benchmarks.report.evaluation_page import write_page

        write_page(html, result)
    click.echo(json.dumps(result.to_json(per_query=per_query), indent=1) if as_json else result.table())
