"""A video at a glance: film_strip("a.mp4") is a JPEG of a few frames side by side. Never raises on a bad file.

Decoding runs in a child process that can be killed, so a report survives the same files an extraction does.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from ndvr.operators.errors import DecodeError, NoPicture
from ndvr.operators.sandbox.sandbox import Sandbox
from ndvr.operators.video.stills import new_sandbox, stills

_GAP = 2  # pixels between frames
_GREY = 128


def film_strip(
    uri: str, frames: int = 6, height: int = 72, *, quality: int = 70, sandbox: Sandbox | None = None
) -> bytes:
    """Make a JPEG of `frames` evenly spaced frames as displayed, `height` pixels high.

    A file that cannot be decoded gives a grey strip with the reason on it. `sandbox` is a decoder process to use
    again (see `film_strips`); without it one is started, which takes a quarter of a second.
    """
    if sandbox is None:
        with new_sandbox() as new:
            return film_strip(uri, frames, height, quality=quality, sandbox=new)
    try:
        strip = _side_by_side(stills(uri, frames, height, sandbox=sandbox))
    except NoPicture as error:
        strip = _grey_strip(str(error), frames, height)
    except DecodeError as error:
        strip = _grey_strip(str(error).replace(uri, "").strip(": "), frames, height)
    coded = cv2.imencode(".jpg", strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return coded.tobytes()


def film_strips(
    uris: Iterable[str], frames: int = 6, height: int = 72, *, quality: int = 70, workers: int | None = None
) -> Iterator[tuple[str, bytes]]:
    """Yield (uri, JPEG) in the order of `uris`; each of the `workers` (default: one a CPU, at most 4) has a process."""
    boxes: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
    sandboxes = [new_sandbox() for _ in range(workers or min(4, os.cpu_count() or 1))]

    def strip(uri: str) -> tuple[str, bytes]:
        box = boxes.get()
        try:
            return uri, film_strip(uri, frames, height, quality=quality, sandbox=box)
        finally:
            boxes.put(box)

    for box in sandboxes:
        boxes.put(box)
    try:
        with ThreadPoolExecutor(len(sandboxes)) as pool:
            yield from pool.map(strip, uris)
    finally:
        for box in sandboxes:
            box.close()


def _side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    gap = np.full((pictures[0].shape[0], _GAP, 3), _GREY, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


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
