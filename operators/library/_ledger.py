"""What committed receipts add up to: the latest word on every video.

A library of 200,000 videos has twice as many rows of 26 columns: they are sorted out as arrays, and read one by one
only where somebody looks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ndvr.operators.rows import EVERY_VIDEO, REMOVED_CONTENT

_NOTES = ("gone", "back", "removed", "restored")  # rows on a video as a whole, of no attempt


class Columns(dict[str, list[Any]]):
    """The columns of a table as lists, each made when it is first asked for."""

    def __init__(self, table: pa.Table):
        super().__init__()
        self.table = table

    def __missing__(self, name: str) -> list[Any]:
        column = self.table[name].combine_chunks()
        if pa.types.is_string(column.type):  # the same few words in every row are one object each
            coded = column.dictionary_encode()
            words = [*coded.dictionary.to_pylist(), None]
            values = [words[code] for code in coded.indices.fill_null(-1).to_numpy()]
        else:
            values = column.to_pylist()
        self[name] = values
        return values


class Row(Mapping[str, Any]):
    """One row of a table."""

    __slots__ = ("_at", "_columns")

    def __init__(self, columns: Columns, at: int):
        self._columns, self._at = columns, at

    def __getitem__(self, name: str) -> Any:
        return self._columns[name][self._at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns.table.column_names)

    def __len__(self) -> int:
        return self._columns.table.num_columns

    def __repr__(self) -> str:
        return repr(dict(self))


class Entry:
    """What the ledger says of one video under one configuration.

    Holds row numbers only: of rows made into objects for every video at once, Python's garbage collector would make
    seconds of work.
    """

    __slots__ = ("_at", "_barred", "_broken", "_columns", "_gone", "_lost", "_pieces", "_seen", "video_id")

    def __init__(self, video_id: str, columns: Columns, at: int, pieces: Sequence[int] = (), broken: int | None = None):
        """at: the end row; pieces: rows in order; broken: of a failed piece, which makes a failed video."""
        self.video_id, self._columns, self._at, self._pieces, self._broken = video_id, columns, at, pieces, broken
        self._seen: int | None = None  # the row that says where the same bytes were found later
        self._gone: int | None = None  # the row that says that its folder has it no more
        self._barred: int | None = None  # the row that says that its content was removed
        self._lost = ""  # what has become of its features, which the ledger does not know

    def without_features(self, why: str) -> Entry:
        """Make the same entry as of a video whose features are lost: failed, of class "lost"."""
        other = copy.copy(self)
        other._lost = why
        return other

    @property
    def end(self) -> Mapping[str, Any]:
        """The end row: status, error_class, message, decoder, ..."""
        row: Mapping[str, Any] = Row(self._columns, self._at)
        if self._broken is not None:
            row = {**row, **self._of(self._broken, "status", "error_class", "message")}
        if self._seen is not None:
            row = {**row, **self._of(self._seen, "bytes", "mtime_ns", "uri")}
        if self._kept_out is not None:
            row = {**row, **self._of(self._kept_out, "status", "message")}
        if self._lost:
            row = {**row, "status": "failed", "error_class": "lost", "message": self._lost}
        return row

    @property
    def _kept_out(self) -> int | None:
        """The row for which what was done does not count."""
        return self._barred if self._barred is not None else self._gone if self.marked else None

    def _of(self, at: int, *names: str) -> dict[str, Any]:
        return {name: self._columns[name][at] for name in names}

    @property
    def pieces(self) -> list[Mapping[str, Any]]:
        """Where its features are, in order; none unless it is done."""
        return [] if self._kept_out is not None or self._lost else [Row(self._columns, at) for at in self._pieces]

    @property
    def shards(self) -> set[str]:
        """The shards that its features are in."""
        return {self._columns["shard"][at] for at in self._pieces}

    @property
    def status(self) -> str:
        if self._lost:
            return "failed"
        if self._kept_out is not None:
            return "skipped"
        return self._columns["status"][self._at if self._broken is None else self._broken]

    @property
    def removed(self) -> bool:
        """Tell whether `ndvr remove` took it out, by its id or its content: it stays out until restored."""
        return self._barred is not None or self._columns["kind"][self._at] == "removed"

    @property
    def barred(self) -> bool:
        """Tell whether it is out for its content, which its file may have no more."""
        return self._barred is not None

    @property
    def gone(self) -> bool:
        """Tell whether the folder that gave it has it no more."""
        return self._gone is not None

    @property
    def marked(self) -> bool:
        """Tell whether it is gone and kept out of new pairs: skipped until its file comes back."""
        return self._gone is not None and self._columns["status"][self._gone] == "skipped"

    @property
    def windows(self) -> int:
        if self._kept_out is not None or self._lost:
            return 0
        return sum(map(self._columns["windows_count"].__getitem__, self._pieces))

    def __repr__(self) -> str:
        return f"Entry({self.video_id!r}, {self.status}, {self.windows} windows)"


def latest(rows: pa.Table) -> dict[str, Entry]:
    """Find the latest word on every video, by id, sorted; `rows` (ndvr.operators.rows.LEDGER) are of one configuration.

    An end row counts only with all its pieces, of the same run and attempt: a run killed between the two has said
    nothing about that video. A failed piece makes a failed video.
    """
    return History(rows).entries()


class History:
    """The rows of one configuration that settle videos, in order of time, with the pieces that belong to each."""

    def __init__(self, rows: pa.Table):
        self.columns = Columns(rows)
        number = rows["piece"].to_numpy()  # of an end row: how many pieces there are
        kinds = {kind: _is(rows["kind"], kind) for kind in ("piece", "end", "seen", *_NOTES)}
        is_done = _is(rows["status"], "done")
        self.video, self.names = _ranks(rows["video_id"])
        run, runs = _ranks(rows["run"])
        tries = rows["attempt"].fill_null(0).to_numpy().astype(np.int64)
        _, self.attempt = np.unique(
            (self.video * len(runs) + run) * (tries.max(initial=0) + 1) + tries, return_inverse=True
        )
        finished = rows["finished"].cast(pa.int64()).fill_null(0).to_numpy()
        self.pieces = _Pieces(self.attempt, number, finished, np.flatnonzero(kinds["piece"]))
        failed = self.pieces.rows[_is(rows["status"], "failed")[self.pieces.rows]]
        self.broken = dict(zip(self.attempt[failed].tolist(), failed.tolist()))
        dropped = np.zeros(self.attempt.max(initial=-1) + 1, bool)
        dropped[self.attempt[_is(rows["kind"], "dropped")]] = True
        whole = ~kinds["end"] | ~is_done | (self.pieces.counts[self.attempt] == number) & ~dropped[self.attempt]
        settling = np.flatnonzero(whole & np.logical_or.reduce([kinds[kind] for kind in ("end", "seen", *_NOTES)]))
        self.barred = removed_contents(rows)
        settling = settling[~_is(rows["video_id"], EVERY_VIDEO)[settling]]
        # Rows of equal time stay in their order.
        self.settling = settling[np.lexsort((run[settling], finished[settling], self.video[settling]))]
        self.done = is_done & kinds["end"]

    def entries(self) -> dict[str, Entry]:
        """See `latest`."""
        entries: dict[str, Entry] = {}
        removed: dict[str, Entry] = {}
        gone: dict[str, int] = {}
        for entry, kind in self._entries():
            before = entries.get(entry.video_id)
            if gone and (kind in ("seen", "back") or (kind == "end" and entry.status == "done")):
                gone.pop(entry.video_id, None)  # it was read again, or found as it was
            if kind == "seen":
                if before is not None and before.end["sha256"] == entry.end["sha256"]:
                    before._seen = entry._at
            elif kind == "removed":
                removed[entry.video_id] = entry
            elif kind == "restored":
                removed.pop(entry.video_id, None)
            elif kind == "gone":
                gone[entry.video_id] = entry._at
            elif kind == "back" or (entry.status == "skipped" and self._was_let_in(entry)):
                continue
            elif before is None or not _stands(before, entry):
                entries[entry.video_id] = entry
        for video_id, at in gone.items():
            if video_id in entries and entries[video_id].status == "done":
                entries[video_id]._gone = at
        for entry in entries.values() if self.barred else ():
            entry._barred = self.barred.get(entry.end["sha256"])
        return dict(sorted((entries | removed).items())) if removed else entries

    def versions(self) -> dict[tuple[str, str | None], Entry]:
        """Find what was done and is still kept, by video and content: features of older content stay until removed."""
        versions: dict[tuple[str, str | None], Entry] = {}
        for entry, kind in self._entries():
            if kind == "end" and entry.status == "done":
                versions[entry.video_id, entry.end["sha256"]] = entry
        gone = {name for name, entry in self.entries().items() if entry.removed}
        return {key: entry for key, entry in versions.items() if key[0] not in gone and key[1] not in self.barred}

    def live(self, *, old_versions: bool = True) -> np.ndarray:
        """Mark the rows, (N,) bool, of pieces that some version needs. The others take up room and nothing else."""
        is_live = np.zeros(len(self.video), bool)
        for entry in self.versions().values() if old_versions else self.entries().values():
            is_live[[] if entry.removed else list(entry._pieces)] = True
        return is_live

    def _was_let_in(self, entry: Entry) -> bool:
        """Tell whether a video was skipped for its content, which counts again: nothing is known of it."""
        end = entry.end
        return end["message"] == REMOVED_CONTENT and end["sha256"] not in self.barred

    def _entries(self) -> Iterator[tuple[Entry, str]]:
        """Yield everything that settles a video, video by video in order of time, with its kind."""
        kinds, rows = self.columns["kind"], self.settling
        columns = (rows, self.video[rows], self.attempt[rows], self.done[rows])
        for at, video, attempt, done in zip(*(column.tolist() for column in columns)):
            if not done:
                yield Entry(self.names[video], self.columns, at), kinds[at]
            elif attempt in self.broken:
                yield Entry(self.names[video], self.columns, at, broken=self.broken[attempt]), "end"
            else:
                yield Entry(self.names[video], self.columns, at, self.pieces.of(attempt)), "end"


def removed_contents(rows: pa.Table) -> dict[str, int]:
    """Find the contents that were removed, whatever videos have them, and the row that says so of each."""
    barred: dict[str, int] = {}
    places = np.flatnonzero(_is(rows["video_id"], EVERY_VIDEO) & pc.is_valid(rows["sha256"]).to_numpy())
    if len(places):
        about = rows.select(["sha256", "kind", "finished"]).take(pa.array(places)).to_pylist()
        for at, row in sorted(zip(places.tolist(), about), key=lambda pair: pair[1]["finished"]):
            barred.pop(row["sha256"], None)
            if row["kind"] == "removed":
                barred[row["sha256"]] = at
    return barred


class _Pieces:
    """Which rows are the pieces of each attempt; of a piece that was committed twice the later row."""

    def __init__(self, attempt: np.ndarray, number: np.ndarray, finished: np.ndarray, rows: np.ndarray):
        """attempt, number, finished: of every row, (N,); rows: those of pieces."""
        rows = rows[np.lexsort((rows, finished[rows], number[rows], attempt[rows]))]
        same = (np.diff(attempt[rows]) == 0) & (np.diff(number[rows]) == 0)
        self.rows = rows[np.append(~same, True)] if len(rows) else rows
        self.counts = np.bincount(attempt[self.rows], minlength=attempt.max(initial=-1) + 1)
        self._starts, self._order = [0, *np.cumsum(self.counts).tolist()], tuple(self.rows.tolist())

    def of(self, attempt: int) -> tuple[int, ...]:
        """List the rows of an attempt's pieces, in order of their numbers."""
        return self._order[self._starts[attempt] : self._starts[attempt + 1]]


def _stands(before: Entry, after: Entry) -> bool:
    """Tell whether what stands stays in spite of a later word: of another file, of one that was gone or unchanged."""
    if after.status == "failed" and after.end["error_class"] == "conflict":
        return before.status != "failed"
    if before.status != "done" or after.status == "done":
        return False
    old, new = before.end, after.end
    if new["mtime_ns"] is None or (new["bytes"], new["mtime_ns"]) == (old["bytes"], old["mtime_ns"]):
        return True
    return new["bytes"] == old["bytes"] and new["sha256"] is not None and new["sha256"] == old["sha256"]


def _is(column: pa.ChunkedArray, word: str) -> np.ndarray:
    return pc.fill_null(pc.equal(column, word), False).to_numpy()


def _ranks(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Find the place (N,) int64 of every row's word among all words, and these, sorted."""
    coded = column.combine_chunks().dictionary_encode()
    words = coded.dictionary.to_pylist()
    order = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
    place = np.empty(len(words), np.int64)
    place[order] = np.arange(len(words))
    return place[coded.indices.to_numpy()], [words[at] for at in order.tolist()]
