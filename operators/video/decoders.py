"""Decoders: open a file once and give every frame in order with its time. `open_video` picks one by name.

PyAV is the default: read through, it returns the right frame on every file class measured and needs no second
library on the machine. decord is there because people ask for it, and as the second opinion behind PyAV; it
returns a neighbouring frame for HEVC, MPEG-4, AVI, TS, WMV and edit lists. operators/README.md has the measurements.

What comes is checked on the way: times that run on, no copies in place of what could not be decoded.
Decoders fail in silence. decord shows the last good frame again for every packet that gave no frame, and shows frames
that the file hides. A copy is known by its packet: a picture that really stands still is written in a few bytes a
frame, and of a run of equal frames only one, which brought the new picture, may be larger. (In the order of display
it need not be the first.) Over 180 real files the second largest packet of such a run had at most 77 bytes in H.264,
HEVC, VP8, VP9 and AV1 and 222 in MPEG-4 Part 2; where decord made copies it had 168 to 6600.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ndvr.operators.errors import DecodeError
from ndvr.operators.sandbox.handed_file import HandedFile
from ndvr.operators.video._decord_decoder import open_decord
from ndvr.operators.video._pyav_decoder import open_pyav
from ndvr.operators.video._stream import Frame, Stream

DECODERS: dict[str, Callable[[HandedFile], Stream]] = {"pyav": open_pyav, "decord": open_decord}

# Bytes of a packet that says "as before": room for captions and the like, and so much a block of 16 x 16 pixels.
ASIDE_BYTES = 256
_BYTES_PER_BLOCK = {"h264": 1 / 32, "hevc": 1 / 32, "vp8": 1 / 32, "vp9": 1 / 32, "av1": 1 / 32, "libdav1d": 1 / 32}
_OLDER = 1 / 2  # MPEG-1, -2 and -4 and their like say it for every block

LEAP_S = 60  # of one frame to the next, out of the time that the file claims to take: its clock is broken


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Which share of the frames may be wrong."""

    copies: float
    still: float  # frames that come no later than the one before


# PyAV tells of damage and patches it; what it returns is wrong only when most of it is.
LENIENT = Tolerance(copies=0.1, still=0.5)
STRICT = Tolerance(copies=0.0, still=0.0)
_FEW = 10  # frames below which shares mean nothing


def order(decoder: str) -> tuple[str, ...]:
    """List which decoders to try, first to last, for a --decoder setting."""
    if decoder == "auto":
        return ("pyav", "decord")
    if decoder not in DECODERS:
        raise ValueError(f"unknown decoder {decoder!r}; choose one of auto, {', '.join(DECODERS)}")
    return (decoder,)


def open_video(source: str | Path | HandedFile, decoder: str) -> Stream:
    """Open with one decoder. DecodeError when that fails, NoPicture when there is only sound.

    What the decoder gives is checked as it comes: `frames` raises DecodeError when they cannot be right.
    """
    stream = DECODERS[decoder](HandedFile.of(source))
    stream.frames = watched(stream, stream.frames, LENIENT if decoder == "pyav" else STRICT)
    return stream


def watched(stream: Stream, frames: Iterator[Frame], tolerance: Tolerance) -> Iterator[Frame]:
    """Pass the frames of a stream on. DecodeError(corrupt, "wrong frames: ...") once too many cannot be right."""
    seen = copies = still = 0
    run = _Run()
    last_s: Fraction | None = None
    for frame in frames:
        if last_s is not None:
            still += frame.time_s <= last_s
            _check_leap(last_s, frame.time_s, stream.duration_s)
        last_s, seen = frame.time_s, seen + 1
        copies += run.is_copy(frame, stream.codec)
        if tolerance is STRICT:
            _check(seen, copies, still, tolerance)
        yield frame
    _check(seen, copies, still, tolerance)


def _check(seen: int, copies: int, still: int, tolerance: Tolerance) -> None:
    if tolerance is not STRICT and seen < _FEW:
        return
    if still > tolerance.still * seen:
        raise DecodeError("corrupt", f"wrong frames: the time stands still {_of(still, seen)}")
    if copies > tolerance.copies * seen:
        raise DecodeError("corrupt", f"wrong frames: the frame before is shown again {_of(copies, seen)}")


def _of(wrong: int, seen: int) -> str:
    return f"at frame {seen}" if wrong == 1 else f"at {wrong} of {seen} frames"


def _check_leap(last_s: Fraction, time_s: Fraction, claimed_s: float | None) -> None:
    if claimed_s and time_s - last_s > LEAP_S and time_s > 2 * claimed_s + LEAP_S:
        raise DecodeError(
            "corrupt", f"wrong frames: one at {float(time_s):g} s follows one at {float(last_s):g} s of {claimed_s:g} s"
        )


class _Run:
    """Frames since the last one of a large packet, as long as they all look like it."""

    def __init__(self) -> None:
        self._head: Frame | None = None
        self._probe = 0
        self._steady = False

    def is_copy(self, frame: Frame, codec: str) -> bool:
        """Tell whether a frame equals the one before although its packet, and another one of the run, says otherwise.

        Whole pictures are compared only at large packets: where nothing moves there are none.
        """
        probe = _probe(frame)
        self._steady = self._steady and probe == self._probe
        if frame.packet_bytes <= _said_by(codec, frame):
            return False
        copy = self._steady and self._head is not None and _same(self._head, frame)
        self._head, self._probe, self._steady = frame, probe, True
        return copy


def _said_by(codec: str, frame: Frame) -> float:
    blocks = frame.picture.width * frame.picture.height / 256
    return ASIDE_BYTES + _BYTES_PER_BLOCK.get(codec, _OLDER) * blocks


def _probe(frame: Frame) -> int:
    """Sum up the line in the middle: most frames differ there, and it costs two microseconds."""
    plane = frame.picture.planes[0]
    middle = plane.height // 2 * plane.line_size
    return zlib.crc32(memoryview(plane)[middle : middle + plane.width])


def _same(a: Frame, b: Frame) -> bool:
    planes = a.picture.planes, b.picture.planes
    return len(planes[0]) == len(planes[1]) and all(np.array_equal(_pixels(x), _pixels(y)) for x, y in zip(*planes))


def _pixels(plane: av.video.plane.VideoPlane) -> np.ndarray:
    """View a plane as (height, bytes) uint8, without what fills up the lines."""
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return lines[: plane.height, : max(1, plane.line_size // plane.width) * plane.width]
