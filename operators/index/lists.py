"""Keys in lists: those that look alike stand together, so that a probe is compared with few of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import faiss
import numpy as np

from ndvr.models.keys import Keys
from ndvr.operators.index import codes

_LEAST = 2048  # keys that are worth lists
_SAMPLED = 32  # keys a list, that centroids are fitted to
_ROUNDS = 6
_BLOCK = 1 << 15  # keys at a time
_GRID = 100  # steps of a box's numbers in half a side


@dataclass(frozen=True, kw_only=True)
class Coded:
    """Keys as an index keeps them, (K,) each."""

    codes: np.ndarray = field(repr=False)  # (K, W / 4) uint8
    factor: np.ndarray = field(repr=False)  # uint8
    place: np.ndarray = field(repr=False)  # uint32: the window, counted over all videos of the segment in order
    box: np.ndarray = field(repr=False)  # uint8: which of `boxes`
    novelty: np.ndarray = field(repr=False)  # uint8: 255 times that of the key
    boxes: np.ndarray = field(repr=False)  # (B, 4) float32, see ndvr.models.keys.Keys

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: np.ndarray) -> Coded:
        """Take some of the keys: a mask or places."""
        names = ("codes", "factor", "place", "box", "novelty")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def at(self, place: np.ndarray) -> Coded:
        """Move the keys to other places (K,)."""
        return replace(self, place=place.astype(np.uint32))


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Keys [starts[n], starts[n + 1]) are those of list n."""

    centroids: np.ndarray = field(repr=False)  # (L, W) float32
    starts: np.ndarray = field(repr=False)  # (L + 1,)

    def __len__(self) -> int:
        return len(self.centroids)


def coded(keys: Keys) -> Coded:
    """Select the keys of one video."""
    data, factor = codes.encode(codes.turned(keys.vectors))
    boxes, box = np.unique(np.rint(keys.boxes * _GRID), axis=0, return_inverse=True)
    return Coded(
        codes=data,
        factor=factor,
        place=keys.windows.astype(np.uint32),
        box=box.reshape(-1).astype(np.uint8),
        novelty=np.rint(keys.novelty * 255).astype(np.uint8),
        boxes=(boxes / _GRID).astype(np.float32).reshape(-1, 4),
    )


def joined(parts: Sequence[Coded], windows: Sequence[int]) -> Coded:
    """Join parts one behind the other; `windows` of each part."""
    start = np.concatenate([[0], np.cumsum(windows)[:-1]]).astype(np.int64)
    if start[-1] + windows[-1] >= 1 << 32:
        raise ValueError("a segment of an index cannot have more than 2^32 windows")
    boxes = np.unique(np.concatenate([part.boxes for part in parts]), axis=0)
    known = {tuple(box): number for number, box in enumerate(boxes.tolist())}
    if len(known) > 256:
        raise ValueError(f"keys have {len(known):,} boxes, an index keeps 256")
    numbers = [np.array([known[tuple(box)] for box in part.boxes.tolist()], np.uint8) for part in parts]
    return Coded(
        codes=np.concatenate([part.codes for part in parts]),
        factor=np.concatenate([part.factor for part in parts]),
        place=np.concatenate([part.place + first for part, first in zip(parts, start)]).astype(np.uint32),
        box=np.concatenate([number[part.box] if len(part) else part.box for part, number in zip(parts, numbers)]),
        novelty=np.concatenate([part.novelty for part in parts]),
        boxes=boxes,
    )


def into_lists(keys: Coded) -> tuple[Coded, Lists]:
    """Sort the keys list by list, in a list by place: the same whatever order they come in."""
    keys = keys.take(np.lexsort((keys.box, keys.place)))
    centroids = _centroids(keys)
    of = np.zeros(len(keys), np.int64)
    if len(centroids) > 1:
        for start in range(0, len(keys), _BLOCK):
            part = slice(start, start + _BLOCK)
            vectors = codes.decode(keys.codes[part], keys.factor[part])
            of[part] = faiss.knn(vectors, centroids, 1, metric=faiss.METRIC_INNER_PRODUCT)[1][:, 0]
    counts = np.bincount(of, minlength=len(centroids))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return keys.take(np.argsort(of, kind="stable")), Lists(centroids=centroids, starts=starts)


def _centroids(keys: Coded) -> np.ndarray:
    """Fit (L, W) float32 to a sample; about as many lists as a list has keys."""
    w = keys.codes.shape[1] * 4
    if len(keys) < _LEAST:
        return np.zeros((1, w), np.float32)
    faiss.omp_set_num_threads(1)  # sums of several threads differ in the last digit
    n = 1 << round(np.log2(np.sqrt(len(keys))))
    chosen = np.unique(np.linspace(0, len(keys) - 1, min(n * _SAMPLED, len(keys))).astype(np.int64))
    sample = codes.decode(keys.codes[chosen], keys.factor[chosen])
    sample = sample[np.linalg.norm(sample, axis=1) > 0]
    if len(sample) < n:
        return np.zeros((1, w), np.float32)
    fit = faiss.Kmeans(
        w, n, niter=_ROUNDS, seed=1, spherical=True, min_points_per_centroid=1, max_points_per_centroid=_SAMPLED
    )
    fit.train(np.ascontiguousarray(sample))
    return np.ascontiguousarray(fit.centroids)
