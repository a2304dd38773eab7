"""The files of videos, read by ranges, and single pictures of them: only files that are what the library read.

    files = Files()
    with files.open(video) as source: source.size, source.read(0, 1000)
    files.picture(video, 12.5, 360)       # JPEG, decoded in a child that can be killed

A file is opened first and then compared: by size and time of change, else by its SHA-256. So neither a link that was
put in its place, nor another file of that name, nor a name that leads elsewhere is served.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ndvr.operators.errors import DecodeError, NoPicture
from ndvr.operators.media.film_strip import picture
from ndvr.operators.sandbox.sandbox import Sandboxes
from ndvr.operators.storage.fetch import Fetcher
from ndvr.operators.storage.object_store import (
    Unreachable,
    filesystem,
    is_object,
    open_object,
    patiently,
    stat_objects,
)
from ndvr.operators.storage.video_files import local_path
from ndvr.operators.video.headers import Header, read_headers
from ndvr.operators.video.stills import new_sandbox
from ndvr.pipeline.review.pairs import Video

BLOCK_BYTES = 1 << 18
_DECODERS = 2
_PICTURES = 256  # kept
_COPIES = 2  # of objects that are decoded here
# What browsers play as it is; for all else there are pictures decoded by us.
_CODECS = ("h264", "vp8", "vp9", "av1", "libdav1d")
_CONTAINERS = ("mp4", "mov", "webm", "matroska")
_TYPES = {".webm": "video/webm", ".mkv": "video/webm", ".ogv": "video/ogg", ".ogg": "video/ogg"}


class NotServed(Exception):
    """A video whose file is not there, or is not the one that was read."""


class Source(Protocol):
    """An opened file."""

    size: int

    def read(self, start: int, count: int) -> bytes:
        """Read at most `count` bytes from `start`."""


@dataclass
class _LocalSource:
    handle: int
    size: int

    def read(self, start: int, count: int) -> bytes:
        return os.pread(self.handle, count, start)


class _ObjectSource:
    def __init__(self, uri: str):
        (facts,) = stat_objects([uri])
        if facts is None:
            raise NotServed(f"there is no object {uri}")
        self.size, self.mtime_ns = facts
        files = filesystem(uri)[0]
        self._file, self._uri = patiently(lambda: open_object(files, uri), uri, known=False), uri

    def read(self, start: int, count: int) -> bytes:
        count = min(count, max(0, self.size - start))
        return patiently(lambda: self._file.read_at(count, start), self._uri, known=False)


class Files:
    """Opens files and makes pictures; from several threads."""

    def __init__(self) -> None:
        self._same: set[tuple[str, int, int, int]] = set()  # files whose SHA-256 was compared, as they were then
        self._boxes = Sandboxes(new_sandbox, _DECODERS)
        self._pictures: OrderedDict[tuple[str, float, int], bytes] = OrderedDict()
        self._headers: dict[str, Header] = {}
        self._copies: OrderedDict[str, tuple[contextlib.ExitStack, str]] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the decoders, and remove copies of objects."""
        self._boxes.close()
        for stack, _ in self._copies.values():
            stack.close()

    @contextlib.contextmanager
    def open(self, video: Video) -> Iterator[Source]:
        """Open the file of a video. NotServed where it is gone, or another one than was read."""
        if not video.uri:
            raise NotServed(f"nothing says where {video.video_id} lies")
        if is_object(video.uri):
            try:
                source = _ObjectSource(video.uri)
            except (Unreachable, FileNotFoundError) as error:
                raise NotServed(str(error)) from None
            if (source.size, source.mtime_ns) != (video.bytes, video.mtime_ns):
                raise NotServed(f"{video.uri} was changed since it was read")
            yield source
            return
        try:
            handle = os.open(local_path(video.uri), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError):
            raise NotServed(f"{video.uri} cannot be opened") from None
        try:
            self._check(handle, video)
            yield _LocalSource(handle, os.fstat(handle).st_size)
        finally:
            os.close(handle)

    def _check(self, handle: int, video: Video) -> None:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or video.bytes is None or facts.st_size != video.bytes:
            raise NotServed(f"{video.uri} is not the file that was read")
        if facts.st_mtime_ns == video.mtime_ns:
            return
        state = (video.sha256, facts.st_dev, facts.st_ino, facts.st_mtime_ns)
        if state not in self._same:
            digest = hashlib.sha256()
            start = 0
            while block := os.pread(handle, 1 << 24, start):
                digest.update(block)
                start += len(block)
            if digest.hexdigest() != video.sha256:
                raise NotServed(f"{video.uri} is not the file that was read")
            self._same.add(state)

    def picture(self, video: Video, at_s: float, height: int) -> bytes:
        """Decode the frame at a time as JPEG. NotServed where the file is not there or cannot be decoded."""
        key = (video.content, round(at_s, 3), height)
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        with self._here(video) as path, self._boxes.one() as box:
            try:
                jpeg = picture(path, at_s, height, sandbox=box)
            except (DecodeError, NoPicture) as error:
                raise NotServed(f"{video.video_id} cannot be decoded: {error}") from None
        with self._lock:
            self._pictures[key] = jpeg
            while len(self._pictures) > _PICTURES:
                self._pictures.popitem(last=False)
        return jpeg

    @contextlib.contextmanager
    def _here(self, video: Video) -> Iterator[str]:
        """Lend a path that a decoder can open; of an object a copy, which is kept for the next picture."""
        if not is_object(video.uri):
            with self.open(video):
                yield video.uri
            return
        with self._lock:
            if video.content not in self._copies:
                with self.open(video):
                    stack = contextlib.ExitStack()
                    try:
                        self._copies[video.content] = stack, stack.enter_context(Fetcher().fetch(video.uri)).path
                    except DecodeError as error:
                        raise NotServed(str(error)) from None
                while len(self._copies) > _COPIES:
                    self._copies.popitem(last=False)[1][0].close()
            self._copies.move_to_end(video.content)
            yield self._copies[video.content][1]

    def header(self, video: Video) -> Header:
        """Read the file's header; an empty one where it is not there."""
        return self.headers([video])[video.content]

    def headers(self, videos: Iterable[Video]) -> dict[str, Header]:
        """Read the headers of files, by content; each once."""
        every = {video.content: video for video in videos}
        failed, new = {}, []
        for content, video in every.items():
            try:
                if content not in self._headers:
                    with self.open(video):
                        new.append(video)
            except NotServed as error:
                failed[content] = Header(error_class="io", message=str(error))
        if new:
            for video, header in zip(new, read_headers([each.uri for each in new], workers=_DECODERS)):
                self._headers[video.content] = header
        return failed | {content: self._headers[content] for content in every if content in self._headers}


def plays(header: Header) -> bool:
    """Say whether browsers are likely to play it; where they do not, the page asks for pictures."""
    return header.codec in _CODECS and any(name in header.container for name in _CONTAINERS)


def media_type(video: Video) -> str:
    """Name a type of video whatever the name says, so that nothing that is served is taken for a page."""
    return _TYPES.get(os.path.splitext(video.uri)[1].lower(), "video/mp4")


def byte_range(text: str | None, size: int) -> tuple[int, int] | None:
    """Read [start, end) of a Range header; None where all is asked for, or several. ValueError beyond the end."""
    match = re.fullmatch(r"bytes=(\d{0,19})-(\d{0,19})", (text or "").strip(), re.ASCII)
    if not match or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    if start >= size or end <= start:
        raise ValueError(f"bytes {text} of {size:,}")
    return start, end
