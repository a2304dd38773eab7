"""Rows of scores, joined and sorted by query: what each walk over the scores works on."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Set

import numpy as np
import pyarrow as pa

from ndvr.operators.scores.files import BATCH_ROWS, Scores

# --- Consecutive integers for ids, so that millions of them are counted as arrays


_KEPT_IDS = 1 << 22  # of dictionaries met before: some 100 MB


class Codes:
    """An integer for every id met, in order of appearance."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._code: dict[str, int] = {}
        self._known: dict[int, tuple[pa.Array, np.ndarray]] = {}
        self._n_known = 0

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
        codes = self.of(ids.to_pylist())
        if self._n_known < _KEPT_IDS:
            self._known[key] = ids, codes
            self._n_known += len(ids)
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
    query, video, score = (np.concatenate(part) for part in zip(*parts))
    if np.all(query[1:] >= query[:-1]):
        return query, video, score
    small = query.astype(np.uint16) if query.max() < 1 << 16 else query  # numpy sorts 16 bits by radix
    rows = np.argsort(small, kind="stable")
    return query[rows], video[rows], score[rows]


def runs(query: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Yield (code, its rows) for sorted codes."""
    bounds = [0, *(np.flatnonzero(np.diff(query)) + 1).tolist(), len(query)]
    for start, end in zip(bounds[:-1], bounds[1:]):
        yield int(query[start]), slice(start, end)
