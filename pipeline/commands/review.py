"""The commands that show what was found and keep what people say of it: `ndvr report`, `ndvr decide`, `ndvr review`."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import click

from ndvr.pipeline.commands.option_types import LIBRARY, PATH, VIDEO_ID, OneOf
from ndvr.pipeline.commands.options import json_option

KEEP = ("longest", "largest", "oldest", "rate")
VERDICT = OneOf("verdict", ("same", "different", "keep", "note"))


@click.command()
@click.argument("library", type=LIBRARY)
@click.argument("a", type=VIDEO_ID, required=False, metavar="[A")
@click.argument("b", type=VIDEO_ID, required=False, metavar="B")
@click.argument("verdict", type=VERDICT, required=False, metavar="same|different|keep|note]")
@click.option("--note", default="", help="Why; kept with the decision.")
@click.option("--who", metavar="NAME", help="Who decides. Default: the user of this process.")
@click.option("--matches", type=PATH, metavar="MATCHES", help="The search that showed the pair: keeps how sure it was.")
@click.option("--undo", is_flag=True, help="Take back your last decision, or with A B the last one about them.")
@click.option("--export", "export", type=PATH, metavar="FILE.csv", help="Write all decisions as a table; - is stdout.")
@click.option("--import", "import_from", type=PATH, metavar="FILE.csv", help="Add decisions: a_id, b_id, verdict, ...")
@json_option
def decide(
    library: str,
    a: str | None,
    b: str | None,
    verdict: str | None,
    *,
    note: str,
    who: str | None,
    matches: str | None,
    undo: bool,
    export: str | None,
    import_from: str | None,
    as_json: bool,
) -> None:
    """Say whether two videos are a match; LIBRARY remembers it.

    A and B are ids of LIBRARY, files, or queries of --matches. same: they are a match, at any score; different: they
    are none; `search`, `dedupe`, `report` and `review` go by that from now on. keep: A, where one of the two is to go;
    note: only the text counts. Decisions are kept by content: they survive renaming, moving and extracting again.
    Without a pair: what was decided, what contradicts itself, and how right the matches were.
    """
    if a and not (b and (verdict or undo)):
        raise click.UsageError("give two videos and what they are: A B same, different, keep or note")
    if export and a or import_from and a:
        raise click.UsageError("--export and --import take no pair")

    from ndvr.pipeline.review import decide as run

    if import_from:
        added = run.import_csv(library, import_from)
        click.echo(json.dumps({"added": added}) if as_json else f"{added:,} decisions added to {library}")
    elif export:
        _export(library, export)
    elif a or undo:
        if undo:
            done = run.undo(library, (a, b) if a and b else None, who=who)
        else:
            assert a and b and verdict
            done = run.decide(library, a, b, verdict, note=note, who=who, matches=matches)
        click.echo(json.dumps(done.to_json(), ensure_ascii=False) if as_json else done.text())
    else:
        decisions = run.summary(library)
        click.echo(json.dumps(decisions.to_json(), ensure_ascii=False) if as_json else decisions.text())


def _export(library: str, place: str) -> None:
    from ndvr.operators.storage.store import write_text
    from ndvr.pipeline.review.decide import summary

    decisions = summary(library)
    if place == "-":
        click.echo(decisions.as_csv(), nl=False)
    else:
        write_text(Path(place), decisions.as_csv())
        click.echo(f"{len(decisions.every):,} rows: {place}")


@click.command()
@click.argument("library", type=LIBRARY)
@click.argument("found", type=PATH, required=False, metavar="[MATCHES|PAIRS|SCORES]")
@click.option("--port", type=click.IntRange(0, 65535), default=8400, help="0: any that is free.")
@click.option("--host", default="127.0.0.1", help="Where to listen; anything but this machine is reached by others.")
@click.option("--who", metavar="NAME", help="Who decides, unless the page says otherwise. Default: this user.")
@click.option(
    "--write-plan", "plan", type=PATH, metavar="FILE.csv", help="Do not serve: write which video of each group to keep."
)
@click.option("--keep", metavar="RULE,...", help=f"Rules of --write-plan, in order: {', '.join(KEEP)}.")
@json_option
def review(
    library: str,
    found: str | None,
    *,
    port: int,
    host: str,
    who: str | None,
    plan: str | None,
    keep: str | None,
    as_json: bool,
) -> None:
    """Look at pairs in a browser and decide: two players side by side.

    Prints the address, which holds a token: only who has it gets in. Ctrl-C ends. MATCHES is of `ndvr search --out`,
    PAIRS of `ndvr dedupe`, SCORES of `ndvr similarity`; without them, what was decided is shown, and searches can be
    made. What is decided lasts as with `ndvr decide`. Needs no network; nothing is ever deleted.
    """
    if plan:
        _write_plan(library, found, plan, keep, as_json=as_json)
        return
    if keep:
        raise click.UsageError("--keep goes with --write-plan; the page has the rules in its groups")

    from ndvr.operators.library.decisions import this_user
    from ndvr.operators.library.library import Library
    from ndvr.pipeline.review import guard, server
    from ndvr.pipeline.review.found import read_found
    from ndvr.pipeline.review.state import State

    opened = Library(library)
    state = State(opened, read_found(found, library) if found else None, who or this_user())
    if not guard.is_loopback(host):
        click.echo(f"WARNING: whoever reaches {host} and has the address may watch and decide", err=True)

    def say(address: str) -> None:
        click.echo(json.dumps({"address": address}) if as_json else f"review: {address}")

    with suppress(KeyboardInterrupt):
        server.serve(state, token=guard.new_token(), host=host, port=port, say=say)


def _write_plan(library: str, found: str | None, plan: str, keep: str | None, *, as_json: bool) -> None:
    from ndvr.operators.library.decisions import decisions_of
    from ndvr.operators.storage.store import write_text
    from ndvr.pipeline.review import keep as rules
    from ndvr.pipeline.review.found import read_found

    if not found:
        raise click.UsageError("--write-plan needs PAIRS, a folder that `ndvr dedupe` wrote")
    wanted = tuple(keep.split(",")) if keep else rules.DEFAULT
    rules.check_rules(wanted)
    lines = rules.plan(read_found(found, library), wanted, decisions_of(library))
    write_text(Path(plan), rules.plan_csv(lines))
    if as_json:
        click.echo(json.dumps([vars(line) for line in lines], ensure_ascii=False))
    else:
        click.echo(f"{rules.plan_text(lines)}: {plan}")


@click.command()
@click.argument("found", type=PATH, metavar="MATCHES|PAIRS|SCORES|TRAINING")
@click.argument("out", type=PATH, metavar="OUT.html")
@click.option("--no-pictures", is_flag=True, help="Leave out the film strips, which need the videos.")
@click.option("--pictures", type=click.IntRange(0), default=200, metavar="N", help="Pairs that get film strips.")
@click.option("--maps", type=click.IntRange(0), default=12, metavar="N", help="Pairs that get a map of their windows.")
@click.option("--figures", type=PATH, metavar="FOLDER", help="Also the maps and the curve of scores, as PNG and SVG.")
def report(found: str, out: str, no_pictures: bool, pictures: int, maps: int, figures: str | None) -> None:
    """Draw a page of MATCHES, PAIRS or SCORES found, or of a TRAINING.

    Of a training it shows the learning curves.
    They are folders of `ndvr search --out`, `ndvr dedupe`, `ndvr similarity` and `ndvr train`. One file that loads
    nothing: film strips under each other at the matching times, with what the two share drawn between them, and the
    map of their windows; find, filter and sort, j and k go from pair to pair. What was judged no match is left out.
    """
    from ndvr.pipeline.review.found_page import write_found_page
    from ndvr.pipeline.review.learning_page import is_training, write_learning_page

    if is_training(found):
        click.echo(write_learning_page(found, out))
        return
    pictures = 0 if no_pictures else pictures
    click.echo(write_found_page(found, out, pictures=pictures, maps=maps, figures=figures))
