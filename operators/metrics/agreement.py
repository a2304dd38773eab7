"""How well a ranking of which only the top was looked at closely agrees with that of looking closely at everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ndvr.operators.metrics.average_precision import average_precision

DEPTHS = (10, 100)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Means over queries; `depth` best of the whole ranking stand for the right answers."""

    queries: int
    recall: dict[int, float]  # depth -> share of them that were looked at closely
    ap: dict[int, float]  # depth -> average precision of the ranking at hand, with them as right


def agreement(
    whole: Mapping[str, Mapping[str, float]], some: Mapping[str, Mapping[str, float]], close: Mapping[str, set[str]]
) -> Agreement:
    """Compare `some` with `whole`, both {query: {video: score}}; `close` says what of `some` was looked at closely.

    The query itself counts nowhere. Equal scores are ranked by id.
    """
    recalls: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    aps: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    for query, scores in whole.items():
        best, ranking = _ranked(query, scores), _ranked(query, some.get(query, {}))
        place = {video: number for number, video in enumerate(ranking)}
        for depth in DEPTHS:
            right = best[:depth]
            if right:
                recalls[depth].append(sum(video in close.get(query, ()) for video in right) / len(right))
                places = np.sort([place[video] for video in right if video in place])
                aps[depth].append(average_precision(places - np.arange(len(places)), len(right)))
    mean = {depth: float(np.mean(values)) if values else 0.0 for depth, values in recalls.items()}
    return Agreement(
        queries=len(whole),
        recall=mean,
        ap={depth: float(np.mean(values)) if values else 0.0 for depth, values in aps.items()},
    )


def _ranked(query: str, scores: Mapping[str, float]) -> list[str]:
    return sorted((video for video in scores if video != query), key=lambda video: (-scores[video], video))
