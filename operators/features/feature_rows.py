"""Turn a file of features into the rows that `Write` takes: pieces, then the end of the video; never an exception.

read = FeatureRows(method="tca", config="tca-1a2b3c4d", shape=(1024,), dtype="float16", windows_per_s=1.0, run="r1")
for row in read(FeatureFile(video_id="a", path="a.npy")):
    ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ndvr.operators.errors import DecodeError
from ndvr.operators.features.feature_files import FeatureFile, StoredArray

PIECE_BYTES = 8 << 20  # read, checked and handed on together, whatever the length of a video


class FeatureRows:
    """Read features of one configuration: (T, *shape) a video, kept as `dtype`."""

    def __init__(
        self, *, method: str, config: str, shape: tuple[int, ...], dtype: str, windows_per_s: float | None, run: str
    ):
        self.method, self.config, self.windows_per_s, self.run = method, config, windows_per_s, run
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._decimals = "u" if self.dtype == np.uint8 else "f"

    def __call__(self, file: FeatureFile) -> Iterator[dict[str, Any]]:
        """Read a file into rows. The last is the end row; a file that is no good ends as failed."""
        digest, pieces, windows = hashlib.sha256(), 0, 0
        rate = self.windows_per_s
        end: dict[str, Any] = {"mtime_ns": file.mtime_ns(), "status": "done", "decoder": "imported"}
        try:
            for stored, features in self._pieces(file):
                end["bytes"] = stored.n_bytes
                data = features.tobytes()
                digest.update(data)
                # The files say no times: window k stands where the method's view puts it.
                start_s = (windows + np.arange(len(features))) / rate if rate else np.zeros(len(features))
                piece = {"kind": "piece", "piece": pieces, "windows_count": len(features)}
                yield self._row(file, piece | {"start_s": start_s, "data": data})
                pieces, windows = pieces + 1, windows + len(features)
            end |= {"sha256": digest.hexdigest(), "duration_s": windows / rate if rate else None}
        except DecodeError as error:
            end |= {"status": "failed", "error_class": error.kind, "message": f"{file.uri}: {error.message}"}
        yield self._row(file, end | {"kind": "end", "piece": pieces, "windows_count": windows, "uri": file.uri})

    def conflict(self, file: FeatureFile, elsewhere: str) -> dict[str, Any]:
        """Make the end row of a file that is another one than `elsewhere`, whose features its id stands for."""
        why = f"{file.uri} is another video than {elsewhere}, which has this id: give --prefix TEXT"
        end = {"kind": "end", "piece": 0, "windows_count": 0, "mtime_ns": file.mtime_ns(), "uri": file.uri}
        failed = {"status": "failed", "error_class": "conflict", "message": why, "decoder": "imported"}
        return self._row(file, end | failed)

    def unchanged(self, file: FeatureFile, end: Mapping[str, Any]) -> bool:
        """Tell whether `file` still holds what a video's end row says was read: times as recorded, or the bytes."""
        mtime_ns = file.mtime_ns()
        if (file.uri, mtime_ns) == (end["uri"], end["mtime_ns"]):
            return True
        try:
            with file.open() as stored:
                if stored.n_bytes != end["bytes"]:
                    return False
            if mtime_ns == end["mtime_ns"]:
                return True
            digest = hashlib.sha256()
            for _, features in self._pieces(file):
                digest.update(features.tobytes())
        except DecodeError:
            return False
        return digest.hexdigest() == end["sha256"]

    def _row(self, file: FeatureFile, values: dict[str, Any]) -> dict[str, Any]:
        key = {"video_id": file.video_id, "method": self.method, "config": self.config}
        return key | {"run": self.run, "attempt": 1} | values

    def _pieces(self, file: FeatureFile) -> Iterator[tuple[StoredArray, np.ndarray]]:
        """Yield the features, (N, *feature_shape) as shards keep them, in order."""
        with file.open() as stored:
            if stored.windows(self.shape) == 0:
                raise DecodeError("empty", f"it has no rows: its shape is {stored.shape}")
            if stored.dtype.kind != self._decimals:
                raise DecodeError("corrupt", f"it holds {stored.dtype}, not {self.dtype} features")
            per_piece = max(1, PIECE_BYTES // (self.dtype.itemsize * int(np.prod(self.shape))))
            first = 0
            for block in stored.blocks(self.shape, block_bytes=PIECE_BYTES):
                features = self._narrow(block, first)
                first += len(block)
                for start in range(0, len(features), per_piece):
                    yield stored, features[start : start + per_piece]

    def _narrow(self, block: np.ndarray, first: int) -> np.ndarray:
        with np.errstate(over="ignore"):
            features = np.ascontiguousarray(block, dtype=self.dtype)
        if self._decimals == "f" and not np.isfinite(features).all():
            bad = ~np.isfinite(block.reshape(len(block), -1)).all(1)
            if bad.any():
                raise DecodeError("corrupt", f"row {first + int(bad.argmax())} has values that are not finite")
            raise DecodeError(
                "corrupt", f"values up to {np.abs(block).max():g} do not fit {self.dtype}; import with --dtype float32"
            )
        return features
