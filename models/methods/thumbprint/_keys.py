"""Keys for an index: coarse spectra of the whole picture and of its middle, looked up with many parts of a query.

A crop of up to 40 % holds the middle half of the picture, and a query tries all positions: so four boxes that are
kept do for twenty. Flat frames, and frames that repeat the last one, have no key.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch

from ndvr.models.keys import NEGATIVE, Keys, distinct, novelty
from ndvr.models.methods.thumbprint import _layout as layout
from ndvr.models.methods.thumbprint import _search as search

_KEPT_LENGTHS = (1.0, 0.5)  # of the middle intervals whose boxes are kept
# Of the boxes of a query. Halves and thirds are what people cut pictures into.
_LENGTHS = (1.0, 0.8, 0.67, 0.5, 0.4, 0.33)
_STEP = 0.25  # of the box
_LARGE = 0.6  # smaller boxes are not tried upside-down or sideways
_LEAST_WEIGHT = 0.3  # of a frame with a key; a flat one has 0
_STRIDE = 2  # windows: one key frame a second
_SHORT = 16  # windows: of a shorter video every window has keys
_N_PROBING = 4  # frames of a query of which all boxes are looked up, one in 20 frames if that is more
_N_LAID_OUT = 6  # the same, of which what seems put over them or beside them is looked up
_MAX_PROBING = 24
_N_RECTANGLES = 16  # of a layout
_MOST_FILLED = 0.6  # of the picture: what a larger rectangle hides is not looked up
_LAYOUT_TURNS = 2  # as they are, and mirrored
LAYOUT = 1  # the ballot of these probes: the many boxes would outvote them by chance


@cache
def _places() -> torch.Tensor:
    """List (I, 2) start and length of the intervals of a query's boxes."""
    rows = []
    for length in _LENGTHS:
        n = 1 + math.ceil((1 - length) / (length * _STEP)) if length < 1 else 1
        rows += [(i * (1 - length) / max(n - 1, 1), length) for i in range(n)]
    return torch.tensor(rows)


@cache
def _pairs() -> torch.Tensor:
    """List (B, 2) vertical and horizontal interval of a query's boxes:
    sides in proportion up to 1.5, or one side whole.
    """
    length = _places()[:, 1]
    v, h = torch.meshgrid(torch.arange(len(length)), torch.arange(len(length)), indexing="ij")
    v, h = v.flatten(), h.flatten()
    near = (torch.log(length[v] / length[h])).abs() < math.log(1.55)
    wide = torch.maximum(length[v], length[h]) == 1
    return torch.stack([v, h], 1)[near | wide]


def _spectra(images: torch.Tensor, intervals: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Transform boxes, evened: (K, S, S), (I, 2), (B, 2) -> (K, B, C, C), times their strength."""
    n, c = len(intervals), search.COARSE
    basis = search.box_basis(intervals[:, 0], intervals[:, 1], c).flatten(0, 1)
    spectra = (basis @ images @ basis.T).unflatten(2, (n, c)).unflatten(1, (n, c)).transpose(2, 3)
    spectra, strength = search._evened(spectra[:, pairs[:, 0], pairs[:, 1]].clone())
    return spectra * strength[..., None, None]


def _turned(spectra: torch.Tensor, g: int) -> torch.Tensor:
    """Turn spectra (..., C, C) of pictures by turn g."""
    sign = torch.where(torch.arange(search.COARSE) % 2 == 1, -1.0, 1.0)
    x = spectra.transpose(-1, -2) if g & 4 else spectra
    x = x * sign if g & 1 else x
    return x * sign[:, None] if g & 2 else x


@cache
def _used() -> torch.Tensor:
    """Find which of the C x C numbers are not always 0."""
    return torch.nonzero(search._weights().flatten())[:, 0]


def _vectors(spectra: torch.Tensor) -> np.ndarray:
    """Make vectors (..., C, C) -> (N, D) float32 of unit length;
    nearly flat parts stay shorter, and so match nothing.
    """
    return spectra.flatten(-2)[..., _used()].flatten(0, -2).numpy().astype(np.float32)


def _boxes(intervals: torch.Tensor, pairs: torch.Tensor) -> np.ndarray:
    """List boxes (B, 4): centre x, y and half width, height, in [-1, 1]."""
    (top, height), (left, width) = intervals[pairs[:, 0]].T, intervals[pairs[:, 1]].T
    return torch.stack([2 * left + width - 1, 2 * top + height - 1, width, height], 1).numpy().astype(np.float32)


def _key_frames(weight: torch.Tensor, whole: np.ndarray) -> np.ndarray:
    """Choose which windows have keys: weights (T,), vectors (T, D) of whole pictures."""
    stride = 1 if len(weight) <= _SHORT else _STRIDE
    places = np.arange(0, len(weight), stride)
    places = places[weight.numpy()[places] > _LEAST_WEIGHT]
    return places[distinct(whole[places])] if len(places) else places


def _whole(images: torch.Tensor) -> torch.Tensor:
    one = torch.tensor([[0.0, 1.0]])
    return _spectra(images, one, torch.zeros(1, 2, dtype=torch.long))


def keys(signature: torch.Tensor) -> Keys:
    """Make keys of thumbnails (T, 1 + S * S): four boxes a key frame."""
    weight, images = signature[:, 0], signature[:, 1:].unflatten(1, (search.SIDE, search.SIDE))
    places = _key_frames(weight, _vectors(_whole(images)))
    intervals = torch.tensor([((1 - length) / 2, length) for length in _KEPT_LENGTHS])
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    vectors = _vectors(_spectra(images[places], intervals, pairs))
    n = len(pairs)
    fresh = np.stack([novelty(vectors[k::n]) for k in range(n)], 1) if len(places) else np.zeros((0, n), np.float32)
    return Keys(
        vectors=vectors,
        windows=np.repeat(places, n).astype(np.int32),
        boxes=np.tile(_boxes(intervals, pairs), (len(places), 1)),
        turns=np.zeros(len(vectors), np.int8),
        novelty=fresh.ravel(),
    )


def probes(signature: torch.Tensor, *, whole: bool) -> Keys:
    """Make probes of thumbnails (T, 1 + S * S):
    whole pictures in all turns and as negatives, all boxes of some of them, and what layouts propose.
    """
    weight, images = signature[:, 0], signature[:, 1:].unflatten(1, (search.SIDE, search.SIDE))
    spectra = _whole(images)
    flat = _vectors(spectra)
    places = _key_frames(weight, flat)
    fresh = novelty(flat[places])
    parts = [_probe(_turned(spectra[places], g), places, fresh, turn=g) for g in range(search.N_TURNS)]
    parts.append(_probe(-spectra[places], places, fresh, turn=NEGATIVE))
    if not whole and len(places):
        parts += _of_boxes(images, places, fresh)
        parts += _of_layouts(images, places, fresh)
    return Keys(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Keys.__dataclass_fields__})


def _spread(n_places: int, least: int) -> np.ndarray:
    """Choose some of the places: at least so many, where there are."""
    n = min(max(least, n_places // 20), _MAX_PROBING, n_places)
    return ((np.arange(n) + 0.5) * n_places / n).astype(int)


def _of_boxes(images: torch.Tensor, places: np.ndarray, fresh: np.ndarray) -> list[Keys]:
    """Make probes of all boxes of some windows; places (K,) and novelty (K,) of those that have keys."""
    chosen = _spread(len(places), _N_PROBING)
    intervals, pairs = _places(), _pairs()
    pairs = pairs[1:]  # the whole picture is there
    boxes = _boxes(intervals, pairs)
    crops = _spectra(images[places[chosen]], intervals, pairs)
    large = (boxes[:, 2:] > _LARGE).all(1)
    parts = []
    for g in range(search.N_TURNS):
        tried = np.ones(len(boxes), bool) if g < 2 else large
        part = _turned(crops[:, torch.as_tensor(tried)], g)
        parts.append(_probe(part, places[chosen], fresh[chosen], turn=g, boxes=boxes[tried]))
    return parts


def _of_layouts(images: torch.Tensor, places: np.ndarray, fresh: np.ndarray) -> list[Keys]:
    """Make probes of what is in rectangles that seem put over the picture or beside it, and of what is around them."""
    chosen = _spread(len(places), _N_LAID_OUT)
    parts = []
    for some in np.array_split(chosen, -(-len(chosen) // _N_LAID_OUT)):
        at, frames = places[some], images[places[some]]
        sides = layout.rectangles(images[at[0] : at[-1] + 1], most=_N_RECTANGLES)
        n = len(sides)
        first, length = (
            sides[:, [0, 2]].T.flatten() / search.SIDE,
            sides.diff(dim=1)[:, [0, 2]].T.flatten() / search.SIDE,
        )
        intervals, pairs = torch.stack([first, length], 1), torch.arange(2 * n).view(2, n).T
        inside, boxes = _spectra(frames, intervals, pairs), _boxes(intervals, pairs)
        small = length[:n] * length[n:] <= _MOST_FILLED
        around = [_whole(layout.filled(frames, each)) for each in sides[small].tolist()]
        for g in range(_LAYOUT_TURNS):
            parts.append(_probe(_turned(inside, g), at, fresh[some], turn=g, boxes=boxes, ballot=LAYOUT))
            parts += [_probe(_turned(each, g), at, fresh[some], turn=g, ballot=LAYOUT) for each in around]
    return parts


_WHOLE = np.array([[0, 0, 1, 1]], np.float32)


def _probe(
    spectra: torch.Tensor,
    places: np.ndarray,
    fresh: np.ndarray,
    *,
    turn: int,
    boxes: np.ndarray = _WHOLE,
    ballot: int = 0,
) -> Keys:
    """Make keys of spectra (K, B, C, C) that were turned; boxes (B, 4) as they lie in the picture before."""
    n = spectra.shape[1]
    return Keys(
        vectors=_vectors(spectra),
        windows=np.repeat(places, n).astype(np.int32),
        boxes=np.tile(boxes, (len(places), 1)),
        turns=np.full(len(places) * n, turn, np.int8),
        novelty=np.repeat(fresh, n),
        ballots=np.full(len(places) * n, ballot, np.int8),
    )
