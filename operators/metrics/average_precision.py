"""Average precision from counts: how many wrong videos stand before each right one. No ranking is ever sorted.

Everywhere: `wrong_before` (n,) belongs to the n right videos that were found, best first; `n_relevant` counts
all right videos, found or not. A right video that was not found adds nothing to the sum.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

ApKind = Literal["sum", "trapezoid", "steps"]


def average_precision(wrong_before: np.ndarray, n_relevant: int) -> float:
    """Sum over found right videos of (right so far / rank), divided by n_relevant (FIVR, VCDB, CC_WEB_VIDEO)."""
    right = np.arange(1, len(wrong_before) + 1)
    return float(np.sum(right / (right + wrong_before)) / n_relevant)


def trapezoid_average_precision(wrong_before: np.ndarray, n_relevant: int) -> float:
    """Area under the precision-recall curve by trapezoids (EVVE): precision before and after each hit, averaged.

    The i-th hit at 0-based rank r moves recall by 1/n between the precisions i/r (1 if r = 0) and (i+1)/(r+1).
    """
    i = np.arange(len(wrong_before))
    rank = i + wrong_before
    before = np.where(rank == 0, 1.0, i / np.maximum(rank, 1))
    return float(np.sum(before + (i + 1) / (rank + 1)) / (2 * n_relevant))


def step_average_precision(scores: np.ndarray, wrong_at_least: np.ndarray, n_relevant: int) -> float:
    """scikit-learn's average_precision_score: equal scores are one step of recall, so their order cannot matter.

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
    """The mean of AP over all orders of equal scores, in closed form (McSherry and Najork, ECIR 2008, eq. 4).

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
    """1 + 1/2 + ... + 1/n, exact to rounding: a table, then the asymptotic series."""
    x = np.maximum(n, len(_HARMONIC)).astype(float)
    series = np.log(x) + np.euler_gamma + 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4)
    return np.where(n < len(_HARMONIC), _HARMONIC[np.minimum(n, len(_HARMONIC) - 1)], series)


_HARMONIC = np.cumsum(np.append(0.0, 1 / np.arange(1, 256)))


def precision_recall_curve(right_at_least: np.ndarray, wrong_at_least: np.ndarray, n_relevant: int) -> np.ndarray:
    """Interpolated precision (21,) at recall 0, 0.05 ... 1: the highest precision at that recall or more.

    As FIVR-200K's evaluation.py: equal scores are one step, recall 0 gives 1, and recalls are compared as floats, so
    three of ten hits do not reach np.linspace's 0.30000000000000004. The arrays (n,) follow rising recall; recalls that
    are never reached have precision 0.
    """
    best_from_here = np.maximum.accumulate((right_at_least / (right_at_least + wrong_at_least))[::-1])[::-1]
    points = np.linspace(0, 1, 21)
    curve = np.append(best_from_here, 0.0)[np.searchsorted(right_at_least / n_relevant, points)]
    curve[0] = 1.0
    return curve
