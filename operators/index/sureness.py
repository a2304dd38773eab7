"""How sure a score is: false matches to expect per million comparisons, from unrelated pairs of the library itself.

What speaks for a match is taken as odds s / (1 - s). Their upper tail over unrelated pairs is a generalised Pareto law,
as the tail of nearly any law is (Pickands 1975):

    P(odds > x) = share * (1 + shape * (x - start) / scale) ** (-1 / shape)        x >= start

It is fitted by probability-weighted moments (Hosking and Wallis 1987) to what lies between the upper 15 % of the
pairs and the odds of a match (1, a score of a half): pairs above may be copies that nobody knows of. The pairs are
videos of the library with the candidates that the index proposes for them: such pairs are what a search compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

LIMIT = 1.0  # odds of a match
_TAIL = 0.15  # of the compared pairs, which make the tail; of 1,385 real ones a fifth held a bend
_LEAST_PAIRS = 15  # in the tail, for a fit
_SHAPES = (0.25, 0.3)  # few pairs cannot tell it better: of 4,530 real ones it was .25
_FLOOR = 1e-3  # per million: more is not claimed
# Where a library is too small to tell: of 240 clips of mixed material, by thumbprint.
_START, _SCALE, _SHAPE = 0.2, 0.075, 0.25


@dataclass(frozen=True, kw_only=True)
class Sureness:
    """The tail of the odds of unrelated pairs."""

    share: float  # of pairs that exceed `start`
    start: float  # odds
    scale: float
    shape: float
    pairs: int  # compared for it
    videos: int  # in the library then
    fitted: bool  # False: too few pairs, the law is assumed

    def __post_init__(self) -> None:
        if min(self.scale, self.shape) <= 0:
            raise ValueError(f"a tail of scale {self.scale:g} and shape {self.shape:g} is none")

    @classmethod
    def from_json(cls, value: dict[str, Any] | None) -> Sureness | None:
        """Read what `to_json` made; None stands for nothing measured."""
        return None if value is None else cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Make what a snapshot keeps."""
        return asdict(self)

    def false_per_million(self, score: float, limits: tuple[float, float] = (0.0, 1.0)) -> float:
        """Estimate how many of a million unrelated pairs score as much;
        `limits` are the method's lowest and highest score.
        """
        above = max(odds(np.array([score]), limits)[0] - self.start, 0.0)
        rate = self.share * (1 + self.shape * above / self.scale) ** (-1 / self.shape)
        return float(f"{max(1e6 * rate, _FLOOR):.2g}")

    def score_at(self, false_per_million: float, limits: tuple[float, float] = (0.0, 1.0)) -> float:
        """Find the score from which on false matches are expected at this rate."""
        times = max(self.share / (max(false_per_million, _FLOOR) / 1e6), 1.0)
        x = self.start + self.scale * (times**self.shape - 1) / self.shape
        return limits[0] + (limits[1] - limits[0]) * x / (1 + x)


def odds(scores: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Turn scores between the limits into odds in [0, 1e6]."""
    low, high = limits
    share = np.clip((np.asarray(scores, np.float64) - low) / (high - low), 0.0, 1 - 1e-6)
    return share / (1 - share)


def fit(scores: Sequence[float], *, videos: int, limits: tuple[float, float]) -> Sureness:
    """Fit the tail to the scores of pairs out of a library of so many videos."""
    x = odds(np.array(scores, np.float64), limits)
    x = np.sort(x[x < LIMIT])
    start = float(np.quantile(x, 1 - _TAIL)) if len(x) else 0.0
    tail = x[x > start] - start
    if len(tail) < _LEAST_PAIRS:
        return Sureness(
            share=_TAIL,
            start=_START,
            scale=_SCALE,
            shape=_SHAPE,
            pairs=len(scores),
            videos=videos,
            fitted=False,
        )
    mean = float(tail.mean())
    weighted = float((tail * (len(tail) - 1 - np.arange(len(tail)))).mean() / (len(tail) - 1))
    shape = min(max(2 - mean / max(mean - 2 * weighted, 1e-9), _SHAPES[0]), _SHAPES[1])
    scale = max(mean * (1 - shape), 1e-3)
    return Sureness(
        share=len(tail) / len(x),
        start=start,
        scale=scale,
        shape=shape,
        pairs=len(scores),
        videos=videos,
        fitted=True,
    )
