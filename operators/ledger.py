"""What committed receipts add up to: the latest word on every video.

A library of 200,000 videos has twice as many rows of 26 columns: they are sorted out as arrays, and read one by one
only where somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


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
            found = [words[code] for code in coded.indices.fill_null(-1).to_numpy()]
        else:
            found = column.to_pylist()
        self[name] = found
        return found


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

    __slots__ = ("_at", "_broken", "_columns", "_pieces", "video_id")

    def __init__(self, video_id: str, columns: Columns, at: int, pieces: Sequence[int] = (), broken: int | None = None):
        """at: the end row; pieces: rows in order; broken: of a failed piece, which makes a failed video."""
        self.video_id, self._columns, self._at, self._pieces, self._broken = video_id, columns, at, pieces, broken

    @property
    def end(self) -> Mapping[str, Any]:
        """The end row: status, error_class, message, decoder, ..."""
        row = Row(self._columns, self._at)
        if self._broken is None:
            return row
        said = {key: self._columns[key][self._broken] for key in ("status", "error_class", "message")}
        return {**row, **said}

    @property
    def pieces(self) -> list[Mapping[str, Any]]:
        """Where its features are, in order; none unless it is done."""
        return [Row(self._columns, at) for at in self._pieces]

    @property
    def status(self) -> str:
        return self._columns["status"][self._at if self._broken is None else self._broken]

    @property
    def windows(self) -> int:
        return sum(map(self._columns["windows_count"].__getitem__, self._pieces))

    def __repr__(self) -> str:
        return f"Entry({self.video_id!r}, {self.status}, {self.windows} windows)"


def latest(rows: pa.Table) -> dict[str, Entry]:
    """The latest word on every video, by id, sorted; `rows` (ndvr.operators.rows.LEDGER) are of one configuration.

    An end row counts only with all its pieces, of the same run and attempt: a run killed between the two has said
    nothing about that video. A failed piece makes a failed video.
    """
    columns = Columns(rows)
    number = rows["piece"].to_numpy()  # of an end row: how many pieces there are
    is_end, is_done = (_is(rows[name], word) for name, word in (("kind", "end"), ("status", "done")))
    video, names = _ranks(rows["video_id"])
    run, runs = _ranks(rows["run"])
    tries = rows["attempt"].to_numpy().astype(np.int64)
    _, attempt = np.unique((video * len(runs) + run) * (tries.max(initial=0) + 1) + tries, return_inverse=True)
    pieces = _Pieces(attempt, number, np.flatnonzero(~is_end))
    failed = pieces.rows[_is(rows["status"], "failed")[pieces.rows]]
    broken = dict(zip(attempt[failed].tolist(), failed.tolist()))
    ends = np.flatnonzero(is_end)
    ends = ends[~is_done[ends] | (pieces.counts[attempt[ends]] == number[ends])]
    finished = rows["finished"].cast(pa.int64()).to_numpy()
    ends = ends[np.lexsort((run[ends], finished[ends], video[ends]))]  # rows of equal time stay in their order
    found: dict[str, Entry] = {}
    for at, of, mine, done in zip(*(each.tolist() for each in (ends, video[ends], attempt[ends], is_done[ends]))):
        if not done:
            entry = Entry(names[of], columns, at)
        elif mine in broken:
            entry = Entry(names[of], columns, at, broken=broken[mine])
        else:
            entry = Entry(names[of], columns, at, pieces.of(mine))
        before = found.get(entry.video_id)
        if before is None or not _stands(before, entry):
            found[entry.video_id] = entry
    return found


class _Pieces:
    """Which rows are the pieces of each attempt; of a piece that was committed twice the later row."""

    def __init__(self, attempt: np.ndarray, number: np.ndarray, rows: np.ndarray):
        """attempt, number: of every row, (N,); rows: those of pieces."""
        rows = rows[np.lexsort((rows, number[rows], attempt[rows]))]
        same = (np.diff(attempt[rows]) == 0) & (np.diff(number[rows]) == 0)
        self.rows = rows[np.append(~same, True)] if len(rows) else rows
        self.counts = np.bincount(attempt[self.rows], minlength=attempt.max(initial=-1) + 1)
        self._starts, self._order = [0, *np.cumsum(self.counts).tolist()], tuple(self.rows.tolist())

    def of(self, attempt: int) -> tuple[int, ...]:
        """In order of their numbers."""
        return self._order[self._starts[attempt] : self._starts[attempt + 1]]


def _stands(before: Entry, after: Entry) -> bool:
    """Whether what was done stays done in spite of a later word: the file was gone, or nothing about it had changed."""
    if before.status != "done" or after.status == "done":
        return False
    old, new = before.end, after.end
    if new["mtime_ns"] is None or (new["bytes"], new["mtime_ns"]) == (old["bytes"], old["mtime_ns"]):
        return True
    return new["bytes"] == old["bytes"] and new["sha256"] is not None and new["sha256"] == old["sha256"]


def _is(column: pa.ChunkedArray, word: str) -> np.ndarray:
    return pc.fill_null(pc.equal(column, word), False).to_numpy()


def _ranks(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """The place (N,) int64 of every row's word among all words, and these, sorted."""
    coded = column.combine_chunks().dictionary_encode()
    words = coded.dictionary.to_pylist()
    order = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
    place = np.empty(len(words), np.int64)
    place[order] = np.arange(len(words))
    return place[coded.indices.to_numpy()], [words[at] for at in order.tolist()]
