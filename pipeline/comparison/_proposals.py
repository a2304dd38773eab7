"""Let a fast method score all pairs, read its score folder as matrices, and choose the pairs that it proposes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from ndvr.models.method import Model
from ndvr.operators.scores.cells import read_matrix, write_rows
from ndvr.operators.scores.files import PARTS
from ndvr.operators.scores.groups import Group, name_of, read_groups
from ndvr.operators.scores.shortlist import Highest
from ndvr.operators.storage.sealed import is_intact, load_array
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import _grid as grid
from ndvr.pipeline.comparison._score_folder import GROUPS
from ndvr.pipeline.comparison.inputs import Inputs, ScoreGrid, open_grid
from ndvr.pipeline.comparison.similarity import Comparison, score_all, score_worker

# For each query the places of the videos that are compared with it, ascending.
Chosen = dict[str, np.ndarray]
# scores (Q, V) of two groups, by their names -> what decides who is looked at closely, (Q, V)
Urgency = Callable[[str, str, np.ndarray], np.ndarray]


class Proposals:
    """The finished score folder of a proposer. Videos have places among their sorted ids.

    report  what making it took
    """

    def __init__(self, folder: Path, report: Comparison):
        self.report = report
        self.parts = folder / PARTS
        self.groups = read_groups(folder / GROUPS)
        self.rows, self.columns = (
            {name_of(group): [video_id for video_id, _ in group] for group in self.groups.get(side, ())}
            for side in ("queries", "videos")
        )
        self.query_ids = [query_id for ids in self.rows.values() for query_id in ids]
        self.video_ids = sorted(video_id for ids in self.columns.values() for video_id in ids)
        self._places = {video_id: place for place, video_id in enumerate(self.video_ids)}

    def places(self, video_ids: Sequence[str]) -> np.ndarray:
        """Look up the places of the ids, (N,) int64; -1 for ids that are not there."""
        return np.fromiter((self._places.get(video_id, -1) for video_id in video_ids), np.int64, len(video_ids))

    def matrices(self, row: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Read the scores of one group of queries: name of a group of videos, their places (V,), scores (Q, V)."""
        for column, ids in self.columns.items():
            path = self.parts / f"{row}-{column}.parquet"
            yield column, self.places(ids), read_matrix(path, len(self.rows[row]), len(ids))

    def choose(self, n: int, *, queries: set[str], videos: set[str], urgency: Urgency | None = None) -> Chosen:
        """Choose the `n` videos that score highest with each query, or are most urgent.

        Only of `queries` and `videos`, which are those that can be compared closely.
        """
        comparable = np.array([video_id in videos for video_id in self.video_ids], bool)
        chosen: Chosen = {}
        for row, ids in self.rows.items():
            highest = Highest(len(ids), n)
            for column, places, scores in self.matrices(row):
                kept = comparable[places]
                values = scores if urgency is None else urgency(row, column, scores)
                highest.add(values[:, kept], places[kept])
            best = np.sort(highest.places(), axis=1)
            chosen |= {query_id: best[k] for k, query_id in enumerate(ids) if query_id in queries}
        return chosen

    def write_others(self, folder: Path, chosen: Chosen, scaled: Callable[[np.ndarray], np.ndarray]) -> list[str]:
        """Write every pair that was not chosen, with its score scaled, unless it is there; returns names of parts."""
        names = []
        for row, query_ids in self.rows.items():
            taken = np.zeros((len(query_ids), len(self.video_ids)), bool)
            for k, query_id in enumerate(query_ids):
                taken[k, chosen.get(query_id, [])] = True
            for column, places, scores in self.matrices(row):
                rows, columns = np.nonzero(~taken[:, places])
                names.append(f"{row}-{column}-rest-{digest_of(rows, columns)}.parquet")
                if not is_intact(folder / names[-1]):
                    values = scaled(scores[rows, columns].astype(np.float64))
                    ids = query_ids, self.columns[column]
                    write_rows(folder / names[-1], *ids, rows=rows, columns=columns, scores=values)
        return names


def chosen_pairs(
    row: Group, columns: Sequence[Group], proposals: Proposals, chosen: Chosen
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Split the chosen pairs of a group of queries: number of the group of videos -> (rows, columns) in both groups."""
    group_of = np.full(len(proposals.video_ids) + 1, -1)  # the last one for places that are -1
    within = np.zeros(len(group_of), np.int64)
    for number, column in enumerate(columns):
        places = proposals.places(column.ids)
        group_of[places], within[places] = number, np.arange(len(column))
    group_of[-1] = -1
    rows_by_query = [np.full(len(chosen.get(query_id, ())), k) for k, query_id in enumerate(row.ids)]
    all_rows = np.concatenate(rows_by_query)
    all_places = np.concatenate([chosen.get(query_id, np.zeros(0, np.int64)) for query_id in row.ids])
    order = np.argsort(group_of[all_places], kind="stable")
    all_rows, all_places = all_rows[order], all_places[order]
    numbers, firsts = np.unique(group_of[all_places], return_index=True)
    cuts = zip(numbers, np.split(all_rows, firsts[1:]), np.split(within[all_places], firsts[1:]))
    return {int(number): (rows, columns) for number, rows, columns in cuts if len(rows)}


def digest_of(*arrays: np.ndarray) -> str:
    """Hash whole numbers to 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.int32).tobytes() + b";")
    return digest.hexdigest()[:12]


# --- Proposals without the scores of all pairs: signatures of one vector or code a video are kept, and searched ------
#
# For as many queries as videos, whose scores would not fit on a disk. What is not proposed has no score at all.


Index = Literal["flat", "ivf"]


def propose(
    fast: Inputs, out: Path, *, query_ids: list[str] | None, workers: Workers, index: Index | None
) -> Proposals:
    """Let the fast method score all pairs, or keep its signatures to be searched."""
    if index is None:
        return Proposals(out, score_all(fast, out, query_ids=query_ids, workers=workers))
    return _keep_signatures(fast, out, query_ids=query_ids, workers=workers, index=index)


def _keep_signatures(
    fast: Inputs, out: Path, *, query_ids: list[str] | None, workers: Workers, index: Index
) -> Indexed:
    """Make a score folder that has signatures and no scores."""
    began = time.monotonic()
    decisive = {"scored": "nothing: signatures only"}
    score_grid = open_grid(fast, out, query_ids=query_ids, workers=workers, decisive=decisive)
    folder = score_grid.folder
    folder.record(score_grid.sides)
    groups = {group.name: (side, group) for side in grid.SIDES for group in score_grid.sides[side].groups}
    missing = [pair for name, pair in groups.items() if not is_intact(folder.signatures / f"{name}.npy")]
    compute_s = 0.0
    if missing:
        make = partial(score_worker, **score_grid.worker(workers.memory_gb))
        compute_s = grid.run(make, [], fast.hire(workers), kept=missing)[1]
    folder.finish([], folder.write_ids(score_grid.entries, score_grid.too_long), groups=score_grid.groups)
    facts = score_grid.facts()
    report = Comparison(
        **facts,
        pairs_computed=facts["pairs"] if len(missing) == len(groups) else 0,
        cells=0,
        cells_resumed=0,
        compute_s=round(compute_s, 3),
        seconds=round(time.monotonic() - began, 3),
    )
    return Indexed(score_grid, report, index)


class Indexed(Proposals):
    """Proposals out of a folder of signatures. flat: exact, scores are made as they are needed; ivf: nearly, faster."""

    def __init__(self, score_grid: ScoreGrid, report: Comparison, index: Index):
        super().__init__(score_grid.folder.out, report)
        self.model: Model = score_grid.inputs.model
        self.signatures, self.index = score_grid.folder.signatures, index

    def matrices(self, row: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        queries = self.model.unstack(self._stacked(row))
        for column, ids in self.columns.items():
            scores = self.model.score_matrix(queries, self.model.unstack(self._stacked(column)))
            yield column, self.places(ids), scores

    def choose(self, n: int, *, queries: set[str], videos: set[str], urgency: Urgency | None = None) -> Chosen:
        if self.index == "flat" or urgency is not None:
            return super().choose(n, queries=queries, videos=videos, urgency=urgency)
        from ndvr.operators.scores.shortlist import nearest

        video_ids = [video_id for ids in self.columns.values() for video_id in ids]
        comparable = np.array([video_id in videos for video_id in video_ids], bool)
        signatures = np.concatenate([self._stacked(column) for column in self.columns])[comparable]
        places = self.places([video_id for video_id, kept in zip(video_ids, comparable) if kept])
        nearest_numbers = nearest(np.concatenate([self._stacked(row) for row in self.rows]), signatures, n)
        return {
            query_id: np.sort(places[numbers[numbers >= 0]])
            for query_id, numbers in zip(self.query_ids, nearest_numbers)
            if query_id in queries
        }

    def write_others(self, folder: Path, chosen: Chosen, scaled: Callable[[np.ndarray], np.ndarray]) -> list[str]:
        """Write nothing: what was not proposed has no score."""
        return []

    def _stacked(self, name: str) -> np.ndarray:
        return load_array(self.signatures / f"{name}.npy")
