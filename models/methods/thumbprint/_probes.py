"""What a query looks up in an index: its pictures, and parts of them that may show a video, or be shown by one.

    whole pictures   in all turns, and as negatives
    layouts          what is in rectangles that the query shows, and what is around them
    boxes            at all places, of some frames: pictures in pictures without clear edges
    crops            large boxes at finer steps, as keys are of the middle of pictures of which a part was cut off

The first two are few, and do for most: a fast search looks up no others.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch

from ndvr.models.keys import NEGATIVE, Keys, novelty
from ndvr.models.methods.thumbprint import _layout as layout
from ndvr.models.methods.thumbprint import _search as search
from ndvr.models.methods.thumbprint._keys import boxes_of, key_frames, spectra_of, turned, vectors_of, whole_spectra

# Sides of boxes, in parts of the picture's. Halves and thirds are what people cut pictures into.
_LENGTHS = (1.0, 0.8, 0.67, 0.5, 0.4, 0.33)
_STEP = 0.25  # of the box
_LARGE = 0.6  # smaller boxes are not tried upside-down or sideways
_CROP_LENGTHS = (0.9, 0.8, 0.73, 0.67)  # half of a picture in what a crop left of it
_CROP_STEP = 0.125
_N_BOXED = 4  # frames of a query of which all boxes are looked up, one in 20 frames if that is more
_N_CROPPED = _N_LAID_OUT = 6  # the same, of crops and of layouts
_MOST_FRAMES = 24
_N_RECTANGLES = 16  # of a layout
_MOST_FILLED = 0.6  # of the picture: what a larger rectangle hides is not looked up
_AND_MIRRORED = 2  # turns
_LAYOUT = 1  # the ballot of layouts: the many boxes would outvote them by chance
_Grid = tuple[torch.Tensor, torch.Tensor]  # (I, 2) start and length of intervals, (B, 2) those of each box


def _all_pairs(lengths: tuple[float, ...], step: float) -> _Grid:
    """List intervals of a side, and each with each as vertical and horizontal side."""
    intervals = search.intervals(lengths, step)[:, :2]
    n = torch.arange(len(intervals))
    return intervals, torch.cartesian_prod(n, n)


@cache
def _boxes() -> _Grid:
    """List boxes but for the whole: sides in proportion up to 1.5, or one side whole."""
    intervals, pairs = _all_pairs(_LENGTHS, _STEP)
    height, width = intervals[pairs, 1].T
    near = torch.log(height / width).abs() < math.log(1.55)
    wide = torch.maximum(height, width) == 1
    return intervals, pairs[near | wide][1:]


@cache
def _crops() -> _Grid:
    """List boxes of which both sides are as long."""
    intervals, pairs = _all_pairs(_CROP_LENGTHS, _CROP_STEP)
    height, width = intervals[pairs, 1].T
    return intervals, pairs[height == width]


def probes(signature: torch.Tensor, *, fast: bool) -> Keys:
    """Make probes of thumbnails (T, 1 + S * S)."""
    weight, images = signature[:, 0], signature[:, 1:].unflatten(1, (search.SIDE, search.SIDE))
    spectra = whole_spectra(images)
    flat = vectors_of(spectra)
    places = key_frames(weight, flat)
    fresh = novelty(flat[places])
    parts = [_probe(turned(spectra[places], g), places, fresh, turn=g) for g in range(search.N_TURNS)]
    parts.append(_probe(-spectra[places], places, fresh, turn=NEGATIVE))
    if len(places):
        parts += _of_layouts(images, places, fresh)
    if len(places) and not fast:
        parts += _of_grid(images, places, fresh, _boxes(), n_frames=_N_BOXED, turns=search.N_TURNS)
        parts += _of_grid(images, places, fresh, _crops(), n_frames=_N_CROPPED, turns=_AND_MIRRORED)
    return Keys(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Keys.__dataclass_fields__})


def _spread(n_places: int, least: int) -> np.ndarray:
    """Choose some of the places: at least so many, where there are."""
    n = min(max(least, n_places // 20), _MOST_FRAMES, n_places)
    return ((np.arange(n) + 0.5) * n_places / n).astype(int)


def _of_grid(
    images: torch.Tensor, places: np.ndarray, fresh: np.ndarray, grid: _Grid, *, n_frames: int, turns: int
) -> list[Keys]:
    """Make probes of all boxes of some windows; places (K,) and novelty (K,) of those that have keys."""
    chosen = _spread(len(places), n_frames)
    boxes = boxes_of(*grid)
    spectra = spectra_of(images[places[chosen]], *grid)
    large = (boxes[:, 2:] > _LARGE).all(1)
    parts = []
    for g in range(turns):
        tried = np.ones(len(boxes), bool) if g < _AND_MIRRORED else large
        part = turned(spectra[:, torch.as_tensor(tried)], g)
        parts.append(_probe(part, places[chosen], fresh[chosen], turn=g, boxes=boxes[tried]))
    return parts


def _of_layouts(images: torch.Tensor, places: np.ndarray, fresh: np.ndarray) -> list[Keys]:
    """Make probes of what is in rectangles that seem put over the picture or beside it, and of what is around them."""
    chosen = _spread(len(places), _N_LAID_OUT)
    parts = []
    for some in np.array_split(chosen, -(-len(chosen) // _N_LAID_OUT)):
        at, frames = places[some], images[places[some]]
        sides = layout.rectangles(images[at[0] : at[-1] + 1], most=_N_RECTANGLES)
        first, length = sides[:, [0, 2]] / search.SIDE, sides.diff(dim=1)[:, [0, 2]] / search.SIDE
        n = torch.arange(len(sides))
        grid = torch.stack([first.T.flatten(), length.T.flatten()], 1), torch.stack([n, n + len(n)], 1)
        inside, boxes = spectra_of(frames, *grid), boxes_of(*grid)
        around = [whole_spectra(layout.filled(frames, each)) for each in sides[length.prod(1) <= _MOST_FILLED].tolist()]
        for g in range(_AND_MIRRORED):
            parts.append(_probe(turned(inside, g), at, fresh[some], turn=g, boxes=boxes, ballot=_LAYOUT))
            parts += [_probe(turned(each, g), at, fresh[some], turn=g, ballot=_LAYOUT) for each in around]
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
        vectors=vectors_of(spectra),
        windows=np.repeat(places, n).astype(np.int32),
        boxes=np.tile(boxes, (len(places), 1)),
        turns=np.full(len(places) * n, turn, np.int8),
        novelty=np.repeat(fresh, n),
        ballots=np.full(len(places) * n, ballot, np.int8),
    )
