"""Read the features of one video at a time: memory for that video and one row group, whatever the size of its shards.

reader = FeatureReader("library")
features = reader.read(video.pieces)      # (T, *feature_shape) as stored
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ndvr.operators.library.config import Config
from ndvr.operators.library.library import Library
from ndvr.operators.library.receipt_files import remedy
from ndvr.operators.library.shards import SHARDS, features_of
from ndvr.operators.storage.sealed import Damaged, SealedTable
from ndvr.operators.storage.store import Store

Piece = tuple[str, int, int, str | None]  # shard, its first row, number of rows, their digest


class FeatureReader:
    """Keeps the shard and the row group that were read last: neighbours are read from them."""

    def __init__(self, library: str | Path | Store):
        self.library = Library(library)
        self._shard, self._starts = "", np.zeros(1, np.int64)
        self._file: SealedTable | None = None
        self._group: tuple[int, np.ndarray, np.ndarray] = (-1, np.zeros(0), np.zeros(0))

    @cached_property
    def _configs(self) -> dict[str, Config]:
        return self.library.configs

    def read(self, pieces: Sequence[Piece]) -> np.ndarray:
        """Read the features of one video: (T, *feature_shape), T >= 1, in the order of the pieces."""
        return self.timed(pieces)[1]

    def timed(self, pieces: Sequence[Piece]) -> tuple[np.ndarray, np.ndarray]:
        """Read when each window begins, in seconds (T,), and the features (T, *feature_shape)."""
        parts = [part for piece in pieces for part in self._of_piece(*piece)]
        if len(parts) == 1:
            return parts[0]
        start_s, features = zip(*parts)
        return np.concatenate(start_s), np.concatenate(features)

    def _of_piece(self, shard: str, first: int, count: int, digest: str | None) -> list[tuple[np.ndarray, np.ndarray]]:
        self._open(shard)
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        group = int(np.searchsorted(self._starts, first, side="right")) - 1
        while count:
            rows = slice(first - self._starts[group], first - self._starts[group] + count)
            start_s, features = (column[rows] for column in self._read_group(group))
            if not len(features):
                why = f"it ends before row {first}, which its ledger names"
                raise Damaged(f"{self.library}/{SHARDS}/{shard}", why, remedy(self.library.store))
            parts.append((start_s, features))
            first, count, group = first + len(features), count - len(features), group + 1
        self.library.check_piece(shard, digest, parts)
        return parts

    def _open(self, shard: str) -> None:
        if shard == self._shard:
            return
        self._file = file = self.library.open_shard(shard)
        meta = file.metadata
        counts = [meta.row_group(number).num_rows for number in range(meta.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._shard, self._group = shard, (-1, np.zeros(0), np.zeros(0))

    def _read_group(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Read times and features of a row group; none behind the last."""
        if self._group[0] != group:
            assert self._file is not None
            shape = self._configs[self._shard.partition("/")[0]].feature_shape
            if group >= self._file.metadata.num_row_groups:
                return np.zeros(0), np.zeros((0, *shape))
            rows = self._file.read([group], ["start_s", "feature"])
            self._group = group, rows["start_s"].to_numpy(), features_of(rows["feature"], shape)
        return self._group[1:]
