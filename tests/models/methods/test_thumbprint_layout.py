"""Pictures in pictures, and what stickers hide, are looked up by rectangles that a query shows."""

import clip_library as clips
import numpy as np
import pytest
import torch

from ndvr import models
from ndvr.models.methods.thumbprint import _layout as layout
from ndvr.models.methods.thumbprint._search import SIDE, thumbnails

pytestmark = pytest.mark.usefixtures("one_thread")

WINDOW, FRAMES = 128, 12
RECTANGLES = [(10, 74, 52, 116), (40, 128, 0, 80), (0, 128, 0, 61), (6, 44, 83, 121)]  # top, bottom, left, right


@pytest.fixture(scope="module")
def model():
    return models.load("thumbprint")


def film(seed):
    return clips.scene(seed, FRAMES / clips.FPS, size=(WINDOW, WINDOW))[:FRAMES, ..., 0]


def over(front, back, rectangle):
    """Put pictures into a rectangle of others."""
    top, bottom, left, right = rectangle
    rows, columns = (np.arange(n) * WINDOW // n for n in (bottom - top, right - left))
    frames = back.copy()
    frames[:, top:bottom, left:right] = front[:, rows][:, :, columns]
    return frames


def plate(back, rectangle):
    top, bottom, left, right = rectangle
    frames = back.copy()
    frames[:, top:bottom, left:right] = 230
    frames[:, top + 8 : bottom - 8, left + 12 : right - 12] = 20
    return frames


def share(first, second):
    """Intersection of two rectangles over their union."""
    low, high = np.maximum(first, second), np.minimum(first, second)
    area = [(each[1] - each[0]) * (each[3] - each[2]) for each in (first, second)]
    both = max(high[1] - low[0], 0) * max(high[3] - low[2], 0)
    return both / (sum(area) - both)


@pytest.mark.parametrize("rectangle", RECTANGLES, ids=str)
def test_a_picture_in_a_picture_is_among_the_rectangles(model, rectangle):
    codes = model.embed(over(film(1), film(2), rectangle))
    images = thumbnails(torch.as_tensor(codes))[:, 1:].unflatten(1, (SIDE, SIDE))
    found = layout.rectangles(images, most=16).numpy() * WINDOW / SIDE
    assert max(share(each, rectangle) for each in found) > 0.8


def test_a_picture_of_one_grey_has_no_rectangles():
    assert layout.rectangles(torch.zeros(3, SIDE, SIDE), most=16).shape == (0, 4)


def test_a_filled_rectangle_goes_on_as_its_surroundings_do():
    ramp = torch.arange(SIDE).float().expand(2, SIDE, SIDE).contiguous()
    hidden = ramp.clone()
    hidden[:, 12:30, 8:25] = 500
    torch.testing.assert_close(layout.filled(hidden, [12, 30, 8, 25]), ramp, atol=1e-3, rtol=0)
    # To the border of the picture nothing is known: grey levels go on level.
    side = layout.filled(torch.where(torch.arange(SIDE) < 10, 500.0, 7.0).expand(1, SIDE, SIDE), [0, SIDE, 0, 10])
    torch.testing.assert_close(side, torch.full((1, SIDE, SIDE), 7.0), atol=1e-3, rtol=0)


def alike(model, query, video):
    """The best likeness of a video's keys to probes of boxes, and to those of layouts."""
    probes, keys = model.probes(model.embed(query)), model.keys(model.embed(video))
    best = (probes.vectors @ keys.vectors.T).max(1)
    return [float(np.median(np.sort(best[probes.ballots == ballot])[-6:])) for ballot in (0, 1)]


@pytest.mark.parametrize("rectangle", RECTANGLES[:2], ids=str)
def test_a_small_picture_in_another_looks_like_its_original(model, rectangle):
    boxes, layouts = alike(model, over(film(3), film(4), rectangle), film(3))
    assert layouts > 0.75 and layouts > boxes


@pytest.mark.parametrize("rectangle", [(32, 96, 32, 96), (24, 94, 10, 92)], ids=str)
def test_a_picture_under_a_sticker_looks_like_its_original(model, rectangle):
    boxes, layouts = alike(model, plate(film(3), rectangle), film(3))
    assert layouts > 0.6 and layouts > boxes


def test_a_fast_search_looks_up_layouts_and_a_tenth_of_all(model):
    features = model.embed(over(film(6), film(7), RECTANGLES[0]))
    every, few = model.probes(features), model.probes(features, fast=True)
    assert len(few) < len(every) / 8
    assert (few.ballots == 1).sum() == (every.ballots == 1).sum() > 0
