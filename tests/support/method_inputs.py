"""Methods as tests load them, and something to show them."""

from __future__ import annotations

from functools import cache

import numpy as np

from ndvr import models
from ndvr.models.card import Mel, Overview


@cache
def loaded(name: str, parts: tuple[str, ...] = ("embed", "similarity"), **options):
    """The smallest network of a method, with seeded noise for weights: the contract does not depend on the size.

    Built once for all tests; `loaded.__wrapped__` builds another one.
    """
    card = models.card(name)
    small = {key: option.small for key, option in card.options.items() if option.small is not None}
    return models.load(name, "random" if card.weights else None, parts=parts, **(small | options))


def windows_of(model, count: int, seed: int = 0) -> np.ndarray:
    """A moving picture: blurred noise that drifts, so that neighbours are alike and others are not.

    Clips are stills of it; a spectrogram is the same noise in decibels.
    """
    rng = np.random.default_rng(seed)
    view = model.view
    heard = isinstance(view, Mel)
    shape = view.window_shape if heard else view.picture_shape
    height, width = shape[0], shape[1]
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2 + count, *shape[2:]), dtype=np.uint8)
    fine = coarse.repeat(8, axis=0).repeat(8, axis=1)
    windows = np.stack([fine[:height, 2 * k : 2 * k + width] for k in range(count)])
    if heard:
        return (windows / 255 * 80 - 60).astype(np.float32)
    stills = len(view.window_shape) > len(shape)
    return np.repeat(windows[:, None], view.window_shape[0], axis=1) if stills else windows


def features_of(model, count: int, seed: int = 0) -> np.ndarray:
    """Features of a drifting picture: those of one window, disturbed a little more for every window. Cheap."""
    rng = np.random.default_rng(seed)
    start = _one_feature(model)
    if start.dtype == np.uint8:  # codes: networks could not be disturbed
        return model.embed(windows_of(model, count, seed))
    steps = rng.standard_normal((count, *start.shape)).cumsum(axis=0)
    other = rng.standard_normal(start.shape)
    return (start + start.std() * (0.3 * steps + other)).astype(np.float32)


@cache
def _one_feature(model) -> np.ndarray:
    return model.embed(windows_of(model, 1))[0]


def signature_of(model, count: int, seed: int = 0):
    return model.signature(features_of(model, 1 if isinstance(model.view, Overview) else count, seed))


def difference_between_directions(model) -> float:
    """How much similarity(a, b) and similarity(b, a) differ, of two videos of noise with something in common."""
    rng = np.random.default_rng(0)
    counts = (1, 1) if isinstance(model.view, Overview) else (9, 14)
    if model.card.feature_dtype == "uint8":
        videos = [rng.integers(0, 256, (count, *model.feature_shape), np.uint8) for count in counts]
    else:
        shape = model.feature_shape
        noise = [rng.standard_normal((n, *shape)) + 2 * rng.standard_normal(shape) for n in counts]
        videos = [(each / np.linalg.norm(each, axis=-1, keepdims=True)).astype(np.float32) for each in noise]
    a, b = (model.signature(video) for video in videos)
    return abs(model.similarity(a, b) - model.similarity(b, a))
