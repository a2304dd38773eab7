"""The commands that look into a library and after it: show, explain, remove, fsck, gc, fit-pca."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from ndvr.operators.storage.text_files import visible
from ndvr.pipeline.commands.option_types import ID_LIST, LIBRARY, METHOD, PATH, VIDEO_ID
from ndvr.pipeline.commands.options import (
    config_option,
    given,
    json_option,
    quiet_option,
    renamed,
    strict_option,
    tell_left_out,
)


@click.command()
@click.argument("library", type=LIBRARY)
@click.option("--failures", is_flag=True, help="List failed and skipped videos with the reason.")
@click.option("--list", "as_list", is_flag=True, help='Only the videos with features, as a list: "id path" a line.')
@click.option("--runs", is_flag=True, help="The extractions that wrote into it, and what bounded the last of them.")
@click.option("--indexes", is_flag=True, help="Its indexes: videos, segments, bytes, how sure scores are.")
@click.option("--to", type=PATH, metavar="FOLDER", help="With --indexes: where they are. Default: LIBRARY/index.")
@json_option
def show(library: str, failures: bool, as_list: bool, runs: bool, indexes: bool, to: str | None, as_json: bool) -> None:
    """Say what LIBRARY holds: configurations, videos, failures."""
    from ndvr.pipeline.upkeep import show as run

    if to and not indexes:
        raise ValueError("--to has no meaning without --indexes")
    if indexes:
        from ndvr.pipeline.search.library_index import show_index

        made = show_index(library, to=to)
        views = [each.to_json() for each in made]
        click.echo(json.dumps(views, ensure_ascii=False) if as_json else visible("\n".join(v.text() for v in made)))
        return
    if runs:
        from ndvr.operators.library.library import Library
        from ndvr.pipeline.runs import record as run_record

        records = run_record.runs(Library(library).store)
        every = [record.to_json() for record in records]
        click.echo(json.dumps(every, ensure_ascii=False) if as_json else run_record.runs_text(records))
        return
    view = run.show(library)
    if as_list:
        lines, left_out = view.listed()
        click.echo(visible(lines) if sys.stdout.isatty() else lines)
        if left_out:
            what = f"{len(left_out):,} videos are left out, such as {left_out[0]!r}"
            click.echo(
                f"WARNING: {what}: an id or path with a line break, or spaces at its end, fits no line", err=True
            )
    elif as_json:
        click.echo(json.dumps(view.to_json(failures=failures), ensure_ascii=False))
    else:
        click.echo(view.text(failures=failures))


@click.command()
@click.argument("library", type=LIBRARY)
@click.option("--digest", is_flag=True, help="Print one hash of all that LIBRARY holds, whatever runs made it.")
@click.option("--repair", is_flag=True, help="Mend what is found; videos that lost something are due again.")
@quiet_option
@json_option
def fsck(library: str, digest: bool, repair: bool, quiet: bool, as_json: bool) -> None:
    """Check LIBRARY: recount its rows, rehash its features.

    Also finds files that nothing names. Exit code 0: sound; 1: something is missing or changed.
    """
    from ndvr.pipeline.upkeep import maintenance as care

    audit = care.fsck(library, repair=repair, progress=not quiet)
    if as_json:
        click.echo(json.dumps(asdict(audit), ensure_ascii=False))
    elif digest and audit.sound:
        click.echo(audit.digest)
    else:
        click.echo(care.audit_text(audit))
    if not audit.sound:
        raise SystemExit(1)


@click.command()
@click.argument("library", type=LIBRARY)
@click.option("--old-versions", is_flag=True, help="Also features of files that have changed since.")
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would be removed.")
@click.option("--force", is_flag=True, help="Also more than a tenth of it, and shards whose receipts are lost.")
@click.option("--empty-trash", is_flag=True, help="Remove it for good now, and what was moved to trash/ before.")
@json_option
def gc(library: str, old_versions: bool, dry: bool, force: bool, empty_trash: bool, as_json: bool) -> None:
    """Remove from LIBRARY what nothing needs.

    That is what killed runs left, and the rows of removed videos. It lies in LIBRARY/trash for a week.
    """
    from ndvr.pipeline.upkeep import maintenance as care

    done = care.gc(library, old_versions=old_versions, dry=dry, force=force, empty_trash=empty_trash)
    click.echo(json.dumps(asdict(done)) if as_json else care.tidied_text(done, dry=dry))


@click.command()
@click.argument("library", type=LIBRARY)
@click.argument("ids", nargs=-1, type=VIDEO_ID)
@click.option(
    "--ids", "listed", type=ID_LIST, metavar="FILE", help='A file with an id, or "id path", a line; - reads stdin.'
)
@renamed("--from", "--ids")
@click.option("--all-gone", "gone", is_flag=True, help="All videos that the folder which gave them has no more.")
@click.option("--content", is_flag=True, help="The same bytes stay out too, under whatever name they are or come.")
@click.option("--reason", default="", help="Kept in the ledger.")
@click.option("--undo", is_flag=True, help="Let them back in; before `ndvr gc` with their features.")
@json_option
def remove(
    library: str, ids: tuple[str, ...], listed: str | None, gone: bool, undo: bool, as_json: bool, **settings: Any
) -> None:
    """Take videos out of LIBRARY by their ids; they stay out.

    For all methods, also when their files turn up again; with --content also the same bytes under another name. They
    are invisible at once; `ndvr gc` then deletes their features for good.
    """
    from ndvr.pipeline.upkeep import maintenance as care

    every = [*ids, *(care.listed_ids(library, listed) if listed else ()), *(care.gone_ids(library) if gone else ())]
    if not every and not gone:
        raise click.UsageError("give the ids of the videos, --ids FILE with an id a line, or --all-gone")
    changed = care.remove(library, every, undo=undo, **settings)
    if as_json:
        click.echo(json.dumps({"library": library, "restored" if undo else "removed": changed}, ensure_ascii=False))
    else:
        what = "let back in" if undo else f"removed; `ndvr gc {library}` deletes their features"
        click.echo(f"{len(changed):,} videos {what}; {len(set(every) - set(changed)):,} were so already")


@click.command()
@click.argument("library", type=LIBRARY)
@click.argument("video_id", metavar="ID", type=VIDEO_ID)
@click.argument("other", metavar="[OTHER]", required=False, type=VIDEO_ID)
@click.option(
    "--method",
    "methods",
    type=METHOD,
    multiple=True,
    help="With OTHER: whose index; a second one that listens says what both say. Default: thumbprint.",
)
@json_option
def explain(library: str, video_id: str, other: str | None, methods: tuple[str, ...], as_json: bool) -> None:
    """Tell the whole history of one video in LIBRARY.

    Its attempts, decoders and timings, and where its features are. Put -- before an ID that begins with a dash.
    With OTHER: why a search for ID, which may also be a file, finds the video OTHER of LIBRARY or does not, gate by
    gate.
    """
    from ndvr.pipeline.upkeep import maintenance as care

    if other is not None:
        from ndvr.pipeline.search.both import explain_both
        from ndvr.pipeline.search.search import Index

        pair: Any
        if len(methods) > 1:
            pair = explain_both(library, video_id, other, methods=methods)
        else:
            pair = Index.open(library, **({"method": methods[0]} if methods else {})).explain(video_id, other)
        click.echo(json.dumps(pair.to_json(), ensure_ascii=False) if as_json else pair.text())
        return
    history = care.explain(library, video_id)
    click.echo(json.dumps(history.to_json(), ensure_ascii=False, default=str) if as_json else history.text())


@click.command("fit-pca")
@click.argument("library", type=LIBRARY)
@click.argument("out", metavar="OUT.npz", type=PATH)
@click.option("--dims", type=click.IntRange(1), help="Directions to keep. Default: 1024, with backbone=lite0 512.")
@click.option("--frames-per-video", type=click.IntRange(0), help="Drawn with replacement; 0: all, once. Default: 10.")
@click.option("--seed", type=click.IntRange(0), help="Of the draw. Default: 0.")
@config_option
@strict_option
@quiet_option
@json_option
def fit_pca(library: str, out: str, as_json: bool, quiet: bool, **settings: Any) -> None:
    """Learn the PCA that TCA needs from the raw features in LIBRARY.

    Option backbone=lite0 of S2VS, ViSiL, DnS and TCA needs one of its own.

    \b
      ndvr extract VIDEOS LIBRARY --method tca --option pca=none
      ndvr fit-pca LIBRARY OUT.npz
      ndvr extract VIDEOS FEATURES --method tca --option pca=OUT.npz
    """
    from ndvr.pipeline.upkeep import fit_pca as run

    done = run.fit_pca(library, out, **given(**settings), progress=not quiet)
    if as_json:
        click.echo(json.dumps(done.to_json(), ensure_ascii=False))
    else:
        if not done.trained:
            click.echo("WARNING: the features are of untrained (random) weights; so is this PCA.", err=True)
        click.echo(done.text())
    tell_left_out(done)
