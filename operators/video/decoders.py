"""Decoders: open a file once and give every frame in order with its time. `open_video` picks one by name.

PyAV is the default: read through, it returns the right frame on every file class measured and needs no second
library on the machine. decord is there because people ask for it, and as the second opinion behind PyAV; it
returns a neighbouring frame for HEVC, MPEG-4, AVI, TS, WMV and edit lists. README has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ndvr.operators.video.decord_decoder import open_decord
from ndvr.operators.video.pyav_decoder import open_pyav
from ndvr.operators.video.stream import Stream, check_readable
from ndvr.operators.video.wrong_frames import LENIENT, STRICT, watched

DECODERS: dict[str, Callable[[str], Stream]] = {"pyav": open_pyav, "decord": open_decord}


def order(decoder: str) -> tuple[str, ...]:
    """Which decoders to try, first to last, for a --decoder setting."""
    if decoder == "auto":
        return ("pyav", "decord")
    if decoder not in DECODERS:
        raise ValueError(f"unknown decoder {decoder!r}; choose one of auto, {', '.join(DECODERS)}")
    return (decoder,)


def open_video(path: str | Path, decoder: str) -> Stream:
    """Open with one decoder. DecodeError when that fails, NoPicture when there is only sound.

    What the decoder gives is checked as it comes: `frames` raises DecodeError when they cannot be right.
    """
    check_readable(str(path))
    # "file:" keeps FFmpeg from reading "-video.mp4" as an option and "a:b.mp4" as a protocol.
    stream = DECODERS[decoder](f"file:{path}" if decoder == "pyav" else str(path))
    stream.frames = watched(stream, stream.frames, LENIENT if decoder == "pyav" else STRICT)
    return stream
