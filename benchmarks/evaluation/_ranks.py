"""From counts to ranks: the right videos of one query of one task, and how many wrong ones stand before each."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from ndvr.benchmarks.evaluation.protocol import Protocol, Task
from ndvr.operators.metrics.rank_counts import Counted
from ndvr.operators.metrics.survey import Survey

_WRONG, _RIGHT, _IGNORED = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The found right videos of one query, best first, with the wrong ones before each in three orders of ties."""

    scores: np.ndarray  # (n,) falling
    by_order: np.ndarray  # (n,) wrong videos before it: higher score, or equal score and an earlier id
    above: np.ndarray  # (n,) those with a higher score
    tied: np.ndarray  # (n,) those with the same score
    wrong_labelled: np.ndarray  # scores of the labelled wrong videos
    wrong_found: int
    wrong_missing: int  # wrong videos of the database that this query has no score for
    wrong_at_landmark: int  # those with a score of at least the plan's landmark
    n_relevant: int
    n_rankable: int  # right videos that are in the database, and not the query where that is never ranked
    n_available: int  # right videos that some query was scored against

    @property
    def worst(self) -> np.ndarray:
        """Count the wrong videos before each right one when every tie goes against it."""
        return self.above + self.tied


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Everything the walks over the scores found out, and the ids that are ranked."""

    surveyed: Survey
    counted: Counted
    order: np.ndarray  # (V,) place of each video in the order that equal scores take
    ranked: np.ndarray  # (V,) bool: is in the database
    landmark: float | None
    database: Set[str]
    seen: Set[str]  # videos with a score
    available: Set[str]  # videos of the database that have a score, or are said to be extracted


def evaluated(task: Task, surveyed: Survey) -> frozenset[str]:
    """Return the queries of the task that have at least one score."""
    rows = surveyed.rows[surveyed.queries.of(sorted(task.relevant))]
    return frozenset(query for query, n in zip(sorted(task.relevant), rows) if n)


class Placer:
    """Callable: query -> Ranked, for one task."""

    def __init__(self, protocol: Protocol, task: Task, counts: Counts):
        self.protocol, self.task, self.counts = protocol, task, counts
        self.videos = counts.surveyed.videos
        self.kind = np.where(counts.ranked, _WRONG, _IGNORED).astype(np.int8)
        self.kind[self.videos.of(task.excluded)] = _IGNORED
        self.base = self.kind.copy()
        self.n_database = len(counts.database) - len(task.excluded & counts.database)

    def __call__(self, query: str) -> Ranked:
        task, counts = self.task, self.counts
        codes, scores = counts.surveyed.labelled[query]
        kinds = self._kinds(query, codes)
        right, wrong = kinds == _RIGHT, kinds == _WRONG
        best_first = np.lexsort((counts.order[codes[right]], -scores[right]))
        right_codes, right_scores = codes[right][best_first], scores[right][best_first]
        above, tied, before = _labelled_wrong(
            right_scores, counts.order[right_codes], scores[wrong], counts.order[codes[wrong]]
        )
        wrong_found = int(wrong.sum())
        at_landmark = 0 if counts.landmark is None else int(np.sum(scores[wrong] >= counts.landmark))
        if task.only is None:
            tally = counts.counted.tallies[query]
            sorter = np.argsort(tally.codes)
            at = sorter[np.searchsorted(tally.codes, right_codes, sorter=sorter)]
            above, tied, before = above + tally.above[at], tied + tally.tied[at], before + tally.tied_before[at]
            wrong_found += tally.total
            at_landmark += tally.at_landmark
        relevant = task.relevant[query]
        return Ranked(
            scores=right_scores,
            by_order=above + before,
            above=above,
            tied=tied,
            wrong_labelled=scores[wrong],
            wrong_found=wrong_found,
            wrong_missing=max(0, self._wrong_in_database(query) - wrong_found),
            wrong_at_landmark=at_landmark,
            n_relevant=len(relevant),
            n_rankable=self._rankable(query),
            n_available=len(relevant & counts.available),
        )

    def _kinds(self, query: str, codes: np.ndarray) -> np.ndarray:
        """Return _WRONG, _RIGHT or _IGNORED for each code. Later lines win."""
        task, of = self.task, self.videos.of
        steps = []
        if task.only is not None:
            candidates = of(task.only.get(query, frozenset()))
            steps += [(codes, _IGNORED), (candidates, self.base[candidates])]
        steps.append((of(task.ignored.get(query, frozenset())), _IGNORED))
        steps.append((of(task.relevant[query] & self.counts.database), _RIGHT))
        if not self.protocol.ranks_query:
            steps.append((of([query]), _IGNORED))
        for touched, kind in steps:
            self.kind[touched] = kind
        kinds = self.kind[codes]
        for touched, _ in steps:
            self.kind[touched] = self.base[touched]
        return kinds

    def _rankable(self, query: str) -> int:
        # Without an id list nothing says that a right video cannot be found and scored one day.
        task, listed = self.task, self.protocol.database is not None
        right = task.relevant[query] & self.counts.database if listed else task.relevant[query]
        return len(right if self.protocol.ranks_query else right - {query})

    def _wrong_in_database(self, query: str) -> int:
        """Count the videos of the database that are wrong for the query, scored or not."""
        task, none = self.task, frozenset[str]()
        named = task.relevant[query] | task.ignored.get(query, none)
        if not self.protocol.ranks_query:
            named = named | {query}
        if task.only is not None:
            return len((task.only.get(query, none) & self.counts.database) - task.excluded - named)
        return self.n_database - len((named & self.counts.database) - task.excluded)


def _labelled_wrong(
    right: np.ndarray, right_order: np.ndarray, wrong: np.ndarray, wrong_order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count for each right score the labelled wrong ones above it, tied with it, and tied with an earlier id."""
    rising = np.sort(wrong)
    start, end = np.searchsorted(rising, right, "left"), np.searchsorted(rising, right, "right")
    tied = end - start
    before = np.zeros(len(right), np.int64)
    for i in np.flatnonzero(tied):
        before[i] = np.sum((wrong == right[i]) & (wrong_order < right_order[i]))
    return len(wrong) - end, tied, before
