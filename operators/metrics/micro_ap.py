"""Micro-AP: one ranking of all (query, video) pairs of all queries, as the Video Similarity Challenge 2022 takes it.

Equal scores are one step of recall, as in scikit-learn, so their order cannot matter; right pairs that were not found
add nothing: AP = scikit-learn's AP of the candidates x found / all right pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field

import numpy as np

from ndvr.operators.metrics import average_precision as metrics

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
    """scores (N,) finite, right (N,) bool; n_relevant counts all right pairs, also those that are no candidates."""
    if not n_relevant:
        raise ValueError("the ground truth is empty: without a right pair there is no recall")
    mine, wrong = np.sort(scores[right])[::-1], np.sort(scores[~right])
    above = len(wrong) - np.searchsorted(wrong, mine, side="right")
    at_least = len(wrong) - np.searchsorted(wrong, mine, side="left")
    last = np.flatnonzero(np.append(mine[1:] != mine[:-1], True)) if len(mine) else np.zeros(0, int)
    return MicroAp(
        ap=metrics.step_average_precision(mine, at_least, n_relevant),
        low=metrics.average_precision(at_least, n_relevant),
        high=metrics.average_precision(above, n_relevant),
        found=len(mine),
        relevant=n_relevant,
        candidates=len(scores),
        precision=(last + 1) / (last + 1 + at_least[last]),
        recall=(last + 1) / n_relevant,
        scores=mine[last],
    )


def pair_micro_ap(candidates: Iterable[Candidate], truth: Set[Pair]) -> MicroAp:
    """Micro-AP of scored pairs. ValueError names a pair that has two scores, or one that is not finite."""
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
