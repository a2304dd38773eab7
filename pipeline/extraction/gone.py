"""Videos that a folder gave before and no longer has: told by every run, kept out of new pairs when asked for.

    gone = find_gone(manifest, library)
    note_gone(library, gone, source, mark=True)

Only what could be listed now is judged: of a folder that cannot be looked into nothing is known. A video whose file
comes back counts again as if it had never been away.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Literal, get_args

import pyarrow.compute as pc

from ndvr.operators.library.library import Entry, Library
from ndvr.operators.library.receipt_files import commit, time_for_receipts
from ndvr.operators.library.runs import new_run
from ndvr.operators.rows import EVERY_CONFIG, LEDGER, table
from ndvr.operators.storage.manifest import Manifest
from ndvr.operators.storage.object_store import is_object, is_remote
from ndvr.operators.storage.video_files import local_path, printable
from ndvr.pipeline.runs.record import GoneVideos

Gone = Literal["keep", "mark"]


def check_gone(word: str) -> None:
    """Raise ValueError for a word that --gone does not know."""
    if word not in get_args(Gone):
        raise ValueError(f"unknown gone {word!r}; choose one of {', '.join(get_args(Gone))}")


def find_gone(manifest: Manifest, library: Library) -> dict[str, Entry]:
    """Find the videos with features, by id, whose file lay in the folder that the manifest lists, and does no more."""
    root = _root(manifest)
    if root is None:
        return {}
    gone: dict[str, Entry] = {}
    here = set(manifest.uris.values())
    candidates = _ids_from(root, library) - manifest.uris.keys()
    lookup = Library(library.store).lookup(library.configs, candidates)
    closed = tuple(printable(os.path.realpath(name)) + "/" for name in manifest.unreadable)
    for entries in lookup.entries.values():
        for video_id, entry in entries.items():
            uri = entry.end["uri"] or ""
            held = entry.status == "done" or entry.gone
            if not held or uri in here or not _is_in(root, uri) or printable(_path(uri)).startswith(closed):
                continue
            if is_object(uri) or _is_missing(uri):
                gone[video_id] = entry
    return dict(sorted(gone.items()))


def note_gone(library: Library, gone: dict[str, Entry], source: str, *, mark: bool) -> GoneVideos:
    """Write down what is gone, once; `mark` keeps it out of new pairs. Call it with the lease only."""
    new = [video_id for video_id, entry in gone.items() if not entry.gone or (mark and not entry.marked)]
    _commit(library, new, kind="gone", status="skipped" if mark else "done", message=f"no longer in {source}")
    marked = sum(mark or entry.marked for entry in gone.values())
    return GoneVideos(source=source, videos=len(gone), marked=marked, first=next(iter(gone), ""))


def note_back(library: Library, ids: Iterable[str]) -> None:
    """Write down which of the videos that were gone are there again. Call it with the lease only."""
    _commit(library, ids, kind="back", message="its file is there again")


def _commit(library: Library, ids: Iterable[str], **values: Any) -> None:
    run = new_run()
    row = {"config": EVERY_CONFIG, "run": run, "attempt": 0, "piece": 0}
    if rows := [row | values | {"video_id": video_id} for video_id in ids]:
        now = time_for_receipts(library.store)
        rows = [row | {"finished": now} for row in rows]
        commit(library.store, f"{run}-{values['kind']}", table(rows, LEDGER))


def _root(manifest: Manifest) -> str | None:
    """Find the folder that was listed, as the paths or addresses of its files begin; None where VIDEOS is no folder."""
    if not is_remote(manifest.source):
        return os.path.realpath(manifest.source).rstrip("/") + "/" if os.path.isdir(manifest.source) else None
    root = manifest.source.rstrip("/") + "/"
    return root if all(uri.startswith(root) for uri in manifest.uris.values()) else None


def _ids_from(root: str, library: Library) -> set[str]:
    """List the videos that were read from a place below `root` at some time."""
    rows = Library(library.store).ledger.select(["video_id", "uri"])
    uris = rows["uri"]
    near = pc.or_(pc.starts_with(uris, root), pc.starts_with(uris, "file://"))  # so are names that are no UTF-8
    return set(rows.filter(pc.fill_null(near, False))["video_id"].to_pylist())


def _is_in(root: str, uri: str) -> bool:
    return _path(uri).startswith(root)


def _path(uri: str) -> str:
    return uri if is_object(uri) else local_path(uri)


def _is_missing(uri: str) -> bool:
    """Tell whether there is surely no such file: one that may not be looked at may be there."""
    try:
        os.lstat(local_path(uri))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
