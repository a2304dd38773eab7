"""Common material: whole pictures that several videos of an index show, such as intros, cards and test pictures.

A key is common when videos other than its own have one like it. Two videos of which one is largely shown by the other,
and copies of one video, say nothing about each other. Consecutive common keys of a video are a stretch; stretches that
look alike are one piece of material. What is flat, as black, has no keys and is not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ndvr.operators.connected import connected
from ndvr.operators.index import codes
from ndvr.operators.index.segments import Segment
from ndvr.operators.index.votes import ALIKE, look_up

COPY = 0.4  # of the keys of a video: a pair with so many is a copy
_BLOCK = 1 << 13  # keys that are looked up at a time


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Windows [first, end) of a video of the index, by the segment and its row there."""

    segment: int
    row: int
    first: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Material:
    """One piece of common material: a stretch in each of its videos, in the order of the index."""

    shown: list[Shown] = field(repr=False)

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def windows(self) -> int:
        """How long it is in the median of its videos."""
        return int(np.median([each.end - each.first for each in self.shown]))


@dataclass(frozen=True)
class _Keys:
    """Keys of whole pictures of videos that count, in the order of the index: (K,) each."""

    vectors: np.ndarray  # (K, W) of unit length
    segment: np.ndarray
    row: np.ndarray
    window: np.ndarray
    end: np.ndarray  # the window that no longer shows it: that of the video's next key, or its end
    place: np.ndarray  # windows of all videos before it; rising

    def __len__(self) -> int:
        return len(self.place)

    @property
    def video(self) -> np.ndarray:
        return self.segment << 32 | self.row


def common(segments: Sequence[Segment], *, least_videos: int = 3) -> list[Material]:
    """Find what at least so many videos show: by the number of videos times the length, most first."""
    keys = _whole(segments)
    if not len(keys):
        return []
    probe, other = _alike(keys, segments)
    probe, other = _without_copies(keys, probe, other)
    videos = np.unique(np.stack([probe, keys.video[other]], 1), axis=0)[:, 0]
    is_common = np.bincount(videos, minlength=len(keys)) + 1 >= least_videos
    materials = [m for m in _joined(keys, _stretches(keys, is_common), probe, other) if len(m) >= least_videos]
    return sorted(materials, key=lambda m: (-len(m) * m.windows, m.shown[0].segment, m.shown[0].row, m.shown[0].first))


def mostly_shown(keys: np.ndarray, other: np.ndarray) -> bool:
    """Say whether one of two videos is largely shown by the other, by unit vectors of their whole pictures (K, D)."""
    alike = keys @ other.T >= ALIKE
    return any(len(each) > 0 and float(each.mean()) >= COPY for each in (alike.any(1), alike.any(0)))


def _whole(segments: Sequence[Segment]) -> _Keys:
    parts, before = [], 0
    for number, segment in enumerate(segments):
        keys = np.flatnonzero(_is_whole(segment)[segment.coded.box])
        row, window = segment.where(keys)
        alive = ~np.isin(row, list(segment.gone))
        order = np.lexsort((window[alive], row[alive]))
        keys, row, window = (each[alive][order] for each in (keys, row, window))
        end = np.diff(segment.firsts)[row]
        next_is_same = np.flatnonzero(row[1:] == row[:-1])
        end[next_is_same] = window[next_is_same + 1]
        vectors = codes.decode(segment.coded.codes[keys], segment.coded.factor[keys])
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        place = before + segment.firsts[row] + window
        parts.append((vectors, np.full(len(keys), number), row, window, end, place))
        before += int(segment.firsts[-1])
    return _Keys(*(np.concatenate(each) for each in zip(*parts))) if parts else _Keys(*[np.zeros(0, np.int64)] * 6)


def _is_whole(segment: Segment) -> np.ndarray:
    """Find which boxes of a segment are the whole picture."""
    return (segment.boxes == (0, 0, 1, 1)).all(1)


def _alike(keys: _Keys, segments: Sequence[Segment]) -> tuple[np.ndarray, np.ndarray]:
    """Find pairs of keys, by their numbers, that look alike and are of different videos: (H,), (H,)."""
    before = np.concatenate([[0], np.cumsum([segment.firsts[-1] for segment in segments])])
    pairs = [np.zeros((2, 0), np.int64)]
    for start in range(0, len(keys), _BLOCK):
        hits = look_up(keys.vectors[start : start + _BLOCK], segments, least=ALIKE)
        for number, segment in enumerate(segments):
            mine = np.flatnonzero(hits.segment == number)
            mine = mine[_is_whole(segment)[segment.coded.box[hits.key[mine]]]]
            probe = start + hits.probe[mine]
            other = np.searchsorted(keys.place, before[number] + segment.coded.place[hits.key[mine]].astype(np.int64))
            differ = keys.video[probe] != keys.video[other]
            pairs.append(np.stack([probe[differ], other[differ]]))
    probe, other = np.concatenate(pairs, 1)
    return probe, other


def _without_copies(keys: _Keys, probe: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out pairs of two videos of which one is mostly shown by the other, or that are copies of one video."""
    videos, number = np.unique(keys.video, return_inverse=True)
    n, sizes = len(videos), np.bincount(number)
    pair = number[probe] * n + number[other]
    shown = np.unique(np.stack([pair, probe], 1), axis=0)[:, 0]  # each key of the first once
    pairs, counts = np.unique(shown, return_counts=True)
    part = pairs[counts >= COPY * sizes[pairs // n]]
    back = part % n * n + part // n
    family = connected(n, *np.divmod(np.intersect1d(part, back), n))
    kept = ~np.isin(pair, [*part, *back]) & (family[number[probe]] != family[number[other]])
    return probe[kept], other[kept]


def _stretches(keys: _Keys, is_common: np.ndarray) -> np.ndarray:
    """Number (K,) the stretch that a key belongs to; -1: it is not common."""
    begins = is_common.copy()
    begins[1:] &= ~(is_common[:-1] & (keys.video[1:] == keys.video[:-1]))
    return np.where(is_common, np.cumsum(begins) - 1, -1)


def _joined(keys: _Keys, stretch: np.ndarray, probe: np.ndarray, other: np.ndarray) -> list[Material]:
    """Join stretches that look alike; of a video that shows one several times the longest."""
    n = int(stretch.max()) + 1
    links = np.stack([stretch[probe], stretch[other]])
    root = connected(n, *np.unique(links[:, (links >= 0).all(0)], axis=1))
    groups: dict[int, dict[int, Shown]] = {}
    common_keys = np.flatnonzero(stretch >= 0)
    begins = np.searchsorted(stretch[common_keys], np.arange(n + 1))
    for number in range(n):
        first, last = common_keys[begins[number]], common_keys[begins[number + 1] - 1]
        shown = Shown(
            segment=int(keys.segment[first]),
            row=int(keys.row[first]),
            first=int(keys.window[first]),
            end=int(keys.end[last]),
        )
        group, video = groups.setdefault(int(root[number]), {}), int(keys.video[first])
        if video not in group or shown.end - shown.first > group[video].end - group[video].first:
            group[video] = shown
    return [Material(shown=list(group.values())) for group in groups.values()]
