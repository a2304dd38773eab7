"""The commands of this folder, `ndvr demo` and `ndvr evaluate`. What they do lies in `demo/demo.py` and `evaluate.py`.

What a command needs is imported when it runs, so that `ndvr --help` answers at once.
"""

from __future__ import annotations

import json
from typing import Any

import click

from ndvr.benchmarks.evaluation.protocol import datasets
from ndvr.pipeline.commands.option_types import ID_LIST, PATH, OneOf
from ndvr.pipeline.commands.options import (
    address_option,
    check_methods,
    given,
    json_option,
    methods_option,
    option_option,
    quiet_option,
    weights_option,
)

DATASET = OneOf("dataset", datasets)


@click.command("demo")
@click.argument("folder", type=PATH, default="demo")
@methods_option
@weights_option
@option_option
@click.option("--originals", type=click.IntRange(4), help="Videos to make. Default: 20.")
@click.option("--seed", type=click.IntRange(0), help="Of the made videos. Default: 0.")
@quiet_option
@json_option
def demo(folder: str, quiet: bool, as_json: bool, **settings: Any) -> None:
    """Make videos and edited copies in FOLDER, and find the copies.

    Prints the mAP, writes FOLDER/report.html, and searches for a new clip: FOLDER/matches.html. A method whose
    --weights are not given runs on seeded noise.
    """
    settings["weights"] = check_methods(settings["methods"], settings["weights"], settings["options"])

    from ndvr.benchmarks.demo.demo import demo as run_demo

    result = run_demo(folder, progress=not quiet, say=lambda text: click.echo(text, err=True), **given(**settings))
    click.echo(json.dumps(result.to_json()) if as_json else result.text())
    if not as_json:
        scores = f"{folder}/scores/{next(iter(result.evaluations))}"
        click.echo(f"\nwatch the pairs side by side and decide: ndvr review {folder}/library {scores}")


@click.command("evaluate")
@click.argument("scores", type=PATH, nargs=-1, required=True)
@click.option("--truth", type=PATH, metavar="FILE", help="CSV: query_id, video_id, relation and any further columns.")
@click.option(
    "--dataset",
    metavar="NAME",
    shell_complete=DATASET.shell_complete,
    help="A public benchmark, such as fivr-5k or fivr-200k.",
)
@click.option("--annotations", type=PATH, metavar="FOLDER", help="The official files of the dataset.")
@click.option("--by", multiple=True, metavar="COLUMN", help="One mAP for each value of a column. Default: relation.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Ask only about such rows; others are neither.")
@click.option("--symmetric", is_flag=True, help="Read rows both ways; two edits of one original are neither.")
@click.option("--siblings", type=OneOf("siblings", ("ignore", "wrong")), help="Two edits of an original without a row.")
@click.option(
    "--families", type=PATH, metavar="FILE", help="CSV family,path: pairs of one family without a row are neither."
)
@click.option("--convention", metavar="NAME", help="How the dataset's published numbers were computed.")
@click.option("--hard", is_flag=True, help="Also without easy duplicates (FIVR).")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only this task; may be repeated.")
@click.option("--ids", type=ID_LIST, metavar="FILE", help="The videos that still exist; others leave the database.")
@click.option("--tie-order", type=ID_LIST, metavar="FILE", help="Ids in the order equal scores take. Default: sorted.")
@click.option("--workers", type=click.IntRange(0), metavar="N", help="Processes at work at once. Default: 0, no Ray.")
@address_option
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Also a page with curves and tables.")
@click.option("--per-query", is_flag=True, help="With --json: every query of every task.")
@json_option
def evaluate(
    scores: tuple[str, ...], *, by: tuple[str, ...], html: str | None, per_query: bool, as_json: bool, **settings: Any
) -> None:
    """Say how right SCORES are: mAP, micro-AP, ties, coverage.

    With 95 % intervals; several SCORES side by side, in the order given.
    """
    if settings["dataset"]:
        DATASET.check(settings["dataset"])

    from ndvr.benchmarks import evaluate as evaluation
    from ndvr.benchmarks.evaluation.result import alike_text

    if per_query and not as_json:
        raise ValueError("--per-query needs --json: the table has one line a task")
    settings["by"] = by or None
    result = evaluation.compare(scores, **settings) if scores[1:] else evaluation.evaluate(scores[0], **settings)
    for run in result.runs.values() if isinstance(result, evaluation.Comparison) else (result,):
        if run.alike_ids:
            click.echo(f"WARNING: {run.scores}: {alike_text(run.alike_ids)}", err=True)
    if html:
        from ndvr.benchmarks.report.evaluation_page import write_page

        write_page(html, result)
    click.echo(json.dumps(result.to_json(per_query=per_query), indent=1) if as_json else result.table())


@click.command("stress")
@click.argument("videos", type=PATH)
@click.option("--edited", type=click.IntRange(1), help="How many of VIDEOS are edited. Default: 4.")
@click.option("--edit", "edits", multiple=True, metavar="NAME", help="Only this edit; again for more. Default: all.")
@click.option("--seed", type=click.IntRange(0), help="Of the edits. Default: 0.")
@click.option("--out", type=PATH, metavar="FOLDER", help="Keep the library and the edited videos.")
@quiet_option
@json_option
def stress(videos: str, quiet: bool, as_json: bool, **settings: Any) -> None:
    """Edit some of VIDEOS in some forty ways, and search for the edits.

    VIDEOS is a folder, a list or a library. Prints a report card: what was found, how far off its times are, how sure
    the answer was, by edit and strength.
    """
    from ndvr.benchmarks.demo.stress import stress as run

    card = run(videos, **given(**settings), progress=not quiet, say=lambda text: click.echo(text, err=True))
    click.echo(json.dumps(card.to_json(), ensure_ascii=False) if as_json else card.text())
