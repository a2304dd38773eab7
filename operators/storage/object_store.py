"""Object stores (S3 and what speaks its language, Google's): how they are reached, and their errors in one sentence.

files, path = filesystem("s3://bucket/key with spaces #1.mp4")     # what follows s3:// is taken as it is
with errors_explained("s3://bucket"):
    files.get_file_info(path)                                      # Unreachable says what, where, what to do

Credentials are the environment's, on every machine: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, the role
of the machine; for Google's GOOGLE_APPLICATION_CREDENTIALS, or gs://anonymous@bucket for what everybody may read.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from ndvr.operators.storage._odd_keys import OddObject, is_odd

SCHEMES = ("s3", "gs")
# Of one try, and there are three: a server that is not there is found out within seconds. The SDK's own second is short
# for another continent, and its three seconds of silence for a busy server.
CONNECT_S, SILENT_S = 3.0, 6.0
_MOST_SLASHES = 2  # at the end of a key, beside those that a list shows to be there
_AT_ONCE = 32  # requests; a store answers after tens of milliseconds

# Before trying again; fewer where nothing has been heard of a store yet, which may be a name that is wrong.
PAUSES_S, FIRST_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0), (0.5, 1.0)

Stat = tuple[int, int]  # bytes, time of change in ns
T = TypeVar("T")


class Unreachable(OSError, ValueError):
    """An object store does not answer, refuses, or does not have the bucket. `passing`: it may work in a moment."""

    def __init__(self, message: str, passing: bool = False):
        super().__init__(message)
        self.passing = passing

    def __reduce__(self) -> tuple[Any, ...]:
        return Unreachable, (str(self), self.passing)


@dataclass(frozen=True, kw_only=True)
class Access:
    """What must be known to reach a store, and is no secret: it travels to workers on other machines."""

    endpoint: str | None = None  # instead of Amazon's
    region: str | None = None

    @classmethod
    def here(cls) -> Access:
        """Read the access that the environment of this process gives."""
        return cls(
            endpoint=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None,
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None,
        )


def is_remote(place: str | Path) -> bool:
    """Tell whether a place is an object store's and not a path."""
    return "://" in str(place)


def is_object(uri: str) -> bool:
    """Tell whether a video is an object of a store; file:///... is a path whose bytes are no text (video_files.py)."""
    return is_remote(uri) and not uri.startswith("file:///")


def check_served(uri: str) -> None:
    """Raise ValueError for what is no s3:// or gs:// of a bucket."""
    if uri.partition("://")[0] not in SCHEMES or not path_of(uri):
        raise ValueError(f"cannot use {uri}: give a path, s3://bucket/path or gs://bucket/path")


def path_of(uri: str) -> str:
    """Turn s3://bucket/path/ into bucket/path, as pyarrow's file systems take it."""
    return _key_of(uri).rstrip("/")


def _key_of(uri: str) -> str:
    """Turn s3://bucket/key/ into bucket/key/: a slash at the end of a key is a letter of it."""
    return uri.partition("://")[2].removeprefix("anonymous@")


def bucket_of(uri: str) -> str:
    """Turn s3://bucket/path into s3://bucket."""
    scheme, _, path = uri.partition("://")
    return f"{scheme}://{path.partition('/')[0]}"


def filesystem(uri: str, access: Access | None = None) -> tuple[pafs.FileSystem, str]:
    """Find the file system of a URI, and the path in it. ValueError for a scheme not served, or no such bucket."""
    check_served(uri)
    access = access or Access.here()
    if uri.startswith("gs:"):
        anonymous = uri.startswith("gs://anonymous@")
        return pafs.GcsFileSystem(anonymous=anonymous, retry_time_limit=timedelta(seconds=10)), path_of(uri)
    region = access.region
    if region is None:
        # Another server than Amazon's seldom has regions, and asking Amazon for its buckets would be wrong.
        region = "us-east-1" if access.endpoint else _region(uri)
    files = pafs.S3FileSystem(
        endpoint_override=access.endpoint,
        region=region,
        connect_timeout=CONNECT_S,
        request_timeout=SILENT_S,
        retry_strategy=pafs.AwsDefaultS3RetryStrategy(max_attempts=3),  # at once; `patiently` is who waits
        allow_delayed_open=True,  # a small object is one request instead of three
    )
    return files, path_of(uri)


def _region(uri: str) -> str:
    with errors_explained(uri):
        return pafs.resolve_s3_region(path_of(bucket_of(uri)))


def put(files: pafs.FileSystem, path: str, data: bytes | pa.Buffer) -> None:
    """Make an object: whole, or not at all.

    A stream that is let go of completes its upload, were it half a file or an empty one. So nothing may come between
    opening and closing it, no Ctrl-C either: that goes to the main thread, which waits for this one; and a stream
    that failed is kept for good.
    """

    def upload() -> None:
        stream = files.open_output_stream(path)
        try:
            stream.write(data)
            stream.close()
        except Exception:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))
            raise

    with ThreadPoolExecutor(1, "upload") as pool:
        pool.submit(upload).result()


def kind_of(uri: str, access: Access | None = None) -> str | None:
    """Say "file", "folder", or None where there is nothing. Unreachable where there is no such bucket."""
    files, path = filesystem(uri, access)
    if is_odd_object(uri.rstrip("/")):
        return "file" if stat_objects([uri], access)[0] else None

    def find() -> pafs.FileType:
        # A slash at the end says that the folder is meant, should there be an object of the same name.
        kind = files.get_file_info(f"{path}/" if uri.endswith("/") and "/" in path else path).type
        if kind == pafs.FileType.NotFound and files.get_file_info(path.partition("/")[0]).type == kind:
            raise OSError("NO_SUCH_BUCKET")
        return kind

    kind = patiently(find, uri, access, known=False)
    return {pafs.FileType.File: "file", pafs.FileType.Directory: "folder"}.get(kind)


def list_objects(uri: str, access: Access | None = None) -> dict[str, Stat]:
    """List bytes and time of every object below a folder, by its URI, in no order; a thousand a request."""
    files, path = filesystem(uri, access)
    files_found = patiently(lambda: files.get_file_info(pafs.FileSelector(path, recursive=True)), uri, access)
    root = uri.rstrip("/")
    pairs = [(root + info.path[len(path) :], stat) for info in files_found if (stat := stat_of(info))]
    objects, count = dict(pairs), Counter(uri for uri, _ in pairs)
    for alike in [uri for uri, n in count.items() if n > 1]:  # pyarrow leaves out slashes at the end of a key
        names = [alike + "/" * n for n in range(count[alike] + _MOST_SLASHES)]
        stats = dict(zip(names, stat_objects(names, access)))
        del objects[alike]
        objects |= {name: stat for name, stat in stats.items() if stat}
    return objects


def stat_objects(uris: Sequence[str], access: Access | None = None) -> list[Stat | None]:
    """Read bytes and time of every object; None for one that is not there or may not be asked after.

    Unreachable when that holds for all, and not because they are not there.
    """
    errors: list[Unreachable] = []
    stores = {bucket: filesystem(bucket, access)[0] for bucket in {bucket_of(uri) for uri in uris}}

    def stat(uri: str) -> Stat | None:
        try:
            if is_odd_object(uri):
                return patiently(lambda: _stat_odd(uri, access), uri, access)
            return stat_of(patiently(lambda: stores[bucket_of(uri)].get_file_info(path_of(uri)), uri, access))
        except Unreachable as error:
            errors.append(error)
            return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        stats = list(pool.map(stat, uris))
    if errors and len(errors) == len(uris):
        raise errors[0]
    return stats


def is_odd_object(uri: str) -> bool:
    """Tell whether an object's key is no path: pyarrow can list it, and cannot open it."""
    return uri.startswith("s3:") and is_odd(_key_of(uri))


def open_object(files: pafs.FileSystem, uri: str, access: Access | None = None) -> pa.NativeFile | OddObject:
    """Open an object by its URI as a list of objects has it. FileNotFoundError when there is none."""
    path = path_of(uri)
    if is_odd_object(uri):
        return _odd_object(_key_of(uri), access)
    try:
        return files.open_input_file(path)
    except FileNotFoundError as error:
        for slashes in ("/", "//") if uri.startswith("s3:") else ():  # which a list leaves out at a key's end
            with contextlib.suppress(OSError):
                return _odd_object(path + slashes, access)
        raise error


def _odd_object(path: str, access: Access | None) -> OddObject:
    access = access or Access.here()
    region = access.region or ("us-east-1" if access.endpoint else _region(f"s3://{path}"))
    return OddObject(path, endpoint=access.endpoint, region=region)


def _stat_odd(uri: str, access: Access | None) -> Stat | None:
    try:
        odd = _odd_object(_key_of(uri), access)
    except FileNotFoundError:
        return None
    return odd.size(), time_ns(odd.metadata())


def time_ns(metadata: Mapping[str, bytes]) -> int:
    """Read when an object was written; 0 where its metadata do not say."""
    written = metadata.get("Last-Modified", b"").decode()  # as 2026-11-21T15:51:26Z
    return int(datetime.fromisoformat(written.replace("Z", "+00:00")).timestamp()) * 10**9 if written else 0


def stat_of(info: pafs.FileInfo) -> Stat | None:
    """Read bytes and time in whole seconds: lists of objects may have fractions where answers about one have none."""
    if info.type != pafs.FileType.File:
        return None
    return info.size, (info.mtime_ns or 0) // 10**9 * 10**9


@contextmanager
def errors_explained(uri: str, access: Access | None = None) -> Iterator[None]:
    """Turn the store's errors into Unreachable, but for FileNotFoundError."""
    try:
        yield
    except (FileNotFoundError, Unreachable):
        raise
    except (OSError, pa.ArrowException) as error:
        reason, passing = _reason(str(error), uri, access or Access.here())
        raise Unreachable(f"{uri}: {reason}", passing) from error


def patiently(act: Callable[[], T], uri: str, access: Access | None = None, *, known: bool = True) -> T:
    """Return what `act` returns, tried again while the store's errors may pass. Unreachable when they do not.

    act    asks a store for something that may be done twice
    known  the store has answered before
    """
    for pause_s in PAUSES_S if known else FIRST_PAUSES_S:
        try:
            with errors_explained(uri, access):
                return act()
        except Unreachable as error:
            if not error.passing:
                raise
        time.sleep(pause_s * random.uniform(0.75, 1.25))  # many workers shall not come back at once
    with errors_explained(uri, access):
        return act()


class PatientFile(io.RawIOBase):
    """An object that is read here and there, each part of it patiently and whole.

    FileNotFoundError when it is removed meanwhile, which a store's own errors do not always say.
    """

    def __init__(self, files: pafs.FileSystem, path: str, uri: str, access: Access):
        super().__init__()
        self._files, self._path = files, path
        self._uri, self._access, self._at = uri, access, 0
        self._file = patiently(lambda: files.open_input_file(path), uri, access)
        self._size = self._file.size()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def size(self) -> int:
        return self._size

    def read(self, count: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        count = left if count is None or count < 0 else min(count, left)
        data = patiently(lambda: self._part(count), self._uri, self._access) if count else b""
        self._at += len(data)
        return data

    def _part(self, count: int) -> bytes:
        try:
            data = self._file.read_at(count, self._at)
        except OSError as error:
            if self._files.get_file_info(self._path).type == pafs.FileType.NotFound:
                raise FileNotFoundError(errno.ENOENT, "an object of it is gone", self._uri) from error
            raise
        if len(data) < count:
            raise Unreachable(f"{self._uri}: the answer ended after {len(data):,} of {count:,} bytes", passing=True)
        return data


_AWS = re.compile(r"AWS Error (.*?) during \w+ operation: (.*)", re.DOTALL)
_REFUSED = "DENIED|ACCESS_KEY|SIGNATURE|CREDENTIAL|TOKEN|UNRECOGNIZED_CLIENT|status 40[13]|PERMISSION|UNAUTHENTICATED"
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or the role of the machine"
_GOOGLE = "GOOGLE_APPLICATION_CREDENTIALS, or gs://anonymous@bucket for what everybody may read"


def _reason(message: str, uri: str, access: Access) -> tuple[str, bool]:
    """Say what is wrong, where and what to do; and tell whether it may be otherwise in a moment."""
    google = uri.startswith("gs:")
    where = "Google" if google else access.endpoint or "Amazon S3 (AWS_ENDPOINT_URL is not set)"
    keys = _GOOGLE if google else _KEYS
    match = _AWS.search(message)
    what, details = match.groups() if match else ("", message)
    details = details.partition("(Request ID")[0].partition("; Details")[0].replace("No response body.", "")
    short = " ".join(f"{what}: {details}".split()).strip(": .")[:300]
    if "NO_SUCH_BUCKET" in message:
        return f"there is no bucket {path_of(bucket_of(uri))!r} at {where}; check its name, or make it", False
    if "NETWORK_CONNECTION" in what:
        return f"{where} does not answer ({short}); check the address and the network", True
    if "SKEW" in message.upper():
        return f"the clock of this machine is too far off for {where} ({short}); set it", False
    if re.search(_REFUSED, what or message):
        return f"{where} refuses access ({short}); check the credentials: {keys}", False
    if "301" in what or "PERMANENT" in what.upper():
        return f"the bucket is in another region than {access.region}; set AWS_REGION to its own", False
    alone = not google and "AWS_ACCESS_KEY_ID" not in os.environ
    return f"{where} says: {short}" + (f"; no AWS_ACCESS_KEY_ID is set here: {keys}" if alone else ""), bool(match)
