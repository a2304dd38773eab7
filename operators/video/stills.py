"""A few small pictures of a video, evenly spaced or at given times, decoded in a child that can be killed.

with new_sandbox() as sandbox:
    pictures = stills("a.mp4", 6, 72, sandbox=sandbox)
    pictures = stills("a.mp4", [1.0, 2.5], 72, sandbox=sandbox)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from ndvr.operators.sandbox.handed_file import HandedFile, open_container
from ndvr.operators.sandbox.sandbox import Sandbox
from ndvr.operators.storage.video_files import local_path
from ndvr.operators.video._picture import Turn, display_turn
from ndvr.operators.video._pyav_decoder import best_video
from ndvr.operators.video.decoders import open_video

# Below this, reading through is as quick as seeking and finds frames in files that cannot be sought.
_READ_THROUGH_S = 8.0
_AFTER_SEEK = 60  # frames decoded towards a target before the nearest one is taken: groups of pictures can be long
_AFTER_SEEK_EXACT = 600  # where a certain moment is asked for


def new_sandbox() -> Sandbox:
    """Make a decoder process for `stills`; a picture is worth ten seconds, no more."""
    return Sandbox(serve, memory_gb=4.0, stall_s=10.0, total_s=30.0)


def stills(uri: str, which: int | Sequence[float], height: int, *, sandbox: Sandbox) -> list[np.ndarray]:
    """Decode pictures (height, width, 3) uint8 RGB, as displayed: at most so many, or one at each time in seconds.

    A time beyond the end gives the last picture. Raises DecodeError or NoPicture when there is none.
    """
    times_s = None if isinstance(which, int) else [float(time_s) for time_s in which]
    count = len(times_s) if times_s is not None else which
    return list(sandbox.stream(count, height, times_s, file=local_path(uri)))


def serve(
    beat: Callable[[], None], file: HandedFile, count: int, height: int, times_s: list[float] | None = None
) -> Iterator[np.ndarray]:
    """Decode the pictures; runs in the child."""
    if times_s is not None:
        yield from _at_times(beat, file, times_s, height)
        return
    duration_s = open_video(file, "pyav").duration_s or 0.0
    pictures: list[np.ndarray] = []
    if duration_s > _READ_THROUGH_S:
        pictures = _by_seeking(beat, file, count, height, duration_s)
    yield from pictures or _reading_through(beat, file, count, height)


def _reading_through(beat: Callable[[], None], file: HandedFile, count: int, height: int) -> list[np.ndarray]:
    """Keep every k-th frame, and let k grow with the video, so that its length need not be known."""
    shrink, every, kept = _Shrink(height), 1, []
    for frame in open_video(file, "pyav").frames:
        beat()
        if frame.number % every:
            continue
        kept.append(shrink(frame.picture))
        if len(kept) > 8 * count:
            kept, every = kept[::2], 2 * every
    places = [int((i + 0.5) * len(kept) / count) for i in range(count)]
    return [kept[i] for i in places] if len(kept) > count else kept


def _by_seeking(
    beat: Callable[[], None], file: HandedFile, count: int, height: int, duration_s: float
) -> list[np.ndarray]:
    """Take one frame near each of the evenly spaced times; an empty list where the file cannot be sought."""
    shrink, pictures = _Shrink(height), []
    try:
        with open_container(file) as container:
            video = best_video(container)
            start_s = Fraction(container.start_time or 0, av.time_base)
            for i in range(count):
                target_s = start_s + Fraction((i + 0.5) * duration_s / count)
                picture = _near(beat, container, video, target_s, most=_AFTER_SEEK)
                if picture is not None:
                    pictures.append(shrink(picture))
    except av.FFmpegError:
        return pictures
    return pictures


def _near(
    beat: Callable[[], None],
    container: av.container.InputContainer,
    video: av.VideoStream,
    target_s: Fraction,
    *,
    most: int,
) -> av.VideoFrame | None:
    """Find the frame shown at a time, or the last of the `most` frames before it; None where none is decoded."""
    container.seek(int(target_s * av.time_base))
    shown = None
    for n, frame in enumerate(container.decode(video)):
        beat()
        if shown is not None and frame.time is not None and frame.time > target_s:
            break
        shown = frame
        if n >= most or frame.time is None:
            break
    return shown


def _at_times(beat: Callable[[], None], file: HandedFile, times_s: list[float], height: int) -> Iterator[np.ndarray]:
    """Take the frame shown at each time; where the file cannot be sought, by reading it once."""
    shrink, taken = _Shrink(height), 0
    try:
        with open_container(file) as container:
            video = best_video(container)
            start_s = Fraction(container.start_time or 0, av.time_base)
            for time_s in times_s:
                frame = _near(beat, container, video, start_s + Fraction(time_s), most=_AFTER_SEEK_EXACT)
                if frame is None:
                    break
                taken += 1
                yield shrink(frame)
    except av.FFmpegError:
        pass
    missing = times_s[taken:]
    shown: dict[int, np.ndarray] = {}
    for each in open_video(file, "pyav").frames if missing else ():
        beat()
        due = [i for i, time_s in enumerate(missing) if i not in shown or float(each.time_s) <= time_s]
        if due:
            picture = shrink(each.picture)
            shown |= dict.fromkeys(due, picture)
    yield from (shown[i] for i in sorted(shown))


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
