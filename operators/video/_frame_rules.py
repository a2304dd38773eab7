"""Which source frames become windows: the published frame-picking rules as streaming filters.

A sampler is pushed every decoded frame in order and returns the windows that are now certain, so that several
views share one pass over a video and no frame is kept longer than needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from math import floor
from typing import Generic, Protocol, TypeVar

from ndvr.models.card import Frames, Overview, Raster

F = TypeVar("F")  # whatever stands for a frame: a decoded frame, or just its number in tests

# One frame shown longer than this is not repeated further: a header that claims 39 hours for one second of
# frames must not become 140,000 windows. ffmpeg would repeat without end.
LONGEST_STILL_S = 600


class Sampler(Protocol[F]):
    """Picks windows out of a stream of frames; windows come as (time in seconds, frame).

    Frames numbered below `due` need not be pushed. With `skips`, frames for which `needs` is false may be left out of
    the stream and nothing changes.
    """

    skips: bool
    due: int

    def needs(self, time_s: Fraction, next_s: Fraction) -> bool: ...

    def push(self, index: int, time_s: Fraction, frame: F) -> Iterator[tuple[Fraction, F]]: ...

    def finish(self, end_s: Fraction) -> Iterator[tuple[Fraction, F]]: ...


class FfmpegSampler(Generic[F]):
    """ffmpeg's fps filter with its default rounding (near): window k shows the last frame with t * fps < k + 1/2.

    A constant-rate video of n frames at rate f gives floor(n * fps / f + 1/2) windows, possibly none.
    """

    skips = True
    due = 0

    def __init__(self, fps: float):
        self.fps = Fraction(fps).limit_denominator(1000)
        self._next: int | None = None  # window that is not yet decided
        self._held: F | None = None  # the frame it would show now
        self._longest = floor(LONGEST_STILL_S * self.fps)

    def _slot(self, time_s: Fraction) -> int:
        # floor(time_s * fps + 1/2) in whole numbers, ten times faster than in fractions; asked for every frame.
        top, bottom = time_s.numerator * self.fps.numerator, time_s.denominator * self.fps.denominator
        return (2 * top + bottom) // (2 * bottom)

    def needs(self, time_s: Fraction, next_s: Fraction) -> bool:
        """Tell whether a frame is the last of its slot: a window shows the last of a slot or of an earlier one."""
        return self._next is None or self._slot(time_s) != self._slot(next_s)

    def _emit(self, until: int) -> Iterator[tuple[Fraction, F]]:
        assert self._next is not None and self._held is not None
        for k in range(self._next, min(until, self._next + self._longest)):
            yield Fraction(k) / self.fps, self._held
        self._next = max(self._next, until)

    def push(self, index: int, time_s: Fraction, frame: F) -> Iterator[tuple[Fraction, F]]:
        slot = self._slot(time_s)
        if self._next is None:
            self._next = slot
        else:
            yield from self._emit(slot)
        self._held = frame

    def finish(self, end_s: Fraction) -> Iterator[tuple[Fraction, F]]:
        """Give the last windows; `end_s` is when the last frame ends: its time plus its duration."""
        if self._held is not None:
            yield from self._emit(self._slot(end_s))


class OpencvSampler(Generic[F]):
    """Every step-th frame from the first, step = round(rate / fps) half to even, as the OpenCV loaders do.

    A rate above 144 or unknown counts as 25. Below half a frame a window the references divide by zero; here
    every frame is a window.
    """

    skips = False  # it counts frames

    def __init__(self, fps: float, rate: Fraction | None):
        self.step = opencv_step(fps, rate)
        self.due = 0

    def needs(self, time_s: Fraction, next_s: Fraction) -> bool:
        return True

    def push(self, index: int, time_s: Fraction, frame: F) -> Iterator[tuple[Fraction, F]]:
        if index == self.due:
            self.due += self.step
            yield time_s, frame

    def finish(self, end_s: Fraction) -> Iterator[tuple[Fraction, F]]:
        return iter(())


class TcaSampler(Generic[F]):
    """The first frame, then every frame before a multiple of step, and the last of them once more (TCA's loader)."""

    skips = False

    def __init__(self, fps: float, rate: Fraction | None):
        self.step = opencv_step(fps, rate)
        self.due = 0
        self._last: tuple[Fraction, F] | None = None

    def needs(self, time_s: Fraction, next_s: Fraction) -> bool:
        return True

    def push(self, index: int, time_s: Fraction, frame: F) -> Iterator[tuple[Fraction, F]]:
        if index == self.due:
            self.due = (index + 1) // self.step * self.step + self.step - 1
            self._last = time_s, frame
            yield time_s, frame

    def finish(self, end_s: Fraction) -> Iterator[tuple[Fraction, F]]:
        if self._last is not None:
            yield self._last


class OverviewSampler(Generic[F]):
    """`count` frames spread over a video of `total`: round(i * total / count), half to even, at most total - 1."""

    skips = False

    def __init__(self, count: int, total: int):
        self.total = total
        self._picks = [min(round(Fraction(i * total, count)), total - 1) for i in range(count)]
        self.due = self._picks[0]
        self._next = 0

    def needs(self, time_s: Fraction, next_s: Fraction) -> bool:
        return True

    def push(self, index: int, time_s: Fraction, frame: F) -> Iterator[tuple[Fraction, F]]:
        while self._next < len(self._picks) and self._picks[self._next] == index:
            self._next += 1
            self.due = self._picks[self._next] if self._next < len(self._picks) else sys.maxsize
            yield time_s, frame

    def finish(self, end_s: Fraction) -> Iterator[tuple[Fraction, F]]:
        return iter(())


def opencv_step(fps: float, rate: Fraction | None) -> int:
    """Count source frames from one window to the next, as the OpenCV loaders do."""
    if rate is None or rate <= 0 or rate > 144:
        rate = Fraction(25)
    return max(1, round(rate / Fraction(fps).limit_denominator(1000)))


def sampler(view: Raster, rate: Fraction | None, total: int | None) -> Sampler:
    """Choose the sampler of a view for a stream whose header says `rate` frames a second (None: unknown).

    `total` is the number of frames, which only Overview needs.
    """
    if isinstance(view, Overview):
        if total is None:
            raise ValueError("an overview can only be picked when the number of frames is known")
        return OverviewSampler(view.count, total)
    assert isinstance(view, Frames)
    if view.rule == "ffmpeg":
        return FfmpegSampler(view.fps)
    return OpencvSampler(view.fps, rate) if view.rule == "opencv" else TcaSampler(view.fps, rate)
