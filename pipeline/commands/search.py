"""The commands that look for videos in a library: `ndvr index`, `ndvr search`, `ndvr common`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ndvr.operators.storage.text_files import visible
from ndvr.pipeline.commands.option_types import LIBRARY, METHOD, PATH, OneOf
from ndvr.pipeline.commands.options import (
    DEFAULT_METHOD,
    METHOD_HELP,
    address_option,
    check_method,
    check_methods,
    config_option,
    given,
    json_option,
    method_option,
    option_option,
    quiet_option,
    strict_option,
    tell_left_out,
    weights_option,
)

if TYPE_CHECKING:
    from ndvr.pipeline.search.both import BothResult
    from ndvr.pipeline.search.search import SearchResult

UNJUDGED = 3  # exit code

search_workers_option = click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Processes at work at once. Default: this one, without Ray; with --address one per CPU.",
)
to_option = click.option("--to", type=PATH, metavar="FOLDER", help="Where the index is. Default: LIBRARY/index.")


@click.command()
@click.argument("library", type=LIBRARY)
@method_option
@weights_option
@option_option
@config_option
@to_option
@click.option("--again", is_flag=True, help="Make all of it anew.")
@strict_option
@quiet_option
@json_option
def index(library: str, as_json: bool, quiet: bool, **settings: Any) -> None:
    """Make LIBRARY searchable: build its index, or extend it.

    New videos go in, removed and changed ones go out; a second time there is nothing to do. A killed run leaves the
    index as it was, and the next one goes on. Exit code 1: videos were left out by name, having lost their features.
    """
    from ndvr.pipeline.search import search as run

    done = run.index(library, **given(**check_method(settings)), progress=not quiet)
    click.echo(json.dumps(done.to_json(), ensure_ascii=False) if as_json else done.text())
    tell_left_out(done)


@click.command()
@click.argument("videos", type=PATH)
@click.argument("library", type=LIBRARY)
@click.option("--top", type=click.IntRange(1), help="Matches of a query, at most. Default: 10.")
@click.option(
    "--false-per-million",
    type=click.FloatRange(0, min_open=True),
    help="False matches of a million comparisons, at most. Default: 200.",
)
@click.option("--candidates", "n_candidates", type=click.IntRange(1), help="Videos compared with a query. Default: 50.")
@click.option("--exhaustive", is_flag=True, help="Compare all videos: slow, for control.")
@click.option(
    "--common", is_flag=True, help="Look for intros, cards and other common material; otherwise it counts less."
)
@click.option("--fast", is_flag=True, help="Look up a tenth of the parts of pictures: loses some insets and crops.")
@click.option(
    "--out", type=PATH, metavar="FOLDER", help="Keep the answers as Parquet; what is answered there is not repeated."
)
@click.option(
    "--format", "form", type=OneOf("format", ("text", "csv", "json")), default="text", help="Of what is printed."
)
@search_workers_option
@address_option
@click.option("--no-update", is_flag=True, help="Search the index as it is, also when the library is newer.")
@click.option(
    "--method",
    "methods",
    type=METHOD,
    multiple=True,
    help=f"{METHOD_HELP} Default: {DEFAULT_METHOD}. With a second one that listens: a verdict of picture and sound.",
)
@weights_option
@option_option
@config_option
@to_option
@strict_option
@quiet_option
@json_option
def search(
    videos: str,
    library: str,
    *,
    as_json: bool,
    quiet: bool,
    form: str,
    no_update: bool,
    methods: tuple[str, ...],
    **settings: Any,
) -> None:
    """Look VIDEOS up in LIBRARY: which videos, where in them, how sure.

    VIDEOS is a video, a folder, a list, s3://bucket/path, or another library. The index of LIBRARY is brought up to
    date first. With --method thumbprint --method soundprint each pair has one verdict: same picture and same sound,
    same picture with other sound or none, same sound with other picture. With --workers or --address the index is
    held, and videos are compared, by processes on Ray: the answers are the same.

    \b
    Exit code, as of grep: 0: something was seen; 1: nothing was; 2: wrong usage;
    3: some of VIDEOS could not be searched for or judged, or LIBRARY has lost features that matter, whatever else
    was seen.
    """
    run: Callable[..., SearchResult | BothResult]
    run = _by_both(methods, settings) if len(methods) > 1 else _by_one(methods, settings)
    try:
        done = run(
            videos,
            library,
            update=not no_update,
            progress=not quiet,
            say=lambda sentence: click.echo(sentence, err=True),
        )
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:  # not 1, which says that nothing was seen
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(UNJUDGED) from None
    _print_answers(done, "json" if as_json else form)
    if not done.complete:
        raise SystemExit(UNJUDGED)
    if not done.seen and done.answers:
        raise SystemExit(1)


def _by_one(methods: tuple[str, ...], settings: dict[str, Any]) -> Callable[..., SearchResult]:
    from ndvr.pipeline.search.search import search

    return partial(search, **given(**check_method(settings | {"method": methods[0] if methods else None})))


def _by_both(methods: tuple[str, ...], settings: dict[str, Any]) -> Callable[..., BothResult]:
    from ndvr.pipeline.search.both import in_turn, search_both

    weights = check_methods(in_turn(methods), settings["weights"], settings["options"])
    return partial(search_both, **given(**settings | {"methods": methods, "weights": weights}))


def _print_answers(done: SearchResult | BothResult, form: str) -> None:
    if not done.trained:
        click.echo("WARNING: untrained (random) weights; these matches mean nothing.", err=True)
    if form == "json":
        click.echo(json.dumps(done.to_json(), ensure_ascii=False))
    else:
        click.echo(done.csv() if form == "csv" else done.text())
    if text := done.left_out_text():
        click.echo(text, err=True)


@click.command()
@click.argument("library", type=LIBRARY)
@click.option("--videos", "least_videos", type=click.IntRange(2), help="That show it, at least. Default: 3.")
@click.option("--top", type=click.IntRange(1), help="Pieces that are listed, at most. Default: 20.")
@method_option
@weights_option
@option_option
@config_option
@to_option
@json_option
def common(library: str, as_json: bool, **settings: Any) -> None:
    """List what many videos of LIBRARY show: intros, cards, logos.

    Learned from the index of LIBRARY as it is. Videos of which one is mostly shown by the other are copies and do not
    count; of what is black or flat nothing is known.
    """
    from ndvr.pipeline.search import common as run

    done = run.common(library, **given(**check_method(settings)))
    click.echo(json.dumps(done.to_json(), ensure_ascii=False) if as_json else visible(done.text()))
