"""One cell of the grid: a group of queries against a group of videos, scored and written as one file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ndvr.models.method import Model, NotFiniteError
from ndvr.operators.scores.groups import Group
from ndvr.operators.scores.signatures import Signatures
from ndvr.operators.storage.sealed import read_table, write_table
from ndvr.operators.storage.store import Store

# --- One cell of the score grid as a Parquet file: query_id, video_id, score


def write_part(path: Path, query_ids: Sequence[str], video_ids: Sequence[str], scores: np.ndarray) -> int:
    """Write all pairs, sorted as the ids are given; scores (Q, V) float32. Returns how many."""
    rows, columns = np.indices(scores.shape, np.int32)
    return write_rows(path, query_ids, video_ids, rows=rows.ravel(), columns=columns.ravel(), scores=scores.ravel())


def write_rows(
    path: Path,
    query_ids: Sequence[str],
    video_ids: Sequence[str],
    *,
    rows: np.ndarray,
    columns: np.ndarray,
    scores: np.ndarray,
) -> int:
    """Write the pairs of the ids at rows[i] and columns[i], with scores[i]. Returns how many."""
    # From indices: 22 million ids as strings would take a gigabyte.
    ids = [
        pa.DictionaryArray.from_arrays(places.astype(np.int32), pa.array(names, pa.string()))
        for places, names in ((rows, query_ids), (columns, video_ids))
    ]
    cell = pa.table({"query_id": ids[0], "video_id": ids[1], "score": pa.array(scores)})
    write_table(path, cell, compression="zstd")
    return len(cell)


def read_matrix(path: Path, n_queries: int, n_videos: int) -> np.ndarray:
    """Read the scores of a part of all pairs, (Q, V) float32."""
    return read_table(path, columns=["score"])["score"].to_numpy().reshape(n_queries, n_videos)


def keep_rows(old: Path, new: Path, ids: Mapping[str, Collection[str]]) -> None:
    """Write those rows of `old` as `new` that have one of the given ids in every column that `ids` names."""
    cell = read_table(old, read_dictionary=list(ids))
    for column, wanted in ids.items():
        cell = cell.filter(pc.is_in(cell[column], value_set=pa.array(wanted, pa.string())))
    write_table(new, cell, compression="zstd")


# --- Score groups of videos with one model


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

        self.fence: Callable[[], None] = lambda: None  # raises when nothing may be written any more
        self.model, self.queries = model, side(queries)
        self.videos = self.queries if queries == database else side(database)

    def keep(self, side: str, group: Group) -> int:
        """Make sure that a compact method's signatures of a group are in their file; returns how many they are."""
        self.fence()
        (self.queries if side == "queries" else self.videos).keep(group)
        return len(group)

    def scores(self, query_group: Group, video_group: Group) -> np.ndarray:
        """Score all pairs, (Q, V) float32. ValueError naming the pair when one is not finite."""
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
        scores = self.scores(query_group, video_group)
        self.fence()
        return write_part(path, query_group.ids, video_group.ids, scores)


# --- One cell of a collection against itself: of two groups of videos the pairs that are alike enough, as one file


COLUMNS = ("video_id_a", "video_id_b", "score")


class PairCell(Scorer):
    """Keeps pairs of at least `threshold`, and of those only the `top_k` best of either video in the cell.

    Of a method that is not symmetric the higher of both directions counts: a clip is found in what contains it.
    """

    def __init__(
        self,
        model: Model,
        library: str | Path | Store,
        *,
        folder: Path,
        memory_gb: float,
        threshold: float | None = None,
        top_k: int | None = None,
    ):
        super().__init__(model, library, library, folder=folder, memory_gb=memory_gb)
        self.threshold, self.top_k = threshold, top_k

    def write(self, path: Path, first: Group, second: Group) -> int:
        """Write video_id_a < video_id_b, score, each pair once; returns how many pairs were compared."""
        same = first.name == second.name
        alone = same and len(first) == 1  # a video is not compared with itself
        scores = np.zeros((1, 1), np.float32) if alone else self.scores(first, second)
        if same:
            scores = np.maximum(scores, scores.T)
        elif not self.model.symmetric:
            scores = np.maximum(scores, self.scores(second, first).T)
        compared = np.ones(scores.shape, bool)
        if same:
            np.fill_diagonal(compared, False)
        kept = compared if self.threshold is None else compared & (scores >= self.threshold)
        if self.top_k is not None:
            masked = np.where(kept, scores, -np.inf)
            kept &= among_best(masked, self.top_k) | among_best(masked.T, self.top_k).T
        if same:
            kept = np.triu(kept, 1)  # symmetric, as the scores are
        rows, columns = np.nonzero(kept)
        a, b = np.array(first.ids, object)[rows], np.array(second.ids, object)[columns]
        swap = a > b
        a[swap], b[swap] = b[swap], a[swap]
        self.fence()
        write_pairs(path, a, b, scores[rows, columns])
        return int(compared.sum()) // (2 if same else 1)


def among_best(scores: np.ndarray, k: int) -> np.ndarray:
    """Mark, (N, M) bool, the k highest of each row; of equals those of the first columns."""
    if scores.shape[1] <= k:
        return np.ones(scores.shape, bool)
    kth = np.partition(scores, -k, axis=1)[:, -k, None]
    higher, equal = scores > kth, scores == kth
    left = k - higher.sum(1, keepdims=True)
    return higher | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= left))


def write_pairs(path: Path, a: np.ndarray, b: np.ndarray, scores: np.ndarray) -> None:
    """Write three columns, whole or not at all."""
    ids = [pa.array(side, pa.string()).dictionary_encode() for side in (a, b)]
    table = pa.table(dict(zip(COLUMNS, [*ids, pa.array(scores.astype(np.float32))])))
    write_table(path, table, compression="zstd")


# --- One cell of the grid of which only some pairs are compared: those that a faster method proposed


class ChosenCell(Scorer):
    """Compares chosen pairs, and takes the scores of those that an earlier part of the same groups has.

    to_proposer_scale  scores are brought to the scale of the fast method's, to stand among them
    """

    def __init__(
        self,
        model: Model,
        queries: str | Path | Store,
        database: str | Path | Store,
        *,
        to_proposer_scale: bool,
        folder: Path,
        memory_gb: float,
    ):
        super().__init__(model, queries, database, folder=folder, memory_gb=memory_gb)
        self.to_proposer_scale = to_proposer_scale

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
        self.fence()
        write_rows(path, *ids, rows=rows, columns=columns, scores=scores[rows, columns])
        return int(new.sum())

    def _compare(self, scores: np.ndarray, wanted: np.ndarray, query_group: Group, video_group: Group) -> None:
        """Set the scores that are wanted; only of those videos are signatures made."""
        if self.model.compact:  # whose signatures are kept for whole groups
            places = [np.arange(n) for n in wanted.shape]
        else:
            places = [np.flatnonzero(wanted.any(1)), np.flatnonzero(wanted.any(0))]
        rows, columns = (_only(group, of_group) for group, of_group in zip((query_group, video_group), places))
        for at_columns, videos in self.videos.blocks(columns):
            for at_rows, queries in self.queries.blocks(rows):
                for row, query in zip(places[0][at_rows], queries):
                    chosen = np.flatnonzero(wanted[row, places[1][at_columns]])
                    ids = [columns.ids[at_columns][k] for k in chosen]
                    (compared,) = self._matrix([query], [videos[k] for k in chosen], [query_group.ids[row]], ids)
                    if self.to_proposer_scale:
                        compared = self.model.to_proposer_scale(compared)
                    scores[row, places[1][at_columns][chosen]] = compared


def _only(group: Group, places: Sequence[int] | np.ndarray) -> Group:
    return group if len(places) == len(group) else Group(tuple(group.videos[place] for place in places))


def _fill(scores: np.ndarray, part: Path, query_ids: list[str], video_ids: list[str]) -> None:
    table = read_table(part)
    rows, columns = (
        pc.index_in(table[name].cast(pa.string()), pa.array(ids, pa.string()))
        for name, ids in (("query_id", query_ids), ("video_id", video_ids))
    )
    known = pc.and_(rows.is_valid(), columns.is_valid())
    at = [side.filter(known).to_numpy() for side in (rows, columns)]
    scores[at[0], at[1]] = table["score"].filter(known).to_numpy()
