"""The best video pairs by the best inner product of their vectors, under the limits of the Video Similarity Challenge.

The challenge keeps the best frame pairs of all queries together, then the best video pairs among them (the score of a
video pair is its best frame pair). Here a video pair is judged as soon as its block of products is there, so memory is
bounded: a block, about twice the frame limit in scores, about twice the video limit in pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ndvr.operators.metrics.micro_ap import Candidate

_BLOCK_FRAMES = 1024, 8192  # of queries, of videos: products of 32 MB


@dataclass(frozen=True, kw_only=True)
class Descriptors:
    """Vectors of many videos, one video after the other: the first counts[0] of them are of ids[0]."""

    ids: tuple[str, ...]
    counts: np.ndarray  # (V,) integer, at least 1
    vectors: np.ndarray = field(repr=False)  # (T, D) float32

    def __post_init__(self) -> None:
        if len(set(self.ids)) != len(self.ids):
            twice = next(i for n, i in enumerate(self.ids) if i in self.ids[:n])
            raise ValueError(f"video {twice!r} is there twice, or its vectors do not stand together")
        if self.vectors.ndim != 2 or len(self.counts) != len(self.ids) or np.sum(self.counts) != len(self.vectors):
            raise ValueError(
                f"{len(self.ids)} videos with {np.sum(self.counts)} vectors in all, but vectors of shape "
                f"{self.vectors.shape}: one row a vector is needed"
            )
        if np.any(self.counts < 1):
            raise ValueError(f"video {self.ids[int(np.argmin(self.counts))]!r} has no vector: leave it out")
        bad = np.flatnonzero(~np.isfinite(self.vectors).all(axis=1))
        if len(bad):
            owner = self.ids[int(np.searchsorted(np.cumsum(self.counts), bad[0], side="right"))]
            raise ValueError(f"video {owner!r} has a vector with a value that is not finite, and so cannot be compared")

    def blocks(self, frames: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(number of the first video, its and the next videos' counts, their vectors): whole videos, about `frames`."""
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        first = 0
        while first < len(self.ids):
            last = max(first + 1, int(np.searchsorted(starts, starts[first] + frames, side="right")) - 1)
            yield first, self.counts[first:last], self.vectors[starts[first] : starts[last]]
            first = last


def best_pairs(
    queries: Descriptors, videos: Descriptors, *, frame_pairs: int, video_pairs: int, block=_BLOCK_FRAMES
) -> list[Candidate]:
    """At most video_pairs candidates, best first, among the best frame_pairs frame pairs.

    Where the last places are tied: all frame pairs with the score of the last one are kept; of video pairs those with
    the smaller query id, then the smaller video id.
    """
    if queries.vectors.shape[1] != videos.vectors.shape[1]:
        sizes = queries.vectors.shape[1], videos.vectors.shape[1]
        raise ValueError(f"vectors of {sizes[0]} and of {sizes[1]} numbers cannot be compared")
    frames, best = _HighestScores(frame_pairs), _BestPairs(video_pairs, _order(queries.ids), _order(videos.ids))
    for q, query_counts, query_vectors in queries.blocks(block[0]):
        for v, video_counts, video_vectors in videos.blocks(block[1]):
            scores = query_vectors @ video_vectors.T  # (query frames, video frames)
            frames.add(scores)
            highest = np.maximum.reduceat(scores, _starts(query_counts), axis=0)
            best.add(np.maximum.reduceat(highest, _starts(video_counts), axis=1), q, v)
    return [(queries.ids[q], videos.ids[v], float(score)) for score, q, v in best.rows(at_least=frames.last())]


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts) - counts


def _order(ids: tuple[str, ...]) -> np.ndarray:
    """Place of each id among the sorted ids."""
    order = np.empty(len(ids), np.int64)
    order[np.argsort(np.array(ids, object), kind="stable")] = np.arange(len(ids))
    return order


class _HighestScores:
    """The n highest of any number of scores."""

    def __init__(self, n: int):
        self.n, self.parts, self.waiting = n, [np.zeros(0, np.float32)], 0
        self.floor = -np.inf  # what does not exceed it cannot change the n-th highest

    def add(self, scores: np.ndarray) -> None:
        kept = scores[scores > self.floor]
        self.parts.append(kept)
        self.waiting += len(kept)
        if self.waiting > self.n:
            self._shrink()

    def _shrink(self) -> None:
        scores = np.concatenate(self.parts)
        if len(scores) >= self.n:
            scores = np.partition(scores, len(scores) - self.n)[-self.n :]
            self.floor = float(scores[0])
        self.parts, self.waiting = [scores], 0

    def last(self) -> float:
        """The n-th highest; -inf if there are fewer."""
        self._shrink()
        return self.floor


class _BestPairs:
    """The n best (score, query, video), ties by the order of ids."""

    def __init__(self, n: int, query_order: np.ndarray, video_order: np.ndarray):
        self.n, self.orders = n, (query_order, video_order)
        self.scores, self.pairs = np.zeros(0, np.float32), np.zeros((0, 2), np.int64)
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self.n_waiting = 0
        self.floor = -np.inf

    def add(self, scores: np.ndarray, first_query: int, first_video: int) -> None:
        kept = scores >= self.floor
        self.waiting.append((scores[kept], np.argwhere(kept) + (first_query, first_video)))
        self.n_waiting += int(kept.sum())
        if self.n_waiting > self.n:
            self._shrink()

    def _shrink(self) -> None:
        scores, pairs = (np.concatenate(parts) for parts in zip((self.scores, self.pairs), *self.waiting))
        query, video = (order[column] for order, column in zip(self.orders, pairs.T))
        best = np.lexsort((video, query, -scores))[: self.n]
        self.scores, self.pairs, self.waiting, self.n_waiting = scores[best], pairs[best], [], 0
        if len(best) == self.n:
            self.floor = float(self.scores[-1])

    def rows(self, *, at_least: float) -> list[tuple[float, int, int]]:
        """Best first."""
        self._shrink()
        kept = self.scores >= at_least
        return [(float(score), int(q), int(v)) for score, (q, v) in zip(self.scores[kept], self.pairs[kept])]
