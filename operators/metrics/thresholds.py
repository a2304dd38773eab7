"""Where scores lie among a sorted list of thresholds, several times as fast as a binary search for each.

The scores of an evaluation outnumber its thresholds (those of the right videos) a thousand times, so most of them fall
into a stretch without any threshold. A score is mapped to one of many equal buckets, floor((score - low) * scale). That
mapping never decreases, rounded as it is, so a score in a bucket without a threshold is above all thresholds of lower
buckets and below those of higher ones: looked up, not searched. The few others are searched.
"""

from __future__ import annotations

import numpy as np

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
        """0 below all thresholds, then the buckets in order; rises with the score."""
        at = (scores - self.values[0]) * self._scale
        np.clip(at, -1, self._last - 1, out=at)
        return (at + 1).astype(np.int32)

    def bins(self, scores: np.ndarray) -> np.ndarray:
        """The bin of each score, (N,) integer."""
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
        """From rows counted by bin, (n_bins,): those above each value (G,), and those equal to it (G,)."""
        from_here = np.cumsum(bins[::-1])[::-1]
        return from_here[2::2], bins[1::2]
