"""Proposals without the scores of all pairs: signatures of one vector or code a video are kept, and searched.

For as many queries as videos, whose scores would not fit on a disk. What is not proposed has no score at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ndvr.models.method import Model
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import grid
from ndvr.pipeline.comparison.inputs import Comparable
from ndvr.pipeline.comparison.opened import Opened, open_comparison
from ndvr.pipeline.comparison.proposals import Proposals, Urgency
from ndvr.pipeline.comparison.similarity import Comparison, score_worker

Index = Literal["flat", "ivf"]


def keep_signatures(
    found: Comparable, out: Path, *, query_ids: Iterable[str] | None, workers: Workers
) -> tuple[Opened, Comparison]:
    """Make a score folder that has signatures and no scores."""
    began = time.monotonic()
    about = {"scored": "nothing: signatures only"}
    opened = open_comparison(found, out, query_ids=query_ids, memory_gb=workers.memory_gb, about=about)
    folder = opened.folder
    folder.record(opened.sides)
    pairs = [(side, group) for side in grid.SIDES for group in opened.sides[side].groups]
    kept = {group.name: (side, group) for side, group in pairs}
    missing = [pair for name, pair in kept.items() if not (folder.signatures / f"{name}.npy").exists()]
    compute_s = 0.0
    if missing:
        make = partial(score_worker, **opened.worker(workers.memory_gb))
        compute_s = grid.run(make, [], workers, kept=missing)[1]
    folder.finish([], folder.write_ids(opened.asked), groups=opened.groups)
    facts = opened.facts()
    done = Comparison(
        **facts,
        pairs_computed=facts["pairs"] if len(missing) == len(kept) else 0,
        cells=0,
        cells_resumed=0,
        compute_s=round(compute_s, 3),
        seconds=round(time.monotonic() - began, 3),
    )
    return opened, done


class Indexed(Proposals):
    """Proposals out of a folder of signatures. flat: exact, scores are made as they are needed; ivf: about, faster."""

    def __init__(self, opened: Opened, index: Index):
        super().__init__(opened.folder.out)
        self.model: Model = opened.found.model
        self.signatures, self.index = opened.folder.signatures, index

    def matrices(self, row: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        queries = self.model.unstack(self._stacked(row))
        for column, ids in self.columns.items():
            scores = self.model.score_matrix(queries, self.model.unstack(self._stacked(column)))
            yield column, self.places(ids), scores

    def choose(
        self, n: int, *, queries: set[str], videos: set[str], urgency: Urgency | None = None
    ) -> dict[str, np.ndarray]:
        if self.index == "flat" or urgency is not None:
            return super().choose(n, queries=queries, videos=videos, urgency=urgency)
        from ndvr.operators.scores.inverted_file import nearest

        able = [video_id for ids in self.columns.values() for video_id in ids]
        mask = np.array([video_id in videos for video_id in able], bool)
        stacked = np.concatenate([self._stacked(column) for column in self.columns])[mask]
        places = self.places([video_id for video_id, compares in zip(able, mask) if compares])
        asked = np.concatenate([self._stacked(row) for row in self.rows])
        found = nearest(asked, stacked, n)
        return {
            query_id: np.sort(places[mine[mine >= 0]])
            for query_id, mine in zip(self.query_ids, found)
            if query_id in queries
        }

    def write_rest(self, folder: Path, chosen: Mapping[str, np.ndarray], scaled: Any) -> list[str]:
        """Nothing: what was not proposed has no score."""
        return []

    def _stacked(self, name: str) -> np.ndarray:
        return np.load(self.signatures / f"{name}.npy", allow_pickle=False)
