"""Signatures of groups of videos, as many at a time as fit, the last ones kept.

Those of a compact method are one small array a group: it is computed once and kept in a file, for other cells and
later runs.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ndvr.models.method import Model
from ndvr.operators.library.feature_reader import FeatureReader
from ndvr.operators.scores.groups import Group, Video
from ndvr.operators.storage.sealed import Damaged, is_intact, load_array, save_array
from ndvr.operators.storage.store import Store

_PROBED_WINDOWS = 32
_LONG_BYTES = 8 << 20


class Signatures:
    """Reads features from one library and makes signatures of them.

    block_bytes  of signatures at a time; a video with more is a block of its own, made in parts where the method can
    kept_bytes   of signatures that stay in memory for the next cells
    folder       where a compact method's signatures are kept
    """

    def __init__(self, model: Model, library: str | Path | Store, *, block_bytes: int, kept_bytes: int, folder: Path):
        self.model, self.folder = model, folder
        self._reader = FeatureReader(library)
        self._block_bytes, self._block_windows = block_bytes, max(1, int(block_bytes / bytes_per_window(model)))
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[tuple[str, int], tuple[list[Any], int]] = OrderedDict()

    def blocks(self, group: Group) -> Iterator[tuple[slice, list[Any]]]:
        """Yield places in the group and the signatures there; of a compact method all at once."""
        for block in self._cuts(group):
            yield block, self._block(group, block)

    def keep(self, group: Group) -> None:
        """Make the file of a compact method's signatures, unless it is there."""
        path = self._path(group)
        if not is_intact(path):
            save_array(path, self.model.stack(self._compute(group.videos)))

    def _path(self, group: Group) -> Path:
        return self.folder / f"{group.name}.npy"

    def _cuts(self, group: Group) -> Iterator[slice]:
        start, windows = 0, 0
        for number, video in enumerate(group.videos):
            if number > start and windows + video.windows > self._block_windows and not self.model.compact:
                yield slice(start, number)
                start, windows = number, 0
            windows += video.windows
        yield slice(start, len(group))

    def _block(self, group: Group, block: slice) -> list[Any]:
        key = group.name, block.start
        if key not in self._kept:
            if self.model.compact:
                self.keep(group)
                signatures = self.model.unstack(load_array(self._path(group)))
            else:
                signatures = self._compute(group.videos[block])
            self._kept[key] = signatures, n_bytes(signatures)
        self._kept.move_to_end(key)
        total = sum(size for _, size in self._kept.values())
        while total > self._kept_bytes and len(self._kept) > 1:
            total -= self._kept.popitem(last=False)[1][1]
        return self._kept[key][0]

    def _compute(self, videos: Sequence[Video]) -> list[Any]:
        signatures = {}
        for video in sorted(videos, key=lambda video: video.pieces[0]):  # as they lie in the shards
            try:
                features = self._reader.read(video.pieces)
                signatures[video.video_id] = self.model.bounded_signature(
                    features, windows=self._block_windows, n_bytes=self._block_bytes
                )
            except Damaged:
                raise
            except ValueError as error:
                raise ValueError(f"video {video.video_id!r}: {error}") from error
            if features.nbytes > _LONG_BYTES:
                pa.default_memory_pool().release_unused()  # Arrow keeps a hundred megabytes of what it has read
        return [signatures[video.video_id] for video in videos]


def bytes_per_window(model: Model) -> float:
    """Estimate what one window adds to a signature in memory."""
    rng = np.random.default_rng(0)
    shape = (_PROBED_WINDOWS, *model.feature_shape)
    if model.card.feature_dtype == "uint8":
        noise: np.ndarray = rng.integers(0, 256, shape, dtype=np.uint8)
    else:
        noise = rng.standard_normal(shape, dtype=np.float32)
    return max(1, n_bytes(model.signature(noise)) / _PROBED_WINDOWS)


def pair_bytes(model: Model) -> Callable[[Video], float]:
    """Make what says how many bytes a video takes while it is compared with another."""
    per_window, at_once = bytes_per_window(model), model.windows_at_once
    feature = np.dtype(model.card.feature_dtype).itemsize * int(np.prod(model.feature_shape))
    if at_once is None:
        return lambda video: video.windows * per_window
    return lambda video: min(video.windows, at_once) * per_window + video.windows * feature


def n_bytes(signature: Any) -> int:
    """Count the bytes of the arrays and tensors inside."""
    if dataclasses.is_dataclass(signature):
        signature = list(vars(signature).values())
    if isinstance(signature, (list, tuple)):
        return sum(n_bytes(part) for part in signature)
    return int(getattr(signature, "nbytes", 0))
