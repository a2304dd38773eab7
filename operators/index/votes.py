"""Candidates: which videos the probes of a query find in an index, and in which placements of the picture.

A probe votes for what it finds by how unlikely the likeness is, less what its k-th neighbour would get: pictures that
many videos have do not vote. Votes are summed over the windows of the query, the best of each, in cells of videos and
placements (turn, sizes, centre), over two grids of which one is shifted by half a cell. Probes of several ballots are
counted apart, and the videos with the most votes in each take turns: few probes are not outvoted by many.

    candidates(probes, segments)                                      # of an index that is here
    elect(probes, [sight(turned, part, among=...) for part in parts])   # of one in parts, wherever these lie: the same
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TypeVar

import numpy as np

from ndvr.models.keys import Keys, Place
from ndvr.operators.index import codes
from ndvr.operators.index.scan import Scan
from ndvr.operators.index.segments import Segment

NEIGHBOURS = 64  # of a probe, that may vote
COMMON = 20  # the neighbour, each of another video, whose likeness counts as nothing
ALIKE = 0.8  # of two pictures, kept in two bits, from which on they show the same: of equal ones some 1.06
LEAST, _MOST = 0.5, 0.7  # correlation that counts as nothing: at least, at most
_NATS = 25.0  # half the degrees of freedom of a vector
SMALL = 1 << 15  # keys of an index that is compared whole
_PLACES = 5  # of a candidate that are handed on
_SAME_BOX = 0.01


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A video of the index that the probes found."""

    segment: int  # its place among the segments
    row: int  # of the video in it
    votes: float
    places: list[Place] = field(repr=False)


@dataclass(frozen=True)
class Hits:
    """Probe i looks like key j: (H,) each."""

    probe: np.ndarray
    segment: np.ndarray
    row: np.ndarray  # of the video in the segment
    key: np.ndarray
    likeness: np.ndarray


@dataclass(frozen=True)
class Sightings:
    """Probe i looks like a key of a video; says all that an election asks, without the index: (H,) each.

    Rising by probe, then falling by likeness, equals by place in the index.
    """

    probe: np.ndarray
    segment: np.ndarray  # its place among all segments
    row: np.ndarray  # of the video in it
    window: np.ndarray  # of the video
    likeness: np.ndarray
    novelty: np.ndarray  # uint8, see ndvr.operators.index.lists.Coded
    box: np.ndarray  # (H, 4) of the key


Rows = TypeVar("Rows", Hits, Sightings)


def candidates(
    probes: Keys,
    segments: Sequence[Segment],
    *,
    top: int = 200,
    every: bool = False,
    common: bool = False,
    plain: bool = False,
    mutual: bool = False,
) -> list[Candidate]:
    """Find the `top` videos with the most votes, highest first, equals by their place in the index; ballots in turn.

    every: compare probes with all keys, also of a large index. common, plain: see `elect`; mutual: see `sight`.
    """
    if not len(probes):
        return []
    among = 0 if every else None
    boxes = probes.boxes if mutual else None
    seen = sight(codes.turned(probes.vectors), segments, among=among, plain=top if plain else 0, boxes=boxes)
    return elect(probes, [seen], top=top, common=common, plain=plain)


def sight(
    vectors: np.ndarray,
    segments: Sequence[Segment],
    *,
    among: int | None = None,
    plain: int = 0,
    first: int = 0,
    boxes: np.ndarray | None = None,
) -> Sightings:
    """Find what turned vectors (P, W) of probes look like in segments, the `first` of which has this place among all.

    among: the keys of the index that these are a part of, None: they are all of it; of a small one, as of 0, probes
    are compared with all.
    plain: of a method with one vector a video: so many videos, however little they are alike.
    boxes: (P, 4) of the probes, where every video of the index is asked for in turn: see `look_up`.
    """
    least, neighbours = 0.0 if plain else LEAST, plain or NEIGHBOURS
    hits = look_up(vectors, segments, least=least, among=among, neighbours=neighbours, boxes=boxes)
    window, novelty = np.zeros(len(hits.key), np.int32), np.zeros(len(hits.key), np.uint8)
    box = np.zeros((len(hits.key), 4), np.float32)
    for number, segment in enumerate(segments):
        at = hits.segment == number
        keys = hits.key[at]
        window[at] = segment.where(keys)[1]
        novelty[at] = segment.coded.novelty[keys]
        box[at] = segment.boxes[segment.coded.box[keys]]
    return Sightings(hits.probe, hits.segment + first, hits.row, window, hits.likeness, novelty, box)


def elect(
    probes: Keys, parts: Sequence[Sightings], *, top: int, common: bool = False, plain: bool = False
) -> list[Candidate]:
    """Return the `top` videos with the most votes, by what the probes look like in the parts of an index,
    in their order; where probes have several ballots, each gives its most voted for in turn.

    plain: of a method with one vector a video, of which the likeness is the vote.
    common: what more than COMMON videos show votes in full, see `_rarity`.
    """
    if not parts:
        return []
    hits = parts[0]
    if len(parts) > 1:
        hits = _best(parts, np.full(len(probes), LEAST, np.float32), top if plain else NEIGHBOURS)
    votes = hits.likeness.astype(np.float64) if plain else _votes(probes, hits, common=common)
    counts = votes > 0
    ballot = probes.ballots[hits.probe]
    each = [counts & (ballot == number) for number in np.unique(ballot[counts])]
    return _in_turn([_ranked(probes, _rows(hits, mine), votes[mine], top) for mine in each], top)


def _in_turn(elected: Sequence[list[Candidate]], top: int) -> list[Candidate]:
    """Take the first candidates of several ballots, then the second: `top` in all; all places of one in several."""
    chosen: dict[tuple[int, int], list[Candidate]] = {}
    for same_rank in zip_longest(*elected):
        for each in filter(None, same_rank):
            chosen.setdefault((each.segment, each.row), []).append(each)
    merged = []
    for same in list(chosen.values())[:top]:
        places = [place for in_each in zip_longest(*(each.places for each in same)) for place in in_each if place]
        merged.append(replace(same[0], votes=max(each.votes for each in same), places=places))
    return merged


def look_up(
    vectors: np.ndarray,
    segments: Sequence[Segment],
    *,
    least: float = LEAST,
    among: int | None = None,
    neighbours: int = NEIGHBOURS,
    boxes: np.ndarray | None = None,
) -> Hits:
    """Find the most alike keys of every probe, so many `neighbours`, of videos that count and above `least`.

    vectors (P, W) turned, see ndvr.operators.index.codes. Of a large index only the lists that are nearest to a probe
    are looked into. among: the keys of the index that these segments are a part of; None: they are all of it.
    Rising by probe, then falling by likeness, equals by place in the index.

    boxes (P, 4) of the probes: a part of a picture is compared with whole pictures only, unless that part of every
    picture is in the index, and in half as many lists. Enough where two videos are asked for each in the other: of a
    picture in a picture, one of the two shows the other whole.
    """
    among = sum(map(len, segments)) if among is None else among
    bound = np.full(len(vectors), least, np.float32)  # of a probe's hit: what so many better ones leave
    hits = _none()
    for number, segment in enumerate(segments):
        parts = [hits]
        for probes, scan in _scans(segment, len(vectors), every=among <= SMALL, boxes=boxes):
            probe, key, likeness = scan.alike(
                vectors[probes], bound[probes], neighbours, among=among, few=boxes is not None
            )
            parts.append(Hits(probes[probe], np.full(len(probe), number), segment.where(key)[0], key, likeness))
        hits = _best(parts, bound, neighbours)
    return hits


def _scans(
    segment: Segment, n_probes: int, *, every: bool, boxes: np.ndarray | None
) -> Iterator[tuple[np.ndarray, Scan]]:
    """List probes, and the keys of a segment that they are compared with."""
    in_all = np.ones(n_probes, bool)
    if boxes is not None:
        in_all = (np.abs(boxes[:, None] - segment.boxes).max(2) < _SAME_BOX).any(1)
    for probes, whole in ((in_all, False), (~in_all, True)):
        if probes.any():
            yield np.flatnonzero(probes), segment.scan(lists=not every, whole=whole)


def _none() -> Hits:
    empty = np.zeros(0, np.int64)
    return Hits(empty, empty, empty, empty, np.zeros(0, np.float32))


def _rows(hits: Rows, rows: np.ndarray) -> Rows:
    """Take some of them: a mask or places."""
    return type(hits)(*(getattr(hits, name)[rows] for name in hits.__dataclass_fields__))


def _best(parts: Sequence[Rows], least: np.ndarray, neighbours: int) -> Rows:
    """Keep so many best hits of each probe; `least` (P,) is raised to the lowest of them.

    Equals: those that come first, which is by their place in the index.
    """
    kind = type(parts[0])
    hits = kind(*(np.concatenate([getattr(part, name) for part in parts]) for name in kind.__dataclass_fields__))
    # Positive floats are in order as the integers that their bits are.
    falling = ~hits.likeness.view(np.uint32)
    order = np.argsort(hits.probe.astype(np.uint64) << np.uint64(32) | falling, kind="stable")
    starts = np.searchsorted(hits.probe[order], np.arange(len(least) + 1))
    rank = np.arange(len(order)) - starts[hits.probe[order]]
    hits = _rows(hits, order[rank < neighbours])
    full = np.flatnonzero(np.diff(starts) >= neighbours)
    least[full] = hits.likeness[np.searchsorted(hits.probe, full, "right") - 1]
    return hits


def _votes(probes: Keys, hits: Sightings, *, common: bool) -> np.ndarray:
    """Weigh hits, (H,): nats of the likeness, less those of the COMMON-th video that the probe found,
    by how new both look.
    """
    videos, of = np.unique(hits.segment << 32 | hits.row, return_inverse=True)
    # The best hit of each video for each probe, in the order of hits; then the COMMON-th of these.
    mine = np.sort(np.unique(hits.probe * len(videos) + of, return_index=True)[1])
    starts = np.searchsorted(hits.probe[mine], np.arange(len(probes)))
    counts = np.diff(np.append(starts, len(mine)))
    nothing = np.full(len(probes), LEAST, np.float32)
    many = counts >= COMMON
    nothing[many] = np.clip(hits.likeness[mine[starts[many] + COMMON - 1]], LEAST, _MOST)
    fresh = probes.novelty[hits.probe].astype(np.float64) * (hits.novelty / 255)
    nats = _information(hits.likeness) - _information(nothing[hits.probe])
    votes = np.maximum(nats, 0) * np.sqrt(fresh)
    showing = np.bincount(hits.probe[mine], hits.likeness[mine] >= ALIKE, minlength=len(probes))
    return votes if common else votes * _rarity(probes, showing)[hits.probe]


def _rarity(probes: Keys, showing: np.ndarray) -> np.ndarray:
    """Weigh probes, (P,) in (0, 1], by how many videos show the same (P,): intros and cards count hardly.

    Beside most of the query: of a video that is there a hundred times all pictures are common, and all count.
    """
    _, window = np.unique(probes.windows, return_inverse=True)
    most = np.ones(window.max() + 1)
    np.maximum.at(most, window, showing)
    share = np.minimum(COMMON / most, 1) ** 3
    return np.minimum(share / np.median(share), 1)[window]


def _information(likeness: np.ndarray) -> np.ndarray:
    return -_NATS * np.log1p(-(np.minimum(likeness.astype(np.float64), 0.99) ** 2))


def inverse(turn: np.ndarray) -> np.ndarray:
    """Find the turns that undo turns (H,): a quarter turn to the left for one to the right."""
    swapped = turn & ~3 | (turn & 1) << 1 | (turn & 2) >> 1
    return np.where(turn & 4, swapped, turn)


def placement(query_box: np.ndarray, video_box: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Compute where the whole picture of the video lies in the query's: boxes (H, 4), (H, 4), turns (H,) -> (H, 4)."""
    x, y, w, h = video_box.T.astype(np.float64)
    swap = (turn & 4) > 0
    x, y, w, h = np.where(swap, y, x), np.where(swap, x, y), np.where(swap, h, w), np.where(swap, w, h)
    x, y = np.where(turn & 1, -x, x), np.where(turn & 2, -y, y)
    qx, qy, qw, qh = query_box.T
    width, height = qw / w, qh / h
    return np.stack([qx - x * width, qy - y * height, width, height], 1)


def _ranked(probes: Keys, hits: Sightings, votes: np.ndarray, top: int) -> list[Candidate]:
    if not len(votes):
        return []
    turn = inverse(probes.turns[hits.probe].astype(np.int64))
    where = placement(probes.boxes[hits.probe], hits.box, turn)
    video, windows = hits.segment << 32 | hits.row, probes.windows[hits.probe].astype(np.int64)
    videos, of = np.unique(video, return_inverse=True)
    total = np.zeros(len(videos))
    cells: list[tuple[np.ndarray, np.ndarray]] = []  # of each grid: cell of a hit, votes of a cell
    n_windows = int(windows.max()) + 1
    for shift in (0.0, 0.5):
        x, y, width, height = where.T
        size = np.stack([np.log2(width), np.log2(height)], 1) / 0.5 + shift
        centre = np.stack([x / np.maximum(width, 0.3), y / np.maximum(height, 0.3)], 1) / 0.5 + shift
        grid = np.clip(np.floor(np.concatenate([size, centre], 1) + 0.5), -60, 60).astype(np.int64) + 64
        code = (((turn * 128 + grid[:, 0]) * 128 + grid[:, 1]) * 128 + grid[:, 2]) * 128 + grid[:, 3]
        _, cell = np.unique(of.astype(np.int64) << 32 | code, return_inverse=True)  # code is below 2^32
        in_window = cell * n_windows + windows
        order = np.argsort(in_window)
        starts = np.flatnonzero(np.diff(in_window[order], prepend=-1))
        sums = np.bincount(cell[order[starts]], np.maximum.reduceat(votes[order], starts))
        np.maximum.at(total, of, sums[cell])
        cells.append((cell, sums))
    chosen = np.lexsort((videos, -total))[:top]
    rank = np.full(len(videos), -1)
    rank[chosen] = np.arange(len(chosen))
    strength = np.maximum(*(sums[cell] for cell, sums in cells))
    kept = np.flatnonzero(rank[of] >= 0)
    kept = kept[np.lexsort((-votes[kept], -strength[kept], rank[of[kept]]))]
    starts = np.searchsorted(rank[of[kept]], np.arange(len(chosen) + 1))
    candidates = []
    for n, at in enumerate(chosen.tolist()):
        mine = kept[starts[n] : starts[n + 1]][: _PLACES * 3]
        places = [
            Place(
                query_window=int(windows[i]),
                video_window=int(hits.window[i]),
                placement=tuple(where[i].tolist()),
                turn=int(turn[i]),
            )
            for i in mine.tolist()
        ]
        of_segment, row = int(videos[at]) >> 32, int(videos[at]) & 0xFFFFFFFF
        candidates.append(Candidate(segment=of_segment, row=row, votes=float(total[at]), places=places))
    return candidates
