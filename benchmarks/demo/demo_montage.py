"""The demo's edits of time, of sound, and those that mix several videos: sources, rng -> Edited."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ndvr.benchmarks.demo.demo_relations import Edited, Relation, even, fit, whole
from ndvr.operators.media import draw
from ndvr.operators.media.clip import Clip, change_tempo, to_length


def reverse(sources, rng) -> Edited:
    source = sources[0]
    clip = replace(source, frames=source.frames[::-1], audio=source.audio[:, ::-1])
    notes = "picture and sound run backwards"
    return whole(clip, source, relation="near_dup_hard", speed=-1.0, audio=0, notes=notes)


def _speed(source: Clip, factor: float) -> Edited:
    count = round(len(source.frames) / factor)
    picks = np.minimum((np.arange(count) * factor + 1e-6).astype(int), len(source.frames) - 1)
    audio = None if source.audio is None else change_tempo(source.audio, source.rate_hz, factor)
    return whole(replace(source, frames=source.frames[picks], audio=audio), source, speed=factor)


def speed125(sources, rng) -> Edited:
    return _speed(sources[0], 1.25)


def speed80(sources, rng) -> Edited:
    return _speed(sources[0], 0.8)


def tcrop(sources, rng) -> Edited:
    """Half of it, from somewhere in the middle."""
    source = sources[0]
    length_s = source.duration_s * rng.uniform(0.45, 0.6)
    start_s = (source.duration_s - length_s) * rng.uniform(0.2, 0.8)
    clip, start_s = _cut(source, start_s, length_s)
    row = Relation(q=(0, clip.duration_s), v=(start_s, start_s + clip.duration_s), relation="partial")
    return Edited(clip=clip, relations=(row,))


def _cut(source: Clip, start_s: float, length_s: float) -> tuple[Clip, float]:
    """A part on whole frames, and where it really begins."""
    start_s = float(round(start_s * source.fps) / source.fps)
    return source.cut(start_s, start_s + length_s), start_s


def audio_muted(sources, rng) -> Edited:
    return whole(replace(sources[0], audio=None), sources[0], audio=0, notes="no audio stream")


def audio_replaced(sources, rng) -> Edited:
    """The sound of another video, as much as there is of it."""
    source, donor = sources
    count = round(source.duration_s * donor.rate_hz)
    audio = to_length(donor.audio, count)
    shared_s = min(count, donor.audio.shape[1]) / donor.rate_hz
    span, heard = (0.0, source.duration_s), (0.0, shared_s)
    picture = Relation(q=span, v=span, audio=0, notes="picture only")
    sound = Relation(q=heard, v=heard, source=1, relation="audio_only", visual=0, notes="sound only")
    return Edited(clip=replace(source, audio=audio, rate_hz=donor.rate_hz), relations=(picture, sound))


def pip(sources, rng) -> Edited:
    """The video, with its sound, small inside another one."""
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
    """Pieces of several videos one after the other, picture and sound."""
    first = sources[0]
    frames, audio, relations, now_s = [], [], [], 0.0
    for index in rng.permutation(len(sources)):
        source = sources[index].at_rate(first.fps)
        length_s = min(rng.uniform(3.5, 6.0), source.duration_s)
        piece, start_s = _cut(source, rng.uniform(0, source.duration_s - length_s), length_s)
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
    """The same sound in `count` samples."""
    if audio.shape[1] == count:
        return audio
    steps = np.linspace(0, audio.shape[1] - 1, count)
    return np.stack([np.interp(steps, np.arange(audio.shape[1]), channel) for channel in audio]).astype(np.float32)
