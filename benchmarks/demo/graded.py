"""Edits at graded strengths, what people do to videos that they post again: GRADED[n].make(sources, rng) -> Edited.

Each says where what it shows comes from, so that a search can be judged by its times, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ndvr.benchmarks.demo import edits
from ndvr.benchmarks.demo.edits import Edited, Relation, fit, whole
from ndvr.operators.media import draw
from ndvr.operators.media.clip import Clip

Make = Callable[[list[Clip], np.random.Generator], Edited]


@dataclass(frozen=True, kw_only=True)
class Graded:
    """One edit at one strength."""

    edit: str
    strength: str
    make: Make
    sources: int = 1  # videos it takes: the first is the one that is looked for


def _each(change: Callable[[np.ndarray], np.ndarray]) -> Make:
    return lambda sources, rng: edits.each_frame(sources[0], change)


def _coded(crf: int) -> Make:
    return lambda sources, rng: whole(sources[0], sources[0], crf=crf)


def _scaled(factor: float) -> Make:
    def make(sources, rng) -> Edited:
        width, height = (max(16, edits.even(side * factor)) for side in sources[0].size)
        return edits.each_frame(sources[0], lambda frame: draw.resize(frame, (width, height)))

    return make


def _cropped(keep: float) -> Make:
    return lambda sources, rng: edits.crop(sources[0], rng, keep)


def _half(sources, rng) -> Edited:
    """Show the middle half of the width, beside another video's."""
    return _tiled(sources, lambda w, h: [(0, 0, w // 2, h), (w // 2, 0, w - w // 2, h)], cut=True)


def _grid(n: int) -> Make:
    """Tile n x n videos, the one that is looked for in the first cell."""

    def cells(w: int, h: int) -> list[tuple[int, int, int, int]]:
        return [(x * w // n, y * h // n, w // n, h // n) for y in range(n) for x in range(n)]

    return lambda sources, rng: _tiled(sources, cells, cut=False)


def _tiled(sources: list[Clip], cells, *, cut: bool) -> Edited:
    """Tile videos beside each other, (x, y, width, height) each; as many times as there are cells."""
    first = sources[0]
    clips = [first, *(clip.at_rate(first.fps) for clip in sources[1:])]
    width, height = first.size
    frames = np.zeros_like(first.frames)
    for number, (x, y, w, h) in enumerate(cells(width, height)):
        clip = clips[number % len(clips)] if number else first
        for i in range(len(frames)):
            picture = clip.frames[i % len(clip.frames)]
            if cut:
                side = round(picture.shape[1] * min(1.0, w / h * picture.shape[0] / picture.shape[1]))
                left = (picture.shape[1] - side) // 2
                picture = picture[:, left : left + side]
            frames[i, y : y + h, x : x + w] = draw.resize(np.ascontiguousarray(picture), (w, h))
    return whole(replace(first, frames=frames), first, relation="partial")


def _inset(part: float) -> Make:
    """Put the video that is looked for, small, over another."""

    def make(sources, rng) -> Edited:
        front, back = sources[0], sources[1].at_rate(sources[0].fps)
        width, height = (edits.even(side * part) for side in front.size)
        left, top = front.size[0] - width - 8, 8
        frames = np.stack([fit(back.frames[i % len(back.frames)], front.size) for i in range(len(front.frames))])
        for i, frame in enumerate(front.frames):
            frames[i, top : top + height, left : left + width] = draw.resize(frame, (width, height))
        return whole(replace(front, frames=frames), front, relation="pip_foreground")

    return make


def _behind(part: float) -> Make:
    """Put another video, small, over the one that is looked for."""

    def make(sources, rng) -> Edited:
        back, front = sources[0], sources[1].at_rate(sources[0].fps)
        width, height = (edits.even(side * part) for side in back.size)
        frames = back.frames.copy()
        for i in range(len(frames)):
            small = draw.resize(front.frames[i % len(front.frames)], (width, height))
            frames[i, -height - 8 : -8, 8 : 8 + width] = small
        return whole(replace(back, frames=frames), back, relation="pip_background")

    return make


def _sticker(share: float) -> Make:
    """Put a plate of one colour with a disc over so much of the picture, in its middle."""

    def change(frame: np.ndarray) -> np.ndarray:
        frame = frame.copy()
        height, width = (round(side * share**0.5) for side in frame.shape[:2])
        top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
        frame[top : top + height, left : left + width] = (240, 200, 40)
        draw.disc(frame, (frame.shape[1] / 2, frame.shape[0] / 2), min(height, width) * 0.35, (30, 30, 30))
        return frame

    return _each(change)


def _faster(factor: float) -> Make:
    return lambda sources, rng: edits.at_speed(sources[0], factor)


def _trimmed(seconds: float) -> Make:
    def make(sources, rng) -> Edited:
        clip = sources[0]
        length_s = min(seconds, clip.duration_s)
        part, start_s = edits.cut_out(clip, (clip.duration_s - length_s) * 0.4, length_s)
        row = Relation(q=(0, part.duration_s), v=(start_s, start_s + part.duration_s), relation="partial")
        return Edited(clip=part, relations=(row,))

    return make


def _spliced(seconds: float) -> Make:
    """Put so much of it into the middle of another video."""

    def make(sources, rng) -> Edited:
        first, other = sources[0], sources[1].at_rate(sources[0].fps)
        part, start_s = edits.cut_out(first, 0.0, min(seconds, first.duration_s))
        around = [fit(frame, first.size) for frame in other.frames]
        at = len(around) // 2
        frames = np.stack([*around[:at], *part.frames, *around[at:]])
        q = at / float(first.fps)
        row = Relation(q=(q, q + part.duration_s), v=(start_s, start_s + part.duration_s), relation="partial")
        return Edited(clip=Clip(frames=frames, fps=first.fps), relations=(row,))

    return make


def _shuffled(seconds: float) -> Make:
    """Put its pieces of so many seconds into another order."""

    def make(sources, rng) -> Edited:
        clip = sources[0]
        n = max(2, round(clip.duration_s / seconds))
        cuts = [round(k * len(clip.frames) / n) for k in range(n + 1)]
        order, rows, now = rng.permutation(n), [], 0
        for k in order:
            length = cuts[k + 1] - cuts[k]
            q, v, length_s = (float(count / clip.fps) for count in (now, cuts[k], length))
            rows.append(Relation(q=(q, q + length_s), v=(v, v + length_s), relation="partial"))
            now += length
        frames = np.concatenate([clip.frames[cuts[k] : cuts[k + 1]] for k in order])
        return Edited(clip=Clip(frames=frames, fps=clip.fps), relations=tuple(rows))

    return make


def _backward(sources, rng) -> Edited:
    clip = replace(sources[0], frames=sources[0].frames[::-1], audio=None)
    return whole(clip, sources[0], relation="near_dup_hard", speed=-1.0)


def _filmed(tilt: float) -> Make:
    """Film it off a screen by a hand-held camera: larger, moving, soft, pale."""

    def make(sources, rng) -> Edited:
        clip = sources[0]
        width, height = clip.size
        big = edits.even(width * (1 + tilt)), edits.even(height * (1 + tilt))
        frames = np.empty_like(clip.frames)
        for i, frame in enumerate(clip.frames):
            phase = i / float(clip.fps)
            x, y = (round((b - s) * (0.5 + 0.4 * np.sin(phase * w))) for b, s, w in zip(big, clip.size, (1.7, 2.3)))
            seen = draw.blur(draw.resize(frame, big, "linear"), 2)[y : y + height, x : x + width]
            frames[i] = np.clip(seen * 0.75 + 45, 0, 255)
        return whole(replace(clip, frames=frames), clip, relation="near_dup_hard")

    return make


def _noisy(spread: float) -> Make:
    def make(sources, rng) -> Edited:
        def change(frame: np.ndarray) -> np.ndarray:
            return np.clip(frame + rng.normal(0, spread, frame.shape), 0, 255).astype(np.uint8)

        return edits.each_frame(sources[0], change, crf=30)

    return make


def _slowed_rate(fps: int) -> Make:
    def make(sources, rng) -> Edited:
        step = max(1, round(float(sources[0].fps) / fps))
        clip = replace(sources[0], frames=sources[0].frames[::step], fps=sources[0].fps / step, audio=None)
        return whole(clip, sources[0])

    return make


GRADED = (
    *(Graded(edit="re-encoded", strength=f"crf {crf}", make=_coded(crf)) for crf in (30, 40, 48)),
    *(Graded(edit="smaller", strength=f"{f:.0%}", make=_scaled(f)) for f in (0.5, 0.25)),
    *(Graded(edit="cropped to", strength=f"{k:.0%} a side", make=_cropped(k)) for k in (0.9, 0.75, 0.6, 0.5)),
    Graded(edit="border", strength="1.4 times", make=edits.letterbox),
    Graded(edit="on its blurred copy", strength="", make=edits.blur_background),
    Graded(edit="mirrored", strength="", make=edits.mirror),
    Graded(edit="turned", strength="90 degrees", make=edits.rotate),
    *(Graded(edit="inset in another", strength=f"{p:.0%}", make=_inset(p), sources=2) for p in (0.6, 0.45, 0.3)),
    *(Graded(edit="behind an inset", strength=f"{p:.0%}", make=_behind(p), sources=2) for p in (0.3, 0.5)),
    Graded(edit="split screen", strength="half", make=_half, sources=2),
    *(Graded(edit="grid", strength=f"{n} x {n}", make=_grid(n), sources=4) for n in (2, 3)),
    *(Graded(edit="sticker", strength=f"{s:.0%}", make=_sticker(s)) for s in (0.1, 0.25, 0.4)),
    Graded(edit="caption", strength="", make=edits.text),
    Graded(edit="logo", strength="", make=edits.logo),
    *(Graded(edit="faster", strength=f"{f:g}x", make=_faster(f)) for f in (1.1, 1.25, 1.5)),
    Graded(edit="slower", strength="0.8x", make=_faster(0.8)),
    *(Graded(edit="trimmed to", strength=f"{s} s", make=_trimmed(s)) for s in (5, 3, 2)),
    *(Graded(edit="spliced into another", strength=f"{s} s", make=_spliced(s), sources=2) for s in (5, 3)),
    Graded(edit="shuffled", strength="pieces of 2 s", make=_shuffled(2.0)),
    Graded(edit="backward", strength="", make=_backward),
    *(Graded(edit="filmed off a screen", strength=f"{t:.0%} larger", make=_filmed(t)) for t in (0.1, 0.25)),
    *(Graded(edit="noise", strength=f"{s} levels", make=_noisy(s)) for s in (12, 30)),
    Graded(edit="fewer frames", strength="5 a second", make=_slowed_rate(5)),
    Graded(edit="grey", strength="", make=edits.grey),
    Graded(edit="other colours", strength="", make=edits.colour_shift),
    Graded(edit="sound replaced", strength="", make=edits.audio_muted),
)
