"""Count, over any number of score batches in any order, how many videos stand before each right one.

Two walks over the scores, holding one batch at a time:
    survey  checks every row, notes who was scored, keeps the scores of the labelled pairs (those a truth speaks of)
    tally   sorts every other pair into the gaps between the right videos' scores: those are the wrong ones
Counts add up, so the order of rows, files and workers cannot matter; comparisons are float64 and exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np

from ndvr.operators.codes import Codes
from ndvr.operators.pair_set import PairSet
from ndvr.operators.score_files import BATCH_ROWS, Scores


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the first walk learned. Codes index `videos.ids`."""

    queries: Codes  # every query that has a row, and every labelled one
    videos: Codes
    rows: np.ndarray  # (Q,) pairs scored
    scored: np.ndarray  # (V,) bool: has a score from some query
    labelled: dict[str, tuple[np.ndarray, np.ndarray]]  # query -> codes and scores of its labelled, scored videos
    n_pairs: int


def survey(scores: Scores, labels: Mapping[str, Set[str]]) -> Survey:
    """Walk once. ValueError for a score that is not finite and for a pair that has two scores, naming the pair.

    labels  query -> the videos whose scores are needed one by one; queries outside it are checked, not kept
    """
    queries, videos = Codes(), Codes()
    queries.of(list(labels))
    labelled = [videos.of(labels[query]) for query in queries.ids]
    kept: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {query: [] for query in labels}
    pairs = PairSet()
    for query, video, score in _by_query(scores, queries, videos):
        _check_finite(queries, videos, query, video, score)
        mark = np.zeros(len(videos), bool)
        for q, rows in _runs(query):
            pairs.add(q, video[rows], len(videos))
            if q < len(labelled):
                mark[labelled[q]] = True
                hit = mark[video[rows]]
                mark[labelled[q]] = False
                kept[queries.ids[q]].append((video[rows][hit], score[rows][hit]))
    twice = pairs.queries_with_repeats()
    if len(twice):
        raise ValueError(_name_repeat(scores, queries.ids[twice[0]]))
    return Survey(
        queries=queries,
        videos=videos,
        rows=pairs.counts(len(queries)),
        scored=pairs.any_query(len(videos)),
        labelled={query: _end_to_end(found) for query, found in kept.items()},
        n_pairs=int(pairs.counts(len(queries)).sum()),
    )


def _end_to_end(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    codes, values = zip((np.zeros(0, np.int64), np.zeros(0)), *found)
    return np.concatenate(codes), np.concatenate(values)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Unlabelled (so wrong) videos of one query around its right ones; arrays are parallel to `codes`."""

    codes: np.ndarray  # (P,) the right videos
    above: np.ndarray  # (P,) unlabelled videos with a higher score
    tied: np.ndarray  # (P,) with the same score
    tied_before: np.ndarray  # (P,) with the same score and a smaller id
    total: int  # all unlabelled videos that were scored


def tally(
    scores: Scores,
    surveyed: Survey,
    right: Mapping[str, Set[str]],
    *,
    order: np.ndarray,
    ranked: np.ndarray,
    groups: list[Set[str]],
) -> tuple[dict[str, Tally], tuple[np.ndarray, list[np.ndarray]]]:
    """Walk again: a tally for each query, and for each group of queries the pooled counts.

    right     query -> videos that are right for any task, a subset of the labels the survey was given
    order     place of each video among the sorted ids (V,), as `Codes.order`
    ranked    videos that are ranked at all, (V,) bool
    returns   also (thresholds (G,) rising, for each group: unlabelled pairs with a score of at least that (G,))
    """
    known = ranked.copy()
    gaps = {}
    for query_id, videos in right.items():
        codes, values = surveyed.labelled[query_id]
        is_right = np.isin(codes, surveyed.videos.of(videos))
        gaps[surveyed.queries.of([query_id])[0]] = _Gaps(codes[is_right], values[is_right], order)
    pooled = np.unique(np.concatenate([np.zeros(0), *(gap.values for gap in gaps.values())]))
    member = [np.isin(np.arange(len(surveyed.queries)), surveyed.queries.of(group)) for group in groups]
    histograms = [np.zeros(len(pooled) + 1, np.int64) for _ in groups]
    for query, video, score in _by_query(scores, surveyed.queries, surveyed.videos):
        wrong = np.zeros(len(query), bool)
        for q, rows in _runs(query):
            if q not in gaps:
                continue
            labelled = surveyed.labelled[surveyed.queries.ids[q]][0]
            keep = known[labelled]
            known[labelled] = False
            unlabelled = known[video[rows]]
            known[labelled] = keep
            wrong[rows] = unlabelled
            gaps[q].add(score[rows][unlabelled], video[rows][unlabelled])
        if wrong.any() and len(pooled):
            query, place = query[wrong], np.searchsorted(pooled, score[wrong], side="right")
            for histogram, inside in zip(histograms, member):
                histogram += np.bincount(place if inside.all() else place[inside[query]], minlength=len(histogram))
    at_least = [np.cumsum(histogram[:0:-1])[::-1] for histogram in histograms]
    return {surveyed.queries.ids[q]: gap.tally() for q, gap in gaps.items()}, (pooled, at_least)


class _Gaps:
    """Histogram over the gaps between one query's right scores: bin 2i is below threshold i, bin 2i + 1 equals it."""

    def __init__(self, codes: np.ndarray, values: np.ndarray, order: np.ndarray):
        self.codes, self.values, self.order = codes, values, order
        self.thresholds, self.at = np.unique(values, return_inverse=True)
        self.padded = np.append(self.thresholds, np.nan)  # equals nothing
        self.bins = np.zeros(2 * len(self.thresholds) + 1, np.int64)
        # Ties only: (threshold, place of the id) as one integer, rising by id inside a threshold.
        self.keys = self.at * len(order) + order[codes]
        self.sorted_keys = np.sort(self.keys)
        self.key_bins = np.zeros(len(codes) + 1, np.int64)

    def add(self, values: np.ndarray, videos: np.ndarray) -> None:
        place = np.searchsorted(self.thresholds, values)
        tied = self.padded[place] == values
        self.bins += np.bincount(2 * place + tied, minlength=len(self.bins))
        if tied.any():
            keys = place[tied] * len(self.order) + self.order[videos[tied]]
            self.key_bins += np.bincount(np.searchsorted(self.sorted_keys, keys), minlength=len(self.key_bins))

    def tally(self) -> Tally:
        from_here = np.cumsum(self.bins[::-1])[::-1]
        tied = self.bins[1::2]
        # keys before mine, less all keys of lower thresholds
        before = np.cumsum(self.key_bins)[np.searchsorted(self.sorted_keys, self.keys)]
        lower = np.concatenate([[0], np.cumsum(tied)])[:-1]
        return Tally(
            codes=self.codes,
            above=from_here[2::2][self.at],
            tied=tied[self.at],
            tied_before=before - lower[self.at],
            total=int(self.bins.sum()),
        )


def _by_query(scores: Scores, queries: Codes, videos: Codes) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows as (query codes, video codes, scores), sorted by query, about BATCH_ROWS at a time.

    The cells of a score grid are small; joined, the work for one query is done on thousands of rows at once.
    """
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
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


def _sorted(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    query, video, score = (np.concatenate(part) for part in zip(*parts))
    if np.all(query[1:] >= query[:-1]):
        return query, video, score
    small = query.astype(np.uint16) if query.max() < 1 << 16 else query  # numpy sorts 16 bits by radix
    rows = np.argsort(small, kind="stable")
    return query[rows], video[rows], score[rows]


def _runs(query: np.ndarray) -> Iterator[tuple[int, slice]]:
    """(code, its rows) for sorted codes."""
    bounds = [0, *(np.flatnonzero(np.diff(query)) + 1).tolist(), len(query)]
    for start, end in zip(bounds[:-1], bounds[1:]):
        yield int(query[start]), slice(start, end)


def _check_finite(queries: Codes, videos: Codes, query: np.ndarray, video: np.ndarray, score: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(score))
    if len(bad):
        i = bad[0]
        raise ValueError(
            f"the score of query {queries.ids[query[i]]!r} and video {videos.ids[video[i]]!r} is {score[i]}, and so "
            "cannot be ranked: compute it again, or leave the pair out"
        )


def _name_repeat(scores: Scores, query: str) -> str:
    seen: set[str] = set()
    for batch in scores.batches():
        mine = [q == query for q in batch.queries.to_pylist()]
        for video in batch.video[np.array(mine, bool)[batch.query]]:
            video_id = batch.videos[video].as_py()
            if video_id in seen:
                return f"query {query!r} and video {video_id!r} have two scores in {scores.name}: keep one score a pair"
            seen.add(video_id)
    raise AssertionError("counted a repeated pair that is not there")
