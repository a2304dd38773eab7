"""What a fast method says about all pairs: its score folder, read as matrices, and the pairs it proposes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ndvr.models.method import Model
from ndvr.operators.scores.cells import read_matrix, write_rows
from ndvr.operators.scores.files import PARTS
from ndvr.operators.scores.groups import Group, name_of, read_groups
from ndvr.operators.scores.shortlist import Highest
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import grid
from ndvr.pipeline.comparison.inputs import Comparable, Opened, open_comparison
from ndvr.pipeline.comparison.score_folder import GROUPS
from ndvr.pipeline.comparison.similarity import Comparison, score_worker
from ndvr.pipeline.settings import choose_one

# scores (Q, V) of two groups, by their names -> what decides who is looked at closely, (Q, V)
Urgency = Callable[[str, str, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Proposer:
    """A method as it is named on the command line: tca:similarity=cosine,weights=tca.pth"""

    method: str
    weights: str | None = None
    config: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Proposer:
        """METHOD, or METHOD:KEY=VALUE,...; keys are options of the method, weights and config."""
        method, _, rest = text.partition(":")
        settings = {}
        for setting in filter(None, rest.split(",")):
            key, equals, value = setting.partition("=")
            if not equals or not key:
                raise ValueError(f"--propose {text!r}: expected METHOD or METHOD:KEY=VALUE,..., found {setting!r}")
            settings[key] = value
        own = {key: settings.pop(key, None) for key in ("weights", "config")}
        choose_one(method, own["weights"], settings)  # ValueError now rather than later
        return cls(method=method, options=settings, **own)


class Proposals:
    """The finished score folder of a proposer. Videos have places among their sorted ids."""

    def __init__(self, folder: Path):
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
        """(N,) int64; -1 for ids that are not there."""
        return np.fromiter((self._places.get(video_id, -1) for video_id in video_ids), np.int64, len(video_ids))

    def matrices(self, row: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Of one group of queries: name of a group of videos, their places (V,), scores (Q, V)."""
        for column, ids in self.columns.items():
            path = self.parts / f"{row}-{column}.parquet"
            yield column, self.places(ids), read_matrix(path, len(self.rows[row]), len(ids))

    def choose(
        self, n: int, *, queries: set[str], videos: set[str], urgency: Urgency | None = None
    ) -> dict[str, np.ndarray]:
        """The places of the `n` videos that score highest with each query, or are most urgent; sorted.

        Only of `queries` and `videos`, which are those that can be compared closely.
        """
        compares = np.array([video_id in videos for video_id in self.video_ids], bool)
        chosen: dict[str, np.ndarray] = {}
        for row, ids in self.rows.items():
            highest = Highest(len(ids), n)
            for column, places, scores in self.matrices(row):
                able = compares[places]
                values = scores if urgency is None else urgency(row, column, scores)
                highest.add(values[:, able], places[able])
            found = np.sort(highest.places(), axis=1)
            chosen |= {query_id: found[k] for k, query_id in enumerate(ids) if query_id in queries}
        return chosen

    def write_rest(
        self, folder: Path, chosen: Mapping[str, np.ndarray], scaled: Callable[[np.ndarray], np.ndarray]
    ) -> list[str]:
        """Write every pair that was not chosen, with its score scaled, unless it is there; returns names of parts."""
        names = []
        for row, query_ids in self.rows.items():
            taken = np.zeros((len(query_ids), len(self.video_ids)), bool)
            for k, query_id in enumerate(query_ids):
                taken[k, chosen.get(query_id, [])] = True
            for column, places, scores in self.matrices(row):
                rows, columns = np.nonzero(~taken[:, places])
                names.append(f"{row}-{column}-rest-{digest_of(rows, columns)}.parquet")
                if not (folder / names[-1]).exists():
                    found = scaled(scores[rows, columns].astype(np.float64))
                    ids = query_ids, self.columns[column]
                    write_rows(folder / names[-1], *ids, rows=rows, columns=columns, scores=found)
        return names


def chosen_of(
    row: Group, columns: Sequence[Group], proposals: Proposals, chosen: Mapping[str, np.ndarray]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """The chosen pairs of a group of queries: number of the group of videos -> (rows, columns) inside both groups."""
    group_of = np.full(len(proposals.video_ids) + 1, -1)  # the last one for places that are -1
    within = np.zeros(len(group_of), np.int64)
    for number, column in enumerate(columns):
        places = proposals.places(column.ids)
        group_of[places], within[places] = number, np.arange(len(column))
    group_of[-1] = -1
    rows = [np.full(len(chosen.get(query_id, ())), k) for k, query_id in enumerate(row.ids)]
    all_rows = np.concatenate(rows)
    all_places = np.concatenate([chosen.get(query_id, np.zeros(0, np.int64)) for query_id in row.ids])
    order = np.argsort(group_of[all_places], kind="stable")
    all_rows, all_places = all_rows[order], all_places[order]
    numbers, firsts = np.unique(group_of[all_places], return_index=True)
    cuts = zip(numbers, np.split(all_rows, firsts[1:]), np.split(within[all_places], firsts[1:]))
    return {int(number): (mine, theirs) for number, mine, theirs in cuts if len(mine)}


def digest_of(*arrays: np.ndarray) -> str:
    """12 hexadecimal digits that stand for these whole numbers."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.int32).tobytes() + b";")
    return digest.hexdigest()[:12]


# --- Proposals without the scores of all pairs: signatures of one vector or code a video are kept, and searched ------
#
# For as many queries as videos, whose scores would not fit on a disk. What is not proposed has no score at all.


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
        from ndvr.operators.scores.shortlist import nearest

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
