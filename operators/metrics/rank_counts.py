"""The second walk over scores: how many videos stand before each right one, of its query and of all queries together.

    counter = Counter(plan)
    counter.walk(scores)                   # or walk parts of them in several places and add() their counts()
    counted = counter.counted()

Every row is counted between the scores of right videos; what a truth says something about is known from the survey and
taken out again, so that what remains are the wrong ones. Counts are integers and add up: the order of rows, files and
workers cannot matter. Comparisons are float64 and exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from ndvr.operators.metrics.rows_by_query import runs, sorted_rows
from ndvr.operators.metrics.survey import Survey
from ndvr.operators.scores.files import Scores

# --- Where scores lie among a sorted list of thresholds, several times as fast as a binary search for each
#
# The scores of an evaluation outnumber its thresholds (those of the right videos) a thousand times, so most of them
# fall into a stretch without any threshold. A score is mapped to one of many equal buckets, floor((score - low) *
# scale). That mapping never decreases, rounded as it is, so a score in a bucket without a threshold is above all
# thresholds of lower buckets and below those of higher ones: looked up, not searched. The few others are searched.


_BUCKETS = 64  # for each threshold, so that one bucket in 64 must be searched
_MOST_BUCKETS = 1 << 20  # 4 MB of places


class Thresholds:
    """Distinct rising values (G,); scores fall into 2 G + 1 bins: 2i is below value i, 2i + 1 equals it."""

    def __init__(self, values: np.ndarray):
        self.values = values
        self.n_bins = 2 * len(values) + 1
        self._padded = np.append(values, np.nan)  # equals nothing
        span = float(values[-1] - values[0]) if len(values) else 0.0
        n_buckets = min(_MOST_BUCKETS, _BUCKETS * len(values))
        self._scale = n_buckets / span if span > 0 else 0.0
        if not np.isfinite(self._scale) or not self._scale:
            self._scale = 0.0
            return
        self._last = n_buckets + 1
        used = np.bincount(self._buckets(values), minlength=n_buckets + 2)
        self._place = (np.cumsum(used) - used).astype(np.int32)
        self._place[used > 0] = -1

    def _buckets(self, scores: np.ndarray) -> np.ndarray:
        """Number the buckets of scores: 0 below all thresholds, then rising with the score."""
        at = (scores - self.values[0]) * self._scale
        np.clip(at, -1, self._last - 1, out=at)
        return (at + 1).astype(np.int32)

    def bins(self, scores: np.ndarray) -> np.ndarray:
        """Find the bin of each score, (N,) integer."""
        if not self._scale:
            return self._search(scores)
        place = self._place[self._buckets(scores)]
        rest = np.flatnonzero(place < 0)
        place *= 2
        place[rest] = self._search(scores[rest])
        return place

    def _search(self, scores: np.ndarray) -> np.ndarray:
        place = np.searchsorted(self.values, scores)
        return 2 * place + (self._padded[place] == scores)

    def counts(self, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count, from rows counted by bin, (n_bins,): those above each value (G,), and those equal to it (G,)."""
        from_here = np.cumsum(bins[::-1])[::-1]
        return from_here[2::2], bins[1::2]


LEVELS = 512  # at most so many scores at which the pairs of each single query are counted


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be counted."""

    surveyed: Survey
    right: Mapping[str, Set[str]]  # query -> videos right for any task, a subset of the survey's labels
    order: np.ndarray  # (V,) place of each video in the order that equal scores take
    ranked: np.ndarray  # (V,) bool: is ranked at all
    groups: Sequence[Set[str]]  # queries that are pooled
    landmark: float | None = None  # a score of interest beside those of the right videos


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Unlabelled (so wrong) videos of one query around its right ones; arrays are parallel to `codes`."""

    codes: np.ndarray  # (P,) the right videos
    above: np.ndarray  # (P,) unlabelled videos with a higher score
    tied: np.ndarray  # (P,) with the same score
    tied_before: np.ndarray  # (P,) with the same score and an earlier place in the order
    at_landmark: int  # with at least the plan's landmark for a score
    total: int  # all unlabelled videos that were scored


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Unlabelled pairs of a group of queries."""

    above: np.ndarray  # (G,) those with a score above each threshold
    tied: np.ndarray  # (G,) equal to it


@dataclass(frozen=True, kw_only=True)
class Counted:
    """All that the second walk found out."""

    tallies: Mapping[str, Tally]
    thresholds: np.ndarray  # (G,) scores of right videos, rising
    pooled: Mapping[frozenset[str], Pooled]
    levels: np.ndarray  # (K,) some of the thresholds, rising
    at_least: Mapping[str, np.ndarray]  # query -> its unlabelled pairs at or above each level (K,)


class Counter:
    """Walks scores and adds up with others of the same plan, in any order."""

    def __init__(self, plan: Plan):
        self.plan, surveyed = plan, plan.surveyed
        self.tie_counts = {}
        values = []
        for query, videos in plan.right.items():
            codes, scores = surveyed.labelled[query]
            right = np.isin(codes, surveyed.videos.of(videos))
            ties = _TieCounts(codes[right], scores[right], plan.order, landmark=plan.landmark)
            self.tie_counts[int(surveyed.queries.of([query])[0])] = ties
            values.append(ties.thresholds.values)
        self.pooled = Thresholds(np.unique(np.concatenate([np.zeros(0), *values])))
        with_truth = list(self.tie_counts)
        self.row = np.full(len(surveyed.queries), -1, np.int64)  # in `by_level`, of each query that a truth speaks of
        self.row[with_truth] = np.arange(len(with_truth))
        step = max(1, -(-len(self.pooled.values) // LEVELS))
        self.levels = self.pooled.values[::step]
        # Bin -> level, the number of levels that a score in it reaches.
        self.level_of = ((np.arange(self.pooled.n_bins) + 1) // 2 + step - 1) // step
        self.by_level = np.zeros((len(with_truth), len(self.levels) + 1), np.int64)
        self.member = [np.isin(np.arange(len(surveyed.queries)), surveyed.queries.of(group)) for group in plan.groups]
        self.histograms = [np.zeros(self.pooled.n_bins, np.int64) for _ in plan.groups]

    def walk(self, scores: Scores) -> None:
        """Count every ranked row; then what the truth says something about can be taken out."""
        surveyed = self.plan.surveyed
        all_ranked = bool(self.plan.ranked.all())
        again = surveyed.kept.rows() if surveyed.kept else sorted_rows(scores, surveyed.queries, surveyed.videos)
        for query, video, score in again:
            if not all_ranked:
                keep = self.plan.ranked[video]
                query, video, score = query[keep], video[keep], score[keep]
            self._count(query, video, score, sign=1)

    def counts(self) -> list[np.ndarray]:
        """List all that was counted: some MB, whatever the number of rows."""
        of_queries = [counts for ties in self.tie_counts.values() for counts in (ties.bins, ties.place_bins)]
        return [*of_queries, *self.histograms, self.by_level]

    def add(self, counts: list[np.ndarray]) -> None:
        """Take in what another one of the same plan counted elsewhere."""
        for own_counts, new_counts in zip(self.counts(), counts):
            own_counts += new_counts

    def counted(self) -> Counted:
        """Sum up; call it once, at the end."""
        self._take_out_labelled()
        at_least = np.cumsum(self.by_level[:, :0:-1], axis=1)[:, ::-1]
        ids = self.plan.surveyed.queries.ids
        return Counted(
            tallies={ids[q]: ties.tally() for q, ties in self.tie_counts.items()},
            thresholds=self.pooled.values,
            pooled={
                frozenset(group): Pooled(above=above, tied=tied)
                for group, histogram in zip(self.plan.groups, self.histograms)
                for above, tied in [self.pooled.counts(histogram)]
            },
            levels=self.levels,
            at_least={ids[q]: at_least[row] for row, q in enumerate(self.tie_counts)},
        )

    def _take_out_labelled(self) -> None:
        labelled = self.plan.surveyed.labelled
        if labelled:
            videos, scores = (np.concatenate(part) for part in zip(*labelled.values()))
            queries = np.repeat(self.plan.surveyed.queries.of(list(labelled)), [len(v) for v, _ in labelled.values()])
            keep = self.plan.ranked[videos]
            self._count(queries[keep], videos[keep], scores[keep], sign=-1)

    def _count(self, query: np.ndarray, video: np.ndarray, score: np.ndarray, *, sign: int) -> None:
        """Count rows, sorted by query."""
        if not len(query):
            return
        for q, rows in runs(query):
            if q in self.tie_counts:
                self.tie_counts[q].count(score[rows], video[rows], sign)
        rows_of_query = self.row[query]
        if rows_of_query.min() < 0:
            keep = rows_of_query >= 0
            query, score, rows_of_query = query[keep], score[keep], rows_of_query[keep]
        bins = self.pooled.bins(score)
        for histogram, inside in zip(self.histograms, self.member):
            is_inside = inside[query]
            histogram += sign * np.bincount(bins if is_inside.all() else bins[is_inside], minlength=len(histogram))
        cells = rows_of_query * self.by_level.shape[1] + self.level_of[bins]
        self.by_level += sign * np.bincount(cells, minlength=self.by_level.size).reshape(self.by_level.shape)


class _TieCounts:
    """Rows of one query by their score, and those equal to a right score by their place in the order of ties."""

    def __init__(self, codes: np.ndarray, scores: np.ndarray, order: np.ndarray, *, landmark: float | None):
        self.codes, self.order, self.landmark = codes, order, landmark
        self.thresholds = Thresholds(np.unique(scores if landmark is None else np.append(scores, landmark)))
        self.at = np.searchsorted(self.thresholds.values, scores)
        self.bins = np.zeros(self.thresholds.n_bins, np.int64)
        # Ties only: (threshold, place in the order) as one integer, rising by place inside a threshold.
        self.keys = self.at * len(order) + order[codes]
        self.sorted_keys = np.sort(self.keys)
        self.place_bins = np.zeros(len(codes) + 1, np.int64)

    def count(self, scores: np.ndarray, videos: np.ndarray, sign: int) -> None:
        bins = self.thresholds.bins(scores)
        self.bins += sign * np.bincount(bins, minlength=len(self.bins))
        tied = np.flatnonzero(bins & 1)
        if len(tied):
            keys = (bins[tied] >> 1).astype(np.int64) * len(self.order) + self.order[videos[tied]]
            places = np.searchsorted(self.sorted_keys, keys)
            self.place_bins += sign * np.bincount(places, minlength=len(self.place_bins))

    def tally(self) -> Tally:
        above, tied = self.thresholds.counts(self.bins)
        at_landmark = 0
        if self.landmark is not None:
            at_landmark = int((above + tied)[np.searchsorted(self.thresholds.values, self.landmark)])
        # keys before mine, less all keys of lower thresholds
        before = np.cumsum(self.place_bins)[np.searchsorted(self.sorted_keys, self.keys)]
        lower = np.concatenate([[0], np.cumsum(tied)])[:-1]
        return Tally(
            codes=self.codes,
            above=above[self.at],
            tied=tied[self.at],
            tied_before=before - lower[self.at],
            at_landmark=at_landmark,
            total=int(self.bins.sum()),
        )
