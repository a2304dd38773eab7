"""The commands that compare: `ndvr similarity`, `ndvr dedupe`, `ndvr compare`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ndvr.pipeline.commands.option_types import ID_LIST, LIBRARY, PATH, OneOf, Proposal
from ndvr.pipeline.commands.options import (
    address_option,
    check_method,
    config_option,
    given,
    json_option,
    method_option,
    option_option,
    quiet_option,
    strict_option,
    tell_left_out,
    weights_option,
    worker_memory_option,
    workers_option,
)

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("queries", type=LIBRARY)
@click.argument("database", type=LIBRARY)
@click.argument("scores", type=PATH)
@method_option
@weights_option
@option_option
@config_option
@click.option("--query-ids", type=ID_LIST, metavar="FILE", help="The ids in QUERIES to use as queries, one a line.")
@click.option("--format", type=OneOf("format", ("parquet", "json")), help="json also writes SCORES/similarities.json.")
@click.option(
    "--propose",
    type=Proposal(),
    metavar="METHOD[:KEY=VALUE,...]",
    help="A fast method scores all pairs; --method the best.",
)
@click.option("--best", metavar="N|P%", help="How many videos, or which share of them, --method compares a query with.")
@click.option("--doubtful", metavar="N|P%", help="Instead of the best: those whose score the method's selector doubts.")
@click.option("--selector", metavar="WEIGHTS", help="Of the method's selector. Default: as published for it.")
@click.option(
    "--index",
    type=OneOf("index", ("flat", "ivf")),
    help="Search the vectors or codes of --propose instead of scoring all pairs: exactly, or by inverted lists.",
)
@click.option(
    "--check", type=click.IntRange(1), metavar="N", help="Compare N queries with all videos: lost, and saved."
)
@workers_option
@worker_memory_option
@address_option
@strict_option
@quiet_option
@json_option
def similarity(queries: str, database: str, scores: str, as_json: bool, quiet: bool, **settings: Any) -> None:
    """Score all videos of QUERIES against all of DATABASE into SCORES.

    QUERIES and DATABASE are libraries, SCORES is a folder. The two may be the same library. A killed run continues;
    when the libraries grew, only new videos are compared, and what they lost leaves SCORES.
    Exit code 1: videos were left out by name, being too long for the memory given or having lost their features.

    \b
    From coarse to fine: the 5 % best by one vector a video are compared by S2VS, the others rank behind them.
      ndvr similarity QUERIES DATABASE SCORES --method s2vs --propose tca:similarity=cosine --best 5%
    """
    settings = given(**check_method(settings))
    if "propose" in settings:
        done, report, text = _from_coarse_to_fine(queries, database, scores, settings=settings, progress=not quiet)
    else:
        done, report, text = _all_pairs(queries, database, scores, settings=settings, progress=not quiet)
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        if not done.trained:
            click.echo("WARNING: untrained (random) weights; these scores mean nothing.", err=True)
        click.echo(text)
        for count, what in ((done.missing_queries, "queries"), (done.missing_videos, "database videos")):
            if count:
                click.echo(f"{count:,} {what} have no scores; {done.scores} lists them with the reason")
    tell_left_out(done)


def _all_pairs(*libraries: str, settings: dict[str, Any], progress: bool) -> tuple[Any, dict[str, Any], str]:
    from ndvr.pipeline.comparison import similarity as run

    if stray := [key for key in ("best", "doubtful", "selector", "index", "check") if key in settings]:
        raise ValueError(f"--{stray[0]} needs --propose METHOD: without it all pairs are compared")
    done = run.similarity(*libraries, **settings, progress=progress)
    return done, done.to_json(), done.text()


def _from_coarse_to_fine(*libraries: str, settings: dict[str, Any], progress: bool) -> tuple[Any, dict[str, Any], str]:
    from ndvr.pipeline.cluster.workers import Workers
    from ndvr.pipeline.comparison import rerank as run
    from ndvr.pipeline.comparison.inputs import MethodSpec
    from ndvr.pipeline.comparison.selection import parse_selection

    if settings.pop("format", "parquet") != "parquet":
        raise ValueError("--format json holds scores of one method; leave it out with --propose")

    def taken(*names: str) -> dict[str, Any]:
        return {name: settings.pop(name) for name in names if name in settings}

    workers = Workers(**taken("workers", "memory_gb", "address"), progress=progress)
    selection = parse_selection(**taken("best", "doubtful", "selector"))
    method = MethodSpec(**{"method": "thumbprint"} | taken("method", "weights", "options", "config"))
    proposer = MethodSpec.parse(settings.pop("propose"))
    n_checked = settings.pop("check", 0)
    done = run.rerank(*libraries, method=method, proposer=proposer, selection=selection, **settings, workers=workers)
    check = run.spot_check(done, n_checked, workers=workers) if n_checked else None
    report = done.to_json() | {"check": check.to_json() if check else None}
    return done, report, "\n".join([done.text(), *([check.text()] if check else [])])


@click.command()
@click.argument("library", type=LIBRARY)
@click.argument("pairs", type=PATH)
@method_option
@click.option("--threshold", type=float, metavar="SCORE", help="Pairs that score this or more.")
@click.option("--top-k", type=click.IntRange(1), metavar="K", help="Pairs that are among the K best of either video.")
@click.option("--by-index", "through_index", is_flag=True, help="Compare only what the index of LIBRARY proposes.")
@weights_option
@option_option
@config_option
@workers_option
@worker_memory_option
@address_option
@strict_option
@quiet_option
@json_option
def dedupe(library: str, pairs: str, through_index: bool, as_json: bool, quiet: bool, **settings: Any) -> None:
    """Find the pairs of videos of LIBRARY that are alike.

    They are written into folder PAIRS; a killed run continues. At least one of --threshold and --top-k says what is
    alike; with both, a pair has to pass both. Of a method that is not symmetric, the higher of a pair's two scores
    counts.
    Exit code 1: videos were left out by name, being too long for the memory given or having lost their features.

    With --by-index every video is searched for instead of compared with every other, and PAIRS says what is a copy, a
    part or contains the other, and which groups they make; new videos cost one search each. --threshold is then .5
    unless given. This process searches, unless --workers or --address is given.
    """
    settings = check_method(settings)
    done: Any
    if through_index:
        from ndvr.pipeline.search.duplicates import duplicates

        if stray := [name for name in ("top_k", "memory_gb") if settings.pop(name) is not None]:
            raise ValueError(f"--{stray[0].replace('_', '-')} has no meaning with --by-index")
        done = duplicates(library, pairs, **given(**settings), progress=not quiet)
    else:
        from ndvr.pipeline.comparison import dedupe as run

        done = run.dedupe(library, pairs, **given(**settings), progress=not quiet)
    if as_json:
        click.echo(json.dumps(done.to_json(), ensure_ascii=False))
    else:
        if not done.trained:
            click.echo("WARNING: untrained (random) weights; these pairs mean nothing.", err=True)
        click.echo(done.text())
    tell_left_out(done)


@click.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@method_option
@weights_option
@option_option
@click.option("--plot", type=PATH, metavar="PNG", help="Draw the frame-to-frame similarities.")
@json_option
def compare(a: str, b: str, as_json: bool, **settings: Any) -> None:
    """Compare two videos, A and B, on this machine.

    Without Ray or a library: prints the score, and with --plot draws a picture of where they agree.
    """
    settings = check_method(settings)

    from ndvr.pipeline.comparison import pair as run

    result = run.compare(a, b, **given(**settings))
    click.echo(json.dumps(result.to_json(), ensure_ascii=False) if as_json else result.text())
