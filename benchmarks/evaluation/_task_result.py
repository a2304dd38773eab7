"""All numbers of one task: means over its queries, pooled numbers, and what ties and missing videos could change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ndvr.benchmarks.evaluation._bootstrap import Interval, mean_interval, micro_interval
from ndvr.benchmarks.evaluation._ranks import Counts, Placer, Ranked, evaluated
from ndvr.benchmarks.evaluation.protocol import Protocol, Sets, Task
from ndvr.benchmarks.evaluation.result import QueryResult, TaskResult
from ndvr.operators.metrics import average_precision as metrics

_BY_RANK: dict[str, Callable[[np.ndarray, int], float]] = {
    "sum": metrics.average_precision,
    "trapezoid": metrics.trapezoid_average_precision,
}


def task_result(protocol: Protocol, task: Task, counts: Counts) -> TaskResult:
    """Compute all numbers of a task; means are None where no query could be evaluated."""
    place = Placer(protocol, task, counts)
    present = evaluated(task, counts.surveyed)
    perfect = protocol.switches.no_right_video == "perfect"
    expected = {query: place(query) for query in sorted(task.relevant)}
    counted = {query: ranked for query, ranked in expected.items() if ranked.n_relevant or perfect}
    per_query = {query: _query_result(protocol, ranked) for query, ranked in counted.items() if query in present}
    results = list(per_query.values())
    available = [result.available_ap for result in results if result.available_ap is not None]
    n_ids = len((counts.database | protocol.queries) - task.excluded)
    curves = [_curve(protocol, counted[query], n_ids) for query in per_query if counted[query].n_relevant]
    return TaskResult(
        name=task.name,
        map=_mean(result.ap for result in results),
        map_low=_mean(result.low for result in results),
        map_expected=_mean(result.expected for result in results),
        map_high=_mean(result.high for result in results),
        map_interval=mean_interval(np.array([result.ap for result in results])),
        queries=len(results),
        expected_queries=len(counted),
        queries_without_right=len(expected) - sum(ranked.n_relevant > 0 for ranked in expected.values()),
        relevant=sum(len(videos) for videos in task.relevant.values()),
        found=sum(result.found for result in results),
        map_available=_mean(available),
        queries_available=len(available),
        possible_low=_mean(_possible_low(protocol, ranked) for ranked in counted.values()),
        possible_high=_mean(_possible_high(protocol, ranked) for ranked in counted.values()),
        ceiling=_mean(
            ranked.n_rankable / ranked.n_relevant if ranked.n_relevant else 1.0 for ranked in counted.values()
        ),
        tied_queries=sum(result.low != result.high for result in results),
        relevant_sha256=relevant_digest(task.relevant),
        queries_sha256=digest(per_query),
        per_query=per_query,
        precision_at_recall=tuple(np.mean(curves, axis=0).tolist()) if curves else (),
        **_micro(task, {query: expected[query] for query in sorted(present)}, list(expected.values()), counts),
    )


def _query_result(protocol: Protocol, ranked: Ranked) -> QueryResult:
    if not ranked.n_relevant:  # only where the convention has it so
        return QueryResult(
            ap=1.0, low=1.0, expected=1.0, high=1.0, relevant=0, found=0, wrong=ranked.wrong_found, available_ap=1.0
        )
    kind: metrics.ApKind = "trapezoid" if protocol.ap == "trapezoid" else "sum"
    ap, n = _BY_RANK[kind], ranked.n_relevant
    if protocol.ap == "steps":
        value = metrics.step_average_precision(ranked.scores, ranked.worst, n)
    else:
        value = ap(ranked.by_order, n)
    tied = bool(ranked.tied.any())
    return QueryResult(
        ap=value,
        low=ap(ranked.worst, n) if tied else value,
        expected=metrics.expected_average_precision(ranked.scores, ranked.above, ranked.tied, n, kind=kind)
        if tied
        else value,
        high=ap(ranked.above, n) if tied else value,
        relevant=n,
        found=len(ranked.scores),
        wrong=ranked.wrong_found,
        available_ap=value * n / ranked.n_available if ranked.n_available else None,
    )


def _possible_low(protocol: Protocol, ranked: Ranked) -> float:
    """Compute the AP with unscored wrong videos on top of the ranking and unscored right ones never found."""
    if not ranked.n_relevant:
        return 1.0
    return _rank_ap(protocol)(ranked.worst + ranked.wrong_missing, ranked.n_relevant)


def _possible_high(protocol: Protocol, ranked: Ranked) -> float:
    """Compute the AP with unscored right videos on top of the ranking and unscored wrong ones behind all others."""
    if not ranked.n_relevant:
        return 1.0
    return _rank_ap(protocol)(_with_missing_on_top(ranked.above, ranked.n_rankable), ranked.n_relevant)


def _with_missing_on_top(wrong_before: np.ndarray, n_rankable: int) -> np.ndarray:
    return np.concatenate([np.zeros(n_rankable - len(wrong_before), np.int64), wrong_before])


def _rank_ap(protocol: Protocol) -> Callable[[np.ndarray, int], float]:
    return _BY_RANK["trapezoid" if protocol.ap == "trapezoid" else "sum"]


def _curve(protocol: Protocol, ranked: Ranked, n_ids: int) -> np.ndarray:
    """Return precision (21,) at recall 0, 0.05 ... 1, with what has no score at the convention's place.

    n_ids  the id list's length: FIVR-200K's script fills every ranking up to it, the query among the fillers
    """
    right = len(ranked.scores) - np.searchsorted(ranked.scores[::-1], ranked.scores, side="left")
    wrong, missing = ranked.worst, ranked.n_relevant - len(ranked.scores)
    at = protocol.switches.unscored_at
    if at is None:
        right, wrong = np.append(right, ranked.n_relevant), np.append(wrong, ranked.wrong_found)
    else:
        behind, fillers = ranked.scores <= at, n_ids - ranked.n_relevant - ranked.wrong_found
        right, wrong = right + missing * behind, wrong + fillers * behind
        place = int(np.sum(ranked.scores >= at))
        right = np.insert(right, place, place + missing)
        wrong = np.insert(wrong, place, ranked.wrong_at_landmark + fillers)
    return metrics.precision_recall_curve(right, wrong, ranked.n_relevant)


def _micro(
    task: Task, ranked: Mapping[str, Ranked], everything: list[Ranked], counts: Counts
) -> dict[str, Any]:  # fields of TaskResult
    """Compute one AP over the pairs of all evaluated queries, as scikit-learn does, times found / all right pairs."""
    rows = list(ranked.values())
    names = ("micro_ap", "micro_ap_low", "micro_ap_expected", "micro_ap_high")
    n_relevant, n_possible = (sum(row.n_relevant for row in part) for part in (rows, everything))
    if not n_relevant:
        worst = 0.0 if n_possible else None
        best = sum(row.n_rankable for row in everything) / n_possible if n_possible else None
        return dict.fromkeys((*names, "micro_ap_interval")) | {
            "micro_ap_possible_low": worst,
            "micro_ap_possible_high": best,
        }
    scores = np.sort(np.concatenate([row.scores for row in rows]))[::-1]
    labelled = np.sort(np.concatenate([row.wrong_labelled for row in rows]))
    above = len(labelled) - np.searchsorted(labelled, scores, side="right")
    tied = len(labelled) - np.searchsorted(labelled, scores, side="left") - above
    if task.only is None:
        at = np.searchsorted(counts.counted.thresholds, scores)
        pooled = counts.counted.pooled[frozenset(ranked)]
        above, tied = above + pooled.above[at], tied + pooled.tied[at]
    value = metrics.step_average_precision(scores, above + tied, n_relevant)
    low = high = expected = value
    if tied.any():
        low, high = (metrics.average_precision(wrong, n_relevant) for wrong in (above + tied, above))
        expected = metrics.expected_average_precision(scores, above, tied, n_relevant)
    missing, n_rankable = (sum(values) for values in zip(*((row.wrong_missing, row.n_rankable) for row in everything)))
    return {
        **dict(zip(names, (value, low, expected, high))),
        "micro_ap_interval": _micro_interval(task, ranked, value, counts),
        "micro_ap_possible_low": metrics.average_precision(above + tied + missing, n_possible),
        "micro_ap_possible_high": metrics.average_precision(_with_missing_on_top(above, n_rankable), n_possible),
    }


def _micro_interval(task: Task, ranked: Mapping[str, Ranked], value: float, counts: Counts) -> Interval | None:
    levels = counts.counted.levels
    if task.only is not None:
        levels = np.unique(np.concatenate([row.scores for row in ranked.values()]))
        levels = levels[:: max(1, len(levels) // 512)]

    def at_least(scores: np.ndarray) -> np.ndarray:
        rising = np.sort(scores)
        return len(rising) - np.searchsorted(rising, levels, side="left")

    right = np.stack([at_least(row.scores) for row in ranked.values()])
    wrong = np.stack([at_least(row.wrong_labelled) for row in ranked.values()])
    if task.only is None:
        wrong = wrong + np.stack([counts.counted.at_least[query] for query in ranked])
    n_relevant = np.array([row.n_relevant for row in ranked.values()])
    return micro_interval(value, right=right[:, ::-1], wrong=wrong[:, ::-1], n_relevant=n_relevant)


def relevant_digest(relevant: Sets) -> str:
    """Return the sha256 over lines "query<TAB>id id id", sorted: which truth a number was computed on."""
    lines = (f"{query}\t{' '.join(sorted(videos))}\n" for query, videos in sorted(relevant.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest(ids: Iterable[str]) -> str:
    """Return the sha256 over the sorted ids, one a line."""
    return hashlib.sha256("".join(f"{i}\n" for i in sorted(ids)).encode()).hexdigest()


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return float(np.mean(listed)) if listed else None
