"""Sound as a decoder hands it over, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from ndvr.models.card import Mel
from ndvr.operators.video._sound import Sound


def frames(samples: np.ndarray, *, rate: int = 44100, layout: str = "mono", per_frame: int = 1024) -> Iterator:
    """(n,) or (n, channels) int16 as decoded frames."""
    samples = samples.reshape(len(samples), -1)
    for start in range(0, len(samples), per_frame):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[start : start + per_frame]).reshape(1, -1), format="s16", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame


def heard(
    source: Iterator, view: Mel | None = None, origin_s: Fraction | None = None
) -> tuple[np.ndarray, np.ndarray, Sound]:
    """start_s (N,), windows (N, rows, bands) and the Sound that made them."""
    sound = Sound(view or Mel())
    for frame in source:
        sound.push(frame, origin_s)
    blocks = list(sound.finish())
    return np.concatenate([b[0] for b in blocks]), np.concatenate([b[1] for b in blocks]), sound


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, count, dtype=np.int16)
