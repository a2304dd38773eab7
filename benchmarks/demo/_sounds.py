"""Made-up sound for the demo: seeded tunes, drums, voices and birds, (2, samples) float32 in [-1, 1]."""

from __future__ import annotations

import numpy as np

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10))


def soundtrack(rng: np.random.Generator, kind: str, *, duration_s: float, rate_hz: int) -> np.ndarray:
    """Make one of `SOUNDS` with a little room and hiss, peak 0.8, (2, samples) float32."""
    samples = round(duration_s * rate_hz)
    mono = SOUNDS[kind](rng, samples, rate_hz)
    delay = round(rng.uniform(0.05, 0.2) * rate_hz)
    mono[delay:] += rng.uniform(0.1, 0.35) * mono[:-delay].copy()
    apart = round(rng.uniform(0.0003, 0.004) * rate_hz)
    both = np.stack([mono, np.roll(mono, apart) * rng.uniform(0.6, 1.0)])
    both += 0.004 * np.abs(both).max() * rng.standard_normal(both.shape)
    return (0.8 * both / np.abs(both).max()).astype(np.float32)


def _hz(note: float) -> float:
    """Compute the frequency of a MIDI note number."""
    return 440 * 2 ** ((note - 69) / 12)


def _add(track: np.ndarray, piece: np.ndarray, start: int) -> None:
    piece = piece[: max(0, len(track) - start)]
    track[start : start + len(piece)] += piece


def _tone(hz: float, count: int, rate_hz: int, *, partials, decay_s: float) -> np.ndarray:
    """Pluck a note: harmonics with the given strengths under a decaying envelope."""
    t = np.arange(count) / rate_hz
    wave = sum(part * np.sin(2 * np.pi * hz * (k + 1) * t) for k, part in enumerate(partials))
    return wave * np.exp(-t / decay_s) * np.minimum(1, t / 0.006)


def _timbre(rng) -> np.ndarray:
    return rng.uniform(0.1, 1, 5) / np.arange(1, 6)


def arpeggio(rng, samples: int, rate_hz: int) -> np.ndarray:
    """Play broken chords at a steady pace."""
    track, step = np.zeros(samples), round(rng.uniform(0.11, 0.26) * rate_hz)
    scale, root, partials = _SCALES[rng.integers(4)], rng.integers(45, 62), _timbre(rng)
    order, decay_s = rng.integers(0, 8, 8), rng.uniform(0.12, 0.6)
    for i, start in enumerate(range(0, samples, step)):
        if i % 8 == 0:
            degree = int(rng.integers(0, len(scale)))
        position = degree + 2 * int(order[i % 8])
        note = root + scale[position % len(scale)] + 12 * (position // len(scale) % 3)
        _add(track, _tone(_hz(note), 4 * step, rate_hz, partials=partials, decay_s=decay_s), start)
    return track


def chords(rng, samples: int, rate_hz: int) -> np.ndarray:
    """Slow swelling chords."""
    track, length = np.zeros(samples), round(rng.uniform(1.2, 2.6) * rate_hz)
    scale, root, partials = _SCALES[rng.integers(2)], rng.integers(40, 56), _timbre(rng)
    swell = np.sin(np.pi * np.arange(length * 5 // 4) / (length * 5 / 4))
    for start in range(0, samples, length):
        degree = int(rng.integers(0, 7))
        for third in (0, 2, 4, 7):
            note = root + scale[(degree + third) % 7] + 12 * ((degree + third) // 7)
            voice = _tone(_hz(note + rng.normal(0, 0.05)), len(swell), rate_hz, partials=partials, decay_s=9)
            _add(track, voice * swell, start)
    return track


def drums(rng, samples: int, rate_hz: int) -> np.ndarray:
    """Play a drum pattern of sixteen steps with a bass line."""
    track, step = np.zeros(samples), round(rng.uniform(0.09, 0.17) * rate_hz)
    t = np.arange(rate_hz // 3) / rate_hz
    kick = np.sin(2 * np.pi * (45 * t + 9 * (1 - np.exp(-t * 28)))) * np.exp(-t * 11) * 1.6
    snare = rng.standard_normal(len(t)) * np.exp(-t * rng.uniform(14, 30)) * 0.6
    hat = np.diff(rng.standard_normal(len(t) + 1)) * np.exp(-t * 60) * 0.25
    beats = [rng.random(16) < chance for chance in (0.3, 0.22, 0.6)]
    beats[0][0] = beats[1][4] = beats[1][12] = True
    bass, root = rng.integers(0, 8, 16), rng.integers(30, 42)
    for i, start in enumerate(range(0, samples, step)):
        for drum, pattern in zip((kick, snare, hat), beats):
            if pattern[i % 16]:
                _add(track, drum, start)
        if i % 2 == 0:
            hz = _hz(root + int(bass[i % 16]))
            _add(track, 0.6 * _tone(hz, 2 * step, rate_hz, partials=(1, 0.5, 0.3), decay_s=0.3), start)
    return track


def speech(rng, samples: int, rate_hz: int) -> np.ndarray:
    """Speak without words: syllables of buzz and breath through moving resonances."""
    track, start, pitch = np.zeros(samples), 0, rng.uniform(85, 230)
    vowels = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
    while start < samples:
        length = round(rng.uniform(0.1, 0.28) * rate_hz)
        t = np.arange(length) / rate_hz
        hz = pitch * rng.uniform(0.85, 1.2) * (1 - 0.4 * t)
        harmonics = np.arange(1, 26)[:, None]
        formants = np.array(vowels[rng.integers(5)])[:, None, None]
        loud = sum(np.exp(-(((harmonics * pitch - formant) / 160) ** 2)) for formant in formants) + 0.02
        voice = (loud * np.sin(2 * np.pi * harmonics * np.cumsum(hz) / rate_hz)).sum(0)
        if rng.random() < 0.35:
            _add(track, 0.4 * np.diff(rng.standard_normal(length // 3 + 1)), start)
            start += length // 3
        _add(track, voice * np.sin(np.pi * np.arange(length) / length) ** 0.6, start)
        start += length + (round(rng.uniform(0.2, 0.6) * rate_hz) if rng.random() < 0.18 else 0)
    return track


def birds(rng, samples: int, rate_hz: int) -> np.ndarray:
    """Chirp over wind."""
    wind = _without_mean(np.cumsum(rng.standard_normal(samples)), rate_hz // 20)
    track, songs = 0.15 * wind / np.abs(wind).max(), [rng.uniform(1500, 6500, 3) for _ in range(3)]
    for _ in range(int(samples / rate_hz * rng.uniform(2, 4))):
        low, high, depth = songs[rng.integers(3)]
        length = round(rng.uniform(0.05, 0.16) * rate_hz)
        sweep = np.linspace(low, high, length) + 0.1 * depth * np.sin(np.linspace(0, 40, length))
        chirp = np.sin(2 * np.pi * np.cumsum(sweep) / rate_hz) * np.hanning(length)
        begin = int(rng.integers(0, samples))
        for k in range(int(rng.integers(1, 5))):
            _add(track, 0.5 * chirp, begin + k * length * 3 // 2)
    return track


def _without_mean(wave: np.ndarray, window: int) -> np.ndarray:
    """Subtract the running mean over `window` samples from the wave."""
    total = np.cumsum(np.pad(wave, (window // 2, window - window // 2), mode="edge"))
    return wave - (total[window:] - total[:-window]) / window


def bells(rng, samples: int, rate_hz: int) -> np.ndarray:
    """Ring bells at odd moments, for long."""
    track, start = np.zeros(samples), 0
    scale, root = _SCALES[2 + rng.integers(2)], rng.integers(55, 76)
    stretch = np.array([0.5, 1, 1.19, 1.56, 2, 2.66]) * rng.uniform(0.97, 1.03, 6)
    while start < samples:
        hz, length = _hz(root + scale[rng.integers(len(scale))]), round(2.5 * rate_hz)
        for ratio in stretch:
            strike = _tone(hz * ratio, length, rate_hz, partials=(1,), decay_s=1.1 / ratio)
            _add(track, strike * rng.uniform(0.2, 0.8), start)
        start += round(rng.choice([0.3, 0.45, 0.6, 0.9]) * rate_hz)
    return track


def melody(rng, samples: int, rate_hz: int) -> np.ndarray:
    """Play a tune with vibrato over a drone."""
    track, start, degree = np.zeros(samples), 0, 7
    scale, root, partials = _SCALES[rng.integers(4)], rng.integers(50, 64), _timbre(rng)
    beat = rng.uniform(0.16, 0.3)
    while start < samples:
        length = round(beat * rng.choice([1, 1, 2, 3]) * rate_hz)
        degree = int(np.clip(degree + rng.integers(-3, 4), 0, 14))
        note = root + scale[degree % len(scale)] + 12 * (degree // len(scale))
        t = np.arange(length) / rate_hz
        phase = 2 * np.pi * np.cumsum(_hz(note) * (1 + 0.006 * np.sin(35 * t))) / rate_hz
        voice = sum(part * np.sin((k + 1) * phase) for k, part in enumerate(partials))
        _add(track, voice * np.minimum(1, np.minimum(t, t[::-1]) / 0.02), start)
        start += length
    drone = _tone(_hz(root - 12), samples, rate_hz, partials=(1, 0.6, 0.3), decay_s=1e9)
    return track + 0.35 * drone


def machine(rng, samples: int, rate_hz: int) -> np.ndarray:
    """Run an engine: humming, rattling, changing speed."""
    t = np.arange(samples) / rate_hz
    speed = rng.uniform(30, 80) * (1 + 0.35 * np.sin(2 * np.pi * rng.uniform(0.08, 0.3) * t + rng.uniform(0, 6)))
    turn = 2 * np.pi * np.cumsum(speed) / rate_hz
    hum = sum(rng.uniform(0.1, 1) * np.sin(k * turn + rng.uniform(0, 6)) for k in (1, 2, 3, 5, 8, 13))
    rattle = rng.standard_normal(samples) * np.maximum(0, np.sin(turn / 4)) ** 8
    return hum + 0.8 * rattle


SOUNDS = {f.__name__: f for f in (arpeggio, speech, drums, bells, machine, melody, birds, chords)}
