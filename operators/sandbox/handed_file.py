"""A video as a decoder's process is handed it: an open descriptor with a name, and nothing that is opened by name.

    file = HandedFile.of("clip.mp4")
    with open_container(file) as container: ...

A playlist or script, whatever its name says, makes a demuxer open what its text names: it is refused.
"""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path
from typing import Any

import av

from ndvr.operators.errors import DecodeError

# Formats that are lists of other files or addresses, by what they begin with and by FFmpeg's names.
_SCRIPTS = re.compile(
    rb"#EXTM3U|ffconcat\s+version|v=0\s*\r?\n\s*o=|<MPD\b|<SmoothStreamingMedia|\[playlist\]|\[Reference\]|RTSPtext|<asx\b"
    rb"|<smil\b|WEBVTT|DASH|<playlist\b|rtsp://|https?://",
    re.IGNORECASE,
)
SCRIPT_FORMATS = {
    *("hls", "applehttp", "concat", "dash", "webm_dash_manifest"),
    *("sdp", "rtsp", "rtp", "sap", "imf", "image2"),
}
_HEAD_BYTES, _BUFFER_BYTES = 4096, 1 << 16
_INSTEAD = "hand over the video itself"


class HandedFile(io.RawIOBase):
    """A readable, seekable file over a descriptor that others may read at the same time: it keeps its own position.

    name    what it is called: messages and the guess of its format go by it
    owner   the file that closes the descriptor, kept alive; None: this one does, once nobody uses it
    """

    def __init__(self, descriptor: int, name: str, owner: HandedFile | None = None):
        super().__init__()
        self.descriptor, self.name, self._owner = descriptor, name, owner
        self._at = 0

    @classmethod
    def of(cls, source: str | Path | HandedFile) -> HandedFile:
        """Open a file, or take one that is open. DecodeError(io) unless it is a regular file that can be read."""
        if isinstance(source, HandedFile):
            return source
        path = str(source)
        try:
            # Not blocking: a pipe would wait for its writer for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            raise DecodeError("io", f"no permission to read {path}") from None
        except OSError as error:
            raise DecodeError("io", f"{error.strerror}: {path}") from error
        file = cls(descriptor, path)
        if not stat.S_ISREG(file.stat.st_mode):
            raise DecodeError("io", f"not a regular file: {path}")
        if file.stat.st_size == 0:
            raise DecodeError("empty", f"zero bytes: {path}")
        return file

    def again(self) -> HandedFile:
        """Hand the same file out again, from its start."""
        return HandedFile(self.descriptor, self.name, self._owner or self)

    def close(self) -> None:
        """Close the descriptor, if it is this one's."""
        if not self.closed and self._owner is None:
            os.close(self.descriptor)
        super().close()

    @property
    def stat(self) -> os.stat_result:
        """Size and times."""
        return os.fstat(self.descriptor)

    def fileno(self) -> int:
        return self.descriptor

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.stat.st_size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = max(0, self.stat.st_size - self._at)
        data = os.pread(self.descriptor, size, self._at)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self.descriptor, [buffer], self._at)
        self._at += count
        return count


def open_container(file: HandedFile) -> av.container.InputContainer:
    """Open with PyAV. av.FFmpegError when it cannot, DecodeError(unsupported) for what names other files."""
    refuse_scripts(file)
    # errors="replace": tags that are not UTF-8 must not cost the video.
    container = av.open(file.again(), metadata_errors="replace", buffer_size=_BUFFER_BYTES)
    assert isinstance(container, av.container.InputContainer)
    if SCRIPT_FORMATS & set(container.format.name.split(",")):
        container.close()
        raise DecodeError("unsupported", f"a list of other files ({container.format.name}): {_INSTEAD}")
    return container


def refuse_scripts(file: HandedFile) -> None:
    """Raise DecodeError(unsupported) for a playlist or script, whatever its name says."""
    head = file.again().read(_HEAD_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n\0")
    start = re.sub(rb"\A(<\?xml.*?\?>|<!--.*?-->|\s)+", b"", head, flags=re.DOTALL)
    if _SCRIPTS.match(start):
        raise DecodeError("unsupported", f"a playlist or script that names other files: {_INSTEAD}")
