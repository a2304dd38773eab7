"""The pairs of all cells together: the best of every video, in order, and the families they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ndvr.operators.connected import connected
from ndvr.operators.scores.cells import COLUMNS
from ndvr.operators.storage.sealed import read_table, write_table

REDUCED_PAIRS = 1 << 24  # at a time, 12 bytes each
MOST_IDENTICAL = 1000  # files of one content, of which all pairs are listed


class PairList:
    """Pairs as places of their videos among the sorted ids: `a` < `b` (P,) int32, `score` (P,) float32.

    identical  ids of videos that are the same file, byte by byte: their pairs need no comparing
    top        the score of such a pair
    rejected   pairs of ids that are left out, whatever their score; `write_left_out` keeps them
    decided    scores of pairs of ids that are there at any score, as people judged them the same
    """

    def __init__(
        self,
        video_ids: Sequence[str],
        *,
        identical: Iterable[Sequence[str]] = (),
        top: float = 1.0,
        rejected: Iterable[tuple[str, str]] = (),
        decided: Mapping[tuple[str, str], float] | None = None,
    ):
        self.video_ids = sorted(video_ids)
        self.top = np.float32(top)
        place = {video_id: at for at, video_id in enumerate(self.video_ids)}
        groups = [np.sort([place[video_id] for video_id in ids]).astype(np.int64) for ids in identical]
        self.identical = np.unique(np.concatenate([np.zeros(0, np.int64), *map(self._keys_of, groups)]))
        known = [sorted((place[a], place[b])) for a, b in rejected if a in place and b in place]
        self.rejected = np.unique(self._keys(*_columns(known)))
        self._left_out: list[tuple[np.ndarray, ...]] = []
        self._decided = {(place[a], place[b]): score for (a, b), score in sorted((decided or {}).items())}
        self.decided = np.zeros(0, np.int64)  # those that are there only for that
        self._dictionary = pa.array(self.video_ids, pa.string())
        self.a, self.b, self.score = _no_pairs()

    def read(self, parts: Iterable[Path], *, top_k: int | None) -> PairList:
        """Read all pairs of the parts, highest first, equals by id; `top_k` keeps the k best of either video."""
        waiting, n_waiting = [self._identical_pairs()], 0
        for part in parts:
            table = read_table(part)
            a, b = (pc.index_in(table[name].cast(pa.string()), self._dictionary).to_numpy() for name in COLUMNS[:2])
            keys = self._keys(a, b)
            is_rejected = np.isin(keys, self.rejected)
            different = ~(np.isin(keys, self.identical) | is_rejected)
            columns = (a.astype(np.int32), b.astype(np.int32), table["score"].to_numpy())
            self._left_out.append(tuple(column[is_rejected] for column in columns))
            waiting.append(tuple(column[different] for column in columns))
            n_waiting += len(table)
            if top_k is not None and n_waiting > REDUCED_PAIRS:
                self._set(waiting, top_k)
                waiting, n_waiting = [(self.a, self.b, self.score)], 0
        self._set(waiting, top_k)
        self._add_decided()
        return self

    def _add_decided(self) -> None:
        a, b = _columns(list(self._decided))
        keys, there = self._keys(a, b), self._keys(self.a, self.b)
        new = ~np.isin(keys, there)
        self.decided = keys[new]
        score = np.array(list(self._decided.values()), np.float32)
        more = a[new].astype(np.int32), b[new].astype(np.int32), score[new]
        self._set([(self.a, self.b, self.score), more], None)

    def _keys(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Number pairs, (P,) int64."""
        return a.astype(np.int64) * len(self.video_ids) + b

    def _keys_of(self, group: np.ndarray) -> np.ndarray:
        """Number the pairs within a sorted group; of a very large one those with its first video, which connect all."""
        if len(group) > MOST_IDENTICAL:
            return self._keys(np.repeat(group[:1], len(group) - 1), group[1:])
        first, second = np.triu_indices(len(group), 1)
        return self._keys(group[first], group[second])

    def _identical_pairs(self) -> tuple[np.ndarray, ...]:
        a, b = np.divmod(self.identical, max(1, len(self.video_ids)))
        return a.astype(np.int32), b.astype(np.int32), np.full(len(a), self.top)

    @property
    def are_identical(self) -> np.ndarray:
        """Mark, (P,) bool, the pairs of identical files."""
        return np.isin(self._keys(self.a, self.b), self.identical)

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
        label = connected(len(self.video_ids), self.a, self.b)
        members: dict[int, list[str]] = {}
        for place in np.unique(np.concatenate([self.a, self.b])):
            members.setdefault(int(label[place]), []).append(self.video_ids[place])
        return sorted(members.values(), key=lambda family: (-len(family), family[0]))

    def write(self, path: Path) -> None:
        """Write video_id_a, video_id_b, score and kind (similar, decided, or identical: the same bytes), in order."""
        are_decided = np.isin(self._keys(self.a, self.b), self.decided)
        kind = np.select([self.are_identical, are_decided], [1, 2]).astype(np.int8)
        self._write(path, self.a, self.b, self.score, kind)

    @property
    def n_rejected(self) -> int:
        """How many of the pairs that were read are left out."""
        return sum(len(part[0]) for part in self._left_out)

    def write_left_out(self, path: Path) -> None:
        """Write the pairs that are left out, as `write` does."""
        a, b, score = (np.concatenate(columns) for columns in zip(*[_no_pairs(), *self._left_out]))
        order = np.lexsort((b, a, -score))
        self._write(path, a[order], b[order], score[order], np.zeros(len(a), np.int8))

    def _write(self, path: Path, a: np.ndarray, b: np.ndarray, score: np.ndarray, kind: np.ndarray) -> None:
        ids = [pa.DictionaryArray.from_arrays(side, self._dictionary) for side in (a, b)]
        kinds = pa.DictionaryArray.from_arrays(kind, pa.array(["similar", "identical", "decided"]))
        table = pa.table(dict(zip((*COLUMNS, "kind"), [*ids, pa.array(score), kinds])))
        write_table(path, table, compression="zstd")

    def __len__(self) -> int:
        return len(self.a)


def _no_pairs() -> tuple[np.ndarray, ...]:
    return np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32)


def _columns(pairs: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Find places of the first and of the second of each pair, (P,) int64."""
    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    return a, b


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
