"""One cell of the grid: a group of queries against a group of videos, scored and written as one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ndvr.models.method import Model
from ndvr.operators.library import Entry, Library, write_whole


class ScoreCell:
    """Scores cells with one model; keeps the signatures of the last two groups, which neighbouring cells share."""

    def __init__(self, model: Model, queries: Path, database: Path):
        self.model, self.sides = model, {"query": Library(queries), "video": Library(database)}
        self._kept: dict[str, tuple[list[str], list]] = {}

    def __call__(self, path: Path, query_group: list[Entry], video_group: list[Entry]) -> int:
        """Write query_id, video_id, score of all pairs to `path`, sorted by both ids; returns how many."""
        query_ids, queries = self._signatures("query", query_group)
        video_ids, videos = self._signatures("video", video_group)
        scores = [self.model.similarities(query, videos) for query in queries]
        cell = pa.table(
            {
                "query_id": pa.array(np.repeat(query_ids, len(video_ids))).dictionary_encode(),
                "video_id": pa.array(np.tile(video_ids, len(query_ids))).dictionary_encode(),
                "score": pa.array(np.concatenate(scores).astype(np.float32)),
            }
        )
        write_whole(path, lambda name: pq.write_table(cell, name, compression="zstd"))
        return len(cell)

    def _signatures(self, side: str, group: list[Entry]) -> tuple[list[str], list]:
        ids = sorted(entry.video_id for entry in group)
        if self._kept.get(side, ([],))[0] != ids:
            library = self.sides[side]
            found = {video_id: self.model.signature(features) for video_id, _, features in library.read(group)}
            self._kept[side] = ids, [found[video_id] for video_id in ids]
        return self._kept[side]
