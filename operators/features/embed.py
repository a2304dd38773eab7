"""Features of windows: rows of pieces in, the same rows with features in place of windows out."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from ndvr.models.method import Model, use_one_thread
from ndvr.operators.rows import table

# Of windows, by type of device: 8 pictures of 224 x 224 for a CPU. Larger ones gain it nothing; smaller ones keep
# several threads at work on a short video, but of small windows the overhead shows.
BATCH_BYTES = {"cpu": 8 * 224 * 224 * 3, "cuda": 256 * 224 * 224 * 3}


def windows_per_batch(model: Model) -> int:
    """Count the windows of a piece that are embedded together; the last bits of features change with it."""
    each = math.prod(model.view.window_shape) * np.dtype(model.view.window_dtype).itemsize
    if model.device.type == "cpu":
        return max(1, BATCH_BYTES["cpu"] // each)
    return 1 << max(0, (BATCH_BYTES["cuda"] // each).bit_length() - 1)  # what a GPU is ready for: see Model.embed


class Embed:
    """Runs the models over pieces, `threads` batches at a time; never raises for a video.

    The bits of a feature depend on its piece alone, and what is in a piece depends on its video alone. Kernels and
    orders of summation change with the number of windows in a batch and with the number of threads that share it: so
    batches are cut inside one piece, from its first window on, and one thread computes each from start to end.

    A piece that a model cannot embed (features that are not finite, out of memory) becomes a failed piece, which
    makes its video a failure; the others go on.
    """

    def __init__(self, models: dict[str, Model], *, threads: int = 1):
        self.models = models
        self._pool = ThreadPoolExecutor(threads, "embed", use_one_thread)

    def __call__(self, pieces: pa.Table) -> pa.Table:
        rows = pieces.drop_columns(["data"]).to_pylist()
        batches: list[tuple[dict[str, Any], Model, list[Future]]] = []
        for row, data in zip(rows, pieces["data"]):
            if row["kind"] == "piece":
                model = self.models[row["method"]]
                batches.append((row, model, self._start(model, row["windows_count"], data.as_buffer())))
        for row, model, futures in batches:
            row |= _features(model, futures)
        return table(rows)

    def _start(self, model: Model, n_windows: int, data: pa.Buffer) -> list[Future]:
        """Hand the batches of one piece to the threads."""
        size = windows_per_batch(model)
        windows = np.frombuffer(data, model.view.window_dtype).reshape(n_windows, *model.view.window_shape)
        return [self._pool.submit(_embed, model, windows[at : at + size]) for at in range(0, n_windows, size)]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def _embed(model: Model, windows: np.ndarray) -> tuple[np.ndarray, float]:
    """Compute features as shards keep them, and seconds: of the core that was busy, or of the GPU."""
    clock = time.thread_time if model.device.type == "cpu" else time.monotonic
    began = clock()
    features = _stored(model.embed(windows), model)
    return features, clock() - began


def _features(model: Model, futures: list[Future]) -> dict[str, Any]:
    """Make the columns of a piece's row: its features, or why there are none."""
    try:
        batches = [future.result() for future in futures]
    except Exception as error:
        oom = isinstance(error, MemoryError) or "out of memory" in str(error)
        reason = f"embedding: {type(error).__name__}: {error}"
        return {"status": "failed", "error_class": "oom" if oom else "crash", "message": reason, "data": b""}
    data = b"".join(features.tobytes() for features, _ in batches)
    return {"data": data, "embed_s": sum(seconds for _, seconds in batches)}


def _stored(features: np.ndarray, model: Model) -> np.ndarray:
    """Convert features to the type that shards keep. ValueError where it cannot hold a value."""
    with np.errstate(over="ignore"):
        narrow = features.astype(model.card.feature_dtype, copy=False)
    if narrow.dtype.kind == "f" and not np.isfinite(narrow).all():
        raise ValueError(f"features up to {np.abs(features).max():g} do not fit {narrow.dtype}")
    return narrow
