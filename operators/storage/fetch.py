"""Bring a video here: an object is downloaded to a temporary file and hashed on the way; a local path is left alone.

fetcher = Fetcher(Access.here())
with fetcher.fetch("s3://bucket/a.mp4") as file:
    file.path, file.facts      # bytes, mtime_ns, sha256; the file itself has this time as well

A worker keeps one such file at a time, in a folder of its own that is locked while it lives: the next one to start on
this machine clears away what killed ones left. TMPDIR says where.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import pyarrow.fs as pafs

from ndvr.operators.errors import DecodeError
from ndvr.operators.rows import FileFacts
from ndvr.operators.storage.object_store import (
    Access,
    Unreachable,
    bucket_of,
    errors_explained,
    filesystem,
    is_object,
    open_object,
    path_of,
    patiently,
    stat_of,
    time_ns,
)
from ndvr.operators.storage.video_files import local_path

BLOCK_BYTES = 16 << 20  # a request each
PAUSES_S = (1.0, 4.0)  # before trying again, on top of what the store's client does by itself


class Fetched(NamedTuple):
    """A file that is here. Of a local one no facts are known yet: it has not been read."""

    path: str
    facts: FileFacts


class Fetcher:
    """Brings videos here, one at a time.

    total_s  longest time one video may take to download
    """

    def __init__(self, access: Access | None = None, *, total_s: float = 3600.0):
        self.access, self.total_s = access or Access.here(), total_s
        self._stores: dict[str, pafs.FileSystem] = {}
        self._folder: _OwnFolder | None = None

    @contextlib.contextmanager
    def fetch(self, uri: str) -> Iterator[Fetched]:
        """Keep a video here while the context lasts. DecodeError(io, empty or timeout) when it cannot be had."""
        if not is_object(uri):
            yield Fetched(local_path(uri), FileFacts())
            return
        try:
            if self._folder is None or not self._folder.stands:
                self._folder = _OwnFolder()
        except OSError as error:
            raise DecodeError("io", f"no place for a copy of {uri}: {error}; TMPDIR names another folder") from error
        # Decoders look at the extension too.
        suffix = re.fullmatch(r"\.\w{1,8}", PurePosixPath(uri).suffix, re.ASCII)
        path = self._folder.path / f"video{suffix[0] if suffix else ''}"
        try:
            facts = self._download(uri, path)
            assert facts.mtime_ns is not None
            os.utime(path, ns=(facts.mtime_ns, facts.mtime_ns))
            yield Fetched(str(path), facts)
        finally:
            path.unlink(missing_ok=True)

    def _download(self, uri: str, path: Path) -> FileFacts:
        deadline = time.monotonic() + self.total_s
        for pause_s in (*PAUSES_S, None):
            try:
                return self._in_time(uri, path, deadline)
            except FileNotFoundError:
                raise DecodeError("io", f"there is no object {uri}") from None
            except Unreachable as error:
                if pause_s is None or not error.passing or time.monotonic() + pause_s > deadline:
                    raise DecodeError("io", str(error)) from error
                time.sleep(pause_s)
            except ValueError as error:  # no address of a store that is served
                raise DecodeError("io", str(error)) from error
            except OSError as error:
                raise DecodeError("io", f"cannot keep {uri} in {path.parent}: {error.strerror or error}") from error
        raise AssertionError("the last try returns or raises")

    def _in_time(self, uri: str, path: Path, deadline: float) -> FileFacts:
        """Download in a thread, because a request cannot be broken off: of a server that trickles, it is left alone."""
        given_up, answer = threading.Event(), list[FileFacts | Exception]()
        out = path.open("wb")  # not in the thread, which may come to it when the name is another video's

        def work() -> None:
            try:
                with out:  # a full disk may tell only when it is closed
                    facts = self._copy(uri, out, given_up)
                answer.append(facts)
            except Exception as error:  # whatever it is belongs to the caller
                answer.append(error)

        thread = threading.Thread(target=work, name="fetch", daemon=True)
        thread.start()
        thread.join(max(0.0, deadline - time.monotonic()))
        if not answer:
            given_up.set()
            raise DecodeError("timeout", f"not downloaded within {self.total_s:g} s: {uri}")
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer[0]

    def _copy(self, uri: str, out: IO[bytes], given_up: threading.Event) -> FileFacts:
        with errors_explained(uri, self.access):
            source = open_object(self._store(uri), uri, self.access)
            size, metadata = source.size(), source.metadata()
        if size == 0:
            raise DecodeError("empty", f"zero bytes: {uri}")
        if size > (free := shutil.disk_usage(out.name).free):
            folder = os.path.dirname(out.name)
            raise OSError(
                f"{size / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free; TMPDIR names another folder than {folder}"
            )
        digest, done = hashlib.sha256(), 0
        while done < size and not given_up.is_set():
            with errors_explained(uri, self.access):
                block = source.read_at(min(BLOCK_BYTES, size - done), done)
            if not block:
                raise Unreachable(f"{uri} ended after {done:,} of {size:,} bytes", passing=True)
            out.write(block)
            digest.update(block)
            done += len(block)
        # Blocks are requests: another object may have taken this one's place between them.
        with errors_explained(uri, self.access):
            if open_object(self._store(uri), uri, self.access).metadata() != metadata:
                raise Unreachable(f"{uri} was changed while it was read", passing=True)
            mtime_ns = self._mtime_ns(uri, metadata)
        return FileFacts(bytes=size, mtime_ns=mtime_ns, sha256=digest.hexdigest())

    def _mtime_ns(self, uri: str, metadata: dict[str, bytes]) -> int:
        if written_ns := time_ns(metadata):
            return written_ns
        facts = stat_of(self._store(uri).get_file_info(path_of(uri)))
        return facts[1] if facts else 0

    def _store(self, uri: str) -> pafs.FileSystem:
        bucket = bucket_of(uri)
        if bucket not in self._stores:
            self._stores[bucket] = filesystem(bucket, self.access)[0]
        return self._stores[bucket]


def content_of(uri: str, access: Access | None = None) -> str:
    """Hash (SHA-256) a file where it lies, without keeping it. DecodeError(io) when it cannot be read."""
    digest = hashlib.sha256()
    try:
        if not is_object(uri):
            with open(local_path(uri), "rb") as file:
                _feed(digest, file)
            return digest.hexdigest()
        files = filesystem(bucket_of(uri), access)[0]
        source = patiently(lambda: open_object(files, uri, access), uri, access, known=False)
        size, at = source.size(), 0
        while at < size:
            block = patiently(partial(source.read_at, min(BLOCK_BYTES, size - at), at), uri, access)
            if not block:
                raise OSError(f"{uri} ended after {at:,} of {size:,} bytes")
            digest.update(block)
            at += len(block)
    except (OSError, Unreachable) as error:
        raise DecodeError("io", str(error)) from error
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, source: IO[bytes]) -> None:
    while block := source.read(BLOCK_BYTES):
        digest.update(block)


class _OwnFolder:
    """A folder for temporary files that is ours as long as this process lives, and that nobody else can look into.

    It lies in one for all our processes, unless somebody else has put something under that name: TMPDIR is
    everybody's.
    """

    def __init__(self) -> None:
        base = os.path.join(tempfile.gettempdir(), f"ndvr-videos-{os.getuid()}")
        with contextlib.suppress(FileExistsError):
            os.mkdir(base, mode=0o700)
        if _is_ours(base):
            with _locked(base):  # one looks around at a time
                for other in os.scandir(base):
                    if other.is_dir(follow_symlinks=False) and _abandoned(other.path):
                        shutil.rmtree(other.path, ignore_errors=True)
                self._make(tempfile.mkdtemp(dir=base))
        else:
            self._make(tempfile.mkdtemp(prefix="ndvr-videos-"))

    def _make(self, path: str) -> None:
        self.path = Path(path)
        self._lock = _lock_file(path)  # let go of when the process ends, however it ends
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    @property
    def stands(self) -> bool:
        """Say whether it is still there: temporary folders are cleared up behind our back."""
        return _is_ours(self.path)


def _is_ours(folder: str | Path) -> bool:
    """Say whether this is a folder, no link to one, of this user, and closed to all others."""
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _lock_file(folder: str) -> IO[bytes]:
    """Open the lock of a folder of ours; nothing behind a link is opened, nothing is emptied."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(os.path.join(folder, "lock"), flags, 0o600), "r+b")


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    with _lock_file(folder) as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


def _abandoned(folder: str) -> bool:
    try:
        with _lock_file(folder) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
