"""One video's features in a file that others wrote: a .npy or .npz, or a dataset of HDF5; read piece by piece.

with open_array("fivr_5k.hdf5", "Kc4Fpgud6pY") as stored:
    for block in stored.blocks((9, 512), block_bytes=8 << 20): ...
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

import h5py
import numpy as np

from ndvr.operators.errors import DecodeError

ARRAY_KEY = "features"  # which array of an .npz, where it holds several


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """An array of an open file, unread."""

    shape: tuple[int, ...]
    dtype: np.dtype
    n_bytes: int  # in the file
    _source: h5py.Dataset | IO[bytes] = field(repr=False)
    _fortran: bool = False

    def windows(self, feature_shape: tuple[int, ...]) -> int:
        """T when this is (T, *feature_shape), else DecodeError. An array without numbers has T = 0 whatever its shape.

        (*feature_shape) is T = 1: TCA's files of a single frame have lost their first axis.
        """
        if 0 in self.shape:
            return 0
        if self.shape[1:] != feature_shape and self.shape != feature_shape:
            wanted = ", ".join(map(str, ("T", *feature_shape)))
            raise DecodeError("corrupt", f"it has shape {self.shape}, expected ({wanted})")
        return self.shape[0] if self.shape[1:] == feature_shape else 1

    def blocks(self, feature_shape: tuple[int, ...], *, block_bytes: int) -> Iterator[np.ndarray]:
        """All rows in order, (N, *feature_shape) of `dtype`, about `block_bytes` at a time."""
        count = self.windows(feature_shape)
        size = self.dtype.itemsize * int(np.prod(feature_shape))
        step = max(1, block_bytes // size)
        if isinstance(self._source, h5py.Dataset):
            yield from _read_dataset(self._source, feature_shape, step)
        elif self._fortran:  # its rows lie scattered
            flat = np.frombuffer(_read(self._source, count * size), self.dtype)
            yield flat.reshape(self.shape, order="F").reshape(-1, *feature_shape)
        else:
            for start in range(0, count, step):
                data = _read(self._source, min(step, count - start) * size)
                yield np.frombuffer(data, self.dtype).reshape(-1, *feature_shape)
            if self._source.read(1):  # reading past the end also makes a zip file test its checksum
                raise DecodeError("corrupt", f"it holds more than its shape {self.shape} says")


@contextmanager
def open_array(path: str, dataset: str | None = None) -> Iterator[StoredArray]:
    """The array of a .npy or .npz, or a dataset of an HDF5 file.

    DecodeError, here and inside the `with`, says what is wrong with the file: keep everything else out of it.
    """
    try:
        if dataset is not None:
            with h5py.File(path, "r") as file:
                yield _dataset(file, dataset)
        elif path.lower().endswith(".npz"):
            with zipfile.ZipFile(path) as archive, archive.open(_member(archive)) as stream:
                yield _numpy(stream, os.path.getsize(path))
        else:
            with open(path, "rb") as stream:
                yield _numpy(stream, os.path.getsize(path))
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise DecodeError("io", os.strerror(error.errno) if error.errno else str(error)) from None
    except MemoryError:
        raise DecodeError("oom", "not enough memory to read it") from None
    # What h5py, zipfile and numpy say of damaged files.
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DecodeError("corrupt", f"it cannot be read: {error}") from None


def _dataset(file: h5py.File, name: str) -> StoredArray:
    found = file.get(name)  # None also for a link to nowhere
    if found is None:
        raise DecodeError("io", "there is no such dataset in the file")
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise DecodeError("corrupt", f"it is no array but a {type(found).__name__}")
    stored = found.id.get_storage_size()
    if found.size and not stored:
        raise DecodeError("corrupt", f"it says shape {found.shape}, but nothing was ever written into it")
    return StoredArray(shape=found.shape, dtype=found.dtype, n_bytes=stored, _source=found)


def _read_dataset(dataset: h5py.Dataset, feature_shape: tuple[int, ...], step: int) -> Iterator[np.ndarray]:
    if dataset.shape == feature_shape:
        yield dataset[()][None]
        return
    if dataset.chunks:  # whole chunks, so that each is unpacked once
        step = max(1, step // dataset.chunks[0]) * dataset.chunks[0]
    for start in range(0, len(dataset), step):
        yield dataset[start : start + step]


def _member(archive: zipfile.ZipFile) -> str:
    arrays = [name for name in archive.namelist() if name.endswith(".npy")]
    if f"{ARRAY_KEY}.npy" in arrays:
        return f"{ARRAY_KEY}.npy"
    if len(arrays) != 1:
        names = ", ".join(name.removesuffix(".npy") for name in arrays) or "no arrays"
        raise DecodeError("corrupt", f"it holds {names}; expected one array, or one that is called {ARRAY_KEY!r}")
    return arrays[0]


def _numpy(stream: IO[bytes], n_bytes: int) -> StoredArray:
    """Read the header of numpy's format; arrays of Python objects are refused, nothing in the file is run."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise DecodeError("unsupported", f"numpy's format {version} is not for plain numbers")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise DecodeError("unsupported", "it holds Python objects, not numbers")
    return StoredArray(shape=shape, dtype=dtype, n_bytes=n_bytes, _source=stream, _fortran=fortran and len(shape) > 1)


def _read(stream: IO[bytes], n_bytes: int) -> bytes:
    data = stream.read(n_bytes)
    if len(data) < n_bytes:
        raise DecodeError("corrupt", f"it is cut short: {n_bytes - len(data):,} bytes are missing")
    return data
