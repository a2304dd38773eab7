"""The commands that compare libraries: `ndvr similarity`, `ndvr dedupe`."""

from __future__ import annotations

import json
from typing import Any

import click

from ndvr.pipeline.commands.extraction import (
    address_option,
    given,
    json_option,
    method_option,
    option_option,
    quiet_option,
    weights_option,
)

workers_option = click.option(
    "--workers", type=click.IntRange(0), help="Cells computed at once. Default: one per GPU, or per CPU; 0: no Ray."
)
worker_memory_option = click.option(
    "--memory-gb", type=float, help="Of videos in a worker's memory, beside some 1.2 GB for itself. Default: 2."
)
config_option = click.option("--config", help="Configuration, when a library holds several of the method.")


@click.command()
@click.argument("queries")
@click.argument("database")
@click.argument("scores")
@method_option
@weights_option
@option_option
@config_option
@click.option("--query-ids", metavar="FILE", help="Text file: the ids in QUERIES to use as queries, one per line.")
@click.option("--format", type=click.Choice(["parquet", "json"]), help="json also writes SCORES/similarities.json.")
@click.option("--propose", metavar="METHOD[:KEY=VALUE,...]", help="A fast method scores all pairs; --method the best.")
@click.option("--best", metavar="N|P%", help="How many videos, or which share of them, --method compares a query with.")
@click.option("--doubtful", metavar="N|P%", help="Instead of the best: those whose score the method's selector doubts.")
@click.option("--selector", metavar="WEIGHTS", help="Of the method's selector. Default: as published for it.")
@click.option(
    "--index",
    type=click.Choice(["flat", "ivf"]),
    help="Search the vectors or codes of --propose instead of scoring all pairs: exactly, or by inverted lists.",
)
@click.option(
    "--check", type=click.IntRange(1), metavar="N", help="Compare N queries with all videos: lost, and saved."
)
@workers_option
@worker_memory_option
@address_option
@quiet_option
@json_option
def similarity(queries: str, database: str, scores: str, as_json: bool, quiet: bool, **settings: Any) -> None:
    """Score every video of library QUERIES against every video of library DATABASE into folder SCORES.

    The two may be the same library. A killed run continues; when the libraries grew, only new videos are compared,
    and what they lost leaves SCORES.

    \b
    From coarse to fine: the 5 % best by one vector a video are compared by S2VS, the others rank behind them.
      ndvr similarity QUERIES DATABASE SCORES --method s2vs --propose tca:similarity=cosine --best 5%
    """
    settings = given(**settings)
    if "propose" in settings:
        done, text = _from_coarse_to_fine(queries, database, scores, settings=settings, progress=not quiet)
    else:
        done, text = _all_pairs(queries, database, scores, settings=settings, progress=not quiet)
    if as_json:
        click.echo(json.dumps(done.to_json(), ensure_ascii=False))
        return
    if not done.trained:
        click.echo("WARNING: untrained (random) weights; these scores mean nothing.", err=True)
    click.echo(text)
    for count, what in ((done.missing_queries, "queries"), (done.missing_videos, "database videos")):
        if count:
            click.echo(f"{count:,} {what} have no features; {done.scores} lists them with the reason")


def _all_pairs(*libraries: str, settings: dict[str, Any], progress: bool) -> tuple[Any, str]:
    from ndvr.pipeline.comparison import similarity as run

    if stray := [key for key in ("best", "doubtful", "selector", "index", "check") if key in settings]:
        raise ValueError(f"--{stray[0]} needs --propose METHOD: without it all pairs are compared")
    done = run.similarity(*libraries, **settings, progress=progress)
    new = "" if done.pairs_computed == done.pairs else f"{done.pairs_computed:,} of them new; "
    return done, (
        f"{done.pairs:,} scores of {done.queries:,} queries x {done.videos:,} videos by {done.method} in {done.scores} "
        f"({new}{done.seconds:.1f} s, {done.to_json()['pairs_per_s']:,.0f} pairs/s)"
    )


def _from_coarse_to_fine(*libraries: str, settings: dict[str, Any], progress: bool) -> tuple[Any, str]:
    from ndvr.pipeline.cluster.workers import Workers
    from ndvr.pipeline.comparison import rerank as run

    if settings.pop("format", "parquet") != "parquet":
        raise ValueError("--format json holds scores of one method; leave it out with --propose")
    own = {key: settings.pop(key) for key in ("workers", "memory_gb", "address") if key in settings}
    done = run.rerank(*libraries, **settings, workers=Workers(**own, progress=progress))
    return done, done.text()


@click.command()
@click.argument("library")
@click.argument("pairs")
@method_option
@click.option("--threshold", type=float, metavar="SCORE", help="Pairs that score this or more.")
@click.option("--top-k", type=click.IntRange(1), metavar="K", help="Pairs that are among the K best of either video.")
@weights_option
@option_option
@config_option
@workers_option
@worker_memory_option
@address_option
@quiet_option
@json_option
def dedupe(library: str, pairs: str, as_json: bool, quiet: bool, **settings: Any) -> None:
    """Find the pairs of videos of LIBRARY that are alike, into folder PAIRS; a killed run continues.

    At least one of --threshold and --top-k says what is alike; with both, a pair has to pass both. Of a method that
    is not symmetric, the higher of a pair's two scores counts.
    """
    from ndvr.pipeline.comparison import dedupe as run

    done = run.dedupe(library, pairs, **given(**settings), progress=not quiet)
    if as_json:
        click.echo(json.dumps(done.to_json(), ensure_ascii=False))
        return
    if not done.trained:
        click.echo("WARNING: untrained (random) weights; these pairs mean nothing.", err=True)
    click.echo(done.text())
