"""Sound becomes the authors' log-mel windows, in one pass, whatever the portions it comes in."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import numbered_clip
from places import GOLDEN_FOLDER, python_path
from sounds import frames, heard, noise

from ndvr.models.card import Mel
from ndvr.models.layers.mel import filterbank
from ndvr.operators.video._sound import Sound, best_sound, window_count

GOLDEN = np.load(GOLDEN_FOLDER / "ausil.npz")
CASES = ("short_0s5", "impulse_1s", "tiny_3samples", "tiny_512", "tiny_513")
# What separates two float32 Fourier transforms, in quiet bands of loud frames.
WORST_DB, MEAN_DB = 5e-3, 5e-5


def rows_of(windows: np.ndarray, count: int) -> np.ndarray:
    """The spectrogram that windows were cut from, and the assurance that zeros follow."""
    rows = np.concatenate([*windows[:, :87], windows[-1, 87:]])
    assert not rows[count:].any()
    return rows[:count]


def assert_same_db(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, atol=WORST_DB)
    assert np.abs(found - wanted).mean() < MEAN_DB


@pytest.mark.parametrize("per_frame", [700, 10**6])
@pytest.mark.parametrize("case", CASES)
def test_spectrograms_are_the_authors(case, per_frame):
    db = GOLDEN[f"{case}/db"]
    start_s, windows, sound = heard(frames(GOLDEN[f"{case}/pcm"], per_frame=per_frame))
    assert windows.dtype == np.float32 and len(windows) == window_count(Mel(), len(db))
    assert_same_db(rows_of(windows, len(db)), db)
    np.testing.assert_allclose(start_s, np.arange(len(windows)) * 87 * 512 / 44100)
    assert sound.samples == len(GOLDEN[f"{case}/pcm"]) and not sound.silent


def test_a_large_mean_changes_nothing():
    samples = noise(60_000) // 9
    _, plain, _ = heard(frames(samples))
    _, shifted, _ = heard(frames(samples + np.int16(31_000)))
    assert_same_db(shifted, plain)


@pytest.mark.parametrize("samples", [np.zeros(9000, np.int16), np.full(9000, 1234, np.int16)], ids=["zero", "mean"])
def test_digital_silence_is_silent_and_its_spectrogram_the_authors(samples):
    _, windows, sound = heard(frames(samples))
    assert sound.silent
    np.testing.assert_allclose(rows_of(windows, 18), np.full((18, 128), -100.0), atol=1e-5)


@pytest.mark.parametrize(("peak", "silent"), [(3, True), (4, False)])
def test_a_coders_dither_is_silence(peak, silent):
    samples = np.tile(np.array([peak, -peak], np.int16), 5000)
    assert heard(frames(samples))[2].silent is silent


def test_a_file_without_sound_has_no_windows():
    sound = Sound(Mel())
    assert list(sound.finish()) == [] and sound.silent and sound.samples == 0


def test_the_number_of_windows_is_the_authors():
    for n_rows in range(1, 3000):
        k = n_rows // 176 + 1
        assert window_count(Mel(), n_rows) == 2 * k + 2 * k // 87
    assert window_count(Mel(rows=176, step=11), 457) == 33


def test_windows_of_nothing_but_padding_can_be_dropped():
    samples = noise(176 * 512)  # 177 rows; the authors fill up to 352, then 435
    kept, dropped = heard(frames(samples))[1], heard(frames(samples), Mel(tail="drop"))[1]
    assert (len(kept), len(dropped)) == (4, 3)
    np.testing.assert_array_equal(dropped, kept[:3])
    assert not kept[3].any() and dropped[2].any()


def test_the_finer_step_cuts_the_same_spectrogram():
    samples = noise(5 * 44100)
    rows = rows_of(heard(frames(samples))[1], 431)
    start_s, windows, _ = heard(frames(samples), Mel(rows=176, step=11))
    assert windows.shape == ((528 - 176) // 11 + 1, 176, 128)
    np.testing.assert_array_equal(windows[20], rows[220:396])
    np.testing.assert_allclose(start_s[20], 220 * 512 / 44100)


def test_stereo_is_averaged_as_ffmpeg_does():
    left, right = noise(30_000, 1), noise(30_000, 2)
    both = heard(frames(np.stack([left, right], 1), layout="stereo"))[1]
    # swresample rounds halves up or down as its dither has it: one step, of 9000.
    mono = heard(frames(((left.astype(int) + right + 1) // 2).astype(np.int16)))[1]
    assert np.abs(both - mono).mean() < 0.01


def test_format_rate_and_layout_may_change_midway():
    parts = [
        *frames(noise(44100)),
        *frames(noise(48000), rate=48000),
        *frames(noise(32000).reshape(-1, 2), layout="stereo"),
    ]
    parts += frames(noise(8000), rate=8000)
    assert heard(iter(parts))[2].samples == pytest.approx(44100 + 44100 + 16000 + 44100, abs=4)  # of rounding


def test_times_that_jump_close_the_gap():
    pieces = list(frames(noise(40_000), rate=48000))
    for frame, pts in zip(pieces, [0, 0, 99_000, -7, None] * 8):
        frame.pts = pts
    assert heard(iter(pieces))[2].samples == pytest.approx(40_000 * 44100 / 48000, abs=2)


def test_sound_that_starts_after_the_file_says_so():
    pieces = list(frames(noise(44100)))
    for frame in pieces:
        frame.pts += 3 * 44100
    assert heard(iter(pieces), origin_s=Fraction(1))[0][0] == 2.0
    assert heard(iter(pieces))[0][0] == 0.0


def test_two_views_hear_the_same_frames():
    ears = [Sound(Mel()), Sound(Mel(rows=176, step=11))]
    for frame in frames(noise(44100), rate=22050):
        for sound in ears:
            sound.push(frame)
    assert [sum(len(windows) for _, windows in sound.finish()) for sound in ears] == [2, 1]
    assert ears[0].samples == ears[1].samples == 88200


@pytest.mark.slow
def test_long_sound_takes_no_more_memory_than_short():
    code = """
import resource, sys
import numpy as np
from sounds import frames, noise
from ndvr.models.card import Mel
from ndvr.operators.video import _sound as sound
sound.SPOOL_BYTES = 1 << 20
minute = noise(44100 * 60)
for minutes in (2, 15):
    ears = sound.Sound(Mel())
    for _ in range(minutes):
        for frame in frames(minute, per_frame=44100):
            ears.push(frame)
    print(sum(len(windows) for _, windows in ears.finish()))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": python_path()},
    )
    few, small, many, large = map(int, done.stdout.split())
    assert (few, many) == (119, 892)
    assert large - small < 30_000  # kB; the spectrogram of the longer one takes 40 MB


def sound_file(path: Path, *, channels: tuple[str, ...], default: int | None = None) -> Path:
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("aac", rate=44100, layout=layout) for layout in channels]
        for number, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
        for stream, layout in zip(streams, channels):
            for frame in frames(np.tile(noise(4096)[:, None], len(av.AudioLayout(layout).channels)), layout=layout):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("default", "chosen"), [(None, 1), (2, 2)])
def test_of_several_streams_the_default_then_the_one_with_most_channels(tmp_path, default, chosen):
    path = sound_file(tmp_path / "a.mkv", channels=("mono", "stereo", "mono", "stereo"), default=default)
    with av.open(str(path)) as container:
        assert best_sound(container).index == chosen


def test_a_picture_without_sound_has_no_best_stream(tmp_path):
    with av.open(str(numbered_clip(tmp_path / "a.mp4", n_frames=3))) as container:
        assert best_sound(container) is None


def test_the_sound_of_a_video_is_heard_from_its_file(tmp_path):
    path = numbered_clip(tmp_path / "a.mp4", n_frames=75, audio_s=3.0)
    with av.open(str(path)) as container:
        start_s, windows, sound = heard(container.decode(best_sound(container)))
    assert sound.samples == pytest.approx(3 * 44100, abs=2048) and not sound.silent
    assert windows[0][40:130].mean(0).argmax() == np.argmax(filterbank(Mel())[round(440 / 44100 * 1024)])


def test_all_reference_spectrograms_beside_the_project(shared):
    reference = np.load(shared / "golden" / "ausil" / "mel.npz")
    cases = [key.removesuffix("__pcm") for key in reference if key.endswith("__pcm")]
    for case in cases:
        _, windows, _ = heard(frames(reference[f"{case}__pcm"]))
        assert len(windows) == reference[f"{case}__n_segments"]
        assert_same_db(rows_of(windows, len(reference[f"{case}__db"])), reference[f"{case}__db"])
    np.testing.assert_allclose(
        heard(frames(reference["sine_noise_5s3__pcm"]))[1], reference["sine_noise_5s3__segments"][:, 0], atol=WORST_DB
    )
    np.testing.assert_allclose(filterbank(Mel()).T, reference["mel_filterbank"], atol=2e-7)
    counts = [window_count(Mel(), int(n_rows)) for n_rows in reference["segcount_T"]]
    np.testing.assert_array_equal(counts, reference["segcount_N"])


def test_samples_of_other_rates_and_layouts_are_those_of_ffmpeg(shared, monkeypatch):
    reference = np.load(shared / "golden" / "ausil" / "pcm_downmix_resample.npz")
    layouts = {1: "mono", 2: "stereo", 6: "5.1"}
    for case in [key.removesuffix("_in") for key in reference if key.endswith("_in")]:
        given, wanted = reference[f"{case}_in"], reference[f"{case}_out"].astype(int)
        sound, found = Sound(Mel()), []
        monkeypatch.setattr(sound._power, "push", lambda samples, kept=found: kept.append(samples) or samples[:0])
        for frame in frames(given, rate=int(reference[f"{case}_sr"]), layout=layouts[given.shape[1]]):
            sound.push(frame)
        sound.finish()
        # Exact where nothing is resampled; versions of swresample differ by two steps of 16 bit.
        np.testing.assert_allclose(np.concatenate(found), wanted, atol=0 if case.endswith("44k1") else 2)
