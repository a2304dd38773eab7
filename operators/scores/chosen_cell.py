"""One cell of the grid of which only some pairs are compared: those that a faster method proposed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ndvr.models.method import Model
from ndvr.operators.scores.cells import Scorer
from ndvr.operators.scores.groups import Group
from ndvr.operators.scores.score_part import write_pairs
from ndvr.operators.storage.store import Store


class ChosenCell(Scorer):
    """Compares chosen pairs, and takes the scores of those that an earlier part of the same groups has.

    halved  scores are brought from [-1, 1] to [0, 1], as DnS does to put them among those of its coarse student
    """

    def __init__(
        self,
        model: Model,
        queries: str | Path | Store,
        database: str | Path | Store,
        *,
        halved: bool,
        folder: Path,
        memory_gb: float,
    ):
        super().__init__(model, queries, database, folder=folder, memory_gb=memory_gb)
        self.halved = halved

    def write(
        self, path: Path, query_group: Group, video_group: Group, rows: np.ndarray, columns: np.ndarray, *old: Path
    ) -> int:
        """Write query_id, video_id, score of the pairs (rows[i], columns[i]) of the groups.

        Returns how many of them were compared now; the others are in `old` parts.
        """
        scores = np.full((len(query_group), len(video_group)), np.nan, np.float32)
        for part in old:
            _fill(scores, part, query_group.ids, video_group.ids)
        wanted = np.zeros(scores.shape, bool)
        wanted[rows, columns] = True
        new = wanted & np.isnan(scores)
        if new.any():
            self._compare(scores, new, query_group, video_group)
        rows, columns = np.nonzero(wanted)
        ids = query_group.ids, video_group.ids
        write_pairs(path, *ids, rows=rows, columns=columns, scores=scores[rows, columns])
        return int(new.sum())

    def _compare(self, scores: np.ndarray, wanted: np.ndarray, query_group: Group, video_group: Group) -> None:
        """Set the scores that are wanted; only of those videos are signatures made."""
        if self.model.compact:  # whose signatures are kept for whole groups
            some = [np.arange(n) for n in wanted.shape]
        else:
            some = [np.flatnonzero(wanted.any(1)), np.flatnonzero(wanted.any(0))]
        rows, columns = (_only(group, places) for group, places in zip((query_group, video_group), some))
        for at_columns, videos in self.videos.blocks(columns):
            for at_rows, queries in self.queries.blocks(rows):
                for row, query in zip(some[0][at_rows], queries):
                    mine = np.flatnonzero(wanted[row, some[1][at_columns]])
                    ids = [columns.ids[at_columns][k] for k in mine]
                    found = self._matrix([query], [videos[k] for k in mine], [query_group.ids[row]], ids)
                    scores[row, some[1][at_columns][mine]] = found[0] / 2 + 0.5 if self.halved else found[0]


def _only(group: Group, places: Sequence[int] | np.ndarray) -> Group:
    return group if len(places) == len(group) else Group(tuple(group.videos[place] for place in places))


def _fill(scores: np.ndarray, part: Path, query_ids: list[str], video_ids: list[str]) -> None:
    table = pq.read_table(part)
    rows, columns = (
        pc.index_in(table[name].cast(pa.string()), pa.array(ids, pa.string()))
        for name, ids in (("query_id", query_ids), ("video_id", video_ids))
    )
    known = pc.and_(rows.is_valid(), columns.is_valid())
    at = [side.filter(known).to_numpy() for side in (rows, columns)]
    scores[at[0], at[1]] = table["score"].filter(known).to_numpy()
