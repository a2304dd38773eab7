"""What the header of a video says, read without decoding, in a child that can be killed: headers lie and hang too.

for header in read_headers(["a.mp4", "b.mkv"]):
    header.codec, header.width, header.frames
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import floor
from pathlib import PurePosixPath
from typing import Any

import av
from av.stream import Disposition

from ndvr.models.card import Clips, Frames, Mel, Overview, View
from ndvr.operators.errors import DecodeError, NoPicture
from ndvr.operators.sandbox.handed_file import HandedFile, open_container
from ndvr.operators.sandbox.sandbox import Sandbox, Sandboxes
from ndvr.operators.storage.object_store import filesystem, is_object, open_object, patiently
from ndvr.operators.storage.video_files import local_path
from ndvr.operators.video._frame_rules import opencv_step
from ndvr.operators.video._pyav_decoder import best_video
from ndvr.operators.video._sound import window_count

DEADLINE_S = 20.0
HEADERS_A_CHILD = 16  # which a child takes about as long to read as to start
MEMORY_GB = 2.0
END_BYTES = 4 << 20  # of an object that are fetched, at its start and at its end: headers are there
# No coder gets a frame below this; a header that claims more frames than fit its file is not believed.
LEAST_FRAME_BYTES = 8
_HDR = (16, 18)  # transfer characteristics of PQ and HLG, ITU-T H.273


@dataclass(frozen=True, kw_only=True)
class Header:
    """One file's header. Without `codec` there is no picture; `error_class` says that nothing can be read at all."""

    bytes: int = 0
    error_class: str | None = None
    message: str | None = None
    container: str = ""
    codec: str | None = None
    width: int = 0
    height: int = 0
    frames: int = 0  # as claimed, or duration times rate
    rate: float = 25.0  # frames per second
    duration_s: float = 0.0
    hdr: bool = False
    sound: str | None = None  # codec

    @property
    def pixels(self) -> int:
        """How many pixels a frame has."""
        return self.width * self.height


def read_headers(paths: Sequence[str], *, workers: int = 4) -> Iterator[Header]:
    """Yield one Header per path, in order; never raises for a file."""
    workers = max(1, min(workers, len(paths) // HEADERS_A_CHILD))

    def read(path: str, box: Sandbox) -> Header:
        try:
            with _here(path) as file:
                (fields,) = box.stream(file=file)
            return Header(**fields)
        except DecodeError as error:
            return Header(bytes=size_of(path), error_class=error.kind, message=error.message)

    make = partial(Sandbox, serve, memory_gb=MEMORY_GB, stall_s=DEADLINE_S, total_s=DEADLINE_S)
    with Sandboxes(make, workers) as boxes:
        yield from boxes.map(read, paths)


def windows_of(header: Header, view: View) -> int:
    """Tell how many windows a video should give; close to what decoding finds, unless the header is wrong."""
    if isinstance(view, Mel):
        rows = floor(header.duration_s * view.rate_hz / view.hop) + 1
        return window_count(view, rows) if header.sound and header.duration_s > 0 else 0
    if header.codec is None or header.error_class:
        return 0
    if isinstance(view, Overview):
        return 1
    assert isinstance(view, Frames)
    if view.rule == "ffmpeg":
        pictures = max(1, floor(header.frames / header.rate * view.fps + 0.5))
    else:
        step = opencv_step(view.fps, Fraction(header.rate).limit_denominator(1001))
        pictures = 2 + header.frames // step if view.rule == "tca" else -(-header.frames // step)
    return max(1, floor(pictures / view.length + 0.5)) if isinstance(view, Clips) else pictures


def size_of(path: str) -> int:
    """Count the bytes of a file; 0 when it cannot be asked."""
    try:
        return os.path.getsize(local_path(path))
    except OSError:
        return 0


def serve(beat: Callable[[], None], file: HandedFile) -> Iterator[dict[str, Any]]:
    """Read the fields of the Header; runs in the child."""
    n_bytes = file.stat.st_size
    try:
        container = open_container(file)
    except av.FFmpegError as error:
        reason = (getattr(error, "strerror", None) or str(error)).strip()
        raise DecodeError("corrupt", f"cannot open: {reason}") from error
    with container:
        fields: dict[str, Any] = {
            "bytes": n_bytes,
            "container": container.format.name,
            "duration_s": (container.duration or 0) / av.time_base,
        }
        sounds = [stream for stream in container.streams.audio if stream.codec_context is not None]
        if sounds:
            fields["sound"] = sounds[0].codec_context.name
        try:
            fields |= _picture(best_video(container), fields["duration_s"], n_bytes)
        except NoPicture as error:
            fields["message"] = str(error)
        yield fields


@contextlib.contextmanager
def _here(path: str) -> Iterator[str]:
    """Give a local file whose header can be read: of an object its ends, with a hole of the right size between them."""
    if not is_object(path):
        yield local_path(path)
        return
    with tempfile.NamedTemporaryFile(prefix="ndvr-header-", suffix=PurePosixPath(path).suffix[:8]) as out:
        try:
            files = filesystem(path)[0]
            source = patiently(lambda: open_object(files, path), path, known=False)
            size = source.size()
            out.truncate(size)
            for start in {0, max(0, size - END_BYTES)}:
                out.seek(start)
                out.write(patiently(partial(source.read_at, min(END_BYTES, size - start), start), path))
        except OSError as error:
            raise DecodeError("io", str(error)) from error
        out.flush()
        yield out.name


def _picture(video: av.VideoStream, container_s: float, n_bytes: int) -> dict[str, Any]:
    rate = float(video.average_rate or video.base_rate or 25)
    duration_s = float(video.duration * video.time_base) if video.duration and video.time_base else container_s
    frames = video.frames or round(duration_s * rate)
    if video.disposition & Disposition.attached_pic:  # a cover, whose rate is the clock's
        frames, rate = 1, 25.0
    frames = max(1, min(frames, n_bytes // LEAST_FRAME_BYTES))
    context = video.codec_context
    return {
        "codec": context.name,
        "width": context.width,
        "height": context.height,
        "frames": frames,
        "rate": rate,
        "duration_s": min(duration_s, frames / rate) if rate else duration_s,
        "hdr": getattr(context, "color_trc", 0) in _HDR,
    }
