"""Rows of scores, joined and sorted by query: what each walk over the scores works on."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Set

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ndvr.operators.scores.files import BATCH_ROWS, Scores

# --- Consecutive integers for ids, so that millions of them are counted as arrays


KEPT_ROWS = 1 << 26  # of scores, from one walk to the next: 0.5 GB where they are float32
_KEPT_IDS = 1 << 22  # of dictionaries met before: some 100 MB


class Codes:
    """An integer for every id met, in order of appearance."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._code: dict[str, int] = {}
        self._known: dict[int, tuple[pa.Array, np.ndarray]] = {}
        self._n_known = 0
        self._array: pa.Array | None = None  # the ids, for looking up many

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple:
        """Pack it for another process: the ids say everything."""
        return _codes_of, (self.ids,)

    def of(self, ids: Set[str] | list[str]) -> np.ndarray:
        """Find the codes of ids, (N,) int64; ids never seen get the next ones."""
        code = self._code
        codes = list(map(code.get, ids))
        for at, i in enumerate(ids) if None in codes else ():
            if i not in code:
                self.ids.append(i)
                code[i] = len(code)
            codes[at] = code[i]
        return np.array(codes, np.int64)

    def of_array(self, ids: pa.Array) -> np.ndarray:
        """Do the same for an arrow array; row groups and cells of a grid share dictionaries, so codes are kept."""
        key = zlib.crc32(ids.buffers()[-1] or b"", len(ids))  # only a hint: equality decides
        if key in self._known and self._known[key][0].equals(ids):
            return self._known[key][1]
        codes = self._of_many(ids) if 4 * len(ids) >= len(self.ids) > 0 else self.of(ids.to_pylist())
        if self._n_known < _KEPT_IDS:
            self._known[key] = ids, codes
            self._n_known += len(ids)
        return codes

    def _of_many(self, ids: pa.Array) -> np.ndarray:
        """Look up ids all at once, in a third of the time; only those never seen become strings of Python."""
        try:
            if self._array is None or len(self._array) != len(self.ids) or self._array.type != ids.type:
                self._array = pa.array(self.ids, ids.type)
        except UnicodeEncodeError:  # an id of a truth with half a character in it, which arrow cannot hold
            return self.of(ids.to_pylist())
        codes = pc.index_in(ids, value_set=self._array).fill_null(-1).to_numpy().astype(np.int64)
        new = np.flatnonzero(codes < 0)
        if len(new):
            codes[new] = self.of(ids.take(pa.array(new)).to_pylist())
        return codes

    def order(self) -> np.ndarray:
        """Find the place of each code among the sorted ids, (len,): the tie rule compares these."""
        order = np.empty(len(self.ids), np.int64)
        order[np.array(sorted(range(len(self.ids)), key=self.ids.__getitem__), np.int64)] = np.arange(len(self.ids))
        return order


def _codes_of(ids: list[str]) -> Codes:
    codes = Codes()
    codes.of(ids)
    return codes


Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # codes of queries and videos, scores: (N,) each


class KeptRows:
    """Rows that one walk has seen, for the next: up to a number of them, beyond which none are kept.

    Codes of queries are kept by the run, those of videos in 32 bits, scores in 32 bits where these hold them.
    """

    def __init__(self, limit: int = KEPT_ROWS):
        self._limit, self._n = limit, 0
        self._parts: list[tuple[list[tuple[int, slice]], np.ndarray, np.ndarray]] | None = []

    @property
    def whole(self) -> bool:
        """Say whether all rows seen are here."""
        return self._parts is not None

    def add(self, query: np.ndarray, video: np.ndarray, score: np.ndarray) -> None:
        """Keep rows that are sorted by query."""
        self._n += len(query)
        if self._parts is None or self._n > self._limit:
            self._parts = None
            return
        narrow = score.astype(np.float32)
        kept = narrow if np.array_equal(narrow, score) else score
        self._parts.append((list(runs(query)), video.astype(np.int32), kept))

    def rows(self) -> Iterator[Rows]:
        """Yield the rows again, in the same order, each score the same number."""
        for pieces, video, score in self._parts or ():
            codes, lengths = zip(*((code, rows.stop - rows.start) for code, rows in pieces))
            yield np.repeat(np.array(codes, np.int64), lengths), video, score.astype(np.float64)


def sorted_rows(scores: Scores, queries: Codes, videos: Codes) -> Iterator[Rows]:
    """Yield rows as (query codes, video codes, scores), sorted by query, about BATCH_ROWS at a time.

    The cells of a score grid are small; joined, the work for one query is done on thousands of rows at once.
    """
    waiting: list[Rows] = []
    n_waiting = 0
    for batch in scores.batches():
        query = queries.of_array(batch.queries)[batch.query]
        waiting.append((query, videos.of_array(batch.videos)[batch.video], batch.score))
        n_waiting += len(query)
        if n_waiting >= BATCH_ROWS:
            yield _sorted(waiting)
            waiting, n_waiting = [], 0
    if n_waiting:
        yield _sorted(waiting)


def _sorted(parts: list[Rows]) -> Rows:
    query, video, score = (np.concatenate(part) if len(part) > 1 else part[0] for part in zip(*parts))
    if np.all(query[1:] >= query[:-1]):
        return query, video, score
    pieces = list(runs(query))
    if len(pieces) < len(query) // 64:  # each query's rows stand together: whole stretches are moved
        order = [rows for _, rows in sorted(pieces, key=lambda piece: piece[0])]
        query, video, score = (np.concatenate([column[rows] for rows in order]) for column in (query, video, score))
        return query, video, score
    small = query.astype(np.uint16) if query.max() < 1 << 16 else query  # numpy sorts 16 bits by radix
    order_of_rows = np.argsort(small, kind="stable")
    return query[order_of_rows], video[order_of_rows], score[order_of_rows]


def runs(query: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Yield (code, its rows) for sorted codes."""
    bounds = [0, *(np.flatnonzero(np.diff(query)) + 1).tolist(), len(query)]
    for start, end in zip(bounds[:-1], bounds[1:]):
        yield int(query[start]), slice(start, end)
