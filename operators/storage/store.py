"""Where a library lies: whole files under one root, in a local folder or an object store.

store = Store("s3://bucket/library")       # or a folder
store.write("commits/r1-0a.parquet", data)

A file is there whole or not at all, and stays after a power cut: locally it is written under a temporary name, flushed
and renamed, and its folder flushed; an object appears when its upload is complete, so that no rename is needed.
Credentials and regions are the environment's (AWS_ACCESS_KEY_ID, AWS_PROFILE, instance roles ...); AWS_ENDPOINT_URL
names another server than Amazon's.
"""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ndvr.operators.storage.object_store import (
    Access,
    PatientFile,
    Unreachable,
    check_served,
    filesystem,
    is_remote,
    patiently,
    put,
)

T = TypeVar("T")
TEMPORARY = ".tmp"
_AT_ONCE = 16  # requests: an object store answers after tens of milliseconds


class Store:
    """Files by their name relative to the root, with "/" between folders.

    A pickled one takes along which folder it is, whatever the folder of the other process, and how the object store is
    reached (not the credentials), for workers elsewhere. An object store whose errors may pass is asked again for half
    a minute or more. Every method raises Unreachable (object_store.py), in one sentence, where it does not serve us.
    """

    def __init__(self, root: str | Path | Store, access: Access | None = None, lease: str | None = None):
        if isinstance(root, Store):
            place, access, lease = root.root, access or root.access, lease or root.lease
        else:
            place = str(root)
        self._answered = False  # this store, to this process
        # Under which this process, or that of which it is a worker, writes into a library.
        self.lease: str | None = lease
        self.access: Access = access or Access.here()
        self.remote = is_remote(place)
        self.root: str = place.rstrip("/") if self.remote else str(Path(place))
        if self.remote:
            check_served(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.absolute().root, self.access, self.lease)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and (self.root, self.access) == (other.root, other.access)

    def __hash__(self) -> int:
        return hash(self.root)

    def __str__(self) -> str:
        return self.root

    def absolute(self) -> Store:
        """Name the same place whatever the folder of the process."""
        return self if self.remote else Store(os.path.abspath(self.root), self.access, self.lease)

    @property
    def folder(self) -> Path:
        """The root as a path. ValueError for an object store."""
        if self.remote:
            raise ValueError(f"{self.root} is not a local folder")
        return Path(self.root)

    @cached_property
    def _fs(self) -> tuple[pafs.FileSystem, str]:
        if self.remote:
            return filesystem(self.root, self.access)
        return pafs.LocalFileSystem(), os.path.abspath(self.root)

    def _patiently(self, act: Callable[[], T]) -> T:
        """Return what `act` returns; of an object store it is tried again while errors may pass."""
        if not self.remote:
            return act()
        done = patiently(act, self.root, self.access, known=self._answered)
        self._answered = True
        return done

    def _at(self, name: str) -> str:
        """Find where a file lies. ValueError for a name that leads out of the root."""
        return f"{self._fs[1]}/{inside_name(name, self.root)}" if name else self._fs[1]

    def read(self, name: str) -> bytes:
        """Read a file whole. FileNotFoundError when it is not there."""
        return self._patiently(lambda: self._read(name))

    def _read(self, name: str) -> bytes:
        with self._fs[0].open_input_file(self._at(name)) as file:
            size, data = file.size() if self.remote else None, file.read()
        if size not in (None, len(data)):
            raise Unreachable(f"{self.root}/{name}: the answer ended after {len(data):,} of {size:,} bytes", True)
        return data

    def read_json(self, name: str) -> Any:
        return parse_json(self.read(name))

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for reading here and there, as Parquet does."""
        if self.remote:
            return pa.PythonFile(PatientFile(self._fs[0], self._at(name), self.root, self.access), mode="r")
        return self._fs[0].open_input_file(self._at(name))

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file, whole or not at all; replaces what was there."""
        if self.remote:
            self._patiently(lambda: put(self._fs[0], self._at(name), data))
        else:
            write_whole(self.folder / inside_name(name, self.root), lambda path: Path(path).write_bytes(data))

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, _as_json(value))

    def write_parquet(self, name: str, table: pa.Table, **options: Any) -> None:
        """Write a table, whole or not at all; `options` as of pyarrow.parquet.write_table."""
        if self.remote:
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, **options)
            self.write(name, sink.getvalue())
        else:
            write_whole(self.folder / inside_name(name, self.root), lambda path: _write_parquet(path, table, options))

    def names(self, folder: str, prefix: str = "") -> list[str]:
        """List the files directly in `folder` that begin with `prefix`, sorted; none when it is not there."""
        return sorted(self.sizes(folder, prefix))

    def sizes(self, folder: str, prefix: str = "") -> dict[str, int]:
        """Read the bytes of the files directly in `folder`, by name."""
        return {name: info.size for name, info in self._files(folder).items() if name.startswith(prefix)}

    def age_s(self, folder: str) -> dict[str, float]:
        """Find the seconds since the files directly in `folder` were written, by name, all by the store's own clock."""
        files = self._files(folder)
        now_ns = self.now_ns() if files else 0
        return {name: (now_ns - (info.mtime_ns or 0)) / 1e9 for name, info in files.items()}

    def now_ns(self) -> int:
        """Read the store's own clock, which all hosts share: the time of a file that is written now, since 1970."""
        name = f"clock-{uuid.uuid4().hex[:12]}{TEMPORARY}"
        self.write(name, b"")
        try:
            return self._patiently(lambda: self._fs[0].get_file_info(self._at(name))).mtime_ns or 0
        finally:
            self.remove(name)

    def _files(self, folder: str) -> dict[str, pafs.FileInfo]:
        selector = pafs.FileSelector(self._at(folder), allow_not_found=True)
        infos = self._patiently(lambda: self._fs[0].get_file_info(selector))
        files = (info for info in infos if info.type == pafs.FileType.File)
        return {info.base_name: info for info in files if not info.base_name.endswith(TEMPORARY)}

    def exists(self, name: str) -> bool:
        return self._patiently(lambda: self._fs[0].get_file_info(self._at(name))).type == pafs.FileType.File

    def empty(self) -> bool:
        """Tell whether nothing but what a killed writer left lies under the root, or it does not exist."""
        selector = pafs.FileSelector(self._at(""), allow_not_found=True)
        infos = self._patiently(lambda: self._fs[0].get_file_info(selector))
        return all(is_unfinished(info.base_name) for info in infos)

    def walk(self, folder: str) -> list[str]:
        """List the files at any depth below `folder`, by their names relative to the root, sorted."""
        top = self._at(folder)
        selector = pafs.FileSelector(top, recursive=True, allow_not_found=True)
        infos = self._patiently(lambda: self._fs[0].get_file_info(selector))
        return sorted(f"{folder}{info.path[len(top) :]}" for info in infos if info.type == pafs.FileType.File)

    def move(self, name: str, to: str) -> None:
        """Give a file another name, which is one copy in an object store. FileNotFoundError when it is not there."""
        if self.remote:
            self.write(to, self.read(name))
            self.remove(name)
        else:
            target = self.folder / inside_name(to, self.root)
            make_folder(target.parent)
            os.replace(self._at(name), target)

    def remove(self, *names: str) -> None:
        """Remove files, some of which may not be there."""
        if self.remote and len(names) > 1:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(self._remove, names))
        else:
            for name in names:
                self._remove(name)

    def _remove(self, name: str) -> None:
        try:
            self._patiently(lambda: self._fs[0].delete_file(self._at(name)))
        except FileNotFoundError:
            pass
        except OSError:
            if self.exists(name):
                raise

    def unfinished(self, folder: str) -> list[str]:
        """List temporary files that a killed writer left directly in `folder`; object stores have none."""
        if self.remote or not (self.folder / folder).is_dir():
            return []
        return sorted(path.name for path in (self.folder / folder).iterdir() if path.name.endswith(TEMPORARY))


def _write_parquet(path: str, table: pa.Table, options: dict[str, Any]) -> None:
    with pa.OSFile(path, "wb") as sink:  # of a name with a colon in it pyarrow would make an address
        pq.write_table(table, sink, **options)


# --- Names that stand in files are names, never paths: whoever may write to a library must not reach out of it -------


def inside_name(name: str, root: object) -> str:
    """Return a name that stays below `root`. ValueError for one that leads out of it."""
    if name.startswith("/") or "\0" in name or ".." in name.split("/"):
        raise ValueError(f"{name!r} does not lie in {root}: it is none of its files")
    return name


def file_name(name: Any, source: object, *, folders: Collection[str] = ("",), suffix: str = ".parquet") -> str:
    """Return a name as it stands in a file, `source`, if it is that of a file in one of `folders` ("": a bare name).

    ValueError naming `source` for everything else: paths, drives, other endings, values that are no text.
    """
    text = name if isinstance(name, str) else ""
    folder, _, bare = text.rpartition("/")
    fits = folder in folders and bare.endswith(suffix) and not bare.startswith(".")
    if not fits or any(sign in bare for sign in "\0\\:\n"):
        raise ValueError(f"{source} names {name!r}, which is no file of its own: it is damaged, or not to be trusted")
    return text


def parse_json(data: bytes) -> Any:
    """Parse JSON. ValueError also for what is nested without end."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n").encode()


def is_unfinished(name: str) -> bool:
    """Tell by its name whether a file is the temporary one of a writer, who may have been killed."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def write_whole(path: Path, write: Callable[[str], object]) -> None:
    """Write to a temporary name beside `path`, flush, rename, flush the folder: a file that exists is whole.

    Once this returns, a power cut leaves the file there. OSError names `path`, whoever raised it.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
    try:
        make_folder(path.parent)
        try:
            write(str(temporary))
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_folder(path.parent)
    except OSError as error:
        if error.errno is None or error.filename == str(path):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each of which is there after a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, where its file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return  # it may be written to and not be read
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8, whole or not at all."""
    write_whole(path, lambda name: Path(name).write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_whole(path, lambda name: Path(name).write_bytes(_as_json(value)))
