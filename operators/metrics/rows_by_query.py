"""Rows of scores, joined and sorted by query: what each walk over the scores works on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ndvr.operators.metrics.codes import Codes
from ndvr.operators.scores.files import BATCH_ROWS, Scores

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # codes of queries and videos, scores: (N,) each


def sorted_rows(scores: Scores, queries: Codes, videos: Codes) -> Iterator[Rows]:
    """Rows as (query codes, video codes, scores), sorted by query, about BATCH_ROWS at a time.

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
    """(code, its rows) for sorted codes."""
    bounds = [0, *(np.flatnonzero(np.diff(query)) + 1).tolist(), len(query)]
    for start, end in zip(bounds[:-1], bounds[1:]):
        yield int(query[start]), slice(start, end)
