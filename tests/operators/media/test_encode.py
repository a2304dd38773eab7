"""Written videos read back as what was put in."""

from fractions import Fraction

import av
import numpy as np
import pytest
from clips import numbered_clip, read_number

from ndvr.operators.media.clip import change_tempo, read_clip
from ndvr.operators.media.encode import exact_rate, tone, write_video


def numbers_in(path) -> list[int]:
    with av.open(str(path)) as container:
        return [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts", "a.webm", "a.avi", "a.mpg", "a.wmv"])
def test_every_container_gives_all_numbered_frames_back_in_order(tmp_path, name):
    assert numbers_in(numbered_clip(tmp_path / name, n_frames=40, audio_s=1.0)) == list(range(40))


def test_explicit_times_are_kept(tmp_path):
    times_s = [0, 0.1, 0.5, 0.52, 2]
    path = numbered_clip(tmp_path / "a.mp4", n_frames=5, times_s=times_s)
    with av.open(str(path)) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(times_s)


def test_a_later_start_moves_every_frame(tmp_path):
    path = numbered_clip(tmp_path / "a.mkv", n_frames=3, start_s=1.5)
    with av.open(str(path)) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx([1.5, 1.54, 1.58])


def test_odd_sides_grow_by_one_line(tmp_path):
    write_video(tmp_path / "a.mp4", [np.zeros((47, 63, 3), np.uint8)] * 3, fps=25)
    assert read_clip(tmp_path / "a.mp4").size == (64, 48)


def test_sound_comes_back_without_delay(tmp_path):
    sound = tone(1.0, hz=300)
    write_video(tmp_path / "a.mp4", [np.zeros((48, 64, 3), np.uint8)] * 25, fps=25, audio=sound)
    clip = read_clip(tmp_path / "a.mp4")
    assert clip.audio.shape == sound.shape
    # AAC is lossy; a delay of one sample would be 0.03 off, its usual priming of 1024 far more.
    assert np.abs(clip.audio - sound)[:, 2000:-2000].max() < 0.02


def test_a_video_without_frames_is_refused_and_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "a.mp4", [], fps=25)
    assert list(tmp_path.iterdir()) == []


def test_rates_of_television_become_exact():
    assert exact_rate(29.97) == Fraction(30000, 1001)
    assert exact_rate(23.976) == Fraction(24000, 1001)
    assert (exact_rate(25), exact_rate(12.5)) == (25, Fraction(25, 2))


def test_a_faster_tempo_keeps_the_pitch():
    faster = change_tempo(tone(2.0, hz=440), 44100, 1.25)
    assert faster.shape == (2, round(2.0 / 1.25 * 44100))
    peak_hz = np.argmax(np.abs(np.fft.rfft(faster[0]))) * 44100 / faster.shape[1]
    assert peak_hz == pytest.approx(440, abs=2)


def test_numbers_survive_a_small_size_and_the_centre_crop(tmp_path):
    import cv2

    path = numbered_clip(tmp_path / "a.mp4", n_frames=9, numbers=[0, 1, 2, 255, 256, 1000, 4094, 4095, 7])
    for frame, number in zip(read_clip(path).frames, [0, 1, 2, 255, 256, 1000, 4094, 4095, 7]):
        assert read_number(cv2.resize(frame, (48, 32), interpolation=cv2.INTER_AREA)) == number
        window = cv2.resize(frame, (342, 256), interpolation=cv2.INTER_CUBIC)[16:240, 59:283]
        assert read_number(window, seen=(224 / 342, 224 / 256)) == number


def test_a_picture_without_a_number_is_an_error():
    with pytest.raises(ValueError, match="no frame number"):
        read_number(np.zeros((48, 64, 3), np.uint8))
