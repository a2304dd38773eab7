"""A SCORES folder: what it says about itself, which cells it has, and never more or less than one whole state.

SCORES/scores.json          what was compared, with what, and the parts in force: written last, whole
SCORES/queries-*.parquet    video_id, status, reason of every query asked for; videos-*.parquet likewise
SCORES/parts/*.parquet      query_id, video_id, score: one file per cell, whole or absent
SCORES/groups.parquet       which videos share a cell, of the run that was started last
SCORES/identical.parquet    content, side, video_id of videos that share their file with another, where there are any
SCORES/similarities.json    the same as parts, when asked for
SCORES/signatures/*.npy     of methods that keep one vector or code a video
SCORES/locks/               who is writing: see ndvr.operators.library.lease
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from ndvr.operators.library.fencing import LOCKS, REVOKED, check, stamped, unstamped, written_late
from ndvr.operators.library.lease import Lease
from ndvr.operators.library.library import Entry
from ndvr.operators.scores.cells import keep_rows
from ndvr.operators.scores.files import ABOUT, PARTS, file_hash, ids_named, read_manifest
from ndvr.operators.scores.groups import Group, Side, read_groups, write_groups
from ndvr.operators.storage.object_store import is_remote
from ndvr.operators.storage.sealed import is_intact, open_json, write_sealed_json, write_table
from ndvr.operators.storage.store import Store, is_unfinished, write_whole

GROUPS, SIGNATURES, SIMILARITIES = "groups.parquet", "signatures", "similarities.json"
PAIRS_ABOUT = "pairs.json"  # what ABOUT is for pairs
IDENTICAL = "identical.parquet"
_IDENTICAL = pa.schema([("content", pa.string()), ("side", pa.string()), ("video_id", pa.string())])
_IDS = pa.schema([("video_id", pa.string()), ("status", pa.string()), ("reason", pa.string())])
Cell = tuple[Group, Group]
IdsByColumn = Mapping[str, Collection[str]]


@contextlib.contextmanager
def one_writer(place: str | Path, command: str) -> Iterator[Store | None]:
    """Let nobody else write scores or pairs into a folder meanwhile. Locked, naming who does, when somebody is at it.

    Yields the folder with the lease, which is checked before anything is put in force: who slept and was taken over
    stops. What is no such folder is left to ScoreFolder to refuse, and left as it was.
    """
    out = Path(place)
    if is_remote(place) or (out.exists() and not _own_files(out)):
        yield None
        return
    made, store = not out.exists(), Store(out)
    try:
        with Lease(store, command):
            store.remove(*filter(is_unfinished, store.unfinished(".")))
            yield store
    finally:
        if made and not _own_files(out, fewest=1):  # refused before anything was made
            for folder in (out / REVOKED, out / LOCKS, out):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _names(out: Path) -> set[str]:
    """List what lies in a folder but for locks and what killed writers left."""
    return {name for name in os.listdir(out) if name != LOCKS and not is_unfinished(name)}


def _own_files(out: Path, *, fewest: int = 0) -> bool:
    """Tell whether a folder holds what ScoreFolder makes, or, with `fewest` 0, nothing yet."""
    if not out.is_dir():
        return False
    names = _names(out)
    return bool(names & {ABOUT, PAIRS_ABOUT}) or (not names and not fewest)


class ScoreFolder:
    """A folder for the scores of one comparison, made, or opened to be continued.

    ValueError when it holds another comparison than `decisive` says, whose entries are all that decides the scores.

    name   of the file that says what the folder holds
    holds  what that is, for error texts
    lease  of `one_writer`, under which it is written to. Parts are named by what is in them, so that one which comes
           late from a writer that was taken over is the same as another's or a left-over; what puts parts in force or
           removes any looks first
    """

    def __init__(
        self,
        place: str | Path,
        decisive: dict[str, Any],
        *,
        name: str = ABOUT,
        holds: str = "scores",
        lease: Store | None = None,
    ):
        self._lease = lease
        if is_remote(place):
            raise ValueError(f"{place}: {holds} are kept in a local folder; name one for {holds.upper()}")
        self.out, self.decisive, self.holds = (out := Path(place)), decisive, holds
        self.parts, self.signatures, self.manifest = out / PARTS, out / SIGNATURES, out / name
        if self.manifest.exists():
            before = self._read_manifest()
            differs = [key for key in decisive if before.get(key) != decisive[key] and not key.endswith("library")]
            if differs:
                raise self._other_comparison(f"other {', '.join(differs)}")
        elif out.exists() and _names(out):
            raise ValueError(f"{out} exists and holds no {holds}; name a new folder for {holds.upper()}")
        else:
            self.check()
            self._write_manifest(decisive | {"parts": None})
        self.recorded = read_groups(out / GROUPS)

    def _read_manifest(self) -> dict[str, Any]:
        remedy = f"name a new folder for {self.holds.upper()}, or remove this one, and run again"
        return open_json(self.manifest.read_bytes(), self.manifest, remedy=remedy)

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        """Put it in force. One that comes late, from a writer that was taken over, does not count for readers."""
        own = self._lease is not None and Path(self._lease.root) == self.out
        write_sealed_json(self.manifest, stamped(self._lease, manifest) if self._lease and own else manifest)

    def _holds(self, manifest: dict[str, Any]) -> bool:
        """Tell whether it is in force."""
        late = written_late(Store(self.out), self.manifest.name, self.manifest.read_bytes())
        return not late and unstamped(self._read_manifest()) == json.loads(json.dumps(manifest))

    def _other_comparison(self, why: str) -> ValueError:
        return ValueError(f"{self.out} holds another comparison ({why}); name a new folder for {self.holds.upper()}")

    def check(self) -> None:
        """Raise RunStopped when somebody has taken over the folder."""
        if self._lease is not None:
            check(self._lease)

    def check_overlap(self, side: str, video_ids: Iterable[str]) -> None:
        """Raise ValueError when nothing of a side is asked for any more: scores must not be lost to a wrong name."""
        before = {video_id for group in self.recorded.get(side, ()) for video_id, _ in group}
        if before and before.isdisjoint(video_ids):
            raise self._other_comparison(f"none of its {len(before)} {side} is asked for now")

    def narrow(self, cells: Iterable[Cell], shrunk: Mapping[str, str], ids: Callable[[Cell], IdsByColumn]) -> None:
        """Make the cells of groups that lost videos (new name: old name) from those they were, without computing any.

        `ids` says which ids the columns of a cell may have.
        """
        for cell in cells:
            old, new = self.parts / _name(*(shrunk.get(group.name, group.name) for group in cell)), self.path(cell)
            if old != new and is_intact(old) and not is_intact(new):
                self.check()
                keep_rows(old, new, ids(cell))

    def record(self, sides: Mapping[str, Side]) -> None:
        """Write down the groups, before the first of their cells is computed."""
        groups = {
            name: [[video[:2] for video in group.videos] for group in side.groups] for name, side in sides.items()
        }
        if groups != self.recorded:
            self.check()
            write_groups(self.out / GROUPS, sides)

    def path(self, cell: Cell) -> Path:
        """Name the file of a cell."""
        return self.parts / _name(cell[0].name, cell[1].name)

    def written(self) -> set[str]:
        """List the names of all parts that were written, in force or not; a damaged one is as good as none."""
        return {name for name in _listed(self.parts) if is_intact(self.parts / name)}

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Select the cells that were not written yet."""
        written = self.written()
        return [cell for cell in cells if self.path(cell).name not in written]

    def write_ids(self, entries: Mapping[str, Mapping[str, Entry]], too_long: Collection[str] = ()) -> dict[str, str]:
        """Write which videos were asked for and what became of them; returns the names of the files by side."""
        self.check()
        return {side: _write_ids(self.out, side, of_side, too_long) for side, of_side in entries.items()}

    def finish(
        self,
        parts: Sequence[str],
        ids: Mapping[str, str],
        *,
        groups: Iterable[Group],
        totals: Mapping[str, Any] | None = None,
        files: Sequence[str] = (),
    ) -> None:
        """Put parts in force, all at once, and remove what they replace, and signatures of others than `groups`.

        `ids` are files of `write_ids`; `totals` are noted beside them, and the SHA-256 of `files`, which are replaced.
        """
        self.check()
        if missing := sorted(set(parts) - _listed(self.parts)):
            raise ValueError(
                f"{len(missing)} parts of {self.out} are gone, such as {missing[0]}: is another run writing there? "
                "Run this one again"
            )
        manifest = self.decisive | {"parts": list(parts), "ids": dict(ids)} | ({"found": totals} if totals else {})
        manifest |= {"files": {name: file_hash(self.out / name) for name in files}} if files else {}
        if not self._holds(manifest):
            (self.out / SIMILARITIES).unlink(missing_ok=True)  # of another state
            self._write_manifest(manifest)
            self.check()
        _remove(self.parts, set(parts))
        _remove(self.signatures, {f"{group.name}.npy" for group in groups})
        for name, kept in ids.items():
            _remove(self.out, {kept}, f"{name}-")


def _name(query_group: str, video_group: str) -> str:
    return f"{query_group}-{video_group}.parquet"


def _listed(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()


def _remove(folder: Path, kept: set[str], prefix: str = "") -> None:
    for name in _listed(folder) - kept:
        if name.startswith(prefix):
            (folder / name).unlink(missing_ok=True)


def copy_ids(source: Path, out: Path) -> dict[str, str]:
    """Copy the files of `ScoreFolder.write_ids` from one finished folder to another; returns their names by side."""
    names = ids_named(read_manifest(source / ABOUT, remedy="compute its scores again"), source / ABOUT)
    for name in names.values():
        write_whole(out / name, partial(shutil.copyfile, source / name))
    return names


def _write_ids(out: Path, side: str, entries: Mapping[str, Entry], too_long: Collection[str]) -> str:
    rows = [
        {"video_id": entry.video_id, "status": entry.status, "reason": entry.end["error_class"] or entry.end["message"]}
        for entry in entries.values()
    ]
    for row in rows:
        if row["video_id"] in too_long:
            row |= {"status": "skipped", "reason": "too long for the memory given"}
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
    path = out / f"{side}-{digest}.parquet"
    if not is_intact(path):
        write_table(path, pa.Table.from_pylist(rows, schema=_IDS))
    return path.name


# --- Files that are the same byte by byte: the ledger has their SHA-256, so that no method needs to compare them -----
# Of dark or blank videos a method may say nothing, of a copy as of the video itself; that they are one file is certain.


def by_content(entries: Iterable[Entry]) -> dict[str, list[str]]:
    """Group the videos with features by the SHA-256 of their files."""
    ids: dict[str, list[str]] = {}
    for entry in entries:
        if entry.pieces and (content := entry.end["sha256"]):
            ids.setdefault(content, []).append(entry.video_id)
    return ids


def write_identical(folder: Path, entries: Mapping[str, Mapping[str, Entry]]) -> int:
    """List in a folder of scores the videos that share their file with another; return how many there are.

    entries  by side, "queries" and "videos", and id. There is no such file where there are no such videos.
    """
    sides = {side: by_content(of_side.values()) for side, of_side in entries.items()}
    rows = []
    for content in sorted(set().union(*sides.values())):
        names = [(side, video_id) for side, ids in sides.items() for video_id in ids.get(content, ())]
        if len({video_id for _, video_id in names}) > 1:
            rows += [{"content": content, "side": side, "video_id": video_id} for side, video_id in sorted(names)]
    if rows:
        write_table(folder / IDENTICAL, pa.Table.from_pylist(rows, schema=_IDENTICAL), compression="zstd")
    else:
        (folder / IDENTICAL).unlink(missing_ok=True)
    return len({row["video_id"] for row in rows})
