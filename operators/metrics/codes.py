"""Consecutive integers for ids, so that millions of them are counted as arrays."""

from __future__ import annotations

import zlib
from collections.abc import Set

import numpy as np
import pyarrow as pa

_KEPT_IDS = 1 << 22  # of dictionaries met before: some 100 MB


class Codes:
    """An integer for every id met, in order of appearance."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._code: dict[str, int] = {}
        self._known: dict[int, tuple[pa.Array, np.ndarray]] = {}
        self._n_known = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple:
        """For another process: the ids say everything."""
        return _codes_of, (self.ids,)

    def of(self, ids: Set[str] | list[str]) -> np.ndarray:
        """Codes of ids, (N,) int64; ids never seen get the next ones."""
        code = self._code
        found = list(map(code.get, ids))
        for at, i in enumerate(ids) if None in found else ():
            if i not in code:
                self.ids.append(i)
                code[i] = len(code)
            found[at] = code[i]
        return np.array(found, np.int64)

    def of_array(self, ids: pa.Array) -> np.ndarray:
        """The same for an arrow array; row groups and cells of a grid share dictionaries, so codes are kept."""
        key = zlib.crc32(ids.buffers()[-1] or b"", len(ids))  # only a hint: equality decides
        if key in self._known and self._known[key][0].equals(ids):
            return self._known[key][1]
        codes = self.of(ids.to_pylist())
        if self._n_known < _KEPT_IDS:
            self._known[key] = ids, codes
            self._n_known += len(ids)
        return codes

    def order(self) -> np.ndarray:
        """Place of each code among the sorted ids, (len,): the tie rule compares these."""
        order = np.empty(len(self.ids), np.int64)
        order[np.array(sorted(range(len(self.ids)), key=self.ids.__getitem__), np.int64)] = np.arange(len(self.ids))
        return order


def _codes_of(ids: list[str]) -> Codes:
    codes = Codes()
    codes.of(ids)
    return codes
