"""Sound as a decoder hands it over, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from ndvr.models.card import Mel
from ndvr.operators.video._sound import Sound

RATE = 16_000  # of tunes


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


def tune(seed, seconds=10, pitch=1.0, tempo=1.0):
    """Plucked notes of several voices at uneven moments, with a beat of noise: (n,) int16."""
    rng = np.random.default_rng(seed)
    out = np.zeros(int(seconds * RATE / tempo) + RATE)
    for _ in range(int(seconds * 7)):
        start, hz, fall = rng.uniform(0, seconds), 110 * 2 ** rng.uniform(0, 4), rng.uniform(0.08, 0.6)
        t = np.arange(int(0.7 * RATE)) / RATE
        note = sum(np.sin(2 * np.pi * hz * pitch * k * t) / k for k in (1, 2, 3) if hz * pitch * k < 7000)
        note = note + rng.uniform(0, 0.5) * rng.standard_normal(len(t)) * np.exp(-t / 0.03)
        at = int(start / tempo * RATE)
        piece = out[at : at + len(t)]
        piece += (note * np.exp(-t / fall) * rng.uniform(0.3, 1))[: len(piece)]
    out = out[: int(seconds * RATE / tempo)]
    return (out / np.abs(out).max() * 20_000).astype(np.int16)
