"""Features of windows: rows of pieces in, the same rows with features in place of windows out."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from ndvr.models.method import Model
from ndvr.operators.rows import table


class Embed:
    """Runs the models over pieces, `windows_per_batch` windows at a time across videos; never raises for a video.

    A piece that a model cannot embed (features that are not finite, out of memory) becomes a failed piece, which
    makes its video a failure; the rest of the batch goes on.
    """

    def __init__(self, models: dict[str, Model], *, windows_per_batch: int = 32):
        self.models, self.windows_per_batch = models, windows_per_batch

    def __call__(self, pieces: pa.Table) -> pa.Table:
        rows = pieces.to_pylist()
        for method, model in self.models.items():
            mine = [row for row in rows if row["method"] == method and row["kind"] == "piece"]
            windows = [_windows(row, model) for row in mine]
            began = time.monotonic()
            try:
                features = self._embed(model, windows)
            except Exception:  # one of them is bad: find out which
                self._one_by_one(model, mine, windows)
                continue
            seconds = time.monotonic() - began
            total = max(1, sum(len(some) for some in windows))
            for row, some in zip(mine, features):
                row |= {"data": some.tobytes(), "embed_s": seconds * len(some) / total}
        return table(rows)

    def _embed(self, model: Model, windows: list[np.ndarray]) -> list[np.ndarray]:
        """Features per piece; batches run across pieces so that short videos fill them."""
        if not windows:
            return []
        every = np.concatenate(windows)
        starts: Iterable[int] = range(0, len(every), self.windows_per_batch)
        features = np.concatenate([model.embed(every[start : start + self.windows_per_batch]) for start in starts])
        features = _stored(features, model)
        return np.split(features, np.cumsum([len(some) for some in windows])[:-1])

    def _one_by_one(self, model: Model, rows: list[dict], windows: list[np.ndarray]) -> None:
        for row, some in zip(rows, windows):
            try:
                row["data"] = self._embed(model, [some])[0].tobytes()
            except Exception as error:
                oom = isinstance(error, MemoryError) or "out of memory" in str(error)
                reason = f"embedding: {type(error).__name__}: {error}"
                row |= {"status": "failed", "error_class": "oom" if oom else "crash", "message": reason, "data": b""}


def _stored(features: np.ndarray, model: Model) -> np.ndarray:
    """As shards keep them. ValueError where the stored type cannot hold a value."""
    with np.errstate(over="ignore"):
        narrow = features.astype(model.card.feature_dtype, copy=False)
    if narrow.dtype.kind == "f" and not np.isfinite(narrow).all():
        raise ValueError(f"features up to {np.abs(features).max():g} do not fit {narrow.dtype}")
    return narrow


def _windows(row: dict, model: Model) -> np.ndarray:
    # A copy: torch wants memory it may write to.
    data = np.frombuffer(bytearray(row["data"]), model.view.window_dtype)
    return data.reshape(row["windows_count"], *model.view.window_shape)
