"""Drawing a few videos, and estimating totals from them."""

import numpy as np
import pytest

from ndvr.models.card import Frames
from ndvr.operators.video.headers import Header
from ndvr.pipeline.estimate._header_sample import HeaderSample, draw, ratio, resampled_ratios, sample_size


def test_chances_go_with_weights_and_the_largest_are_always_in():
    picked, chance = draw(np.array([1.0, 1, 1, 1, 100]), 3, np.random.default_rng(0))
    assert chance.tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]
    assert len(picked) == 3 and 4 in picked


def test_each_item_comes_as_often_as_its_chance_says():
    rng, weights = np.random.default_rng(0), np.arange(1.0, 21.0)
    counts = np.zeros(20)
    for _ in range(3000):
        picked, chance = draw(weights, 5, rng)
        assert len(picked) == 5
        counts[picked] += 1
    # Three standard deviations of the rarest count, 3000 draws at 0.024, are 0.0084.
    np.testing.assert_allclose(counts / 3000, chance, atol=0.03)


def test_a_sample_of_all_is_all_and_leaves_nothing_to_chance():
    picked, chance = draw(np.ones(4), 9, np.random.default_rng(0))
    assert picked.tolist() == [0, 1, 2, 3] and chance.tolist() == [1, 1, 1, 1]
    draws = np.random.default_rng(0).integers(0, 4, (100, 4))
    ratios = resampled_ratios(np.array([1.0, 5, 2, 9]), np.ones(4), np.ones(4), draws=draws, share=1.0)
    assert ratios.tolist() == [17 / 4] * 100


def test_a_ratio_weighs_what_was_drawn_rarely():
    assert ratio(np.array([1.0, 4.0]), np.array([1.0, 2.0]), np.array([3.0, 1.0])) == 7 / 5
    assert ratio(np.zeros(0), np.zeros(0), np.zeros(0)) == 0


@pytest.mark.parametrize(
    ("sample", "n_videos", "count"),
    [("1%", 200, 8), ("1%", 5, 5), ("1%", 3000, 30), ("40", 200, 40), ("1%", 10**6, 100), ("50%", 100, 50)],
)
def test_a_share_gives_enough_and_not_too_many_and_a_number_what_it_says(sample, n_videos, count):
    assert sample_size(sample, n_videos) == count


def test_totals_of_many_videos_follow_from_the_headers_of_some():
    """Frames in proportion to bytes but for noise: 300 headers of 20,000 tell the total."""
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.normal(15, 1.5, 20_000))
    frames = sizes * rng.uniform(0.5, 1.5, len(sizes)) / 1000
    picked, chance = draw(np.sqrt(sizes), 300, rng)
    headers = HeaderSample(
        n_all=len(sizes),
        bytes_all=int(sizes.sum()),
        views={"a": Frames()},
        rows=[{"methods": ["a"]} for _ in picked],
        headers=[Header(bytes=int(sizes[i]), codec="h264", frames=int(frames[i])) for i in picked],
        weight=1 / chance[picked],
    )
    total = headers.total(np.array([header.frames for header in headers.headers]))
    assert total == pytest.approx(frames.sum(), rel=0.1)  # 3 standard errors: 3 * 0.29 / sqrt(300) = 5 %, and more
    assert headers.facts().codecs == {"h264": 20_000}
