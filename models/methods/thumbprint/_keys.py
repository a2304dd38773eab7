"""Keys for an index: coarse spectra of the whole picture and of its middle, looked up with many parts of a query.

A crop of up to 40 % holds the middle half of the picture, and a query tries all positions (_probes.py): so four boxes
that are kept do for twenty. Flat frames, and frames that repeat the last one, have no key.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from ndvr.models.keys import Keys, distinct, novelty
from ndvr.models.methods.thumbprint import _search as search

_KEPT_LENGTHS = (1.0, 0.5)  # of the middle intervals whose boxes are kept
_LEAST_WEIGHT = 0.3  # of a frame with a key; a flat one has 0
_STRIDE = 2  # windows: one key frame a second
_SHORT = 16  # windows: of a shorter video every window has keys


def spectra_of(images: torch.Tensor, intervals: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Transform boxes, evened: (K, S, S), (I, 2), (B, 2) -> (K, B, C, C), times their strength."""
    n, c = len(intervals), search.COARSE
    basis = search.box_basis(intervals[:, 0], intervals[:, 1], c).flatten(0, 1)
    spectra = (basis @ images @ basis.T).unflatten(2, (n, c)).unflatten(1, (n, c)).transpose(2, 3)
    spectra, strength = search._evened(spectra[:, pairs[:, 0], pairs[:, 1]].clone())
    return spectra * strength[..., None, None]


def turned(spectra: torch.Tensor, g: int) -> torch.Tensor:
    """Turn spectra (..., C, C) of pictures by turn g."""
    sign = torch.where(torch.arange(search.COARSE) % 2 == 1, -1.0, 1.0)
    x = spectra.transpose(-1, -2) if g & 4 else spectra
    x = x * sign if g & 1 else x
    return x * sign[:, None] if g & 2 else x


@cache
def _used() -> torch.Tensor:
    """Find which of the C x C numbers are not always 0."""
    return torch.nonzero(search._weights().flatten())[:, 0]


def vectors_of(spectra: torch.Tensor) -> np.ndarray:
    """Make vectors (..., C, C) -> (N, D) float32 of unit length;
    nearly flat parts stay shorter, and so match nothing.
    """
    return spectra.flatten(-2)[..., _used()].flatten(0, -2).numpy().astype(np.float32)


def boxes_of(intervals: torch.Tensor, pairs: torch.Tensor) -> np.ndarray:
    """List boxes (B, 4): centre x, y and half width, height, in [-1, 1]."""
    (top, height), (left, width) = intervals[pairs[:, 0]].T, intervals[pairs[:, 1]].T
    return torch.stack([2 * left + width - 1, 2 * top + height - 1, width, height], 1).numpy().astype(np.float32)


def key_frames(weight: torch.Tensor, whole: np.ndarray) -> np.ndarray:
    """Choose which windows have keys: weights (T,), vectors (T, D) of whole pictures."""
    stride = 1 if len(weight) <= _SHORT else _STRIDE
    places = np.arange(0, len(weight), stride)
    places = places[weight.numpy()[places] > _LEAST_WEIGHT]
    return places[distinct(whole[places])] if len(places) else places


def whole_spectra(images: torch.Tensor) -> torch.Tensor:
    one = torch.tensor([[0.0, 1.0]])
    return spectra_of(images, one, torch.zeros(1, 2, dtype=torch.long))


def keys(signature: torch.Tensor) -> Keys:
    """Make keys of thumbnails (T, 1 + S * S): four boxes a key frame."""
    weight, images = signature[:, 0], signature[:, 1:].unflatten(1, (search.SIDE, search.SIDE))
    places = key_frames(weight, vectors_of(whole_spectra(images)))
    intervals = torch.tensor([((1 - length) / 2, length) for length in _KEPT_LENGTHS])
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    vectors = vectors_of(spectra_of(images[places], intervals, pairs))
    n = len(pairs)
    fresh = np.stack([novelty(vectors[k::n]) for k in range(n)], 1) if len(places) else np.zeros((0, n), np.float32)
    return Keys(
        vectors=vectors,
        windows=np.repeat(places, n).astype(np.int32),
        boxes=np.tile(boxes_of(intervals, pairs), (len(places), 1)),
        turns=np.zeros(len(vectors), np.int8),
        novelty=fresh.ravel(),
    )
