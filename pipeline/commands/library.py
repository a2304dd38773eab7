"""The commands that look after a library: fsck, gc, remove, explain."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from ndvr.pipeline.commands.extraction import json_option, quiet_option


@click.command()
@click.argument("library")
@click.option("--digest", is_flag=True, help="Print one hash of all that LIBRARY holds, whatever runs made it.")
@quiet_option
@json_option
def fsck(library: str, digest: bool, quiet: bool, as_json: bool) -> None:
    """Check LIBRARY: recount its rows, rehash its features, find what nothing names.

    Exit code 0: sound; 1: something is missing or changed.
    """
    from ndvr.pipeline.upkeep import maintenance as care

    found = care.fsck(library, progress=not quiet)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False))
    elif digest and found.sound:
        click.echo(found.digest)
    else:
        click.echo(care.audit_text(found))
    if not found.sound:
        raise SystemExit(1)


@click.command()
@click.argument("library")
@click.option("--old-versions", is_flag=True, help="Also features of files that have changed since.")
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would be removed.")
@json_option
def gc(library: str, old_versions: bool, dry: bool, as_json: bool) -> None:
    """Remove from LIBRARY what nothing needs: left-overs of killed runs and the rows of removed videos."""
    from ndvr.pipeline.upkeep import maintenance as care

    done = care.gc(library, old_versions=old_versions, dry=dry)
    click.echo(json.dumps(asdict(done)) if as_json else care.tidied_text(done, dry=dry))


@click.command()
@click.argument("library")
@click.argument("ids", nargs=-1)
@click.option("--from", "listed", type=click.Path(exists=True, dir_okay=False), help="A file with an id a line.")
@click.option("--reason", default="", help="Kept in the ledger.")
@click.option("--undo", is_flag=True, help="Let them back in; before `ndvr gc` with their features.")
@json_option
def remove(library: str, ids: tuple[str, ...], listed: str | None, reason: str, undo: bool, as_json: bool) -> None:
    """Take videos out of LIBRARY by their ids, for all methods; they stay out when their files turn up again.

    They are invisible at once; `ndvr gc` then deletes their features for good.
    """
    from ndvr.pipeline.upkeep import maintenance as care

    every = [*ids, *filter(None, Path(listed).read_text(encoding="utf-8-sig").splitlines() if listed else ())]
    if not every:
        raise click.UsageError("give the ids of the videos, or --from a file with an id a line")
    changed = care.remove(library, every, reason=reason, undo=undo)
    if as_json:
        click.echo(json.dumps({"library": library, "restored" if undo else "removed": changed}, ensure_ascii=False))
    else:
        what = "let back in" if undo else f"removed; `ndvr gc {library}` deletes their features"
        click.echo(f"{len(changed):,} videos {what}; {len(every) - len(changed):,} were so already")


@click.command()
@click.argument("library")
@click.argument("video_id")
@json_option
def explain(library: str, video_id: str, as_json: bool) -> None:
    """Tell the whole history of one video in LIBRARY: attempts, decoders, timings, where its features are."""
    from ndvr.pipeline.upkeep import maintenance as care

    history = care.explain(library, video_id)
    click.echo(json.dumps(history.to_json(), ensure_ascii=False, default=str) if as_json else history.text())
