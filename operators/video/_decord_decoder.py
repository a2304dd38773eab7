"""Decode with decord: every frame in order, as a second opinion."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av

from ndvr.operators.errors import DecodeError
from ndvr.operators.sandbox.handed_file import HandedFile, open_container, refuse_scripts
from ndvr.operators.video._stream import Frame, Stream

_UNUSABLE = 1e9  # seconds; decord gives 7.7e12 for a frame without a time


def open_decord(file: HandedFile) -> Stream:
    """Open all frames through decord on one CPU thread; times are its own timestamps.

    decord counts packets and, when some of them turn out to give no frame or one to be hidden, fills up with copies of
    the last frame. So what it promises is compared with the packets that PyAV finds. It opens the file by its name.
    """
    import decord

    refuse_scripts(file)
    try:
        reader = decord.VideoReader(file.name, ctx=decord.cpu(0), num_threads=1)
        rate = Fraction(reader.get_avg_fps()).limit_denominator(100_000)
        count = len(reader)
    except Exception as error:  # decord raises bare RuntimeError and its own type for everything
        raise DecodeError("corrupt", f"cannot open: {_decord_reason(error)}") from error
    packets = _packets(file)
    if packets.sizes and count > len(packets.sizes):
        raise DecodeError("corrupt", f"wrong frames: {count} of a file that shows {len(packets.sizes)}")
    claimed_s = packets.duration_s or (count / float(rate) if rate else None)
    stream = Stream(f"decord {decord.__version__}", rate, claimed_s, packets.codec)
    stream.count = lambda: count
    stream.frames = _decord_frames(reader, count, stream, packets.sizes)
    return stream


class _Packets(NamedTuple):
    """What PyAV finds in the file, without decoding; nothing where it cannot open it."""

    sizes: list[int]  # of packets to show, in the order of their times; 0 for a picture in itself
    codec: str
    duration_s: float | None


def _packets(file: HandedFile) -> _Packets:
    sizes: list[tuple[int, int]] = []
    try:
        with open_container(file) as container:
            video = container.streams.best("video") or container.streams.video[0]
            whole = video.codec_context is not None and video.codec_context.codec.intra_only
            codec = video.codec_context.name if video.codec_context is not None else "?"
            duration_s = container.duration / av.time_base if container.duration else None
            try:
                for packet in container.demux(video):
                    if packet.size and not packet.is_discard:
                        size = 0 if packet.is_keyframe or whole else packet.size
                        sizes.append((len(sizes) if packet.pts is None else packet.pts, size))
            except av.FFmpegError:
                pass  # breaks off: decord does as well
    except (av.FFmpegError, IndexError):
        return _Packets([], "?", None)
    return _Packets([size for _, size in sorted(sizes, key=lambda at: at[0])], codec, duration_s)


def _decord_reason(error: Exception) -> str:
    """Read decord's message without the time, the C++ file and the video's path."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    message = re.sub(r"\[[\d:]+\] \S+ |\[/[^]]*\] ?|Error reading .*", "", lines[-1])
    return message.strip()[:90] or "not a video"


def _decord_frames(reader, count: int, stream: Stream, sizes: list[int]) -> Iterator[Frame]:
    start_s = None
    for index in range(count):
        try:
            pixels = reader[index].asnumpy()
            begin, end = reader.get_frame_timestamp(index)
        except Exception as error:
            what = "wrong frames: broken off in the middle" if stream.decoded else "no frame"
            # It decodes ahead on a thread of its own, so that where it stops is a matter of chance.
            raise DecodeError("corrupt", f"{what}: {_decord_reason(error)}") from error
        if pixels.ndim != 3 or pixels.shape[2] != 3:  # of pictures a few pixels small
            raise DecodeError("corrupt", f"wrong frames: {' x '.join(map(str, pixels.shape))} numbers")
        if not (math.isfinite(begin) and math.isfinite(end) and abs(begin) < _UNUSABLE):
            raise DecodeError("corrupt", f"wrong frames: number {index} is at {begin:g} s")
        start_s = float(begin) if start_s is None else start_s
        time_s = Fraction(float(begin) - start_s).limit_denominator(1_000_000)
        stream.end_s = time_s + Fraction(float(end - begin)).limit_denominator(1_000_000)
        stream.decoded += 1
        size = sizes[index] if index < len(sizes) else 0
        yield Frame(index, time_s, av.VideoFrame.from_ndarray(pixels, format="rgb24"), size)
    if stream.decoded == 0:
        raise DecodeError("empty", "decord found no frames")
