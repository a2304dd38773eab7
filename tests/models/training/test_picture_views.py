"""S2VS's views of frames: the authors' odds and names, and nothing that hangs on who computes what."""

import numpy as np
import pytest

from ndvr import models
from ndvr.models.training.picture_views import KINDS, PictureViews, kinds_of, video_in_video
from ndvr.models.training.views import changed_in_time

FOUR = np.random.default_rng(0).integers(0, 256, (4, 24, 6, 8, 3), np.uint8).repeat(16, 2).repeat(16, 3)  # (96, 128)
STILL = FOUR[:, :1].repeat(24, 1)


@pytest.fixture(scope="module")
def backbone():
    return models.load("s2vs", "random", parts=("embed",), backbone="lite0", pca="none")


def pictures(backbone, kinds, films, *, seed=0, threads=2):
    views = PictureViews(backbone, frozenset(kinds), threads=threads)
    return views.pictures([(film, film) for film in films], 8, np.random.default_rng(seed))


@pytest.mark.slow
def test_features_of_a_batch_are_the_same_with_any_number_of_threads(backbone):
    batches = [
        PictureViews(backbone, frozenset(KINDS), threads=threads).batch(
            [(film, film) for film in FOUR[:2]], 4, np.random.default_rng(1)
        )
        for threads in (1, 3)
    ]
    np.testing.assert_array_equal(batches[0][0], batches[1][0])
    assert batches[0][0].shape == (4, 4, 9, 768) and batches[0][1].shape == (2, 2)


@pytest.mark.parametrize(("kind", "frames_alike"), [("GT", True), ("FT", False), ("ViV", True)])
def test_a_global_transformation_is_one_for_all_frames_and_that_of_a_frame_its_own(backbone, kind, frames_alike):
    """Of videos that stand still: crops, flips and RandAugment leave them so, text and blur do not."""
    clips, _ = pictures(backbone, {kind}, STILL, seed=2)
    plain, _ = pictures(backbone, set(), STILL, seed=2)
    for weak in clips[:4]:
        assert (weak == weak[0]).all()
    assert all((strong == strong[0]).all() for strong in clips[4:]) == frames_alike
    assert any((strong != same).any() for strong, same in zip(clips[4:], plain[4:]))


def test_changes_of_time_show_frames_in_another_order_or_black_or_noise(backbone):
    """Frame n is of the grey 10 + n: the number of a frame that is shown can be read."""
    films = [np.full((24, 64, 64, 3), 1, np.uint8) * (10 + np.arange(24, dtype=np.uint8))[:, None, None, None]] * 24
    clips, _ = pictures(backbone, {"TT"}, films)
    shown = [clip[:, 100, 100, 0].astype(int) - 10 for clip in clips]
    steps = [np.diff(numbers) for numbers in shown]
    assert all((each == 1).all() for each in steps[:24])  # weak views
    assert any((each == -1).all() for each in steps[24:])  # reversed
    assert any((each == 0).sum() >= 3 for each in steps[24:])  # slow, or paused
    assert any((numbers == -10).any() for numbers in shown[24:])  # black
    assert any((clip[..., 0] != clip[..., 1]).any() for clip in clips[24:])  # noise


def test_changes_of_time_have_the_authors_odds():
    numbers = np.arange(64)
    changed = [changed_in_time(numbers, np.random.default_rng(seed)) for seed in range(1000)]
    fast = sum(set(np.diff(each)) in ({2}, {3}) for each in changed)
    slow = sum(len(each) == 128 for each in changed)
    backwards = sum(np.array_equal(each, numbers[::-1]) for each in changed)
    for count in (fast, slow, backwards):
        assert 70 < count < 130  # a tenth each; four standard deviations are 38


def test_a_video_in_a_video_fills_the_box_and_is_known_to_be_there():
    clips = [np.full((2, 100, 100, 3), 50 * number, np.uint8) for number in range(5)]
    made, pasted = [], 0
    for seed in range(40):
        made, shown = video_in_video(clips, np.random.default_rng(seed))
        for number, clip in enumerate(made):
            (hosts,) = np.nonzero(shown[number] * (np.arange(5) != number))
            pasted += len(hosts)
            assert set(np.unique(clip)) <= {50 * number, *(50 * hosts)}
            if len(hosts):
                assert 0.3 <= shown[number, hosts[0]] < 0.7 and (clip == 50 * number).mean() <= 0.7
    assert 0.2 < pasted / 200 < 0.4  # the odds are 0.3
    assert all((clip == 50 * number).all() for number, clip in enumerate(clips))  # what was given is as it was


def test_names_are_the_authors():
    assert kinds_of("GT, ViV") == {"GT", "ViV"} and kinds_of("") == frozenset()
    with pytest.raises(ValueError, match="unknown augmentation 'XX'; choose from GT, FT, TT, ViV"):
        kinds_of("GT,XX")
