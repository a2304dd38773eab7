"""One cell of the grid: a group of queries against a group of videos, scored and written as one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.models.method import Model, NotFiniteError
from ndvr.operators.scores.groups import Group
from ndvr.operators.scores.score_part import write_part
from ndvr.operators.scores.signatures import Signatures
from ndvr.operators.storage.store import Store

# Of a worker's memory: what is being compared, each side, and what is kept for the next cells.
_BLOCK_SHARE, _KEPT_SHARE = 0.2, 0.4


class Scorer:
    """Scores groups with one model, in `memory_gb` beyond what the model itself takes."""

    def __init__(
        self, model: Model, queries: str | Path | Store, database: str | Path | Store, *, folder: Path, memory_gb: float
    ):
        def side(library: str | Path | Store) -> Signatures:
            block, kept = (int(share * memory_gb * 1e9) for share in (_BLOCK_SHARE, _KEPT_SHARE))
            return Signatures(model, library, block_bytes=block, kept_bytes=kept, folder=folder)

        self.model, self.queries = model, side(queries)
        self.videos = self.queries if queries == database else side(database)

    def keep(self, side: str, group: Group) -> int:
        """Make sure that a compact method's signatures of a group are in their file; returns how many they are."""
        (self.queries if side == "queries" else self.videos).keep(group)
        return len(group)

    def scores(self, query_group: Group, video_group: Group) -> np.ndarray:
        """(Q, V) float32. ValueError naming the pair when one is not finite."""
        scores = np.empty((len(query_group), len(video_group)), np.float32)
        for columns, videos in self.videos.blocks(video_group):
            for rows, queries in self.queries.blocks(query_group):
                scores[rows, columns] = self._matrix(queries, videos, query_group.ids[rows], video_group.ids[columns])
        return scores

    def _matrix(
        self, queries: list[Any], videos: list[Any], query_ids: Sequence[str], video_ids: Sequence[str]
    ) -> np.ndarray:
        try:
            return self.model.score_matrix(queries, videos)
        except NotFiniteError as error:
            query, video = query_ids[error.query], video_ids[error.target]
            raise ValueError(
                f"{self.model.name} gave a score that is not finite to query {query!r} and video {video!r}"
            ) from error


class ScoreCell(Scorer):
    """Writes cells of all pairs."""

    def write(self, path: Path, query_group: Group, video_group: Group) -> int:
        """Write query_id, video_id, score of all pairs to `path`, sorted by both ids; returns how many."""
        return write_part(path, query_group.ids, video_group.ids, self.scores(query_group, video_group))
