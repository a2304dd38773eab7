"""Which stretch of one video shows which stretch of another: Segment and Match, which check themselves.

Spans are the arithmetic below them: a list of (start, end) apart from each other and rising; ends that touch are one.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

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
        """Where it lies on the query's time and on the video's time."""
        return self.query, self.video

    def overlaps(self, other: Match) -> bool:
        """Tell whether both share time on both axes: more than a point or an edge. Only for matches of one pair."""
        return all(min(a.end_s, b.end_s) > max(a.start_s, b.start_s) for a, b in zip(self.axes, other.axes))


def union(spans: Iterable[tuple[float, float]]) -> Spans:
    """Join spans: the time that any of them covers."""
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
    """Measure how much time two unions have in common."""
    total, i, j = 0.0, 0, 0
    while i < len(a) and j < len(b):
        total += max(0.0, min(a[i][1], b[j][1]) - max(a[i][0], b[j][0]))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return total


# --- Segment AP of the Video Similarity Challenge 2022's matching track (Pizzi et al., CVIU 2024, arXiv 2306.09489)
#
# Matches are taken in falling score, equal scores together. After each score, over all video pairs and on each axis
# (the query's time and the video's):
#
#     precision = shared / found     shared  time that found matches and the truth have in common, pair by pair
#     recall    = shared / true      found   time that found matches cover;  true  time that the truth covers
#
# where stretches count once however often they are covered, and a true match counts as shared only if some found
# match of its pair overlaps it on both axes (VCSL's figure 4f: the right times in the wrong combination are worth
# nothing). With P and R the geometric means over the axes, AP = sum of P x (rise of R).


@dataclass(frozen=True, kw_only=True)
class SegmentAp:
    """The number and its curve: a point for every score at which recall rose."""

    ap: float
    precision: np.ndarray = field(repr=False)  # (P,)
    recall: np.ndarray = field(repr=False)  # (P,) rising
    scores: np.ndarray = field(repr=False)  # (P,) falling


def segment_ap(found: Iterable[Match], truth: Iterable[Match]) -> SegmentAp:
    """Compute the AP of the found matches, 0 if there are none. ValueError if the truth covers no time."""
    pairs: defaultdict[tuple[str, str], _Pair] = defaultdict(_Pair)
    for match in truth:
        pairs[match.pair].truth.append(match)
    true_s = sum((pair.true_s() for pair in pairs.values()), np.zeros(2))
    if not true_s.all():
        raise ValueError("the ground truth covers no time: without a true match there is no recall")
    ap, recall, curve = 0.0, 0.0, []
    shared, covered = np.zeros(2), np.zeros(2)
    ranked = sorted(found, key=lambda match: (-match.score, match.pair))
    for score, group in itertools.groupby(ranked, key=lambda match: match.score):
        for key, matches in itertools.groupby(group, key=lambda match: match.pair):
            pair = pairs[key]
            before = pair.shared, pair.covered
            pair.add(list(matches))
            shared, covered = shared + pair.shared - before[0], covered + pair.covered - before[1]
        if not covered.all():
            continue  # only empty stretches so far: they claim nothing
        # Sums of differences may end a few bits above what they are a share of.
        precision = min(1.0, float(np.sqrt(np.prod(shared / covered))))
        risen = min(1.0, float(np.sqrt(np.prod(shared / true_s))))
        if risen > recall:
            ap += precision * (risen - recall)
            recall = risen
            curve.append((precision, recall, score))
    points = np.array(curve, float).reshape(-1, 3)
    return SegmentAp(ap=ap, precision=points[:, 0], recall=points[:, 1], scores=points[:, 2])


class _Pair:
    """What has been found of one query and one video so far. Two lengths are of the query's and the video's time."""

    def __init__(self) -> None:
        self.truth: list[Match] = []
        self.missed: list[Match] | None = None  # of the truth, with no found match over it yet
        self.reached: tuple[Spans, Spans] = [], []
        self.spans: tuple[Spans, Spans] = [], []
        self.shared, self.covered = np.zeros(2), np.zeros(2)  # (2,) seconds

    def true_s(self) -> np.ndarray:
        return np.array([length_s(union(spans)) for spans in _by_axis(self.truth)])

    def add(self, matches: list[Match]) -> None:
        hit: list[Match] = []
        missed: list[Match] = []
        for true in self.truth if self.missed is None else self.missed:
            (hit if any(true.overlaps(match) for match in matches) else missed).append(true)
        self.missed = missed
        self.reached = _joined(self.reached, hit)
        self.spans = _joined(self.spans, matches)
        self.covered = np.array([length_s(spans) for spans in self.spans])
        self.shared = np.array([shared_s(found_spans, true) for found_spans, true in zip(self.spans, self.reached)])


def _by_axis(matches: list[Match]) -> tuple[Spans, Spans]:
    query, video = ([(match.axes[axis].start_s, match.axes[axis].end_s) for match in matches] for axis in (0, 1))
    return query, video


def _joined(spans: tuple[Spans, Spans], matches: list[Match]) -> tuple[Spans, Spans]:
    query, video = (union(old + new) for old, new in zip(spans, _by_axis(matches)))
    return query, video


# --- Segment precision and recall of VCSL (He et al., CVPR 2022, arXiv 2203.02654), one video pair and all of them
#
# Boxes are (N, 4): query start, video start, query end, video end, in seconds. For one pair, on either axis,
#
#     precision = sum over found boxes of the time each shares with the true boxes it overlaps / their summed lengths
#     recall    = sum over true boxes of the time each shares with the found boxes it overlaps / their summed lengths
#
# and both are products over the two axes. Boxes overlap if they share an area; time that one box shares with several
# counts once; boxes of the same side are summed, so a box found twice counts twice in precision.


_AXES = ((0, 2), (1, 3))  # start and end on the query's time, on the video's time
Boxes = Mapping[tuple[str, str], np.ndarray]  # (query_id, video_id) -> (N, 4)
_NO_ZERO = 1e-6  # s, of the authors' denominators: what is perfect scores 0.9999999


def precision_recall(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Compute both, in [0, 1]. Nothing found: (1, 0); nothing true: (0, 1); neither: (1, 1).

    Boxes may be empty or backwards (46 of VCSL's labels are); they overlap nothing, and their lengths, which may be
    negative, are summed like all others, as the authors do.
    """
    if not len(found) or not len(truth):
        return float(not len(found)), float(not len(truth))
    return _covered(found, truth), _covered(truth, found)


def _covered(boxes: np.ndarray, others: np.ndarray) -> float:
    shared = np.zeros(2)
    for box in boxes:
        start, end = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])  # (M, 2)
        overlap = np.all(end > start, axis=1)
        if overlap.any():
            shared += [_union_length(start[overlap, axis], end[overlap, axis]) for axis in (0, 1)]
    lengths = [np.sum(boxes[:, end] - boxes[:, start]) for start, end in _AXES]
    return float(np.prod(shared / (np.array(lengths) + _NO_ZERO)))


def _union_length(start: np.ndarray, end: np.ndarray) -> float:
    """Measure the length that spans (N,), none of them empty, cover together."""
    if len(start) > 1:
        order = np.argsort(start)
        start, end = start[order], np.maximum.accumulate(end[order])
        apart = np.flatnonzero(start[1:] > end[:-1])
        start, end = start[np.append(0, apart + 1)], end[np.append(apart, len(end) - 1)]
    # The authors round times to float32 here, which whole seconds survive and fractions do not.
    return float(np.sum(end.astype(np.float32) - start.astype(np.float32)))


@dataclass(frozen=True, kw_only=True)
class PairOverlap:
    """One video pair."""

    precision: float
    recall: float
    found: int  # boxes
    true: int


@dataclass(frozen=True, kw_only=True)
class SegmentOverlap:
    """Over all pairs. A mean over no pair is None, where the authors' script divides by zero."""

    precision: float | None  # mean over the pairs with a found box
    recall: float | None  # mean over the pairs with a true box
    pairs: int
    labelled: int  # pairs with a true box
    missed: int  # of them, without a found box
    false_alarms: int  # of the others, with a found box
    per_pair: Mapping[tuple[str, str], PairOverlap] = field(repr=False)

    @property
    def f1(self) -> float:
        """2PR / (P + R); 0 if nothing was found, or nothing rightly."""
        p, r = self.precision or 0.0, self.recall or 0.0
        return 2 * p * r / (p + r) if p + r else 0.0

    @property
    def false_rejection_rate(self) -> float | None:
        """Missed / labelled pairs. VCSL's script divides by half of all pairs: the same where half are labelled."""
        return self.missed / self.labelled if self.labelled else None

    @property
    def false_alarm_rate(self) -> float | None:
        """False alarms / pairs without a label."""
        others = self.pairs - self.labelled
        return self.false_alarms / others if others else None

    def by_query(self) -> tuple[float, float] | None:
        """Compute (precision, recall), each the mean over queries of the mean over the query's labelled pairs.

        Here a labelled pair without a found box has a precision of 1, as in the authors' `evaluate_macro`.
        """
        queries: dict[str, list[tuple[float, float]]] = {}
        for (query, _), pair in self.per_pair.items():
            if pair.true:
                queries.setdefault(query, []).append((pair.precision, pair.recall))
        if not queries:
            return None
        precision, recall = np.mean([np.mean(pairs, axis=0) for pairs in queries.values()], axis=0)
        return float(precision), float(recall)


def segment_overlap(found: Boxes, truth: Boxes) -> SegmentOverlap:
    """Average over all pairs of `truth`, of which those without a copy have no boxes, (0, 4)."""
    none = np.zeros((0, 4))
    per_pair = {}
    for pair, true in truth.items():
        boxes = found.get(pair, none)
        precision, recall = precision_recall(boxes, true)
        per_pair[pair] = PairOverlap(precision=precision, recall=recall, found=len(boxes), true=len(true))
    rows = per_pair.values()
    return SegmentOverlap(
        precision=_mean([row.precision for row in rows if row.found]),
        recall=_mean([row.recall for row in rows if row.true]),
        pairs=len(per_pair),
        labelled=sum(row.true > 0 for row in rows),
        missed=sum(row.true > 0 and not row.found for row in rows),
        false_alarms=sum(row.found > 0 and not row.true for row in rows),
        per_pair=per_pair,
    )


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
