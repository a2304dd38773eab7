"""Segment precision and recall of VCSL (He et al., CVPR 2022, arXiv 2203.02654), one video pair and all of them.

Boxes are (N, 4): query start, video start, query end, video end, in seconds. For one pair, on either axis,

    precision = sum over found boxes of the time each shares with the true boxes it overlaps / their summed lengths
    recall    = sum over true boxes of the time each shares with the found boxes it overlaps / their summed lengths

and both are products over the two axes. Boxes overlap if they share an area; time that one box shares with several
counts once; boxes of the same side are summed, so a box found twice counts twice in precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

_AXES = ((0, 2), (1, 3))  # start and end on the query's time, on the video's time
Boxes = Mapping[tuple[str, str], np.ndarray]  # (query_id, video_id) -> (N, 4)
_NO_ZERO = 1e-6  # s, of the authors' denominators: what is perfect scores 0.9999999


def precision_recall(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Both in [0, 1]. Nothing found: (1, 0); nothing true: (0, 1); neither: (1, 1).

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
    """Length that spans (N,), none of them empty, cover together."""
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
        """(precision, recall), each the mean over queries of the mean over the query's labelled pairs.

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
    """The means over all pairs of `truth`, of which those without a copy have no boxes, (0, 4)."""
    none = np.zeros((0, 4))
    per_pair = {}
    for pair, true in truth.items():
        mine = found.get(pair, none)
        precision, recall = precision_recall(mine, true)
        per_pair[pair] = PairOverlap(precision=precision, recall=recall, found=len(mine), true=len(true))
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
