"""Placements of a candidate, and the turn that brings its picture into the query's."""

import numpy as np
import pytest

from ndvr.models.methods.thumbprint._search import turn
from ndvr.operators.index.votes import inverse, placement


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
