"""mAP on videos that were held out, of a network as it is: `ndvr evaluate SCORES --truth FILE --symmetric` in memory.

Equal scores count as the mean over their orders: codes of few bits have many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ndvr.models.method import Model
from ndvr.operators.metrics.average_precision import expected_average_precision
from ndvr.pipeline.training.material import Alike, Features

_QUERIES_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Videos to be judged by, and which of them show the same."""

    features: Features
    alike: Alike

    @property
    def queries(self) -> list[str]:
        """The videos of which another is there that shows the same."""
        there = self.features.by_id
        return [video_id for video_id in there if self.alike.related.get(video_id, frozenset()) & there.keys()]

    def neither(self, video_id: str) -> frozenset[str]:
        """Videos that share a partner with this one: two edits of one original count neither as right nor as wrong."""
        related = self.alike.related
        return frozenset().union(*(related[other] for other in related[video_id])) - related[video_id] | {video_id}


def check_held_out(held_out: HeldOut) -> None:
    """ValueError when no query is there."""
    if not held_out.queries:
        raise ValueError(
            f"no two videos that {held_out.alike.name} calls alike have features in {held_out.features.library}: "
            "nothing can be measured; ids must be those of `ndvr show --list`"
        )


def mean_ap(model: Model, held_out: HeldOut) -> float:
    """Score every query against all videos held out; mean average precision."""
    signatures = {video_id: model.signature(array) for video_id, array in held_out.features.by_id.items()}
    queries, precisions = held_out.queries, []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = queries[start : start + _QUERIES_AT_ONCE]
        scores = model.score_matrix([signatures[query] for query in some], list(signatures.values()))
        for query, row in zip(some, scores):
            precisions.append(_average_precision(query, dict(zip(signatures, row.tolist())), held_out))
    return float(np.mean(precisions))


def _average_precision(query: str, scores: Mapping[str, float], held_out: HeldOut) -> float:
    right_ids, neither = held_out.alike.related[query], held_out.neither(query)
    right = np.sort([score for video_id, score in scores.items() if video_id in right_ids and video_id != query])[::-1]
    wrong = np.sort([score for video_id, score in scores.items() if video_id not in right_ids | neither])
    above = len(wrong) - np.searchsorted(wrong, right, side="right")
    at_least = len(wrong) - np.searchsorted(wrong, right, side="left")
    return expected_average_precision(right, above, at_least - above, len(right))
