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


def precision_recall_curve(wrong_before: np.ndarray, n_relevant: int, *, wrong_found: int) -> np.ndarray:
    """Interpolated precision (21,) at recall 0, 0.05 ... 1: the highest precision at that recall or more.

    As FIVR-200K's evaluation.py: recall 0 gives 1, and recalls are compared as floats, so three of ten hits do not
    reach np.linspace's 0.30000000000000004. Right videos without a score stand after everything that has one.
    """
    after = np.full(n_relevant - len(wrong_before), wrong_found)
    right = np.arange(1, n_relevant + 1)
    precision = right / (right + np.concatenate([wrong_before, after]))
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    points = np.linspace(0, 1, 21)
    curve = best_from_here[np.searchsorted(right / n_relevant, points)]
    curve[0] = 1.0
    return curve
