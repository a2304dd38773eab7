"""The pairs of all cells together: the best of every video, in order, and the families they make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ndvr.operators.scores.cells import COLUMNS
from ndvr.operators.storage.sealed import read_table, write_table

REDUCED_PAIRS = 1 << 24  # at a time, 12 bytes each


class PairList:
    """Pairs as places of their videos among the sorted ids: `a` < `b` (P,) int32, `score` (P,) float32."""

    def __init__(self, video_ids: Sequence[str]):
        self.video_ids = sorted(video_ids)
        self._dictionary = pa.array(self.video_ids, pa.string())
        self.a, self.b = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self.score = np.zeros(0, np.float32)

    def read(self, parts: Iterable[Path], *, top_k: int | None) -> PairList:
        """Read all pairs of the parts, highest first, equals by id; `top_k` keeps the k best of either video."""
        waiting, n_waiting = [(self.a, self.b, self.score)], 0
        for part in parts:
            table = read_table(part)
            a, b = (pc.index_in(table[name].cast(pa.string()), self._dictionary).to_numpy() for name in COLUMNS[:2])
            waiting.append((a.astype(np.int32), b.astype(np.int32), table["score"].to_numpy()))
            n_waiting += len(table)
            if top_k is not None and n_waiting > REDUCED_PAIRS:
                self._set(waiting, top_k)
                waiting, n_waiting = [(self.a, self.b, self.score)], 0
        self._set(waiting, top_k)
        return self

    def _set(self, parts: Sequence[tuple[np.ndarray, ...]], top_k: int | None) -> None:
        a, b, score = (np.concatenate(columns) for columns in zip(*parts))
        order = np.lexsort((b, a, -score))
        a, b, score = a[order], b[order], score[order]
        if top_k is not None:
            kept = _among_best(a, b, top_k)
            a, b, score = a[kept], b[kept], score[kept]
        self.a, self.b, self.score = a, b, score

    def families(self) -> list[list[str]]:
        """Find the videos that a chain of pairs connects; the largest family first, equals by their first id."""
        label = np.arange(len(self.video_ids))
        while True:
            before = label.copy()
            low = np.minimum(label[self.a], label[self.b])
            np.minimum.at(label, before[self.a], low)
            np.minimum.at(label, before[self.b], low)
            label = label[label]
            if np.array_equal(label, before):
                break
        members: dict[int, list[str]] = {}
        for place in np.unique(np.concatenate([self.a, self.b])):
            members.setdefault(int(label[place]), []).append(self.video_ids[place])
        return sorted(members.values(), key=lambda family: (-len(family), family[0]))

    def write(self, path: Path) -> None:
        """Write video_id_a, video_id_b, score, in order."""
        ids = [pa.DictionaryArray.from_arrays(side, self._dictionary) for side in (self.a, self.b)]
        table = pa.table(dict(zip(COLUMNS, [*ids, pa.array(self.score)])))
        write_table(path, table, compression="zstd")

    def __len__(self) -> int:
        return len(self.a)


def _among_best(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """Mark, (P,) bool, the pairs among the first k of either of their videos; equals by the other's id.

    Pairs come sorted by score, then a, then b, so that of a video's equals those in which it is b come first, by a,
    and then those in which it is a, by b: smaller ids of the other first.
    """
    video, pair = np.concatenate([b, a]), np.concatenate([np.arange(len(a))] * 2)
    order = np.lexsort((pair, video))
    video, pair = video[order], pair[order]
    first = np.flatnonzero(np.append(True, video[1:] != video[:-1])) if len(video) else np.zeros(0, np.int64)
    rank = np.arange(len(video)) - np.repeat(first, np.diff(np.append(first, len(video))))
    kept = np.zeros(len(a), bool)
    kept[pair[rank < k]] = True
    return kept
