"""Average precision from counts: how many wrong videos stand before each right one. No ranking is ever sorted.

Everywhere: `wrong_before` (n,) belongs to the n right videos that were found, best first; `n_relevant` counts
all right videos, found or not. A right video that was not found adds nothing to the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

ApKind = Literal["sum", "trapezoid", "steps"]


def average_precision(wrong_before: np.ndarray, n_relevant: int) -> float:
    """Sum over found right videos of (right so far / rank), divided by n_relevant (FIVR, VCDB, CC_WEB_VIDEO)."""
    right = np.arange(1, len(wrong_before) + 1)
    return float(np.sum(right / (right + wrong_before)) / n_relevant)


def trapezoid_average_precision(wrong_before: np.ndarray, n_relevant: int) -> float:
    """Sum the area under the precision-recall curve by trapezoids (EVVE): precision around each hit, averaged.

    The i-th hit at 0-based rank r moves recall by 1/n between the precisions i/r (1 if r = 0) and (i+1)/(r+1).
    """
    i = np.arange(len(wrong_before))
    rank = i + wrong_before
    before = np.where(rank == 0, 1.0, i / np.maximum(rank, 1))
    return float(np.sum(before + (i + 1) / (rank + 1)) / (2 * n_relevant))


def step_average_precision(scores: np.ndarray, wrong_at_least: np.ndarray, n_relevant: int) -> float:
    """Compute scikit-learn's average_precision_score: equal scores are one step of recall, whatever their order.

    scores          (n,) of the right videos, falling
    wrong_at_least  (n,) wrong videos whose score is at least that of the right one
    """
    if not len(scores):
        return 0.0
    right_at_least = len(scores) - np.searchsorted(scores[::-1], scores, side="left")
    return float(np.sum(right_at_least / (right_at_least + wrong_at_least)) / n_relevant)


def expected_average_precision(
    scores: np.ndarray, above: np.ndarray, tied: np.ndarray, n_relevant: int, *, kind: ApKind = "sum"
) -> float:
    """Average AP over all orders of equal scores, in closed form (McSherry and Najork, ECIR 2008, eq. 4).

    Among n equal scores with r right ones, behind a others of which h are right, the k-th place holds a right one with
    probability r/n, and c (k - 1) right ones stand before it in the tie, c = (r - 1) / (n - 1). Its precision adds
        r/n * sum_k (h + 1 + c (k - 1)) / (a + k)  =  r/n * (c n + (h + 1 - c (a + 1)) (H(a + n) - H(a)))
    with harmonic numbers H; the trapezoid's second half is the same sum one place and one hit earlier.

    scores  (n,) of the right videos, falling;  above, tied  (n,) wrong videos with a higher and with the same score
    """
    if not len(scores):
        return 0.0
    first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    right = np.diff(np.append(first, len(scores)))
    n, a = right + tied[first], above[first] + first
    slope = (right - 1) / np.maximum(n - 1, 1)

    def precisions(hits: np.ndarray, before: np.ndarray, n: np.ndarray) -> np.ndarray:
        return slope * n + (hits - slope * before) * (_harmonic(before + n - 1) - _harmonic(before - 1))

    after = precisions(first + 1.0, a + 1, n)
    if kind != "trapezoid":
        return float(np.sum(right / n * after) / n_relevant)
    top = a == 0  # the first place of all: the curve starts at precision 1
    before = np.where(top, 1 + slope * (n - 1), precisions(first, np.maximum(a, 1), n))
    return float(np.sum(right / n * (after + before)) / (2 * n_relevant))


def _harmonic(n: np.ndarray) -> np.ndarray:
    """Sum 1 + 1/2 + ... + 1/n, exact to rounding: a table, then the asymptotic series."""
    x = np.maximum(n, len(_HARMONIC)).astype(float)
    series = np.log(x) + np.euler_gamma + 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4)
    return np.where(n < len(_HARMONIC), _HARMONIC[np.minimum(n, len(_HARMONIC) - 1)], series)


_HARMONIC = np.cumsum(np.append(0.0, 1 / np.arange(1, 256)))


def precision_recall_curve(right_at_least: np.ndarray, wrong_at_least: np.ndarray, n_relevant: int) -> np.ndarray:
    """Interpolate precision (21,) at recall 0, 0.05 ... 1: the highest precision at that recall or more.

    As FIVR-200K's evaluation.py: equal scores are one step, recall 0 gives 1, and recalls are compared as floats, so
    three of ten hits do not reach np.linspace's 0.30000000000000004. The arrays (n,) follow rising recall; recalls that
    are never reached have precision 0.
    """
    best_from_here = np.maximum.accumulate((right_at_least / (right_at_least + wrong_at_least))[::-1])[::-1]
    points = np.linspace(0, 1, 21)
    curve = np.append(best_from_here, 0.0)[np.searchsorted(right_at_least / n_relevant, points)]
    curve[0] = 1.0
    return curve


# --- Average precision of the k best only, divided by the right videos among them: class retrieval's top-k mAP
#
# From counts, as in metrics: `wrong_before` (n,) belongs to the n right videos of a query, best first. A query
# without a right video among its k best has 0. Where k exceeds what was ranked, the whole ranking counts.


def top_average_precision(wrong_before: np.ndarray, k: int) -> float:
    """Sum over right videos at rank <= k of (right so far / rank), divided by how many there are."""
    right = np.arange(1, len(wrong_before) + 1)
    rank = right + wrong_before
    inside = rank <= k
    return float(np.mean(right[inside] / rank[inside])) if inside.any() else 0.0


def top_average_precision_ends(above: np.ndarray, at_least: np.ndarray, k: int) -> tuple[float, float]:
    """Compute (lowest, highest) over all orders of equal scores.

    above     (n,) wrong videos with a higher score than the right one
    at_least  (n,) and those with the same

    The ends are not the worst and the best order: a right video more inside the k best is a term more in the sum, and
    one more to divide by. So the group of equals across rank k is tried with each possible number of right videos
    inside; where the right ones stand is then worst last and best first, in this group as in all before it.
    """
    n = np.arange(1, len(above) + 1)
    # Groups of equals. Neighbours with no wrong video between or beside them may pass for one: the sums are the same.
    new = np.append(True, (np.diff(above) > 0) | (np.diff(at_least) > 0))[: len(n)]
    start = np.flatnonzero(new)
    size = np.diff(np.append(start, len(n)))
    whole = np.repeat(start + size + at_least[start] <= k, size)
    late, soon = (float(np.sum(n[whole] / (n + wrong)[whole])) for wrong in (at_least, above))
    n_whole = int(whole.sum())
    across = np.flatnonzero((start + size + at_least[start] > k) & (start + above[start] < k))
    if not len(across):
        return (late / n_whole, soon / n_whole) if n_whole else (0.0, 0.0)
    first, n_right = int(start[across[0]]), int(size[across[0]])
    before, n_wrong = first + int(above[first]), int(at_least[first] - above[first])
    ends = []
    for inside in range(max(0, k - before - n_wrong), min(k - before, n_right) + 1):
        i = np.arange(1, inside + 1)
        sums = (late + np.sum((first + i) / (k - inside + i)), soon + np.sum((first + i) / (before + i)))
        ends.append([x / (first + inside) if first + inside else 0.0 for x in sums])
    return float(np.min(ends)), float(np.max(ends))


# --- Micro-AP: one ranking of all (query, video) pairs of all queries, as the Video Similarity Challenge 2022 takes it
#
# Equal scores are one step of recall, as in scikit-learn, so their order cannot matter; right pairs that were not found
# add nothing: AP = scikit-learn's AP of the candidates x found / all right pairs.


Candidate = tuple[str, str, float]  # query_id, video_id, score
Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class MicroAp:
    """The number, what ties could make of it, what it stands on, and its curve."""

    ap: float
    # Pairs with equal scores one by one, in the worst and in the best order. As a step they may lie outside.
    low: float
    high: float
    found: int  # right pairs among the candidates
    relevant: int
    candidates: int
    precision: np.ndarray = field(repr=False)  # (P,) a point for every score that a right pair has
    recall: np.ndarray = field(repr=False)  # (P,) rising
    scores: np.ndarray = field(repr=False)  # (P,) falling


def micro_ap(scores: np.ndarray, right: np.ndarray, *, n_relevant: int) -> MicroAp:
    """Rank scores (N,), finite, with right (N,) bool; n_relevant counts all right pairs, candidates or not."""
    if not n_relevant:
        raise ValueError("the ground truth is empty: without a right pair there is no recall")
    right_scores, wrong = np.sort(scores[right])[::-1], np.sort(scores[~right])
    above = len(wrong) - np.searchsorted(wrong, right_scores, side="right")
    at_least = len(wrong) - np.searchsorted(wrong, right_scores, side="left")
    last = np.zeros(0, int)
    if len(right_scores):
        last = np.flatnonzero(np.append(right_scores[1:] != right_scores[:-1], True))
    return MicroAp(
        ap=step_average_precision(right_scores, at_least, n_relevant),
        low=average_precision(at_least, n_relevant),
        high=average_precision(above, n_relevant),
        found=len(right_scores),
        relevant=n_relevant,
        candidates=len(scores),
        precision=(last + 1) / (last + 1 + at_least[last]),
        recall=(last + 1) / n_relevant,
        scores=right_scores[last],
    )


def pair_micro_ap(candidates: Iterable[Candidate], truth: Set[Pair]) -> MicroAp:
    """Compute the micro-AP of scored pairs. ValueError names a pair that has two scores, or one that is not finite."""
    scores: dict[Pair, float] = {}
    for query, video, score in candidates:
        if (query, video) in scores:
            raise ValueError(f"query {query!r} and video {video!r} have two scores: keep one score a pair")
        if not np.isfinite(score):
            raise ValueError(f"the score of query {query!r} and video {video!r} is {score}, and so cannot be ranked")
        scores[query, video] = score
    values = np.fromiter(scores.values(), np.float64, len(scores))
    right = np.fromiter((pair in truth for pair in scores), bool, len(scores))
    return micro_ap(values, right, n_relevant=len(truth))
