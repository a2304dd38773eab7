"""Sampling without replacement with chances of one's choice, and totals told from such a sample.

picked, chance = draw(weights, 8, rng)             # item i is in the sample with probability chance[i]
total = known_total * ratio(y[picked], x[picked], 1 / chance[picked])
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def draw(weights: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Numbers of the items drawn (n,), ascending, and the chance of every item (N,), proportional to its weight.

    Systematic (Madow 1949): one random start, then equal steps along the items in the order given, so that a sorted
    list is sampled evenly over what it is sorted by. Items whose share would be above one are always in.
    """
    weights = np.maximum(np.asarray(weights, float), 1e-12)
    if count >= len(weights):
        return np.arange(len(weights)), np.ones(len(weights))
    always = np.zeros(len(weights), bool)
    while True:
        rest = np.where(always, 0.0, weights)
        chance = np.where(always, 1.0, rest * (count - always.sum()) / rest.sum())
        if not (sure := (chance >= 1) & ~always).any():
            break
        always |= sure
    wanted = count - int(always.sum())
    edges = np.cumsum(np.where(always, 0.0, chance))
    crossed = np.searchsorted(edges, rng.random() + np.arange(wanted), side="right")
    picked = np.concatenate([np.flatnonzero(always), np.minimum(crossed, len(weights) - 1)])
    return np.unique(picked), chance


def ratio(y: Array, x: Array, weight: Array) -> float:
    """The weighted total of y for each unit of x; 0 where there is no x."""
    below = float(np.sum(weight * x))
    return float(np.sum(weight * y)) / below if below else 0.0


def resampled_ratios(y: Array, x: Array, weight: Array, *, draws: Array, share: float) -> Array:
    """`ratio` as a fresh sample might have it, (B,): `draws` (B, n) are numbers of the sample, with replacement.

    share  of the whole that the sample is: where it is all, nothing is left to chance
    """
    here = ratio(y, x, weight)
    n = len(y)
    if here <= 0 or n < 2:
        return np.full(len(draws), here)
    above, below = (weight * y)[draws].sum(axis=1), (weight * x)[draws].sum(axis=1)
    found = np.where((above > 0) & (below > 0), above / np.maximum(below, 1e-300), here)
    # The bootstrap of a small sample is too sure of itself by (n - 1) / n; a sample without replacement by less.
    spread = np.sqrt(n / (n - 1) * max(0.0, 1 - share))
    return here * (found / here) ** spread
