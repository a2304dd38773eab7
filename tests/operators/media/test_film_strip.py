"""Film strips: the frames are spread over the video, and no file can stop a report."""

import time

import cv2
import numpy as np
import pytest
from clips import ORIENTATIONS, numbered_clip, oriented_clip, read_number

from ndvr.operators.media.film_strip import film_strip, film_strips, picture_size


def numbers_on(jpeg, frames=6):
    """The frame numbers shown, left to right; frames are 96 x 72 with gaps of 2."""
    strip = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert strip.shape == (72, frames * 96 + (frames - 1) * 2, 3)
    return [read_number(strip[:, i * 98 : i * 98 + 96]) for i in range(frames)]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2, 40])  # read through; sought
def test_frames_are_spread_evenly_whatever_the_length(tmp_path, seconds):
    path = numbered_clip(tmp_path / "a.mp4", n_frames=25 * seconds, options={"g": "50"})
    step = 25 * seconds / 6
    ideal = [(i + 0.5) * step for i in range(6)]
    # Read through, one frame in two is kept; sought, the first frame not before the time is taken.
    assert numbers_on(film_strip(str(path))) == pytest.approx(ideal, abs=3)


def test_a_video_of_two_frames_shows_both(tmp_path):
    path = numbered_clip(tmp_path / "a.mp4", n_frames=2)
    assert numbers_on(film_strip(str(path)), frames=2) == [0, 1]


def test_a_wide_video_is_not_distorted(tmp_path):
    jpeg = film_strip(str(numbered_clip(tmp_path / "a.mp4", n_frames=12, size=(128, 64))), frames=3, height=50)
    assert picture_size(jpeg) == (3 * 100 + 2 * 2, 50)


def test_frames_narrower_than_asked_stand_in_the_middle(tmp_path):
    jpeg = film_strip(
        str(numbered_clip(tmp_path / "a.mp4", n_frames=12, size=(64, 128))), frames=3, height=100, width=90
    )
    assert picture_size(jpeg) == (3 * 90 + 2 * 2, 100)
    strip = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert strip[:, :16].max() < 30 and strip[:, 74:88].max() < 30


@pytest.mark.slow
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_frames_are_shown_turned_and_mirrored_as_the_file_asks(tmp_path, orientation):
    path = oriented_clip(tmp_path / "a.mp4", orientation, n_frames=6, size=(96, 72))
    assert numbers_on(film_strip(str(path))) == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_files_that_are_no_videos_give_a_grey_strip(tmp_path):
    good = numbered_clip(tmp_path / "good.mp4", n_frames=10)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "page.mp4").write_text("<html>not found</html>")
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:200])
    names = ["empty.mp4", "nowhere.mp4", "page.mp4", "cut.mp4", "good.mp4"]
    strips = dict(film_strips([str(tmp_path / name) for name in names]))
    assert [uri.rsplit("/", 1)[1] for uri in strips] == names  # in order, though two workers share them
    *bad, right = strips.values()
    for jpeg in bad:
        strip = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert np.median(strip) == pytest.approx(128, abs=2)  # JPEG
        assert strip.max() > 200  # the reason is written on it
    assert len(numbers_on(right)) == 6


@pytest.mark.slow
def test_strips_are_made_by_several_processes_in_order(tmp_path):
    paths = [str(numbered_clip(tmp_path / f"{i}.mp4", n_frames=1, numbers=[i])) for i in range(5)]
    began = time.monotonic()
    assert [numbers_on(jpeg, frames=1) for _, jpeg in film_strips(paths, workers=3)] == [[i] for i in range(5)]
    assert time.monotonic() - began < 60
