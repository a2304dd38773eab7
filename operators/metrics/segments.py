"""Which stretch of one video shows which stretch of another: Segment and Match, which check themselves.

Spans are the arithmetic below them: a list of (start, end) apart from each other and rising; ends that touch are one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

Spans = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The stretch [start_s, end_s) of a video, in seconds. It may be empty, never backwards."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_s) and math.isfinite(self.end_s)):
            raise ValueError(f"a segment from {self.start_s} to {self.end_s} s: both times must be finite numbers")
        if self.end_s < self.start_s:
            raise ValueError(f"a segment from {self.start_s} to {self.end_s} s ends before it starts")


@dataclass(frozen=True, kw_only=True)
class Match:
    """A stretch of a query that shows a stretch of a video; a higher score is surer. A ground truth needs no score."""

    query_id: str
    video_id: str
    query: Segment
    video: Segment
    score: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ValueError(
                f"the match of query {self.query_id!r} and video {self.video_id!r} has the score {self.score}, "
                "and so cannot be ranked"
            )

    @property
    def pair(self) -> tuple[str, str]:
        return self.query_id, self.video_id

    @property
    def axes(self) -> tuple[Segment, Segment]:
        """On the query's time, on the video's time."""
        return self.query, self.video

    def overlaps(self, other: Match) -> bool:
        """Whether both share time on both axes: more than a point or an edge. Only for matches of one pair."""
        return all(
            min(mine.end_s, theirs.end_s) > max(mine.start_s, theirs.start_s)
            for mine, theirs in zip(self.axes, other.axes)
        )


def union(spans: Iterable[tuple[float, float]]) -> Spans:
    """The time that any of the spans covers."""
    out: Spans = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = out[-1][0], max(end, out[-1][1])
        else:
            out.append((start, end))
    return out


def length_s(spans: Spans) -> float:
    return sum(end - start for start, end in spans)


def shared_s(a: Spans, b: Spans) -> float:
    """How much time two unions have in common."""
    total, i, j = 0.0, 0, 0
    while i < len(a) and j < len(b):
        total += max(0.0, min(a[i][1], b[j][1]) - max(a[i][0], b[j][0]))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return total
