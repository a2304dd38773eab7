"""A video at a glance: film_strip("a.mp4") is a JPEG of a few frames side by side. Never raises on a bad file.

Decoding runs in a child process that can be killed, so a report survives the same files an extraction does.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from ndvr.operators.errors import DecodeError, NoPicture
from ndvr.operators.storage.video_files import local_path
from ndvr.operators.video.decoders import check_readable, open_video
from ndvr.operators.video.picture import Turn, display_turn
from ndvr.operators.video.pyav_decoder import best_video
from ndvr.operators.video.sandbox import Sandbox

# Below this, reading through is as quick as seeking and finds frames in files that cannot be sought.
_READ_THROUGH_S = 8.0
_AFTER_SEEK = 60  # frames decoded towards a target before the nearest one is taken: groups of pictures can be long
_GAP = 2  # pixels between frames
_GREY = 128


def film_strip(
    uri: str, frames: int = 6, height: int = 72, *, quality: int = 70, sandbox: Sandbox | None = None
) -> bytes:
    """JPEG of `frames` evenly spaced frames as displayed, `height` pixels high.

    A file that cannot be decoded gives a grey strip with the reason on it. `sandbox` is a decoder process to use
    again (see `film_strips`); without it one is started, which takes a quarter of a second.
    """
    if sandbox is None:
        with new_sandbox() as own:
            return film_strip(uri, frames, height, quality=quality, sandbox=own)
    try:
        check_readable(local_path(uri))
        pictures = list(sandbox.stream(local_path(uri), frames, height))
        strip = _side_by_side(pictures)
    except NoPicture as error:
        strip = _grey_strip(str(error), frames, height)
    except DecodeError as error:
        strip = _grey_strip(str(error).replace(uri, "").strip(": "), frames, height)
    coded = cv2.imencode(".jpg", strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return coded.tobytes()


def film_strips(
    uris: Iterable[str], frames: int = 6, height: int = 72, *, quality: int = 70, workers: int | None = None
) -> Iterator[tuple[str, bytes]]:
    """(uri, JPEG) in the order of `uris`; each of the `workers` (default: one a CPU, at most 4) has a process."""
    boxes: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
    made = [new_sandbox() for _ in range(workers or min(4, os.cpu_count() or 1))]

    def strip(uri: str) -> tuple[str, bytes]:
        box = boxes.get()
        try:
            return uri, film_strip(uri, frames, height, quality=quality, sandbox=box)
        finally:
            boxes.put(box)

    for box in made:
        boxes.put(box)
    try:
        with ThreadPoolExecutor(len(made)) as pool:
            yield from pool.map(strip, uris)
    finally:
        for box in made:
            box.close()


def new_sandbox() -> Sandbox:
    """A decoder process for `film_strip`; a picture is worth ten seconds, no more."""
    return Sandbox(serve, memory_gb=4.0, stall_s=10.0, total_s=30.0)


def serve(beat: Callable[[], None], path: str, frames: int, height: int) -> Iterator[np.ndarray]:
    """Runs in the child: at most `frames` pictures (height, width, 3) uint8 RGB."""
    duration_s = open_video(path, "pyav").duration_s or 0.0
    pictures: list[np.ndarray] = []
    if duration_s > _READ_THROUGH_S:
        pictures = _by_seeking(beat, path, frames, height, duration_s)
    yield from pictures or _reading_through(beat, path, frames, height)


def _reading_through(beat: Callable[[], None], path: str, frames: int, height: int) -> list[np.ndarray]:
    """Keep every k-th frame, and let k grow with the video, so that its length need not be known."""
    shrink, every, kept = _Shrink(height), 1, []
    for frame in open_video(path, "pyav").frames:
        beat()
        if frame.number % every:
            continue
        kept.append(shrink(frame.picture))
        if len(kept) > 8 * frames:
            kept, every = kept[::2], 2 * every
    places = [int((i + 0.5) * len(kept) / frames) for i in range(frames)]
    return [kept[i] for i in places] if len(kept) > frames else kept


def _by_seeking(beat: Callable[[], None], path: str, frames: int, height: int, duration_s: float) -> list[np.ndarray]:
    """One frame near each of the evenly spaced times; an empty list where the file cannot be sought."""
    shrink, found = _Shrink(height), []
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            video = best_video(container)
            start_s = Fraction(container.start_time or 0, av.time_base)
            for i in range(frames):
                target_s = start_s + Fraction((i + 0.5) * duration_s / frames)
                container.seek(int(target_s * av.time_base))
                picture = None
                for n, picture in enumerate(container.decode(video)):
                    beat()
                    if n >= _AFTER_SEEK or picture.time is None or picture.time >= target_s:
                        break
                if picture is not None:
                    found.append(shrink(picture))
    except av.FFmpegError:
        return found
    return found


class _Shrink:
    """Callable: frame -> (height, width, 3) uint8 RGB, upright and with square pixels, at most 2.4 times as wide."""

    def __init__(self, height: int):
        self.height = height
        self._scale = VideoReformatter()
        self._turn: Turn | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        turn = self._turn = self._turn or display_turn(frame)
        width, height = (frame.height, frame.width) if turn.transpose else (frame.width, frame.height)
        shown = int(np.clip(round(self.height * width / height), self.height // 3, 2.4 * self.height))
        size = (self.height, shown) if turn.transpose else (shown, self.height)
        rgb = self._scale.reformat(frame, format="rgb24").to_ndarray()
        return turn.upright(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))


def _side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    gap = np.full((pictures[0].shape[0], _GAP, 3), _GREY, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def _grey_strip(reason: str, frames: int, height: int) -> np.ndarray:
    """The reason, in as many lines as fit."""
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
    """(width, height) of a coded picture."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise ValueError(f"{len(jpeg)} bytes that are no coded picture: give those of film_strip")
    return picture.shape[1], picture.shape[0]
