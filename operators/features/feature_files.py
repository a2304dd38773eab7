"""Features that others extracted: which videos FILES holds.

HDF5      one dataset per video (S2VS, DnS, TCA); the id is its path inside the file, groups included
folder    ID/wlaf.npz as AuSiL writes, ID.npz or ID.npy (TCA); ID may hold folders
list      "id path" a line, CSV or Parquet, as for videos; path may be FILE.hdf5 or FILE.hdf5::DATASET
one file  .npy or .npz; the id is its name without the ending
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import IO

import h5py
import numpy as np

from ndvr.operators.errors import DecodeError
from ndvr.operators.features._hdf5 import dataset_in, names_in
from ndvr.operators.storage.manifest import read_manifest

# --- One video's features in a file that others wrote: a .npy or .npz, or a dataset of HDF5; read piece by piece -----
#
# with open_array("fivr_5k.hdf5", "Kc4Fpgud6pY") as stored:
#     for block in stored.blocks((9, 512), block_bytes=8 << 20): ...


# What unpacks to more than this, and to so many times its size, is no array of features.
UNPACKED_BYTES, UNPACKED_TIMES = 256 << 20, 100

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
        """Count windows: T when this is (T, *feature_shape), else DecodeError.
        Without numbers T = 0 whatever the shape.

        (*feature_shape) is T = 1: TCA's files of a single frame have lost their first axis.
        """
        if 0 in self.shape:
            return 0
        if self.shape[1:] != feature_shape and self.shape != feature_shape:
            wanted = ", ".join(map(str, ("T", *feature_shape)))
            raise DecodeError("corrupt", f"it has shape {self.shape}, expected ({wanted})")
        return self.shape[0] if self.shape[1:] == feature_shape else 1

    def blocks(self, feature_shape: tuple[int, ...], *, block_bytes: int) -> Iterator[np.ndarray]:
        """Yield all rows in order, (N, *feature_shape) of `dtype`, about `block_bytes` at a time."""
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


# What h5py, zipfile and numpy say of damaged files; NumPy reads the head of an array as a Python expression.
_DAMAGED = (
    *(OSError, RuntimeError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error),
    *(TypeError, SyntaxError, TokenError, AttributeError, ArithmeticError),
)


@contextmanager
def open_array(path: str, dataset: str | None = None) -> Iterator[StoredArray]:
    """Open the array of a .npy or .npz, or a dataset of an HDF5 file.

    DecodeError, here and inside the `with`, says what is wrong with the file: keep everything else out of it.
    """
    try:
        if dataset is not None:
            with h5py.File(path, "r") as file:
                yield _dataset(file, dataset)
        elif path.lower().endswith(".npz"):
            with zipfile.ZipFile(path) as archive:
                member = archive.getinfo(_member(archive))
                _refuse_bomb(member.file_size, member.compress_size)
                with archive.open(member) as stream:
                    yield _numpy(stream, os.path.getsize(path), unpacked=member.file_size)
        else:
            n_bytes = os.path.getsize(path)
            with open(path, "rb") as stream:
                yield _numpy(stream, n_bytes, unpacked=n_bytes)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise DecodeError("io", os.strerror(error.errno) if error.errno else str(error)) from None
    except MemoryError:
        raise DecodeError("oom", "not enough memory to read it") from None
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DecodeError("corrupt", f"it cannot be read: {reason}") from None


def _dataset(file: h5py.File, name: str) -> StoredArray:
    dataset = dataset_in(file, name)
    stored = dataset.id.get_storage_size()
    if dataset.size and not stored:
        raise DecodeError("corrupt", f"it says shape {dataset.shape}, but nothing was ever written into it")
    if stored > (n_bytes := os.path.getsize(file.filename)):
        raise DecodeError("corrupt", f"it says that it takes {stored:,} bytes, of a file of {n_bytes:,}")
    _refuse_bomb(dataset.dtype.itemsize * math.prod(dataset.shape), stored)
    return StoredArray(shape=dataset.shape, dtype=dataset.dtype, n_bytes=stored, _source=dataset)


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


def _refuse_bomb(unpacked: int, packed: int) -> None:
    """Raise DecodeError when so little becomes so much: features hardly shrink when they are packed."""
    if unpacked > max(UNPACKED_BYTES, UNPACKED_TIMES * packed):
        raise DecodeError(
            "corrupt", f"it would unpack to {unpacked / 1e9:,.1f} GB out of {packed / 1e6:,.1f} MB; features do not"
        )


def _numpy(stream: IO[bytes], n_bytes: int, *, unpacked: int) -> StoredArray:
    """Read the header of numpy's format; arrays of Python objects are refused, nothing in the file is run."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise DecodeError("unsupported", f"numpy's format {version} is not for plain numbers")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise DecodeError("unsupported", "it holds Python objects, not numbers")
    if min(shape, default=0) < 0:
        raise DecodeError("corrupt", f"it says shape {shape}")
    if (lacking := stream.tell() + dtype.itemsize * math.prod(shape) - unpacked) > 0:
        raise DecodeError("corrupt", f"it is cut short: {lacking:,} bytes are missing")
    return StoredArray(shape=shape, dtype=dtype, n_bytes=n_bytes, _source=stream, _fortran=fortran and len(shape) > 1)


def _read(stream: IO[bytes], n_bytes: int) -> bytes:
    data = stream.read(n_bytes)
    if len(data) < n_bytes:
        raise DecodeError("corrupt", f"it is cut short: {n_bytes - len(data):,} bytes are missing")
    return data


AUSIL_FILE = "wlaf.npz"  # of every video, in a folder of its own
ARRAYS, HDF5, LISTS = (".npy", ".npz"), (".hdf5", ".h5", ".hdf"), (".txt", ".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class FeatureFile:
    """Where the features of one video are: a .npy or .npz file, or one dataset of an HDF5 file."""

    video_id: str
    path: str
    dataset: str | None = None

    @property
    def uri(self) -> str:
        return self.path if self.dataset is None else f"{self.path}::{self.dataset}"

    def mtime_ns(self) -> int | None:
        """Read when the file was written; None when there is none."""
        try:
            return os.stat(self.path).st_mtime_ns
        except OSError:
            return None

    def open(self) -> AbstractContextManager[StoredArray]:
        """Open its array, unread."""
        return open_array(self.path, self.dataset)


class FeatureFiles:
    """The videos behind FILES, found while one walks over them; `total` grows where groups are found."""

    def __init__(self, source: str, listed: list[FeatureFile] | None = None, *, ignored: dict[str, int] | None = None):
        self.source, self.ignored, self._listed = source, ignored or {}, listed
        self.total = 0 if listed is None else len(listed)

    def walk(self, known: Container[str] = ()) -> Iterator[FeatureFile]:
        """Yield every video once, in a fixed order. `known` uris are taken for datasets without being looked at."""
        if self._listed is not None:
            yield from self._listed
            return
        with h5py.File(self.source, "r") as file:
            self.total = len(file)
            # Being told saves the look at every header, one seek each, when an import continues.
            for name in names_in(file, lambda name: f"{self.source}::{name}" in known, self._grow):
                yield FeatureFile(video_id=name, path=self.source, dataset=name)

    def _grow(self, more: int) -> None:
        self.total += more


def find_features(files: str | Path) -> FeatureFiles:
    """Find what there is to import. FileNotFoundError or ValueError say what is wrong with FILES and what to do."""
    path = Path(files).absolute()
    suffix = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(
            f"FILES does not exist: {path}; give an HDF5 file, a folder of .npz or .npy files, or a list"
        )
    if path.is_dir():
        return _folder(path)
    if h5py.is_hdf5(path):
        return _hdf5(path)
    if suffix in ARRAYS:
        return FeatureFiles(str(path), [FeatureFile(video_id=path.stem, path=str(path))])
    if suffix in LISTS:
        return FeatureFiles(str(path), [_from_list(*line) for line in read_manifest(path).uris.items()])
    if suffix in HDF5:
        raise ValueError(f"{path} is no HDF5 file, or its beginning is lost; fetch it again")
    raise ValueError(f"{path} is neither an HDF5 file nor named {', '.join((*ARRAYS, *LISTS))}")


def _hdf5(path: Path) -> FeatureFiles:
    try:
        with h5py.File(path, "r") as file:
            if len(file) == 0:
                raise ValueError(f"{path} holds no datasets")
    except OSError as error:
        raise ValueError(f"{path} cannot be opened as HDF5 ({error}); is it whole, and is nobody writing it?") from None
    return FeatureFiles(str(path))


def _folder(folder: Path) -> FeatureFiles:
    paths: dict[str, Path] = {}
    ignored: Counter[str] = Counter()
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            file = Path(root, name)
            if name.startswith(".") or file.suffix.lower() not in ARRAYS:
                ignored[file.suffix.lower() or name] += 1
                continue
            of_ausil = name == AUSIL_FILE and file.parent != folder
            video_id = (file.parent if of_ausil else file.with_suffix("")).relative_to(folder).as_posix()
            if video_id in paths:
                raise ValueError(f"{paths[video_id]} and {file} have the same id {video_id!r}; keep one of them")
            paths[video_id] = file
    if not paths:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items()))
        raise ValueError(f"no .npy or .npz files in folder {folder}" + (f"; it holds {kinds}" if kinds else ""))
    listed = [FeatureFile(video_id=video_id, path=str(file)) for video_id, file in sorted(paths.items())]
    return FeatureFiles(str(folder), listed, ignored=dict(sorted(ignored.items())))


def _from_list(video_id: str, uri: str) -> FeatureFile:
    path, mark, dataset = uri.partition("::")
    if mark and not os.path.exists(uri):
        return FeatureFile(video_id=video_id, path=path, dataset=dataset)
    if Path(uri).suffix.lower() in HDF5:
        return FeatureFile(video_id=video_id, path=uri, dataset=video_id)
    return FeatureFile(video_id=video_id, path=uri)
