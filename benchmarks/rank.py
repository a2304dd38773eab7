"""From counts to numbers: one task of a protocol, query by query."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np

from ndvr.benchmarks.evaluation import QueryResult, TaskResult
from ndvr.benchmarks.protocol import Protocol, Sets, Task
from ndvr.operators import metrics
from ndvr.operators.rank_counts import Survey, Tally

_WRONG, _RIGHT, _IGNORED = 0, 1, 2
_BY_RANK = {"sum": metrics.average_precision, "trapezoid": metrics.trapezoid_average_precision}


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The found right videos of one query, best first, with the wrong ones before each in three orders of ties."""

    scores: np.ndarray  # (n,) falling
    by_id: np.ndarray  # (n,) wrong videos before it: higher score, or equal score and smaller id
    best: np.ndarray  # (n,) only those with a higher score
    worst: np.ndarray  # (n,) and those with the same score
    wrong_labelled: np.ndarray  # scores of the labelled wrong videos
    wrong_found: int
    n_relevant: int
    n_available: int  # right videos that some query was scored against


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Everything the walks over the scores found out, and the ids that are ranked."""

    surveyed: Survey
    tallies: Mapping[str, Tally]
    pooled: np.ndarray  # (G,) thresholds, rising
    at_least: Mapping[frozenset[str], np.ndarray]  # queries of a task -> (G,) unlabelled pairs at or above each
    order: np.ndarray  # (V,) place of each video among the sorted ids
    ranked: np.ndarray  # (V,) bool: is in the database
    database: Set[str]
    available: Set[str]


def evaluated(task: Task, surveyed: Survey) -> frozenset[str]:
    """Queries of the task that have at least one score."""
    rows = surveyed.rows[surveyed.queries.of(sorted(task.relevant))]
    return frozenset(query for query, n in zip(sorted(task.relevant), rows) if n)


def task_result(protocol: Protocol, task: Task, counts: Counts) -> TaskResult:
    """All numbers of one task; means are None where no query could be evaluated."""
    place = _Placer(protocol, task, counts)
    present = evaluated(task, counts.surveyed)
    ranked, per_query, low, high = {}, {}, [], []
    for query in sorted(task.relevant):
        found = place(query)
        if query in present:
            ranked[query] = found
        if not found.n_relevant:
            continue
        if query in present:
            per_query[query] = _query_result(protocol, found)
        low.append(per_query[query].low if query in per_query else 0.0)
        high.append(_with_missing_on_top(protocol, found))
    lists = list(per_query.values())
    kept = [result.available_ap for result in lists if result.available_ap is not None]
    curves = [
        metrics.precision_recall_curve(found.by_id, found.n_relevant, wrong_found=found.wrong_found)
        for found in (ranked[query] for query in per_query)
    ]
    return TaskResult(
        name=task.name,
        map=_mean([result.ap for result in lists]),
        map_low=_mean([result.low for result in lists]),
        map_high=_mean([result.high for result in lists]),
        micro_ap=_micro(task, ranked, counts),
        queries=len(lists),
        expected_queries=len(low),
        relevant=sum(len(videos) for videos in task.relevant.values()),
        found=sum(result.found for result in lists),
        map_available=_mean(kept),
        queries_available=len(kept),
        possible_low=_mean(low),
        possible_high=_mean(high),
        tied_queries=sum(result.low != result.high for result in lists),
        relevant_sha256=relevant_digest(task.relevant),
        per_query=per_query,
        precision_at_recall=tuple(np.mean(curves, axis=0).tolist()) if curves else (),
    )


class _Placer:
    """Callable: query -> Ranked."""

    def __init__(self, protocol: Protocol, task: Task, counts: Counts):
        self.protocol, self.task, self.counts = protocol, task, counts
        self.videos = counts.surveyed.videos
        self.kind = np.where(counts.ranked, _WRONG, _IGNORED).astype(np.int8)
        self.kind[self.videos.of(task.excluded)] = _IGNORED
        self.base = self.kind.copy()

    def _kinds(self, query: str, codes: np.ndarray) -> np.ndarray:
        """_WRONG, _RIGHT or _IGNORED for each code. Later lines win."""
        task, of = self.task, self.videos.of
        steps = []
        if task.only is not None:
            mine = of(task.only.get(query, frozenset()))
            steps += [(codes, _IGNORED), (mine, self.base[mine])]
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
        if task.only is None:
            tally = counts.tallies[query]
            sorter = np.argsort(tally.codes)
            at = sorter[np.searchsorted(tally.codes, right_codes, sorter=sorter)]
            above, tied, before = above + tally.above[at], tied + tally.tied[at], before + tally.tied_before[at]
            wrong_found += tally.total
        relevant = task.relevant[query]
        return Ranked(
            scores=right_scores,
            by_id=above + before,
            best=above,
            worst=above + tied,
            wrong_labelled=scores[wrong],
            wrong_found=wrong_found,
            n_relevant=len(relevant),
            n_available=len(relevant & counts.available),
        )


def _labelled_wrong(
    right: np.ndarray, right_order: np.ndarray, wrong: np.ndarray, wrong_order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each right score the labelled wrong ones above it, tied with it, and tied with a smaller id."""
    rising = np.sort(wrong)
    start, end = np.searchsorted(rising, right, "left"), np.searchsorted(rising, right, "right")
    tied = end - start
    before = np.zeros(len(right), np.int64)
    for i in np.flatnonzero(tied):
        before[i] = np.sum((wrong == right[i]) & (wrong_order < right_order[i]))
    return len(wrong) - end, tied, before


def _rank_ap(protocol: Protocol):
    return _BY_RANK["trapezoid" if protocol.ap == "trapezoid" else "sum"]


def _with_missing_on_top(protocol: Protocol, found: Ranked) -> float:
    wrong = np.concatenate([np.zeros(found.n_relevant - len(found.best), np.int64), found.best])
    return _rank_ap(protocol)(wrong, found.n_relevant)


def _query_result(protocol: Protocol, found: Ranked) -> QueryResult:
    ap = _rank_ap(protocol)
    low, high = ap(found.worst, found.n_relevant), ap(found.best, found.n_relevant)
    if protocol.ap == "steps":
        value = metrics.step_average_precision(found.scores, found.worst, found.n_relevant)
    else:
        value = ap(found.by_id, found.n_relevant)
    return QueryResult(
        ap=value,
        low=low,
        high=high,
        relevant=found.n_relevant,
        found=len(found.scores),
        wrong=found.wrong_found,
        available_ap=value * found.n_relevant / found.n_available if found.n_available else None,
    )


def _micro(task: Task, ranked: Mapping[str, Ranked], counts: Counts) -> float | None:
    """One AP over the pairs of all evaluated queries, as scikit-learn computes it, times found / all right pairs."""
    n_relevant = sum(row.n_relevant for row in ranked.values())
    if not n_relevant:
        return None
    rows = ranked.values()
    scores = np.sort(np.concatenate([row.scores for row in rows]))[::-1]
    labelled = np.sort(np.concatenate([row.wrong_labelled for row in rows]))
    wrong = len(labelled) - np.searchsorted(labelled, scores, side="left")
    if task.only is None:
        wrong = wrong + counts.at_least[frozenset(ranked)][np.searchsorted(counts.pooled, scores)]
    return metrics.step_average_precision(scores, wrong, n_relevant)


def relevant_digest(relevant: Sets) -> str:
    """sha256 over lines "query<TAB>id id id", queries and ids sorted: which truth a number was computed on."""
    lines = (f"{query}\t{' '.join(sorted(videos))}\n" for query, videos in sorted(relevant.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
