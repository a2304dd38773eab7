"""How far a mean would move with other queries: 95 % intervals by resampling the queries (percentile bootstrap).

A benchmark's queries are a sample of what people ask; the difference between two methods is only as sure as the
interval of that difference on the same resamples. Seeded: the same numbers give the same interval everywhere.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
_SEED = 20230817
_CHUNK = 1 << 22  # counts held at a time

Interval = tuple[float, float]


def mean_interval(values: np.ndarray) -> Interval | None:
    """Return the interval of the mean of (Q,) values; None for fewer than two, which say nothing about their spread."""
    if len(values) < 2:
        return None
    return _ends(np.concatenate([counts @ values for counts in _resampled(len(values))]) / len(values))


def micro_interval(value: float, *, right: np.ndarray, wrong: np.ndarray, n_relevant: np.ndarray) -> Interval | None:
    """Return the interval of the micro-AP of Q queries, from their pairs at or above each of K falling levels of score.

    right, wrong  (Q, K) pairs of each query at or above each level; n_relevant (Q,) its right pairs, found or not
    value         the exact micro-AP. With K levels the step sum is coarser than the exact one; the interval is shifted
                  by that small difference.
    """
    if len(n_relevant) < 2 or not right.shape[1]:
        return None

    def coarse(counts: np.ndarray) -> np.ndarray:
        r, w, n = (counts @ part.astype(float) for part in (right, wrong, n_relevant))
        gained = np.diff(r, axis=1, prepend=0.0)
        precision = np.divide(r, r + w, out=np.zeros_like(r), where=r > 0)
        return np.sum(gained * precision, axis=1) / np.maximum(n, 1)

    shift = value - float(coarse(np.ones((1, len(n_relevant))))[0])
    low, high = _ends(np.concatenate([coarse(counts) for counts in _resampled(len(n_relevant))]) + shift)
    return max(0.0, low), min(1.0, high)


def _ends(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _resampled(n: int):
    """Yield how often each of n queries is drawn, (some, n) at a time, RESAMPLES in all."""
    step = max(1, min(RESAMPLES, _CHUNK // n))
    if step == RESAMPLES:
        yield _counts(n)
        return
    rng = np.random.default_rng(_SEED)
    for start in range(0, RESAMPLES, step):
        yield rng.multinomial(n, np.full(n, 1 / n), size=min(step, RESAMPLES - start)).astype(float)


@lru_cache(maxsize=2)
def _counts(n: int) -> np.ndarray:
    """Draw all resamples of few queries: the tasks of a benchmark share them."""
    return np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float)
