"""Features as the authors of the methods publish them: files to import, made on the fly."""

from __future__ import annotations

import h5py
import numpy as np
from click.testing import CliRunner

from ndvr.operators.library.library import Library
from ndvr.pipeline.cli import main
from ndvr.pipeline.extraction.import_features import import_features

SHAPE = (9, 512)  # of S2VS


def features(windows: int, seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Region vectors of length 1, as a whitened and normalised extractor makes them."""
    found = np.random.default_rng(seed).standard_normal((windows, *shape)).astype(np.float32)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def hdf5(path, arrays: dict[str, np.ndarray]):
    """Written as the S2VS tool does: gzip level 9, float32."""
    with h5py.File(path, "w") as file:
        for video_id, array in arrays.items():
            # HDF5 cannot compress what has no size.
            packed = {"compression": "gzip", "compression_opts": 9} if array.size else {}
            file.create_dataset(video_id, data=array, dtype=array.dtype, **packed)
    return path


def stored(path, config: str | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(start_s, features) by id."""
    library = Library(path)
    entries = library.entries(config or next(iter(library.configs)))
    return {video_id: (start_s, found) for video_id, start_s, found in library.read(entries.values())}


def ledger(path) -> dict[str, dict]:
    library = Library(path)
    (config,) = library.configs
    return {video_id: entry.end for video_id, entry in library.entries(config).items()}


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def imported(files, library, method="s2vs", **settings):
    return import_features(files, library, method=method, progress=False, **settings)


VIDEOS = {"a": features(7, 1), "b": features(30, 2), "c": features(1, 3), "vcdb/core/d": features(5, 4)}
