"""How sure a score is: false matches to expect per million comparisons, from unrelated pairs of the library itself.

What speaks for a match is taken as odds s / (1 - s), whose upper tail over unrelated pairs falls exponentially:

    P(odds > x) = share * exp(-(x - start) / scale)        x >= start

`scale` is fitted to the exceedances below the odds of a match (1, a score of a half): pairs above may be copies that
nobody knows of. Of every query the candidates with the most votes were compared, and stand for all videos: an
unrelated pair that scores high is among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

LIMIT = 1.0  # odds of a match
_TAIL = 0.5  # of the compared pairs, which make the tail
_LEAST_PAIRS = 20  # in the tail, for a fit
_FLOOR = 1e-3  # per million: more is not claimed
# Where a library is too small to tell: of 240 clips of mixed material, by thumbprint.
_ASSUMED_SCALE = 0.13


@dataclass(frozen=True, kw_only=True)
class Sureness:
    """The tail of the odds of unrelated pairs."""

    share: float  # of all pairs that exceed `start`
    start: float  # odds
    scale: float
    pairs: int  # compared for it
    represented: int  # pairs that these stand for
    videos: int  # in the library then
    fitted: bool  # False: too few pairs, `scale` is assumed

    @classmethod
    def from_json(cls, value: dict[str, Any] | None) -> Sureness | None:
        return None if value is None else cls(**value)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def false_per_million(self, score: float, limits: tuple[float, float] = (0.0, 1.0)) -> float:
        """Unrelated pairs of a million that score as much; `limits` are the method's lowest and highest score."""
        x = odds(np.array([score]), limits)[0]
        rate = self.share * math.exp(-max(x - self.start, 0.0) / self.scale)
        return float(f"{max(1e6 * rate, _FLOOR):.2g}")

    def score_at(self, false_per_million: float, limits: tuple[float, float] = (0.0, 1.0)) -> float:
        """The score from which on false matches are expected at this rate."""
        rate = max(false_per_million, _FLOOR) / 1e6
        x = self.start + self.scale * max(math.log(max(self.share, 1e-12) / rate), 0.0)
        return limits[0] + (limits[1] - limits[0]) * x / (1 + x)


def odds(scores: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Scores between the limits -> [0, 1e6]."""
    low, high = limits
    share = np.clip((np.asarray(scores, np.float64) - low) / (high - low), 0.0, 1 - 1e-6)
    return share / (1 - share)


def fit(scores: Sequence[float], *, represented: int, videos: int, limits: tuple[float, float]) -> Sureness:
    """From the scores of compared pairs, which stand for `represented` pairs of a library of `videos` videos."""
    x = np.sort(odds(np.array(scores, np.float64), limits))
    x = x[x < LIMIT]
    represented = max(represented, len(x), 1)
    start = float(np.quantile(x, 1 - _TAIL)) if len(x) else 0.0
    tail = x[x > start] - start
    fitted = len(tail) >= _LEAST_PAIRS
    scale = max(_truncated_scale(tail, LIMIT - start), 0.02) if fitted else _ASSUMED_SCALE
    share = max(len(tail), 1) / represented
    return Sureness(
        share=share, start=start, scale=scale, pairs=len(scores), represented=represented, videos=videos, fitted=fitted
    )


def _truncated_scale(excess: np.ndarray, width: float) -> float:
    """The scale of an exponential law of which only values in (0, width) are seen: maximum likelihood.

    mean = scale - width / (exp(width / scale) - 1)
    """
    mean = float(excess.mean())
    low, high = 1e-4, 100.0
    for _ in range(80):
        scale = math.sqrt(low * high)
        ratio = width / scale
        expected = scale - (width / math.expm1(ratio) if ratio < 500 else 0.0)
        low, high = (scale, high) if expected < mean else (low, scale)
    return min(math.sqrt(low * high), 0.5 * width)
