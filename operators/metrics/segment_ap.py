"""Segment AP of the Video Similarity Challenge 2022's matching track (Pizzi et al., CVIU 2024, arXiv 2306.09489).

Matches are taken in falling score, equal scores together. After each score, over all video pairs and on each axis (the
query's time and the video's):

    precision = shared / found     shared  time that found matches and the truth have in common, pair by pair
    recall    = shared / true      found   time that found matches cover;  true  time that the truth covers

where stretches count once however often they are covered, and a true match counts as shared only if some found match of
its pair overlaps it on both axes (VCSL's figure 4f: the right times in the wrong combination are worth nothing). With
P and R the geometric means over the axes, AP = sum of P x (rise of R).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ndvr.operators.metrics.segments import Match, Spans, length_s, shared_s, union


@dataclass(frozen=True, kw_only=True)
class SegmentAp:
    """The number and its curve: a point for every score at which recall rose."""

    ap: float
    precision: np.ndarray = field(repr=False)  # (P,)
    recall: np.ndarray = field(repr=False)  # (P,) rising
    scores: np.ndarray = field(repr=False)  # (P,) falling


def segment_ap(found: Iterable[Match], truth: Iterable[Match]) -> SegmentAp:
    """AP of the found matches, 0 if there are none. ValueError if the truth covers no time."""
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

    def add(self, found: list[Match]) -> None:
        hit: list[Match] = []
        missed: list[Match] = []
        for true in self.truth if self.missed is None else self.missed:
            (hit if any(true.overlaps(match) for match in found) else missed).append(true)
        self.missed = missed
        self.reached = _joined(self.reached, hit)
        self.spans = _joined(self.spans, found)
        self.covered = np.array([length_s(spans) for spans in self.spans])
        self.shared = np.array([shared_s(mine, true) for mine, true in zip(self.spans, self.reached)])


def _by_axis(matches: list[Match]) -> tuple[Spans, Spans]:
    query, video = ([(match.axes[axis].start_s, match.axes[axis].end_s) for match in matches] for axis in (0, 1))
    return query, video


def _joined(spans: tuple[Spans, Spans], matches: list[Match]) -> tuple[Spans, Spans]:
    query, video = (union(old + new) for old, new in zip(spans, _by_axis(matches)))
    return query, video
