"""Cut a video into windows: one pass of the decoder serves every view.

for piece in cut("a.mp4", {"s2vs": Frames(), "thumbprint": Frames(fps=2, grey=True, ...)}):
    piece.windows   # (N, *window_shape) uint8
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ndvr.models.card import View
from ndvr.operators.decoders import open_video
from ndvr.operators.picture import Picture
from ndvr.operators.sampling import sampler
from ndvr.operators.stream import Frame, Stream

PIECE_BYTES = 8 << 20  # windows handed on together; bounds memory whatever the length of a video


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Consecutive windows of one video through one view."""

    key: str  # whose view: the method's name
    number: int  # 0, 1, ... in the order of time
    start_s: np.ndarray  # (N,) float64, when each window is shown
    windows: np.ndarray  # (N, *window_shape) uint8

    def __repr__(self) -> str:
        return f"Piece({self.key} #{self.number}, windows {self.windows.shape})"


class _Cutter:
    """Collects the windows of one view and lets go of them piece by piece."""

    def __init__(self, key: str, view: View, rate: Fraction | None):
        self.key, self.view, self.sampler = key, view, sampler(view, rate)
        self.size = max(1, PIECE_BYTES // int(np.prod(view.window_shape)))
        self.number = 0
        self._picture = Picture(view)
        self._start_s: list[float] = []
        self._windows: list[np.ndarray] = []
        self._last: tuple[Frame, np.ndarray] | None = None

    def take(self, picks: Iterator[tuple[Fraction, Frame]]) -> Iterator[Piece]:
        for start_s, frame in picks:
            if self._last is None or self._last[0] is not frame:  # a repeated frame is converted once
                self._last = frame, self._picture(frame.picture)
            self._start_s.append(float(start_s))
            self._windows.append(self._last[1])
            if len(self._windows) == self.size:
                yield self.flush()

    def flush(self) -> Piece:
        shape = (len(self._windows), *self.view.window_shape)
        windows = np.stack(self._windows) if self._windows else np.zeros(shape, np.uint8)
        piece = Piece(key=self.key, number=self.number, start_s=np.array(self._start_s), windows=windows)
        self._start_s, self._windows, self.number = [], [], self.number + 1
        return piece


def cut(
    path: str, views: dict[str, View], decoder: str = "pyav", *, heartbeat: Callable[[], None] = lambda: None
) -> Iterator[Piece | Stream]:
    """All windows of a video for every view, then the `Stream` with what was decoded.

    Each view ends with its last piece, which may be empty. `heartbeat` is called after every decoded frame.
    A video with frames but too short for a window gives its first frame as the only window.
    Raises DecodeError, NoPicture.
    """
    stream = open_video(path, decoder)
    cutters = [_Cutter(key, view, stream.rate) for key, view in views.items()]
    if all(cutter.sampler.skips for cutter in cutters):
        stream.needs = lambda time_s, next_s: any(cutter.sampler.needs(time_s, next_s) for cutter in cutters)
    first: Frame | None = None
    for frame in stream.frames:
        first = first or frame
        for cutter in cutters:
            yield from cutter.take(cutter.sampler.push(frame.number, frame.time_s, frame))
        heartbeat()
    for cutter in cutters:
        yield from cutter.take(cutter.sampler.finish(stream.end_s))
        if cutter.number == 0 and not cutter._windows and first is not None:
            # ffmpeg's rule gives nothing below half a window; a clip of 0.3 s is still a video.
            yield from cutter.take(iter([(Fraction(0), first)]))
        yield cutter.flush()
    yield stream
