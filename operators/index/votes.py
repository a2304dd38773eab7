"""Candidates: which videos the probes of a query find in an index, and in which placements of the picture.

A probe votes for what it finds by how unlikely the likeness is, less what its k-th neighbour would get: pictures that
many videos have do not vote. Votes are summed over the windows of the query, the best of each, in cells of videos and
placements (turn, sizes, centre), over two grids of which one is shifted by half a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import faiss
import numpy as np

from ndvr.models.keys import Keys, Place
from ndvr.operators.index.segments import Segment

NEIGHBOURS = 64  # of a probe, that may vote
COMMON = 20  # the neighbour, each of another video, whose likeness counts as nothing
_LEAST, _MOST = 0.5, 0.7  # correlation that counts as nothing: at least, at most
_NATS = 25.0  # half the degrees of freedom of a vector
_BLOCK = 1 << 16  # vectors at a time
_PLACES = 5  # of a candidate that are handed on


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A video of the index that the probes found."""

    segment: int  # its place among the segments
    row: int  # of the video in it
    votes: float
    places: list[Place] = field(repr=False)


@dataclass(frozen=True)
class _Hits:
    """Probe i looks like key j: (H,) each."""

    probe: np.ndarray
    segment: np.ndarray
    row: np.ndarray  # of the video in the segment
    key: np.ndarray
    likeness: np.ndarray


def candidates(probes: Keys, segments: Sequence[Segment], *, top: int = 200) -> list[Candidate]:
    """The `top` videos with the most votes, highest first, equals by their place in the index."""
    if not len(probes):
        return []
    hits = _search(probes, segments)
    votes = _votes(probes, segments, hits)
    keep = votes > 0
    hits = _Hits(*(getattr(hits, name)[keep] for name in _Hits.__dataclass_fields__))
    return _elect(probes, segments, hits, votes[keep], top)


def _search(probes: Keys, segments: Sequence[Segment]) -> _Hits:
    """The NEIGHBOURS most alike keys of every probe, of videos that count."""
    faiss.omp_set_num_threads(1)  # more than one wait for each other longer than they work, on a busy machine
    n = len(probes)
    best = np.full((n, 0), 0, np.float32)
    where = np.full((n, 0, 2), 0, np.int64)  # segment, key
    for number, segment in enumerate(segments):
        alive = ~np.isin(segment.column("video"), list(segment.gone)) if segment.gone else None
        for start in range(0, len(segment), _BLOCK):
            stop = min(start + _BLOCK, len(segment))
            vectors = segment.vectors(start, stop)
            keys = np.arange(start, stop)
            if alive is not None:
                vectors, keys = vectors[alive[start:stop]], keys[alive[start:stop]]
            if not len(keys):
                continue
            k = min(NEIGHBOURS, len(keys))
            likeness, found = faiss.knn(probes.vectors, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
            place = np.stack([np.full(found.shape, number), keys[found]], -1)
            best, where = np.concatenate([best, likeness], 1), np.concatenate([where, place], 1)
            if best.shape[1] > NEIGHBOURS:
                # Equal likeness: by the place in the index, whatever order the scan gave.
                order = np.lexsort((where[..., 1], where[..., 0], -best), axis=1)[:, :NEIGHBOURS]
                best = np.take_along_axis(best, order, 1)
                where = np.take_along_axis(where, order[..., None], 1)
    probe, column = np.nonzero(best > _LEAST)
    of, key = where[probe, column].T
    row = np.zeros(len(probe), np.int64)
    for number, segment in enumerate(segments):
        mine = of == number
        row[mine] = segment.column("video")[key[mine]]
    return _Hits(probe, of, row, key, best[probe, column])


def _votes(probes: Keys, segments: Sequence[Segment], hits: _Hits) -> np.ndarray:
    """(H,): nats of the likeness, less those of the COMMON-th video that the probe found, by how new both look."""
    video = hits.segment << 32 | hits.row
    # The best hit of each video for each probe, then the COMMON-th of these.
    order = np.lexsort((-hits.likeness, video, hits.probe))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(hits.probe[order]) != 0) | (np.diff(video[order]) != 0)
    mine = order[first]
    mine = mine[np.lexsort((-hits.likeness[mine], hits.probe[mine]))]
    starts = np.searchsorted(hits.probe[mine], np.arange(len(probes)))
    counts = np.diff(np.append(starts, len(mine)))
    common = np.full(len(probes), _LEAST, np.float32)
    many = counts >= COMMON
    common[many] = np.clip(hits.likeness[mine[starts[many] + COMMON - 1]], _LEAST, _MOST)
    fresh = probes.novelty[hits.probe].astype(np.float64)
    for number, segment in enumerate(segments):
        at = hits.segment == number
        fresh[at] *= segment.column("novelty")[hits.key[at]] / 255
    nats = _information(hits.likeness) - _information(common[hits.probe])
    return np.maximum(nats, 0) * np.sqrt(fresh)


def _information(likeness: np.ndarray) -> np.ndarray:
    return -_NATS * np.log1p(-(np.minimum(likeness.astype(np.float64), 0.99) ** 2))


def inverse(turn: np.ndarray) -> np.ndarray:
    """The turns that undo turns (H,): a quarter turn to the left for one to the right."""
    swapped = turn & ~3 | (turn & 1) << 1 | (turn & 2) >> 1
    return np.where(turn & 4, swapped, turn)


def placement(query_box: np.ndarray, video_box: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Where the whole picture of the video lies in the query's: boxes (H, 4), (H, 4), turns (H,) -> (H, 4)."""
    x, y, w, h = video_box.T.astype(np.float64)
    swap = (turn & 4) > 0
    x, y, w, h = np.where(swap, y, x), np.where(swap, x, y), np.where(swap, h, w), np.where(swap, w, h)
    x, y = np.where(turn & 1, -x, x), np.where(turn & 2, -y, y)
    qx, qy, qw, qh = query_box.T
    width, height = qw / w, qh / h
    return np.stack([qx - x * width, qy - y * height, width, height], 1)


def _elect(probes: Keys, segments: Sequence[Segment], hits: _Hits, votes: np.ndarray, top: int) -> list[Candidate]:
    if not len(votes):
        return []
    kept_boxes = np.zeros((len(votes), 4), np.float32)
    for number, segment in enumerate(segments):
        at = hits.segment == number
        kept_boxes[at] = segment.boxes[hits.key[at]]
    turn = inverse(probes.turns[hits.probe].astype(np.int64))
    where = placement(probes.boxes[hits.probe], kept_boxes, turn)
    video, windows = hits.segment << 32 | hits.row, probes.windows[hits.probe].astype(np.int64)
    videos, of = np.unique(video, return_inverse=True)
    total = np.zeros(len(videos))
    cells: list[tuple[np.ndarray, np.ndarray]] = []  # of each grid: cell of a hit, votes of a cell
    for shift in (0.0, 0.5):
        x, y, width, height = where.T
        size = np.stack([np.log2(width), np.log2(height)], 1) / 0.5 + shift
        centre = np.stack([x / np.maximum(width, 0.3), y / np.maximum(height, 0.3)], 1) / 0.5 + shift
        grid = np.clip(np.floor(np.concatenate([size, centre], 1) + 0.5), -60, 60).astype(np.int64) + 64
        code = (((turn * 128 + grid[:, 0]) * 128 + grid[:, 1]) * 128 + grid[:, 2]) * 128 + grid[:, 3]
        _, cell = np.unique(np.stack([of, code], 1), axis=0, return_inverse=True)
        cell = cell.ravel()
        order = np.lexsort((-votes, windows, cell))
        first = np.ones(len(order), bool)
        first[1:] = (np.diff(cell[order]) != 0) | (np.diff(windows[order]) != 0)
        sums = np.bincount(cell[order[first]], votes[order[first]])
        np.maximum.at(total, of, sums[cell])
        cells.append((cell, sums))
    chosen = np.lexsort((videos, -total))[:top]
    rank = np.full(len(videos), -1)
    rank[chosen] = np.arange(len(chosen))
    strength = np.maximum(*(sums[cell] for cell, sums in cells))
    kept = np.flatnonzero(rank[of] >= 0)
    kept = kept[np.lexsort((-votes[kept], -strength[kept], rank[of[kept]]))]
    starts = np.searchsorted(rank[of[kept]], np.arange(len(chosen) + 1))
    found = []
    for n, at in enumerate(chosen.tolist()):
        mine = kept[starts[n] : starts[n + 1]][: _PLACES * 3]
        places = [
            Place(
                query_window=int(windows[i]),
                video_window=int(segments[hits.segment[i]].column("window")[hits.key[i]]),
                placement=tuple(where[i].tolist()),
                turn=int(turn[i]),
            )
            for i in mine.tolist()
        ]
        of_segment, row = int(videos[at]) >> 32, int(videos[at]) & 0xFFFFFFFF
        found.append(Candidate(segment=of_segment, row=row, votes=float(total[at]), places=places))
    return found
