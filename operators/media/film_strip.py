"""A video at a glance: film_strip("a.mp4") is a JPEG of a few frames side by side. Never raises on a bad file.

Decoding runs in a child process that can be killed, so a report survives the same files an extraction does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import cv2
import numpy as np

from ndvr.operators.errors import DecodeError, NoPicture
from ndvr.operators.sandbox.sandbox import Sandbox, Sandboxes
from ndvr.operators.video.stills import new_sandbox, stills

_GAP = 2  # pixels between frames
_GREY = 128


W = TypeVar("W", str, tuple[str, tuple[float, ...]])  # a file, or a file and times in it in seconds


def film_strip(
    uri: str,
    frames: int | Sequence[float] = 6,
    height: int = 72,
    *,
    width: int = 0,
    quality: int = 70,
    sandbox: Sandbox | None = None,
) -> bytes:
    """Make a JPEG of `frames` evenly spaced frames, or those at given times, as displayed, `height` pixels high.

    A frame narrower than `width` stands in the middle of so many pixels: strips of upright and of wide videos can lie
    under each other.

    A file that cannot be decoded gives a grey strip with the reason on it. `sandbox` is a decoder process to use
    again (see `film_strips`); without it one is started, which takes a quarter of a second.
    """
    if sandbox is None:
        with new_sandbox() as new:
            return film_strip(uri, frames, height, width=width, quality=quality, sandbox=new)
    count = frames if isinstance(frames, int) else len(frames)
    try:
        strip = _side_by_side(stills(uri, frames, height, sandbox=sandbox), width)
    except NoPicture as error:
        strip = _grey_strip(str(error), count, height)
    except DecodeError as error:
        strip = _grey_strip(str(error).replace(uri, "").strip(": "), count, height)
    return _jpeg(strip, quality)


def picture(uri: str, at_s: float, height: int, *, quality: int = 80, sandbox: Sandbox) -> bytes:
    """Make a JPEG of the frame at a time. DecodeError or NoPicture when there is none."""
    pictures = stills(uri, [at_s], height, sandbox=sandbox)
    if not pictures:
        raise DecodeError("empty", f"no frame in {uri}")
    return _jpeg(pictures[0], quality)


def _jpeg(picture: np.ndarray, quality: int) -> bytes:
    coded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return coded.tobytes()


def film_strips(
    wanted: Iterable[W],
    frames: int = 6,
    height: int = 72,
    *,
    width: int = 0,
    quality: int = 70,
    workers: int | None = None,
) -> Iterator[tuple[W, bytes]]:
    """Yield (what was wanted, JPEG) in order: of a file, `frames` evenly spaced frames, of a file with times those.

    Each of the `workers` (default: one a CPU, at most 4) has a process.
    """

    def strip(each: W, box: Sandbox) -> tuple[W, bytes]:
        uri, which = (each, frames) if isinstance(each, str) else each
        return each, film_strip(uri, which, height, width=width, quality=quality, sandbox=box)

    with Sandboxes(new_sandbox, workers or min(4, os.cpu_count() or 1)) as boxes:
        yield from boxes.map(strip, wanted)


def _side_by_side(pictures: list[np.ndarray], width: int) -> np.ndarray:
    pictures = [_widened(picture, width) for picture in pictures]
    gap = np.full((pictures[0].shape[0], _GAP, 3), _GREY, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def _widened(picture: np.ndarray, width: int) -> np.ndarray:
    """Put the picture into the middle of `width` pixels at least, black on both sides."""
    missing = max(0, width - picture.shape[1])
    return np.pad(picture, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)))


def _grey_strip(reason: str, frames: int, height: int) -> np.ndarray:
    """Write the reason on grey, in as many lines as fit."""
    width = frames * (height * 16 // 9 + _GAP)
    strip = np.full((height, width, 3), _GREY, np.uint8)
    plain = reason.encode("ascii", "replace").decode()
    per_line = max(8, width // 8)
    for i, start in enumerate(range(0, min(len(plain), 3 * per_line), per_line)):
        place = (8, 18 + 17 * i)
        cv2.putText(
            strip, plain[start : start + per_line], place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255,) * 3, 1, cv2.LINE_AA
        )
    return strip


def picture_size(jpeg: bytes) -> tuple[int, int]:
    """Read (width, height) of a coded picture."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise ValueError(f"{len(jpeg)} bytes that are no coded picture: give those of film_strip")
    return picture.shape[1], picture.shape[0]
