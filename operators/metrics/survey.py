"""The first walk over scores: checks every row, notes who was scored, keeps the scores that a truth speaks of.

surveyor = Surveyor(labels)
surveyor.walk(scores)                  # or walk parts of them in several places and add() the surveyors up
surveyed = surveyor.survey(scores)
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np

from ndvr.operators.metrics.rows_by_query import Codes, KeptRows, runs, sorted_rows
from ndvr.operators.scores.files import Scores

# --- Which (query, video) pairs were seen, one bit a pair: finds repeats, counts rows, knows who was scored


class PairSet:
    """Pairs of integer codes; 10,000 queries x 1 million videos take 1.3 GB."""

    def __init__(self) -> None:
        self._bits: dict[int, np.ndarray] = {}
        self._rows: dict[int, int] = {}

    def add(self, query: int, videos: np.ndarray, n_videos: int) -> None:
        size = -(-n_videos // 8)
        bits = self._bits.get(query, np.zeros(0, np.uint8))
        if len(bits) < size:
            bits = np.concatenate([bits, np.zeros(size - len(bits), np.uint8)])
        if len(videos) * 64 > n_videos:  # a tenth of the time of ufunc.at on long rows
            mark = np.zeros(size * 8, bool)
            mark[videos] = True
            bits |= np.packbits(mark, bitorder="little")
        else:
            np.bitwise_or.at(bits, videos >> 3, (1 << (videos & 7)).astype(np.uint8))
        self._bits[query] = bits
        self._rows[query] = self._rows.get(query, 0) + len(videos)

    def add_all(self, other: PairSet, queries: np.ndarray, videos: np.ndarray, n_videos: int) -> None:
        """Take in another set, whose code q is queries[q] here, and v is videos[v]; repeats in it stay repeats."""
        for q, bits in other._bits.items():
            query = int(queries[q])
            videos_seen = videos[np.flatnonzero(np.unpackbits(bits, bitorder="little"))]
            self.add(query, videos_seen, n_videos)
            self._rows[query] += other._rows[q] - len(videos_seen)

    def queries_with_repeats(self) -> list[int]:
        return [q for q, bits in self._bits.items() if int(np.unpackbits(bits).sum()) != self._rows[q]]

    def counts(self, n_queries: int) -> np.ndarray:
        return np.array([self._rows.get(q, 0) for q in range(n_queries)], np.int64)

    def any_query(self, n_videos: int) -> np.ndarray:
        union = np.zeros(-(-n_videos // 8), np.uint8)
        for bits in self._bits.values():
            union[: len(bits)] |= bits
        return np.unpackbits(union, bitorder="little", count=n_videos).astype(bool)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the first walk learned. Codes index `queries.ids` and `videos.ids`."""

    queries: Codes  # every query that has a row, and every labelled one
    videos: Codes
    rows: np.ndarray  # (Q,) pairs scored
    scored: np.ndarray  # (V,) bool: has a score from some query
    labelled: dict[str, tuple[np.ndarray, np.ndarray]]  # query -> codes and scores of its labelled, scored videos
    n_pairs: int
    kept: KeptRows | None = None  # all rows, where one process saw them and they are not too many


class Surveyor:
    """Walks scores and adds up with others of the same labels, in any order."""

    def __init__(self, labels: Mapping[str, Set[str]]):
        """labels: query -> the videos whose scores are needed one by one; other queries are checked, not kept."""
        self.queries, self.videos, self.pairs = Codes(), Codes(), PairSet()
        self.queries.of(list(labels))
        self.labelled = [self.videos.of(labels[query]) for query in self.queries.ids]
        self.kept: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in self.labelled]

    def walk(self, scores: Scores, kept: KeptRows | None = None) -> None:
        """Take in all rows, and keep them. ValueError for a score that is not finite, naming the pair."""
        for query, video, score in sorted_rows(scores, self.queries, self.videos):
            self._check_finite(query, video, score)
            if kept is not None:
                kept.add(query, video, score)
            mark = np.zeros(len(self.videos), bool)
            for q, rows in runs(query):
                self.pairs.add(q, video[rows], len(self.videos))
                if q < len(self.labelled):
                    mark[self.labelled[q]] = True
                    hit = mark[video[rows]]
                    mark[self.labelled[q]] = False
                    self.kept[q].append((video[rows][hit], score[rows][hit]))

    def add(self, other: Surveyor) -> None:
        """Take in what another one found elsewhere; both know the same labels, in the same order of queries."""
        queries, videos = self.queries.of(other.queries.ids), self.videos.of(other.videos.ids)
        for kept, new in zip(self.kept, other.kept):
            kept += [(videos[codes], values) for codes, values in new]
        self.pairs.add_all(other.pairs, queries, videos, len(self.videos))

    def survey(self, scores: Scores, kept: KeptRows | None = None) -> Survey:
        """Sum up what was seen in all of `scores`. ValueError for a pair with two scores, naming it and its files."""
        twice = self.pairs.queries_with_repeats()
        if twice:
            raise ValueError(_name_repeat(scores, self.queries.ids[min(twice)]))
        rows = self.pairs.counts(len(self.queries))
        return Survey(
            queries=self.queries,
            videos=self.videos,
            rows=rows,
            scored=self.pairs.any_query(len(self.videos)),
            labelled={query: _end_to_end(runs) for query, runs in zip(self.queries.ids, self.kept)},
            n_pairs=int(rows.sum()),
            kept=kept if kept is not None and kept.whole else None,
        )

    def _check_finite(self, query: np.ndarray, video: np.ndarray, score: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(score))
        if len(bad):
            i = bad[0]
            raise ValueError(
                f"the score of query {self.queries.ids[query[i]]!r} and video {self.videos.ids[video[i]]!r} is "
                f"{score[i]}, and so cannot be ranked: compute it again, or leave the pair out"
            )


def survey(scores: Scores, labels: Mapping[str, Set[str]]) -> Survey:
    """Walk once, here, and keep what was read."""
    surveyor, kept = Surveyor(labels), KeptRows()
    surveyor.walk(scores, kept)
    return surveyor.survey(scores, kept)


def _end_to_end(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    codes, values = zip((np.zeros(0, np.int64), np.zeros(0)), *parts)
    return np.concatenate(codes), np.concatenate(values)


def _name_repeat(scores: Scores, query: str) -> str:
    seen: dict[str, str] = {}
    for part in scores.parts():
        for batch in part.batches():
            is_query = [q == query for q in batch.queries.to_pylist()]
            for video in batch.video[np.array(is_query, bool)[batch.query]]:
                video_id = batch.videos[video].as_py()
                if video_id in seen:
                    where = dict.fromkeys((seen[video_id], part.name))
                    return (
                        f"query {query!r} and video {video_id!r} have two scores in {' and '.join(where)}: keep one "
                        "score a pair"
                    )
                seen[video_id] = part.name
    raise AssertionError("counted a repeated pair that is not there")
