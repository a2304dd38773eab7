"""Tiny clips whose frames carry their number, so that a test can read back which source frame was picked."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from ndvr.operators.media.encode import tone, write_video

# The number is a 4 x 4 grid of black and white blocks inside these parts of the width and height: 12 bits of
# number and 4 of checksum. The margin keeps all of it inside the centre square of a 4:3 picture.
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.2, 0.8, 0.1, 0.9
_BLACK, _GREY, _WHITE = 32, 128, 224
MAX_NUMBER = 4095

CODEC_OF = {
    ".webm": "libvpx",
    ".avi": "mpeg4",
    ".mpg": "mpeg2video",
    ".wmv": "wmv2",
}  # everything else: libx264


def _bits(number: int) -> np.ndarray:
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"frame number {number} is outside 0..{MAX_NUMBER}")
    check = (number ^ number >> 4 ^ number >> 8 ^ 0b1010) & 15
    word = number << 4 | check
    return np.array([word >> bit & 1 for bit in range(16)], bool).reshape(4, 4)


def numbered_frame(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """(height, width, 3) uint8 RGB for size (width, height)."""
    width, height = size
    x = np.floor(((np.arange(width) + 0.5) / width - _LEFT) / (_RIGHT - _LEFT) * 4).astype(int)
    y = np.floor(((np.arange(height) + 0.5) / height - _TOP) / (_BOTTOM - _TOP) * 4).astype(int)
    luma = np.where(_bits(number), _WHITE, _BLACK)[np.clip(y, 0, 3)][:, np.clip(x, 0, 3)]
    inside = ((y >= 0) & (y < 4))[:, None] & ((x >= 0) & (x < 4))[None]
    luma = np.where(inside, luma, _GREY).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=2)


def read_number(frame: np.ndarray, *, seen: tuple[float, float] = (1.0, 1.0)) -> int:
    """The number in a decoded, resized (H, W, 3) or (H, W) picture; ValueError when there is none.

    `seen` is the centred part of the source's (width, height) that the picture shows: (42 / 64, 42 / 48)
    after a 224 crop of 256 from 64 x 48. A block is judged by the mean of its middle: 24 x 18 will do.
    """
    luma = frame.mean(axis=2) if frame.ndim == 3 else np.asarray(frame, float)
    height, width = luma.shape
    means = np.empty((4, 4))
    for row in range(4):
        for column in range(4):
            top, bottom = (_TOP + (_BOTTOM - _TOP) * (row + part) / 4 for part in (0.25, 0.75))
            left, right = (_LEFT + (_RIGHT - _LEFT) * (column + part) / 4 for part in (0.25, 0.75))
            ys = _pixels(top, bottom, side=height, seen=seen[1])
            xs = _pixels(left, right, side=width, seen=seen[0])
            means[row, column] = luma[ys, xs].mean()
    word = sum(int(value > _GREY) << bit for bit, value in enumerate(means.ravel()))
    number = word >> 4
    if not np.array_equal(_bits(number), means > _GREY):
        raise ValueError(f"no frame number in this picture; block means are {means.round().tolist()}")
    return number


def _pixels(begin: float, end: float, *, side: int, seen: float) -> slice:
    first, last = (((edge - 0.5) / seen + 0.5) * side for edge in (begin, end))
    start = min(max(int(first), 0), side - 1)
    return slice(start, max(start + 1, int(np.ceil(last))))


# What a player is asked to do -> the display matrix (a, b, c, d), which shows the pixel (p, q) at
# (ap + cq, bp + dq), and how the picture has to lie in the file to be upright after that.
ORIENTATIONS: dict[str, tuple[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]]] = {
    "as it is": ((1, 0, 0, 1), lambda p: p),
    "mirrored": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda p: p[::-1]),
    "a half turn": ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
    "a quarter turn clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, 1)),
    "a quarter turn anticlockwise": ((0, -1, 1, 0), lambda p: np.rot90(p, -1)),
    "mirrored and turned": ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
    "mirrored and turned the other way": ((0, -1, -1, 0), lambda p: p[::-1, ::-1].swapaxes(0, 1)),
}


def oriented_clip(path: Path, orientation: str, *, n_frames: int, size: tuple[int, int] = (64, 48)) -> Path:
    """An MP4 whose frames carry their number upright only when its display matrix is obeyed."""
    (a, b, c, d), in_file = ORIENTATIONS[orientation]
    write_video(path, (in_file(numbered_frame(number, size)) for number in range(n_frames)), fps=25)
    data = bytearray(path.read_bytes())
    # ISO/IEC 14496-12, version 0 of the track header: 40 bytes of dates, ids and flags, then nine integers.
    at = data.index(b"tkhd") + 4 + 40
    assert struct.unpack_from(">9i", data, at) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, at, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def numbered_clip(
    path: str | Path,
    *,
    n_frames: int,
    fps: Fraction | float = 25,
    size: tuple[int, int] = (64, 48),
    codec: str | None = None,
    start_s: Fraction | float = 0,
    times_s: Sequence[Fraction | float] | None = None,
    numbers: Sequence[int] | None = None,
    audio_s: float = 0.0,
    options: dict[str, str] | None = None,
) -> Path:
    """A clip whose frame i shows the number i, or numbers[i]; the suffix chooses container and default codec.

    times_s  time of each frame, for variable frame rates
    start_s  time of the first frame in the file (an edit list in MP4, plain timestamps elsewhere)
    audio_s  length of a 440 Hz tone, 0 for no audio stream
    options  for the video encoder, such as {"bf": "2", "g": "50"}
    """
    path = Path(path)
    shown = range(n_frames) if numbers is None else numbers
    write_video(
        path,
        (numbered_frame(number, size) for number in shown),
        fps=fps,
        audio=tone(audio_s) if audio_s else None,
        codec=codec or CODEC_OF.get(path.suffix, "libx264"),
        options=options,
        times_s=times_s,
        start_s=start_s,
    )
    return path


def clip_with_cover(path: Path, *, n_frames: int, codec: str, cover_first: bool) -> Path:
    """A numbered clip, 25 frames a second, beside a larger still picture whose track is marked as the default one."""
    with av.open(str(path), "w") as file:
        tracks = {}
        for name in ("cover", "clip") if cover_first else ("clip", "cover"):
            tracks[name] = track = file.add_stream(codec if name == "cover" else "libx264", rate=25)
            track.width, track.height = (256, 192) if name == "cover" else (64, 48)
            track.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}[codec] if name == "cover" else "yuv420p"
            track.disposition = Disposition.default if name == "cover" else Disposition(0)
        shown = {"cover": [np.full((192, 256, 3), 200, np.uint8)], "clip": map(numbered_frame, range(n_frames))}
        for name, pictures in shown.items():
            for number, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = number
                file.mux(tracks[name].encode(frame))
            file.mux(tracks[name].encode(None))
    return path
