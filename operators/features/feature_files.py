"""Features that others extracted: which videos FILES holds.

HDF5      one dataset per video (S2VS, DnS, TCA); the id is its path inside the file, groups included
folder    ID/wlaf.npz as AuSiL writes, ID.npz or ID.npy (TCA); ID may hold folders
list      "id path" a line, CSV or Parquet, as for videos; path may be FILE.hdf5 or FILE.hdf5::DATASET
one file  .npy or .npz; the id is its name without the ending
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import h5py

from ndvr.operators.features.feature_array import StoredArray, open_array
from ndvr.operators.storage.manifest import read_manifest

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
        """Of the file; None when there is none."""
        try:
            return os.stat(self.path).st_mtime_ns
        except OSError:
            return None

    def open(self) -> AbstractContextManager[StoredArray]:
        """Its array, unread."""
        return open_array(self.path, self.dataset)


class FeatureFiles:
    """The videos behind FILES, found while one walks over them; `total` grows where groups are found."""

    def __init__(self, source: str, listed: list[FeatureFile] | None = None, *, ignored: dict[str, int] | None = None):
        self.source, self.ignored, self._listed = source, ignored or {}, listed
        self.total = 0 if listed is None else len(listed)

    def walk(self, known: Container[str] = ()) -> Iterator[FeatureFile]:
        """Every video once, in a fixed order. `known` uris are taken for datasets without being looked at."""
        if self._listed is not None:
            yield from self._listed
            return
        with h5py.File(self.source, "r") as file:
            self.total = len(file)
            yield from self._group(file, "", (file,), known)

    def _group(
        self, group: h5py.Group, prefix: str, above: tuple[h5py.Group, ...], known: Container[str]
    ) -> Iterator[FeatureFile]:
        for name in group:
            found = FeatureFile(video_id=prefix + name, path=self.source, dataset=prefix + name)
            # Being told saves the look at every header, one seek each, when an import continues.
            inside = None if found.uri in known else _subgroup(group, name)
            if inside is None:
                yield found
            elif inside in above:
                raise ValueError(f"{self.source}: group {found.video_id!r} contains itself; remove that link")
            else:
                self.total += len(inside) - 1
                yield from self._group(inside, f"{found.video_id}/", (*above, inside), known)


def find_features(files: str | Path) -> FeatureFiles:
    """What there is to import. FileNotFoundError or ValueError say what is wrong with FILES and what to do."""
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
    found: dict[str, Path] = {}
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
            if video_id in found:
                raise ValueError(f"{found[video_id]} and {file} have the same id {video_id!r}; keep one of them")
            found[video_id] = file
    if not found:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items()))
        raise ValueError(f"no .npy or .npz files in folder {folder}" + (f"; it holds {kinds}" if kinds else ""))
    listed = [FeatureFile(video_id=video_id, path=str(file)) for video_id, file in sorted(found.items())]
    return FeatureFiles(str(folder), listed, ignored=dict(sorted(ignored.items())))


def _from_list(video_id: str, uri: str) -> FeatureFile:
    path, mark, dataset = uri.partition("::")
    if mark and not os.path.exists(uri):
        return FeatureFile(video_id=video_id, path=path, dataset=dataset)
    if Path(uri).suffix.lower() in HDF5:
        return FeatureFile(video_id=video_id, path=uri, dataset=video_id)
    return FeatureFile(video_id=video_id, path=uri)


def _subgroup(group: h5py.Group, name: str) -> h5py.Group | None:
    try:
        return group[name] if group.get(name, getclass=True) is h5py.Group else None
    except (KeyError, OSError, RuntimeError):  # a link to nowhere: opening it will say so
        return None
