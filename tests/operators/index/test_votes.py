"""Placements of a candidate, and the turn that brings its picture into the query's."""

import numpy as np
import pytest

from ndvr.models.keys import Keys
from ndvr.models.methods.thumbprint._search import turn
from ndvr.operators.index.votes import Sightings, elect, inverse, placement


@pytest.mark.parametrize("g", range(8))
def test_the_inverse_of_a_turn_undoes_it(g):
    import torch

    picture = torch.arange(9.0).reshape(3, 3)
    assert torch.equal(turn(turn(picture, g), int(inverse(np.array([g]))[0])), picture)


def placed(query_box, video_box, g=0):
    return placement(np.array([query_box], float), np.array([video_box], float), np.array([g]))[0].tolist()


def test_a_whole_video_in_a_box_of_the_query_lies_in_that_box():
    assert placed((0.5, -0.5, 0.5, 0.4), (0, 0, 1, 1)) == [0.5, -0.5, 0.5, 0.4]


def test_a_query_that_shows_the_middle_half_is_a_crop():
    assert placed((0, 0, 1, 1), (0, 0, 0.5, 0.5)) == [0, 0, 2, 2]


def test_a_quarter_turn_exchanges_width_and_height():
    assert placed((0, 0, 1, 1), (0, 0, 1, 0.5), g=5) == [0, 0, 2, 1]


def elected(
    seen: dict[int, dict[int, float]], *, top: int, common: bool = False, ballots: np.ndarray | None = None
) -> list[int]:
    """The videos elected by a query of 25 windows; seen[video][window] is how alike a picture of a video is."""
    n = 25
    whole = np.array([[0, 0, 1, 1]], np.float32)
    probes = Keys(
        vectors=np.zeros((n, 8), np.float32), windows=np.arange(n, dtype=np.int32), boxes=np.repeat(whole, n, 0),
        turns=np.zeros(n, np.int8), novelty=np.ones(n, np.float32), ballots=ballots,
    )  # fmt: skip
    rows = sorted((w, -alike, video) for video, of in seen.items() for w, alike in of.items())
    window, likeness, video = (np.array(each) for each in zip(*rows))
    hits = Sightings(
        probe=window, segment=np.zeros_like(video), row=video, window=window.astype(np.int32),
        likeness=-likeness.astype(np.float32), novelty=np.full(len(video), 255, np.uint8),
        box=np.repeat(whole, len(video), 0),
    )  # fmt: skip
    return [candidate.row for candidate in elect(probes, [hits], top=top, common=common)]


def test_an_intro_that_many_videos_show_does_not_fill_the_list():
    intro = {video: dict.fromkeys(range(10), 0.95) for video in range(60)}
    weak_copy = {100: dict.fromkeys((14, 17, 20), 0.75)}
    assert elected(intro | weak_copy, top=50)[0] == 100
    on_purpose = elected(intro | weak_copy, top=60, common=True)
    assert set(on_purpose) == set(range(60))


def test_a_video_that_is_there_sixty_times_is_found_sixty_times():
    copies = {video: dict.fromkeys(range(25), 0.85) for video in range(60)}
    alike_at_times = {100 + n: {n: 0.7} for n in range(20)}
    assert set(elected(copies | alike_at_times, top=60)) == set(range(60))


def test_ballots_take_turns_so_that_many_probes_do_not_outvote_few():
    by_many = {video: dict.fromkeys(range(20), 0.9 - video / 100) for video in range(8)}
    by_few = {video: dict.fromkeys(range(22, 25), 0.8 - video / 100) for video in (10, 11)}
    both = {4: by_many[4] | dict.fromkeys((23, 24), 0.6)}
    ballots = np.array([0] * 20 + [1] * 5, np.int8)
    assert elected(by_many | by_few | both, top=10) == [*range(8), 10, 11]
    assert elected(by_many | by_few | both, top=6, ballots=ballots) == [0, 10, 1, 11, 2, 4]
