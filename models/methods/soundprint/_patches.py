"""Patches: two seconds of contrast around a window as 99 numbers, at any speed and pitch; keys for an index."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch

from ndvr.models.keys import Keys, distinct, novelty
from ndvr.models.methods.soundprint._levels import BANDS, FRAMES, effective_count

LENGTH = 32  # frames of a patch
_TIMES, _BANDS = 11, 9  # waves over time, and over bands, that are kept: coarse ones, which bear half a window's offset
_LEAST = 4.0  # length of a patch's vector below which it is nearly flat
_LEAST_ENERGY, _LEAST_FRAMES = 80.0, 10.0  # of a patch with a key; of sound that changes some 300, in 25 frames
_HIGHEST_HZ = 4000.0
_STEP = 0.03  # from speed to speed, which a run of eight seconds bears
_STEPS = 9  # to each side: 0.76 to 1.31
_KEY_STRIDE = 4  # windows: one key a second
_MOST_PROBING = 240  # windows of a query that are looked up
_PROBE_STEPS = (-8, -6, -4, -2, 0, 2, 4, 6, 8)  # a patch alone bears more than a run


@cache
def variants() -> tuple[tuple[float, float], ...]:
    """List the speeds and pitches that are tried:
    at each speed the pitch as it was, and as a tape at that speed has it.
    """
    return tuple(variant for step in range(-_STEPS, _STEPS + 1) for variant in _of_step(step))


def _of_step(step: int) -> list[tuple[float, float]]:
    speed = math.exp(_STEP * step)
    # A band is wider than the pitch moves in one step.
    return [(speed, 1.0)] + ([(speed, speed)] if abs(step) > 1 else [])


@cache
def _moved_bands(pitch: float) -> torch.Tensor:
    """Make (30, 30), which turns the levels of bands into those of the same sound at another pitch."""
    top = _mel(_HIGHEST_HZ)
    centre = [_hz(top * (band + 1) / (BANDS + 1)) for band in range(BANDS)]
    at = torch.tensor([_mel(hz / pitch) * (BANDS + 1) / top - 1 for hz in centre])
    return (1 - (torch.arange(BANDS)[:, None] - at).abs()).clamp(min=0)


def _mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def _hz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)


def played(contrast: torch.Tensor, speed: float, pitch: float) -> torch.Tensor:
    """Contrast (F, 30) of the sound played at another speed and pitch: (F / speed, 30)."""
    if pitch != 1:
        contrast = contrast @ _moved_bands(pitch)
    if speed == 1 or len(contrast) < 2:
        return contrast
    at = torch.arange(max(1, int(len(contrast) / speed)), dtype=torch.float64) * speed
    low = at.long().clamp(max=len(contrast) - 2)
    return torch.lerp(contrast[low], contrast[low + 1], (at - low).float()[:, None])


@cache
def _waves() -> tuple[torch.Tensor, torch.Tensor]:
    """Make cosine waves (32, times) and (30, bands); the mean over all bands, which volume changes, is left out."""

    def waves(length: int, count: int, first: int) -> torch.Tensor:
        at = (torch.arange(length, dtype=torch.float64) + 0.5) / length
        return (torch.cos(math.pi * at[:, None] * torch.arange(first, first + count)) * math.sqrt(2 / length)).float()

    return waves(LENGTH, _TIMES, 0), waves(BANDS, _BANDS, 1)


def patches(contrast: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Cut vectors (K, 99) around frames (K,) of contrast (F, 30):
    of length one, shorter where hardly anything changes.
    """
    over_time, over_bands = _waves()
    narrow = torch.nn.functional.pad(contrast @ over_bands, (0, 0, LENGTH // 2, LENGTH))
    rows = centres.clamp(0, len(contrast))[:, None] + torch.arange(LENGTH)
    vectors = torch.einsum("ktb,tw->kwb", narrow[rows], over_time).flatten(1)
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=_LEAST)


def centres(n_frames: int, stride: int = FRAMES) -> torch.Tensor:
    """Return the middle frames of windows."""
    return torch.arange(FRAMES // 2, max(n_frames, FRAMES // 2 + 1), stride)


def keys(contrast: torch.Tensor) -> Keys:
    """Make one key a second of contrast (F, 30), where anything changes."""
    at = centres(len(contrast), FRAMES * _KEY_STRIDE)
    at = at[_lively(contrast, at)]
    vectors, windows = patches(contrast, at).numpy(), (at // FRAMES).numpy()
    kept = distinct(vectors) if len(vectors) else np.zeros(0, np.int64)
    return _keys(vectors[kept], windows[kept], novelty(vectors[kept]))


def probes(contrast: torch.Tensor, *, own_speed_only: bool) -> Keys:
    """Make probes of patches around the windows of contrast (F, 30), at some speeds and pitches."""
    at = centres(len(contrast))
    at = at[_lively(contrast, at)]
    at = at[:: max(1, math.ceil(len(at) / _MOST_PROBING))]
    fresh = novelty(patches(contrast, at).numpy())
    parts = []
    for step in (0,) if own_speed_only else _PROBE_STEPS:
        for speed, pitch in _of_step(step):
            moved = patches(played(contrast, speed, pitch), (at / speed).round().long())
            parts.append(_keys(moved.numpy(), (at // FRAMES).numpy(), fresh))
    return Keys(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Keys.__dataclass_fields__})


def _lively(contrast: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Say whether enough happens around frames (K,) of contrast (F, 30), and at more than one moment."""
    energy = torch.nn.functional.pad(contrast.square().sum(1), (LENGTH // 2, LENGTH))
    around = energy[centres.clamp(max=len(contrast))[:, None] + torch.arange(LENGTH)]
    return (around.sum(1) > _LEAST_ENERGY) & (effective_count(around) > _LEAST_FRAMES)


def _keys(vectors: np.ndarray, windows: np.ndarray, fresh: np.ndarray) -> Keys:
    count = len(vectors)
    return Keys(
        vectors=vectors.astype(np.float32),
        windows=windows.astype(np.int32),
        boxes=np.tile(np.array([[0, 0, 1, 1]], np.float32), (count, 1)),
        turns=np.zeros(count, np.int8),
        novelty=fresh.astype(np.float32),
    )
