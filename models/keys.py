"""What a method puts into an index of a library, how it varies a query to be looked up there, and its closer look."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

NEGATIVE = 8  # added to a turn: light and dark are exchanged


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Vectors of parts of windows, (K, D) float32 of unit length: their products say how alike the parts look.

    A method without a sense of place has one key a window, of the whole picture (box 0, 0, 1, 1) and as it is (turn 0).
    """

    vectors: np.ndarray = field(repr=False)  # (K, D)
    windows: np.ndarray = field(repr=False)  # (K,) int32: the number of the window in its video
    boxes: np.ndarray = field(repr=False)  # (K, 4) float32: centre x, y and half width, height, in [-1, 1]
    turns: np.ndarray = field(repr=False)  # (K,) int8: symmetry of the square that was undone, + NEGATIVE
    novelty: np.ndarray = field(repr=False)  # (K,) float32 in (0, 1]: one over how many windows look like this one
    # (K,) int8, of probes: those of one number elect candidates together, and all numbers take turns. None: all are 0.
    ballots: np.ndarray = field(repr=False, default=None)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        if self.ballots is None:
            object.__setattr__(self, "ballots", np.zeros(len(self.vectors), np.int8))
        for name in ("windows", "boxes", "turns", "novelty", "ballots"):
            if len(getattr(self, name)) != len(self.vectors):
                raise ValueError(f"{len(self.vectors)} vectors and {len(getattr(self, name))} {name}")

    def __len__(self) -> int:
        return len(self.vectors)


def whole_windows(vectors: np.ndarray) -> Keys:
    """Make one key a window, of vectors (T, D) of unit length; a window that repeats the one before it is left out."""
    kept = distinct(vectors)
    vectors = vectors[kept]
    return Keys(
        vectors=vectors,
        windows=kept.astype(np.int32),
        boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (len(kept), 1)),
        turns=np.zeros(len(kept), np.int8),
        novelty=novelty(vectors),
    )


def distinct(vectors: np.ndarray, limit: float = 0.95) -> np.ndarray:
    """Find which of (T, D) unit vectors differ from the last one that was kept: places, rising; the first always."""
    kept: list[int] = []
    for place, vector in enumerate(vectors):
        if not kept or vector @ vectors[kept[-1]] < limit:
            kept.append(place)
    return np.array(kept, np.int64)


def novelty(vectors: np.ndarray) -> np.ndarray:
    """Compute (T,) float32: one over the number of vectors (T, D) that are alike, each counted by how much it is."""
    total = np.zeros(len(vectors), np.float32)
    for start in range(0, len(vectors), 1024):
        alike = vectors[start : start + 1024] @ vectors.T
        total[start : start + 1024] = np.where(alike > 0.5, alike * alike, 0.0).sum(1)
    return 1 / np.maximum(total, 1.0)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A window of a query looks like one of a video, in some placement of the picture."""

    query_window: int
    video_window: int
    placement: tuple[float, float, float, float]  # of the video's whole picture in the query's, as Judged.box
    turn: int


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The closer look at one pair: its score, where in time the two agree, and how one picture lies in the other."""

    score: float
    matrix: np.ndarray = field(repr=False)  # (Tq, Tt) float32: agreement of windows; see `step`
    # Centre x, y, half width and height, in [-1, 1], of the video's whole picture in that of the query; a half width
    # above 1 says that the query shows a part of it. None: the method has no sense of place.
    box: tuple[float, float, float, float] | None = None
    turn: int = 0  # that turns the video's picture into the query's, + NEGATIVE
    step: int = 1  # windows of both a cell of the matrix stands for: more than 1 where both last for hours


MOST_CELLS = 1 << 25  # of the matrix of a pair: two videos of 48 minutes at two windows a second


def cell_step(n_query: int, n_target: int) -> int:
    """Say how many windows of both videos a cell of their matrix stands for."""
    return max(1, math.ceil(math.sqrt(n_query * n_target / MOST_CELLS)))
