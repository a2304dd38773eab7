"""The edits that the demo hides copies behind: EDITS[name](sources, rng) -> Edited. Here those of the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ndvr.benchmarks.demo._textures import colour
from ndvr.operators.media import draw
from ndvr.operators.media.clip import Clip, change_tempo, to_length

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Relation:
    """What an edited video has in common with one of its sources; times in seconds, [start, end)."""

    q: Interval  # in the edited video
    v: Interval  # in the source
    source: int = 0  # which of the sources
    relation: Literal["near_dup", "near_dup_hard", "partial", "pip_foreground", "pip_background", "audio_only"] = (
        "near_dup"
    )
    speed: float = 1.0  # of the edited video; negative: backwards
    visual: int = 1  # 1: the picture is shared
    audio: int = 1  # 1: the sound is shared
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Edited:
    """An edited clip, how hard to compress it, and where it comes from."""

    clip: Clip
    relations: tuple[Relation, ...]
    crf: int = 24


def whole(clip: Clip, source: Clip, *, crf: int = 24, **relation) -> Edited:
    """Keep all of the source, from beginning to end."""
    row = Relation(q=(0, clip.duration_s), v=(0, source.duration_s), **relation)
    return Edited(clip=clip, relations=(row,), crf=crf)


def fit(picture: np.ndarray, size: tuple[int, int], back: np.ndarray | None = None) -> np.ndarray:
    """Fit the whole picture into the middle of a canvas of `size`, on black or on `back`."""
    width, height = size
    factor = min(width / picture.shape[1], height / picture.shape[0])
    inner = draw.resize(picture, (round(picture.shape[1] * factor), round(picture.shape[0] * factor)))
    canvas = np.zeros((height, width, 3), np.uint8) if back is None else back.copy()
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas


def even(side: float) -> int:
    return 2 * round(side / 2)


# Edits of time, of sound, and those that mix several videos: sources, rng -> Edited.


def reverse(sources, rng) -> Edited:
    source = sources[0]
    clip = replace(source, frames=source.frames[::-1], audio=source.audio[:, ::-1])
    notes = "picture and sound run backwards"
    return whole(clip, source, relation="near_dup_hard", speed=-1.0, audio=0, notes=notes)


def at_speed(source: Clip, factor: float) -> Edited:
    """Speed picture and sound up, so many times."""
    count = round(len(source.frames) / factor)
    picks = np.minimum((np.arange(count) * factor + 1e-6).astype(int), len(source.frames) - 1)
    audio = None if source.audio is None else change_tempo(source.audio, source.rate_hz, factor)
    return whole(replace(source, frames=source.frames[picks], audio=audio), source, speed=factor)


def speed125(sources, rng) -> Edited:
    return at_speed(sources[0], 1.25)


def speed80(sources, rng) -> Edited:
    return at_speed(sources[0], 0.8)


def tcrop(sources, rng) -> Edited:
    """Keep half of it, from somewhere in the middle."""
    source = sources[0]
    length_s = source.duration_s * rng.uniform(0.45, 0.6)
    start_s = (source.duration_s - length_s) * rng.uniform(0.2, 0.8)
    clip, start_s = cut_out(source, start_s, length_s)
    row = Relation(q=(0, clip.duration_s), v=(start_s, start_s + clip.duration_s), relation="partial")
    return Edited(clip=clip, relations=(row,))


def cut_out(source: Clip, start_s: float, length_s: float) -> tuple[Clip, float]:
    """Cut a part out on whole frames; say where it really begins."""
    start_s = float(round(start_s * source.fps) / source.fps)
    return source.cut(start_s, start_s + length_s), start_s


def audio_muted(sources, rng) -> Edited:
    return whole(replace(sources[0], audio=None), sources[0], audio=0, notes="no audio stream")


def audio_replaced(sources, rng) -> Edited:
    """Replace the sound by that of another video, as much as there is of it."""
    source, donor = sources
    count = round(source.duration_s * donor.rate_hz)
    audio = to_length(donor.audio, count)
    shared_s = min(count, donor.audio.shape[1]) / donor.rate_hz
    span, heard = (0.0, source.duration_s), (0.0, shared_s)
    picture = Relation(q=span, v=span, audio=0, notes="picture only")
    sound = Relation(q=heard, v=heard, source=1, relation="audio_only", visual=0, notes="sound only")
    return Edited(clip=replace(source, audio=audio, rate_hz=donor.rate_hz), relations=(picture, sound))


def pip(sources, rng) -> Edited:
    """Put the video, with its sound, small inside another one."""
    length_s = min(clip.duration_s for clip in sources)
    front, back = (clip.at_rate(sources[0].fps).cut(0, length_s) for clip in sources)
    part = rng.uniform(0.45, 0.55)
    factor = min(part * back.size[0] / front.size[0], 0.7 * back.size[1] / front.size[1])
    width, height = (even(side * factor) for side in front.size)
    left, top = (int(rng.choice([8, side - inner - 8])) for side, inner in zip(back.size, (width, height)))
    frames = back.frames.copy()
    for i, frame in enumerate(front.frames[: len(frames)]):
        frames[i, top : top + height, left : left + width] = draw.resize(frame, (width, height))
    clip = replace(front, frames=frames)
    span, notes = (0.0, clip.duration_s), f"foreground at {width / back.size[0]:.2f} of the width"
    inside = Relation(q=span, v=span, relation="pip_foreground", notes=notes)
    behind = Relation(q=span, v=span, source=1, relation="pip_background", audio=0, notes="background")
    return Edited(clip=clip, relations=(inside, behind))


def concat(sources, rng) -> Edited:
    """Put pieces of several videos one after the other, picture and sound."""
    first = sources[0]
    frames, audio, relations, now_s = [], [], [], 0.0
    for index in rng.permutation(len(sources)):
        source = sources[index].at_rate(first.fps)
        length_s = min(rng.uniform(3.5, 6.0), source.duration_s)
        piece, start_s = cut_out(source, rng.uniform(0, source.duration_s - length_s), length_s)
        frames += [fit(frame, first.size) for frame in piece.frames]
        assert piece.audio is not None  # every original has sound
        audio.append(_resampled(piece.audio, round(piece.duration_s * first.rate_hz)))
        end_s = now_s + piece.duration_s
        v = (start_s, start_s + piece.duration_s)
        relations.append(Relation(q=(now_s, end_s), v=v, source=int(index), relation="partial"))
        now_s = end_s
    clip = replace(first, frames=np.stack(frames), audio=np.concatenate(audio, axis=1))
    return Edited(clip=clip, relations=tuple(relations))


def _resampled(audio: np.ndarray, count: int) -> np.ndarray:
    """Resample the sound to `count` samples."""
    if audio.shape[1] == count:
        return audio
    steps = np.linspace(0, audio.shape[1] - 1, count)
    return np.stack([np.interp(steps, np.arange(audio.shape[1]), channel) for channel in audio]).astype(np.float32)


def each_frame(source: Clip, change: Callable[[np.ndarray], np.ndarray], **relation) -> Edited:
    """Make the same change to every frame."""
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
    return each_frame(sources[0], lambda frame: draw.resize(frame, (width, height)))


def crop(source: Clip, rng, keep: float) -> Edited:
    """Keep a part of the width and height, off the middle, shown at the old size."""
    width, height = source.size
    left, top = (int(side * (1 - keep) * rng.uniform(0.2, 0.8)) for side in source.size)
    part = slice(top, top + int(height * keep)), slice(left, left + int(width * keep))
    return each_frame(source, lambda frame: draw.resize(frame[part], source.size, "linear"))


def crop10(sources, rng) -> Edited:
    return crop(sources[0], rng, 0.9)


def crop25(sources, rng) -> Edited:
    return crop(sources[0], rng, 0.75)


def letterbox(sources, rng) -> Edited:
    """Put bars above and below, or at the sides of an upright video."""
    width, height = sources[0].size
    grow = rng.uniform(1.25, 1.5)
    size = (width, even(height * grow)) if width > height else (even(width * grow), height)
    return each_frame(sources[0], lambda frame: fit(frame, size))


def blur_background(sources, rng) -> Edited:
    """Put a wide video inside an upright frame, or the other way round, over a blurred enlargement of itself."""
    width, height = sources[0].size
    canvas = (even(height), even(height * 1.5)) if width > height else (even(width * 1.6), even(width))

    def change(frame: np.ndarray) -> np.ndarray:
        small = draw.blur(draw.resize(frame, (canvas[0] // 4, canvas[1] // 4)), 3)
        return fit(frame, canvas, draw.resize(small, canvas, "linear"))

    return each_frame(sources[0], change)


def mirror(sources, rng) -> Edited:
    return whole(replace(sources[0], frames=sources[0].frames[:, :, ::-1]), sources[0])


def rotate(sources, rng) -> Edited:
    """Turn by 90 degrees, left or right."""
    turned = np.rot90(sources[0].frames, int(rng.choice([1, 3])), axes=(1, 2))
    return whole(replace(sources[0], frames=turned), sources[0], relation="near_dup_hard")


def logo(sources, rng) -> Edited:
    """Put a see-through station mark into a corner."""
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

    return each_frame(sources[0], change)


def text(sources, rng) -> Edited:
    """Write captions into a dark bar, a new one every 2.5 seconds."""
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
    return each_frame(sources[0], lambda frame: np.repeat((frame @ weights).astype(np.uint8)[..., None], 3, axis=2))


def _channels_changed(curves: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Make a change that looks every value up in its channel's (256, 3) uint8 curve."""
    return lambda frame: np.stack([curves[:, channel][frame[..., channel]] for channel in range(3)], axis=2)


def colour_shift(sources, rng) -> Edited:
    """Change white balance, contrast and brightness."""
    balance = 1 + rng.uniform(0.12, 0.28, 3) * rng.choice([-1, 1], 3)
    gamma = rng.choice([0.75, 1.35])
    ramp = 255 * (np.arange(256)[:, None] / 255) ** gamma
    return each_frame(sources[0], _channels_changed(np.clip(ramp * balance, 0, 255).astype(np.uint8)))


def noise(sources, rng) -> Edited:
    """Add strong film grain."""
    width, height = sources[0].size
    grain = rng.normal(0, rng.uniform(12, 18), (height + 32, width + 32, 3)).astype(np.int16)

    def change(frame: np.ndarray) -> np.ndarray:
        x, y = rng.integers(0, 32, 2)
        return draw.brighten(frame, np.ascontiguousarray(grain[y : y + height, x : x + width]))

    return each_frame(sources[0], change, crf=30)


# Neighbours differ, as an original gets a run of them.
EDITS: dict[str, Callable[[list[Clip], np.random.Generator], Edited]] = {
    "low": low, "crop10": crop10, "pip": pip, "mirror": mirror, "speed125": speed125,
    "text": text, "audio_replaced": audio_replaced, "letterbox": letterbox, "tcrop": tcrop,
    "logo": logo, "grey": grey, "concat": concat, "scale": scale, "audio_muted": audio_muted,
    "crop25": crop25, "reverse": reverse, "colour": colour_shift, "blur_background": blur_background,
    "speed80": speed80, "noise": noise, "rotate": rotate,
}  # fmt: skip
SOURCES_NEEDED = {"pip": 2, "audio_replaced": 2, "concat": 4}  # every other edit: 1
