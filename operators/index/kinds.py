"""What two videos have to do with each other: segments in seconds, what they cover, and the kind of match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ndvr.operators.index.lines import Line
from ndvr.operators.metrics.segments import length_s, union

if TYPE_CHECKING:
    from ndvr.models.method import Model

Kind = Literal["identical", "decided", "copy", "part", "contains", "shared", "common", "setting", "unsure"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WORDS: dict[Kind, str] = {
    "identical": "the same file",
    "decided": "the same, by decision",  # by the score alone it would be no match
    "copy": "a copy",
    "part": "a part of it",
    "contains": "contains it",
    "shared": "shared material",
    "common": "common material, which many videos show",
    "setting": "same setting",
    "unsure": "cannot judge",
}
COVERED = 0.8  # of a video: as good as all of it
_SLACK_S = 2.0  # at both ends together: fades, a second of logo
_STILL = 0.9  # agreement of a video's windows with each other: a still picture
_FAR = 4  # windows: nearer ones look alike in any video
_OWN_WINDOWS, _OWN_PARTS = 2400, 8  # of a longer video so many windows, in so many parts, are compared with each other
_LAYER = 0.35  # agreement of a video's distant windows from which a fixed background is suspected
_CONTRAST = 0.5  # share of the contrast that a copy would show, below which it is none


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """[q_start_s, q_end_s) of the query shows [v_start_s, v_end_s) of the video."""

    q_start_s: float
    q_end_s: float
    v_start_s: float
    v_end_s: float
    speed: float  # seconds of the video per second of the query; 1.25: the query plays it faster, 0: holds a window
    reversed: bool
    agreement: float  # of windows along it, mean, in [0, 1]


def stretches(lines: Sequence[Line], query_s: np.ndarray, video_s: np.ndarray) -> list[Stretch]:
    """Convert lines to seconds, in order of the query's time; query_s, video_s (T,): when each window begins."""
    hop_q, hop_v = hop_s(query_s), hop_s(video_s)
    made = []
    for line in lines:
        low, high = sorted((line.begin, line.end))
        speed = abs(line.speed) * hop_v / hop_q
        start, end = (float(np.interp(at, np.arange(len(video_s)), video_s)) for at in (low, high))
        # What the query's last window shows of the video, which is not beyond its end.
        shown_s = hop_q * speed if speed else hop_v
        made.append(
            Stretch(
                q_start_s=round(float(query_s[line.first]), 3),
                q_end_s=round(float(query_s[line.last]) + hop_q, 3),
                v_start_s=round(start, 3),
                v_end_s=round(min(end + shown_s, float(video_s[-1]) + hop_v), 3),
                speed=round(speed, 3),
                reversed=line.end < line.begin,
                agreement=round(line.agreement, 3),
            )
        )
    return sorted(made, key=lambda stretch: (stretch.q_start_s, stretch.v_start_s))


def hop_s(starts: np.ndarray) -> float:
    """Measure seconds from window to window; a half for a single one."""
    return float(np.median(np.diff(starts))) if len(starts) > 1 else 0.5


def covered(stretch: Sequence[Stretch], query_length_s: float, video_length_s: float) -> tuple[float, float]:
    """Share of the query and of the video that the stretches cover."""
    query = length_s(union((each.q_start_s, each.q_end_s) for each in stretch))
    video = length_s(union((each.v_start_s, each.v_end_s) for each in stretch))
    return min(query / max(query_length_s, 1e-9), 1.0), min(video / max(video_length_s, 1e-9), 1.0)


def kind_of(cover: tuple[float, float], lengths_s: tuple[float, float], *, setting: bool) -> Kind:
    """Choose the kind by the shares covered of query and video, and their lengths."""
    if setting:
        return "setting"
    query, video = (
        share >= COVERED or (share >= 0.5 and (1 - share) * length <= _SLACK_S)
        for share, length in zip(cover, lengths_s)
    )
    if query and video:
        return "copy"
    return "part" if query else "contains" if video else "shared"


def is_setting(matrix: np.ndarray, lines: Sequence[Line], layers: tuple[float, float]) -> bool:
    """Say whether a pair agrees at all times alike, where its videos do not: a background or template that both show.

    In a copy, windows of the same moment agree more than windows of other moments, by as much as windows of one video
    differ from each other. `layers`: see `layer`. A video that is a still picture cannot be told in this way.
    """
    layer_level = max(layers)
    if not _LAYER <= layer_level <= _STILL or min(layers) > _STILL:
        return False
    rows, columns = np.indices(matrix.shape)
    if lines:
        off = np.ones(matrix.shape, bool)
        inside = np.zeros(matrix.shape, bool)
        for line in lines:
            at = line.begin + (rows - line.first) * line.speed
            mine = (rows >= line.first) & (rows <= line.last)
            off &= ~(mine & (np.abs(columns - at) <= _FAR))
            inside |= mine
        level = float(np.mean([line.agreement for line in lines]))
        off &= inside
    else:
        strong = matrix.max(1)
        level, off = float(np.quantile(strong, 0.75)), np.ones(matrix.shape, bool)
    if off.sum() < 8:
        return False
    common = float(np.quantile(matrix[off], 0.6))
    return level > 0.3 and (level - common) / level < _CONTRAST * (1 - layer_level)


def own_layer(model: Model, features: np.ndarray, signature: Any) -> float:
    """Measure the `layer` of a video with these features (T, ...) and signature: of a long one, on parts of it.

    1 of a method with one vector a video.
    """
    if model.compact:
        return 1.0
    if len(features) <= _OWN_WINDOWS:
        return layer(model.own_matrix(signature))
    size = _OWN_WINDOWS // _OWN_PARTS
    starts = np.linspace(0, len(features) - size, _OWN_PARTS).astype(int)
    parts = np.concatenate([features[start : start + size] for start in starts])
    return layer(model.own_matrix(model.signature(parts)))


def layer(own: np.ndarray) -> float:
    """Measure how much distant windows of one video agree, as a share of how much a window agrees with itself.

    Of its own matrix (T, T); 1 where it is too short, or too dark to agree with itself.
    """
    away = np.abs(np.subtract.outer(np.arange(len(own)), np.arange(len(own)))) > _FAR
    itself = float(np.median(own.diagonal())) if len(own) else 0.0
    return min(float(np.median(own[away])) / itself, 1.0) if away.any() and itself > 0 else 1.0
