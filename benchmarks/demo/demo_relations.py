"""What the demo's edits hand back, an edited clip and where it comes from, and what they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ndvr.operators.media import draw
from ndvr.operators.media.clip import Clip

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Relation:
    """What an edited video has in common with one of its sources; times in seconds, [start, end)."""

    q: Interval  # in the edited video
    v: Interval  # in the source
    source: int = 0  # which of the sources
    relation: Literal["near_dup", "near_dup_hard", "partial", "pip_foreground", "pip_background", "audio_only"] = (
        "near_dup"
    )
    speed: float = 1.0  # of the edited video; negative: backwards
    visual: int = 1  # 1: the picture is shared
    audio: int = 1  # 1: the sound is shared
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Edited:
    """An edited clip, how hard to compress it, and where it comes from."""

    clip: Clip
    relations: tuple[Relation, ...]
    crf: int = 24


def whole(clip: Clip, source: Clip, *, crf: int = 24, **relation) -> Edited:
    """All of the source, from beginning to end."""
    row = Relation(q=(0, clip.duration_s), v=(0, source.duration_s), **relation)
    return Edited(clip=clip, relations=(row,), crf=crf)


def fit(picture: np.ndarray, size: tuple[int, int], back: np.ndarray | None = None) -> np.ndarray:
    """The whole picture in the middle of a canvas of `size`, on black or on `back`."""
    width, height = size
    factor = min(width / picture.shape[1], height / picture.shape[0])
    inner = draw.resize(picture, (round(picture.shape[1] * factor), round(picture.shape[0] * factor)))
    canvas = np.zeros((height, width, 3), np.uint8) if back is None else back.copy()
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas


def even(side: float) -> int:
    return 2 * round(side / 2)
