"""Decode with decord: every frame in order, as a second opinion."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

import av

from ndvr.operators.errors import DecodeError
from ndvr.operators.stream import Frame, Stream


def open_decord(path: str) -> Stream:
    """All frames through decord on one CPU thread; times are its own timestamps."""
    import decord

    try:
        reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
        rate = Fraction(reader.get_avg_fps()).limit_denominator(100_000)
        count = len(reader)
    except Exception as error:  # decord raises bare RuntimeError and its own type for everything
        raise DecodeError("corrupt", f"cannot open: {_decord_reason(error)}") from error
    stream = Stream(f"decord {decord.__version__}", rate, count / float(rate) if rate else None)
    stream.count = lambda: count
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
