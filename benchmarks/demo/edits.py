"""The edits that the demo hides copies behind: EDITS[name](sources, rng) -> Edited. Here those of the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ndvr.benchmarks.demo import demo_montage as montage
from ndvr.benchmarks.demo.demo_relations import Edited, even, fit, whole
from ndvr.benchmarks.demo.textures import colour
from ndvr.operators.media import draw
from ndvr.operators.media.clip import Clip


def _each(source: Clip, change: Callable[[np.ndarray], np.ndarray], **relation) -> Edited:
    """The same change made to every frame."""
    first = change(source.frames[0])
    frames = np.empty((len(source.frames), *first.shape), np.uint8)
    frames[0] = first
    for i in range(1, len(frames)):
        frames[i] = change(source.frames[i])
    clip = replace(source, frames=frames)
    return whole(clip, source, **relation)


def low(sources, rng) -> Edited:
    return whole(sources[0], sources[0], crf=int(rng.integers(38, 43)))


def scale(sources, rng) -> Edited:
    factor = rng.uniform(0.45, 0.7)
    width, height = (even(side * factor) for side in sources[0].size)
    return _each(sources[0], lambda frame: draw.resize(frame, (width, height)))


def _crop(source: Clip, rng, keep: float) -> Edited:
    """Keep a part of the width and height, off the middle, shown at the old size."""
    width, height = source.size
    left, top = (int(side * (1 - keep) * rng.uniform(0.2, 0.8)) for side in source.size)
    part = slice(top, top + int(height * keep)), slice(left, left + int(width * keep))
    return _each(source, lambda frame: draw.resize(frame[part], source.size, "linear"))


def crop10(sources, rng) -> Edited:
    return _crop(sources[0], rng, 0.9)


def crop25(sources, rng) -> Edited:
    return _crop(sources[0], rng, 0.75)


def letterbox(sources, rng) -> Edited:
    """Bars above and below, or at the sides of an upright video."""
    width, height = sources[0].size
    grow = rng.uniform(1.25, 1.5)
    size = (width, even(height * grow)) if width > height else (even(width * grow), height)
    return _each(sources[0], lambda frame: fit(frame, size))


def blur_background(sources, rng) -> Edited:
    """A wide video inside an upright frame, or the other way round, over a blurred enlargement of itself."""
    width, height = sources[0].size
    canvas = (even(height), even(height * 1.5)) if width > height else (even(width * 1.6), even(width))

    def change(frame: np.ndarray) -> np.ndarray:
        small = draw.blur(draw.resize(frame, (canvas[0] // 4, canvas[1] // 4)), 3)
        return fit(frame, canvas, draw.resize(small, canvas, "linear"))

    return _each(sources[0], change)


def mirror(sources, rng) -> Edited:
    return whole(replace(sources[0], frames=sources[0].frames[:, :, ::-1]), sources[0])


def rotate(sources, rng) -> Edited:
    """Turned by 90 degrees, left or right."""
    turned = np.rot90(sources[0].frames, int(rng.choice([1, 3])), axes=(1, 2))
    return whole(replace(sources[0], frames=turned), sources[0], relation="near_dup_hard")


def logo(sources, rng) -> Edited:
    """A see-through station mark in a corner."""
    width, height = sources[0].size
    side = round(min(width, height) * rng.uniform(0.16, 0.24))
    mark = np.zeros((side, 2 * side, 3), np.uint8)
    draw.disc(mark, (side / 2, side / 2), side * 0.45, colour(rng, 100, 255))
    draw.text(
        mark, "TV" + str(rng.integers(1, 10)), (side // 5, round(side * 0.7)), (255, 255, 255), height=side * 0.45
    )
    shown = np.where(mark.any(axis=2, keepdims=True), rng.uniform(0.7, 0.95), 0)
    top, left = (int(rng.choice([6, side_length - 6 - length]))
                 for side_length, length in ((height, side), (width, 2 * side)))  # fmt: skip
    part = slice(top, top + side), slice(left, left + 2 * side)

    def change(frame: np.ndarray) -> np.ndarray:
        frame = frame.copy()
        frame[part] = frame[part] * (1 - shown) + mark * shown
        return frame

    return _each(sources[0], change)


def text(sources, rng) -> Edited:
    """Captions in a dark bar, a new one every 2.5 seconds."""
    source = sources[0]
    width, height = source.size
    lines = ["WAIT FOR IT...", "you will not believe this", "@clips_daily", "part 2 in the comments", "so true"]
    order, letter = rng.permutation(len(lines)), max(7, width // 36)
    top = round(height * rng.choice([0.04, 0.8]))
    frames = source.frames.copy()
    for i, frame in enumerate(frames):
        words = lines[order[int(i / source.fps / 2.5) % len(lines)]]
        begin = (width - draw.text_width(words, height=letter)) // 2
        frame[top : top + 2 * letter, max(0, begin - 6) : width - max(0, begin - 6)] //= 3
        draw.text(frame, words, (begin, top + round(1.5 * letter)), (255, 255, 255), height=letter)
    return whole(replace(source, frames=frames), source)


def grey(sources, rng) -> Edited:
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return _each(sources[0], lambda frame: np.repeat((frame @ weights).astype(np.uint8)[..., None], 3, axis=2))


def _channels_changed(curves: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A change that looks every value up in its channel's (256, 3) uint8 curve."""
    return lambda frame: np.stack([curves[:, channel][frame[..., channel]] for channel in range(3)], axis=2)


def colour_shift(sources, rng) -> Edited:
    """Another white balance, contrast and brightness."""
    balance = 1 + rng.uniform(0.12, 0.28, 3) * rng.choice([-1, 1], 3)
    gamma = rng.choice([0.75, 1.35])
    ramp = 255 * (np.arange(256)[:, None] / 255) ** gamma
    return _each(sources[0], _channels_changed(np.clip(ramp * balance, 0, 255).astype(np.uint8)))


def noise(sources, rng) -> Edited:
    """Strong film grain."""
    width, height = sources[0].size
    grain = rng.normal(0, rng.uniform(12, 18), (height + 32, width + 32, 3)).astype(np.int16)

    def change(frame: np.ndarray) -> np.ndarray:
        x, y = rng.integers(0, 32, 2)
        return draw.brighten(frame, np.ascontiguousarray(grain[y : y + height, x : x + width]))

    return _each(sources[0], change, crf=30)


# Neighbours differ, as an original gets a run of them.
EDITS: dict[str, Callable[[list[Clip], np.random.Generator], Edited]] = {
    "low": low, "crop10": crop10, "pip": montage.pip, "mirror": mirror, "speed125": montage.speed125,
    "text": text, "audio_replaced": montage.audio_replaced, "letterbox": letterbox, "tcrop": montage.tcrop,
    "logo": logo, "grey": grey, "concat": montage.concat, "scale": scale, "audio_muted": montage.audio_muted,
    "crop25": crop25, "reverse": montage.reverse, "colour": colour_shift, "blur_background": blur_background,
    "speed80": montage.speed80, "noise": noise, "rotate": rotate,
}  # fmt: skip
SOURCES_NEEDED = {"pip": 2, "audio_replaced": 2, "concat": 4}  # every other edit: 1
