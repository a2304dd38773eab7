"""Views of a video for training that act on time alone, as S2VS and DnS have them.

features  (T, ...) of one video, T >= 1, or the numbers (T,) of its frames; every function gives (U, ...) of the same
          kind, U >= 1

Crops, colours, text and picture in picture act on pixels, which a library does not keep: see picture_views.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Replace = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # (T, ...) -> (T, ...): what is put in place of it

_SEGMENTS = (4, 16)  # frames of a segment that is moved, dropped or replaced: [4, 16)


def window(features: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Take `frames` consecutive frames from a random place; a shorter video is repeated."""
    repeated = np.concatenate([features] * -(-frames // len(features)))
    start = rng.integers(len(repeated) - frames + 1)
    return repeated[start : start + frames]


def part(features: np.ndarray, frames: int, rng: np.random.Generator, *, least: float = 1.0) -> np.ndarray:
    """Take a consecutive part, `least` of the video up to all of it, at most `frames` long, from a random place."""
    wanted = int(np.ceil(rng.uniform(least, 1.0) * len(features)))
    length = min(max(wanted, 1), frames)
    start = rng.integers(len(features) - length + 1)
    return features[start : start + length]


def _replaced(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make what stands for the authors' black or noise: zeros, or a vector of noise as long as the one it replaces."""
    noise = rng.standard_normal(features.shape).astype(features.dtype)
    lengths = [np.linalg.norm(each, axis=-1, keepdims=True) for each in (features, noise)]
    noise = noise * lengths[0] / np.maximum(lengths[1], 1e-9)
    black = rng.random((len(features),) + (1,) * (features.ndim - 1)) < 0.5
    return np.where(black, 0, noise).astype(features.dtype)


def changed_in_time(features: np.ndarray, rng: np.random.Generator, *, replaced: Replace = _replaced) -> np.ndarray:
    """Make S2VS's strong change of time: exactly one of six, with the authors' odds.

    replaced  makes what is put in place of frames; of features that is not known: see _replaced
    """
    kind = rng.choice(6, p=(0.5, 0.1, 0.1, 0.1, 0.1, 0.1))
    if kind == 0:
        return _shuffled_and_dropped(features, rng, replaced)
    if kind == 1:  # fast forward
        return features[:: rng.integers(2, 4)]
    if kind == 2:  # slow motion
        return np.repeat(features, 2, axis=0)
    if kind == 3:
        return features[::-1]
    if kind == 4:  # pause
        at = rng.integers(len(features))
        return np.concatenate([features[:at], np.repeat(features[at : at + 1], rng.integers(8), 0), features[at:]])
    return features


def changed_as_stored(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make DnS's change of a video of more than 8 frames: half the time none, else one of five."""
    kind = rng.choice(6, p=(0.5, 0.1, 0.1, 0.1, 0.1, 0.1))
    if kind == 0 or len(features) <= 8:
        return features
    if kind == 1:  # fast forward
        return features[::2]
    if kind == 2:  # slow motion
        return np.repeat(features, 2, axis=0) if len(features) < 150 else features
    if kind == 3:
        return features[::-1]
    size = int(rng.integers(*_SEGMENTS))
    segments = [features[start : start + size] for start in range(0, len(features), size)]
    if kind == 4:
        return np.concatenate([segments[number] for number in rng.permutation(len(segments))])
    kept = [segment for segment in segments if rng.random() < 0.7]
    return np.concatenate(kept or segments)


def _shuffled_and_dropped(features: np.ndarray, rng: np.random.Generator, replaced: Replace) -> np.ndarray:
    """Permute segments (half the time); then each, with odds of 0.3, is left out, or its frames become others."""
    size = int(rng.integers(*_SEGMENTS))
    count = len(features) // size
    if count < 2:
        return features
    segments = [features[number * size : (number + 1) * size] for number in range(count)]
    if rng.random() < 0.5:
        segments = [segments[number] for number in rng.permutation(count)]
    fates = np.where(rng.random(count) < 0.3, rng.integers(1, 3, count), 0)  # 1: left out, 2: replaced
    if 0 < fates.sum() < count:
        segments = [
            replaced(segment, rng) if fate == 2 else segment for segment, fate in zip(segments, fates) if fate != 1
        ]
    return np.concatenate(segments)
