"""One cell of a collection against itself: of two groups of videos the pairs that are alike enough, as one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ndvr.models.method import Model
from ndvr.operators.scores.cells import Scorer
from ndvr.operators.scores.groups import Group
from ndvr.operators.storage.store import Store, write_whole

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
        scores = self.scores(first, second)
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
        write_pairs(path, a, b, scores[rows, columns])
        return int(compared.sum()) // (2 if same else 1)


def among_best(scores: np.ndarray, k: int) -> np.ndarray:
    """(N, M) bool: whether an entry is one of the k highest of its row; of equals those of the first columns are."""
    if scores.shape[1] <= k:
        return np.ones(scores.shape, bool)
    kth = np.partition(scores, -k, axis=1)[:, -k, None]
    higher, equal = scores > kth, scores == kth
    left = k - higher.sum(1, keepdims=True)
    return higher | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= left))


def write_pairs(path: Path, a: np.ndarray, b: np.ndarray, scores: np.ndarray) -> None:
    """Three columns; whole or absent."""
    ids = [pa.array(side, pa.string()).dictionary_encode() for side in (a, b)]
    table = pa.table(dict(zip(COLUMNS, [*ids, pa.array(scores.astype(np.float32))])))
    write_whole(path, lambda name: pq.write_table(table, name, compression="zstd"))
