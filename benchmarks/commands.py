"""The commands of this folder, `ndvr demo` and `ndvr evaluate`. What they do lies in `demo/demo.py` and `evaluate.py`.

What a command needs is imported when it runs, so that `ndvr --help` answers at once.
"""

from __future__ import annotations

import json
from typing import Any

import click


@click.command("demo")
@click.argument("folder", default="demo")
@click.option("--method", "methods", multiple=True, help="Method by name, repeatable. Default: thumbprint.")
@click.option("--weights", multiple=True, metavar="METHOD=WEIGHTS", help="Published name or path; else seeded noise.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Setting of a method, repeatable.")
@click.option("--originals", type=click.IntRange(4), help="Videos to make. Default: 20.")
@click.option("--seed", type=int, help="Of the made videos. Default: 0.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def demo(
    folder: str, weights: tuple[str, ...], options: tuple[str, ...], quiet: bool, as_json: bool, **settings: Any
) -> None:
    """Make videos and edited copies in FOLDER, find the copies, print the mAP, write report.html."""
    from ndvr.benchmarks.demo.demo import demo as run_demo

    given = {key: value for key, value in settings.items() if value not in (None, ())}
    given |= {"weights": _pairs(weights), "options": _pairs(options)}
    result = run_demo(folder, progress=not quiet, say=lambda text: click.echo(text, err=True), **given)
    click.echo(json.dumps(result.to_json()) if as_json else result.text())


def _pairs(values: tuple[str, ...]) -> dict[str, str]:
    return dict(value.partition("=")[::2] for value in values)


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
def evaluate(
    scores: tuple[str, ...], *, by: tuple[str, ...], html: str | None, per_query: bool, as_json: bool, **settings: Any
) -> None:
    """mAP, micro-AP, ties, intervals and coverage of SCORES; of several, side by side in the order given."""
    from ndvr.benchmarks import evaluate as evaluation

    if per_query and not as_json:
        raise ValueError("--per-query needs --json: the table has one line a task")
    settings["by"] = by or None
    result = evaluation.compare(scores, **settings) if scores[1:] else evaluation.evaluate(scores[0], **settings)
    if html:
        from ndvr.benchmarks.report.evaluation_page import write_page

        write_page(html, result)
    click.echo(json.dumps(result.to_json(per_query=per_query), indent=1) if as_json else result.table())
