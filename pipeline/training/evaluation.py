"""mAP on videos that were held out, of a network as it is: `ndvr evaluate SCORES --truth FILE --symmetric` in memory.

Equal scores count as the mean over their orders: codes of few bits have many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ndvr.models.method import Model
from ndvr.operators.metrics.average_precision import expected_average_precision
from ndvr.pipeline.training.material import Alike, Features

_QUERIES_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Reranked:
    """Scores of all V videos held out with each other, (V, V), and the share of each row that is compared closely."""

    coarse: np.ndarray
    fine: np.ndarray
    share: float

    def scores(self, selector: Model, signatures: Sequence[Any], rows: list[int]) -> np.ndarray:
        """Score some queries coarsely (Q, V), but finely where the selector doubts most."""
        coarse = np.nan_to_num(self.coarse[rows])  # of a video itself there is none, and none is asked for
        doubts = selector.urgency([signatures[row] for row in rows], signatures, coarse)
        doubts[np.arange(len(rows)), rows] = -1
        chosen = np.argsort(-doubts, axis=1, kind="stable")[:, : int(self.share * (len(signatures) - 1))]
        fine = selector.to_proposer_scale(np.take_along_axis(self.fine[rows], chosen, axis=1))
        np.put_along_axis(coarse, chosen, fine, axis=1)
        return coarse


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Videos to be judged by, and which of them show the same."""

    features: Features
    alike: Alike
    reranked: Reranked | None = None  # by what a selector is judged, which gives no scores itself

    @property
    def queries(self) -> list[str]:
        """The videos of which another is there that shows the same."""
        there = self.features.by_id
        return [video_id for video_id in there if self.alike.related.get(video_id, frozenset()) & there.keys()]

    def neither(self, video_id: str) -> frozenset[str]:
        """Find videos that share a partner with this one:
        two edits of one original count neither as right nor as wrong.
        """
        related = self.alike.related
        return frozenset().union(*(related[other] for other in related[video_id])) - related[video_id] | {video_id}


def check_held_out(held_out: HeldOut) -> None:
    """Raise ValueError when no query is there."""
    if not held_out.queries:
        raise ValueError(
            f"no two videos that {held_out.alike.name} calls alike have features in {held_out.features.library}: "
            "nothing can be measured; ids must be those of `ndvr show --list`"
        )


def mean_ap(model: Model, held_out: HeldOut) -> float:
    """Score every query against all videos held out; mean average precision."""
    ids = list(held_out.features.by_id)
    signatures = [model.signature(held_out.features.by_id[video_id]) for video_id in ids]
    places = {video_id: place for place, video_id in enumerate(ids)}
    queries, precisions = held_out.queries, []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = queries[start : start + _QUERIES_AT_ONCE]
        rows = [places[query] for query in some]
        if held_out.reranked is None:
            scores = model.score_matrix([signatures[row] for row in rows], signatures)
        else:
            scores = held_out.reranked.scores(model, signatures, rows)
        for query, row in zip(some, scores):
            precisions.append(_average_precision(query, dict(zip(ids, row.tolist())), held_out))
    return float(np.mean(precisions))


def _average_precision(query: str, scores: Mapping[str, float], held_out: HeldOut) -> float:
    right_ids, neither = held_out.alike.related[query], held_out.neither(query)
    right = np.sort([score for video_id, score in scores.items() if video_id in right_ids and video_id != query])[::-1]
    wrong = np.sort([score for video_id, score in scores.items() if video_id not in right_ids | neither])
    above = len(wrong) - np.searchsorted(wrong, right, side="right")
    at_least = len(wrong) - np.searchsorted(wrong, right, side="left")
    return expected_average_precision(right, above, at_least - above, len(right))
