"""Cut a video into windows: one pass of the decoder serves every view, of picture and of sound.

for item in cut("a.mp4", {"s2vs": Frames(), "ausil": Mel()}):
    item.windows   # of a Piece: (N, *window_shape); the last item of every view is its End
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

from ndvr.models.card import Clips, Frames, Mel, Overview, View
from ndvr.operators.errors import DecodeError, NoPicture
from ndvr.operators.rows import Status
from ndvr.operators.sandbox.handed_file import HandedFile
from ndvr.operators.video._frame_rules import OverviewSampler, sampler
from ndvr.operators.video._picture import Picture, Upright
from ndvr.operators.video._pyav_decoder import listen
from ndvr.operators.video._sound import Sound
from ndvr.operators.video._stream import Frame, Stream
from ndvr.operators.video.decoders import open_video

Pictures = Frames | Overview  # the views that are made of pictures; Clips are Frames
PIECE_BYTES = 8 << 20  # windows handed on together; bounds memory whatever the length of a video


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Consecutive windows of one video through one view."""

    key: str  # whose view: the method's name
    number: int  # 0, 1, ... in the order of time
    start_s: np.ndarray  # (N,) float64, when each window is shown
    windows: np.ndarray  # (N, *window_shape) of the view's window_dtype

    def __repr__(self) -> str:
        return f"Piece({self.key} #{self.number}, windows {self.windows.shape})"


@dataclass(frozen=True, kw_only=True)
class End:
    """What became of one view of a video."""

    key: str
    status: Status = "done"
    error_class: str | None = None  # of a failure
    message: str | None = None  # why failed or skipped; of a done view: what was made up, such as black pictures
    stream: Stream | None = field(default=None, repr=False)  # what was decoded


class _Cutter:
    """Collects the windows of one picture view and lets go of them piece by piece."""

    def __init__(self, key: str, view: Pictures, stream: Stream, upright: Upright, total: int | None):
        self.key, self.view, self.sampler = key, view, sampler(view, stream.rate, total)
        self.size = windows_per_piece(view)
        self.length = view.length if isinstance(view, Clips) else view.count if isinstance(view, Overview) else 0
        self.number = 0
        self.note: str | None = None
        self._picture = Picture(view, upright)
        self._start_s: list[float] = []
        self._windows: list[np.ndarray] = []
        self._clip: list[np.ndarray] = []  # pictures of a window that is not full
        self._last: tuple[Frame, np.ndarray] | None = None

    def take(self, picks: Iterator[tuple[Fraction, Frame]]) -> Iterator[Piece]:
        for start_s, frame in picks:
            if self._last is None or self._last[0] is not frame:  # a repeated frame is converted once
                self._last = frame, self._picture(frame.picture)
            if not self._clip:
                self._start_s.append(float(start_s))
            self._clip.append(self._last[1])
            if len(self._clip) >= self.length:
                self._close()
                if len(self._windows) == self.size:
                    yield self._flush()

    def finish(self, end_s: Fraction, first: Frame | None) -> Iterator[Piece]:
        """Give the last windows; something is made up for a video that is too short, and `note` says what."""
        yield from self.take(self.sampler.finish(end_s))
        nothing = self.number == 0 and not self._windows
        if nothing and not self._clip and first is not None:
            # ffmpeg's rule gives nothing below half a window; a clip of 0.3 s is still a video.
            self.note = "shorter than half a window: its first frame is the only one"
            yield from self.take(iter([(Fraction(0), first)]))
        if self._clip and (2 * len(self._clip) >= self.length or nothing):
            missing = self.length - len(self._clip)
            self.note = f"{missing} black pictures appended to fill the last clip"
            self._clip += [np.zeros(self.view.picture_shape, np.uint8)] * missing
            self._close()
        elif self._clip:
            self._start_s.pop()
        if isinstance(self.sampler, OverviewSampler) and self.sampler.total < self.length:
            self.note = f"{self.sampler.total} frames, fewer than {self.length}: some are shown more than once"
        if self._windows:
            yield self._flush()

    def _close(self) -> None:
        self._windows.append(np.stack(self._clip) if self.length else self._clip[0])
        self._clip = []

    def _flush(self) -> Piece:
        piece = Piece(
            key=self.key, number=self.number, start_s=np.array(self._start_s), windows=np.stack(self._windows)
        )
        self._start_s, self._windows, self.number = [], [], self.number + 1
        return piece


def cut(
    source: str | HandedFile,
    views: dict[str, View],
    decoder: str = "pyav",
    *,
    heartbeat: Callable[[], None] = lambda: None,
) -> Iterator[Piece | End]:
    """Cut a video into all windows of every view, and yield of every view its End. `heartbeat` is called all the time.

    A view ends as failed, or as skipped when the file has no picture (no sound) or nothing can be heard.
    Raises DecodeError when the file cannot be read at all.
    """
    file = HandedFile.of(source)
    pictures = {key: view for key, view in views.items() if isinstance(view, Frames | Overview)}
    sounds = {key: view for key, view in views.items() if isinstance(view, Mel)}
    heard: _SoundViews | None = None
    if pictures:
        heard = _SoundViews(sounds) if sounds else None
        try:
            yield from _pictures(file, pictures, decoder, heard, heartbeat)
        except (NoPicture, DecodeError) as error:
            heard = None  # heard in part, if at all
            how = _skipped("no picture", error) if isinstance(error, NoPicture) else _failed(error)
            yield from (End(key=key, **how) for key in pictures)
    if sounds:
        if heard is None or heard.stream is None:
            heard = _SoundViews(sounds)
            heard.stream = listen(file, heard.push, heartbeat)
        yield from _sounds(heard, heartbeat)


def pieces_of(n_windows: int, view: View) -> int:
    """Count the pieces, which are rows of the ledger, that so many windows of one video travel in."""
    return -(-n_windows // windows_per_piece(view))


def windows_per_piece(view: View) -> int:
    return max(1, PIECE_BYTES // int(np.prod(view.window_shape)))


def use_one_core(views: Iterable[View]) -> None:
    """Keep the libraries that cut windows of these views to one core, as a decoder has one."""
    cv2.setNumThreads(1)
    if any(isinstance(view, Mel) for view in views):
        from ndvr.models.method import use_one_thread  # torch, which picture methods can do without

        use_one_thread()


def _skipped(what: str, reason: object) -> dict[str, Any]:
    return {"status": "skipped", "message": f"{what}: {reason}"}


def _failed(error: DecodeError) -> dict[str, Any]:
    return {"status": "failed", "error_class": error.kind, "message": error.message}


def _pictures(
    file: HandedFile,
    views: dict[str, Pictures],
    decoder: str,
    sound_views: _SoundViews | None,
    heartbeat: Callable[[], None],
) -> Iterator[Piece | End]:
    stream = open_video(file, decoder)
    if sound_views is not None and stream.can_hear:
        stream.hear = sound_views.push
    overviews = {key: view for key, view in views.items() if isinstance(view, Overview)}
    total = stream.count() if overviews else None
    cutters = yield from _run(stream, views, total, heartbeat)
    if sound_views is not None and stream.hear is not None:
        sound_views.stream = stream.sound
    again = {key: view for key, view in overviews.items() if stream.decoded != total}
    for cutter in cutters:
        if cutter.key not in again:
            yield from cutter.finish(stream.end_s, stream.first)
            yield End(key=cutter.key, message=cutter.note, stream=stream)
    if again:  # the file misstates how many frames it has; now we know
        second = open_video(file, decoder)
        for cutter in (yield from _run(second, again, stream.decoded, heartbeat)):
            yield from cutter.finish(second.end_s, second.first)
            yield End(key=cutter.key, message=cutter.note, stream=second)


def _run(stream: Stream, views: dict[str, Any], total: int | None, heartbeat: Callable[[], None]):
    """Yield pieces of all views from one pass; return the cutters, which have their last piece left."""
    upright = Upright()
    cutters = [_Cutter(key, view, stream, upright, total) for key, view in views.items()]
    if all(cutter.sampler.skips for cutter in cutters):
        stream.needs = lambda time_s, next_s: any(cutter.sampler.needs(time_s, next_s) for cutter in cutters)
    for frame in stream.frames:
        stream.first = stream.first or frame
        for cutter in cutters:
            if frame.number >= cutter.sampler.due:
                yield from cutter.take(cutter.sampler.push(frame.number, frame.time_s, frame))
        heartbeat()
    return cutters


class _SoundViews:
    """All views of sound, fed with the same frames; `stream` says what was heard, once all of it was."""

    def __init__(self, views: dict[str, Mel]):
        self.sounds = {key: Sound(view) for key, view in views.items()}
        self.stream: Stream | None = None

    def push(self, frame: av.AudioFrame, origin_s: Fraction) -> None:
        for sound in self.sounds.values():
            sound.push(frame, origin_s)


def _sounds(sound_views: _SoundViews, heartbeat: Callable[[], None]) -> Iterator[Piece | End]:
    stream = sound_views.stream
    assert stream is not None
    for key, sound in sound_views.sounds.items():
        if stream.failure is not None:
            failure = stream.failure
            how = _failed(failure) if isinstance(failure, DecodeError) else _skipped("no sound", failure)
            yield End(key=key, **how)
            continue
        blocks = sound.finish()
        if sound.samples == 0:
            yield End(key=key, stream=stream, **_failed(DecodeError("empty", "a sound stream without samples")))
            continue
        if sound.silent:
            yield End(key=key, stream=stream, **_skipped("no sound", "silence"))
            continue
        for number, (start_s, windows) in enumerate(blocks):
            yield Piece(key=key, number=number, start_s=start_s, windows=windows)
            heartbeat()
        yield End(key=key, stream=stream)
