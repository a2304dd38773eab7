"""The commands that show what was found and keep what people say of it: `ndvr report`, `ndvr decide`, `ndvr review`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ndvr.pipeline.commands.option_types import LIBRARY, PATH, VIDEO_ID, OneOf
from ndvr.pipeline.commands.options import json_option

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
    """Say of two videos whether they are a match; LIBRARY remembers it.

    A and B are ids of LIBRARY, files, or queries of --matches. same: they are a match; different: they are none, and
    `search`, `dedupe`, `report` and `review` leave the pair out from now on; keep: A, where one of the two is to go;
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
