"""Decoders: open a file once and give every frame in order with its time. `open_video` picks one by name.

PyAV is the default: read through, it returns the right frame on every file class measured and needs no second
library on the machine. decord is there because people ask for it, and as the second opinion behind PyAV; it
returns a neighbouring frame for HEVC, MPEG-4, AVI, TS, WMV and edit lists. README has the measurements.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

from ndvr.operators.errors import DecodeError, NoPicture


class Frame(NamedTuple):
    """One decoded frame: its number, its time in seconds since the file's start, its picture."""

    index: int
    time_s: Fraction
    picture: av.VideoFrame


@dataclass
class Stream:
    """An opened video stream. Iterating `frames` fills in `decoded`, `errors` and `end_s`."""

    decoder: str  # name and version
    rate: Fraction | None  # frames per second as the header says
    duration_s: float | None  # as the header says
    codec: str
    frames: Iterator[Frame] = field(default_factory=lambda: iter(()), repr=False)
    decoded: int = 0
    errors: int = 0  # packets that gave no frame because they are damaged
    end_s: Fraction = Fraction(0)  # when the last frame ends


def check_readable(path: str) -> None:
    """DecodeError(io) unless `path` is a regular, readable, non-empty file: a pipe would block for ever."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise DecodeError("io", f"{error.strerror}: {path}") from error
    if not stat.S_ISREG(mode):
        raise DecodeError("io", f"not a regular file: {path}")
    if not os.access(path, os.R_OK):
        raise DecodeError("io", f"no permission to read {path}")
    if os.path.getsize(path) == 0:
        raise DecodeError("empty", f"zero bytes: {path}")


def open_pyav(path: str) -> Stream:
    """The best video stream through PyAV, tolerant of damaged packets, one thread.

    One thread because many single-threaded decoders use a machine better than few threaded ones.
    """
    try:
        # errors="replace": tags that are not UTF-8 must not cost the video.
        container = av.open(path, metadata_errors="replace")
    except av.FFmpegError as error:
        raise DecodeError("corrupt", f"cannot open: {_reason(error)}") from error
    video = _best_video(container)
    video.codec_context.thread_count = 1
    rate = video.average_rate or video.base_rate
    duration = None
    if video.duration and video.time_base:
        duration = float(video.duration * video.time_base)
    elif container.duration:
        duration = container.duration / av.time_base
    stream = Stream(f"pyav {av.__version__}", rate, duration, video.codec_context.name)
    stream.frames = _pyav_frames(container, video, stream)
    return stream


def _best_video(container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise NoPicture("sound only" if container.streams.audio else "no video stream")
    # In pictures-of-an-album order: a real video first, else the cover.
    video = container.streams.best("video") or container.streams.video[0]
    if video.codec_context is None:
        raise DecodeError("unsupported", "no decoder for this video codec")
    return video


def _reason(error: Exception) -> str:
    """What FFmpeg said, without the path, which the row already has."""
    return (getattr(error, "strerror", None) or str(error)).strip() or type(error).__name__


def _pyav_frames(container, video, stream: Stream) -> Iterator[Frame]:
    start_s = Fraction(container.start_time or 0, av.time_base)
    step_s = 1 / stream.rate if stream.rate else Fraction(1, 25)
    last_s: Fraction | None = None
    reason = ""
    for result in _packets(container, video):
        if isinstance(result, Exception):
            stream.errors += 1
            reason = _reason(result)
            continue
        for picture in result:
            if picture.pts is None or picture.time_base is None:
                time_s = Fraction(0) if last_s is None else last_s + step_s
            else:
                time_s = picture.pts * picture.time_base - start_s
            # Times that run backwards (broken files) would unpick windows already given away.
            time_s = time_s if last_s is None else max(time_s, last_s)
            last_s = time_s
            length = (
                picture.duration * picture.time_base if picture.duration and picture.time_base else step_s
            )
            stream.end_s = time_s + min(Fraction(length), Fraction(10))
            stream.decoded += 1
            yield Frame(stream.decoded - 1, time_s, picture)
    container.close()
    if stream.decoded == 0:
        raise _no_frames(stream, reason)


def _no_frames(stream: Stream, reason: str) -> DecodeError:
    if stream.errors:
        return DecodeError(
            "corrupt", f"{stream.errors} damaged packets and no frame ({stream.codec}): {reason}"
        )
    return DecodeError("empty", f"a {stream.codec} stream without frames")


def _packets(container, video) -> Iterator[list[av.VideoFrame] | Exception]:
    """Frames packet by packet, with an exception in place of those of a damaged packet."""
    try:
        for packet in container.demux(video):
            try:
                yield packet.decode()
            except (av.FFmpegError, UnicodeDecodeError) as error:
                yield _fatal_or(error)
    except av.FFmpegError as error:  # the container itself breaks off: keep what came before
        yield _fatal_or(error)
    for _ in range(64):  # frames still inside the decoder when demuxing broke off
        try:
            rest = video.codec_context.decode(None)
        except av.EOFError:
            return
        except av.FFmpegError as error:
            yield _fatal_or(error)
            return
        if not rest:
            return
        yield rest


def _fatal_or(error: Exception) -> Exception:
    """The error, unless it is one that no further packet can mend."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == 12:
        raise DecodeError("oom", f"the decoder ran out of memory: {_reason(error)}") from error
    return error


def open_decord(path: str) -> Stream:
    """All frames through decord on one CPU thread; times are its own timestamps."""
    import decord

    try:
        reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
        rate = Fraction(reader.get_avg_fps()).limit_denominator(100_000)
        count = len(reader)
    except Exception as error:  # decord raises bare RuntimeError and its own type for everything
        raise DecodeError("corrupt", f"cannot open: {_decord_reason(error)}") from error
    stream = Stream(f"decord {decord.__version__}", rate, count / float(rate) if rate else None, "?")
    stream.frames = _decord_frames(reader, count, stream)
    return stream


def _decord_reason(error: Exception) -> str:
    """Its message without the time, the C++ file and the video's path."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^\[[\d:]+\] \S+ |Error reading .*", "", lines[-1]).strip()[:90] or "not a video"


def _decord_frames(reader, count: int, stream: Stream) -> Iterator[Frame]:
    start_s = None
    for index in range(count):
        try:
            pixels = reader[index].asnumpy()
            begin, end = reader.get_frame_timestamp(index)
        except Exception as error:
            if stream.decoded == 0:
                raise DecodeError("corrupt", f"no frame: {_decord_reason(error)}") from error
            stream.errors += 1
            return
        start_s = float(begin) if start_s is None else start_s
        time_s = Fraction(float(begin) - start_s).limit_denominator(1_000_000)
        stream.end_s = time_s + Fraction(float(end - begin)).limit_denominator(1_000_000)
        stream.decoded += 1
        yield Frame(index, time_s, av.VideoFrame.from_ndarray(pixels, format="rgb24"))
    if stream.decoded == 0:
        raise DecodeError("empty", "decord found no frames")


DECODERS: dict[str, Callable[[str], Stream]] = {"pyav": open_pyav, "decord": open_decord}


def order(decoder: str) -> tuple[str, ...]:
    """Which decoders to try, first to last, for a --decoder setting."""
    if decoder == "auto":
        return ("pyav", "decord")
    if decoder not in DECODERS:
        raise ValueError(f"unknown decoder {decoder!r}; choose one of auto, {', '.join(DECODERS)}")
    return (decoder,)


def open_video(path: str | Path, decoder: str) -> Stream:
    """Open with one decoder. DecodeError when that fails, NoPicture when there is only sound."""
    check_readable(str(path))
    # "file:" keeps FFmpeg from reading "-video.mp4" as an option and "a:b.mp4" as a protocol.
    return DECODERS[decoder](f"file:{path}" if decoder == "pyav" else str(path))
