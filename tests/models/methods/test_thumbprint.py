"""Thumbprint on small made-up moving pictures: edited copies must outrank everything that is not a copy."""

import numpy as np
import pytest

from ndvr import models
from ndvr.models.keys import NEGATIVE, Place

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 128


@pytest.fixture(scope="module")
def model():
    return models.load("thumbprint")


def smooth_noise(rng, side, cells):
    """Random values on a cells x cells lattice, interpolated: (side, side) in about [-1, 1]."""
    at = np.linspace(0, cells - 1.001, side)
    low, part = at.astype(int), at % 1
    lattice = rng.standard_normal((cells + 1, cells + 1))
    rows = lattice[low] * (1 - part)[:, None] + lattice[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def film(seed, n_frames=12):
    """A camera panning over its own landscape past two drifting discs: (T, 128, 128) uint8."""
    rng = np.random.default_rng(seed)
    world = sum(smooth_noise(rng, 256, c) * 60 / c**0.5 for c in (4, 8, 16, 32, 64))
    y, x = np.mgrid[:SIDE, :SIDE]
    start, step = rng.integers(0, 40, 2), rng.integers(2, 7, 2)
    discs = rng.uniform(20, 108, (2, 2)), rng.uniform(-5, 5, (2, 2)), rng.uniform(6, 16, 2)
    frames = []
    for t in range(n_frames):
        top, left = start + step * t
        frame = 128 + world[top : top + SIDE, left : left + SIDE]
        for centre, speed, radius in zip(*discs, strict=True):
            cy, cx = centre + speed * t
            frame = np.where((y - cy) ** 2 + (x - cx) ** 2 < radius**2, 230.0, frame)
        frames.append(frame)
    return np.clip(frames, 0, 255).astype(np.uint8)


def shrink(frames, height, width):
    """Nearest-neighbour, which is also the harshest."""
    rows = np.arange(height) * frames.shape[1] // height
    columns = np.arange(width) * frames.shape[2] // width
    return frames[:, rows][:, :, columns]


def inset(frames, background, top, left, height, width):
    """`frames` as a small picture on `background`."""
    out = background[: len(frames)].copy()
    out[:, top : top + height, left : left + width] = shrink(frames, height, width)
    return out


def border(frames, value=0):
    out = np.full_like(frames, value)
    out[:, 32:96] = shrink(frames, 64, SIDE)
    return out


def captioned(frames):
    out = frames.copy()
    out[:, 96:120, 10:118] = 255
    out[:, 104:112, 20:108:2] = 0
    return out


FILM, OTHER = film(1), film(2)
EDITS = {
    "mirrored": FILM[:, :, ::-1],
    "upside down": FILM[:, ::-1, ::-1],
    "turned 90 degrees": FILM.transpose(0, 2, 1)[:, ::-1],
    "negative": 255 - FILM,
    "dark": (FILM * 0.4).astype(np.uint8),
    "noisy": np.clip(FILM + np.random.default_rng(0).normal(0, 25, FILM.shape), 0, 255).astype(np.uint8),
    "cropped to a half": shrink(FILM[:, 20:110, 30:120], SIDE, SIDE),
    "letterboxed": border(FILM),
    "on a grey border": border(FILM, 90),
    "captioned": captioned(FILM),
    "picture in picture": inset(FILM, OTHER, 60, 10, 58, 58),
    "behind a picture": inset(OTHER, FILM, 0, 70, 58, 58),
    "beside another": inset(FILM, OTHER, 0, 0, 128, 64),
    "reversed": FILM[::-1],
    "twice as fast": FILM[::2],
    "a short part": FILM[4:8],
    "inside a longer film": np.concatenate([OTHER, FILM[3:9], film(3)]),
    "after black": np.concatenate([np.zeros_like(FILM), FILM]),
    "mirrored, cropped and letterboxed": border(shrink(FILM[:, 10:115, 105:5:-1], SIDE, SIDE)),
}


def signature(model, frames):
    return model.signature(model.embed(np.ascontiguousarray(frames)))


@pytest.fixture(scope="module")
def strangers(model):
    return [signature(model, film(seed)) for seed in range(10, 16)]


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_outranks_strangers(model, strangers, edit):
    query = signature(model, EDITS[edit])
    scores = model.similarities(query, [signature(model, FILM), *strangers])
    assert scores[0] > 0.45, "12 nats are a half; less than about 10 can be chance"
    assert scores[0] > 1.3 * scores[1:].max()


@pytest.mark.slow
def test_flat_videos_match_nothing_not_even_each_other(model):
    flat = [signature(model, np.full((8, SIDE, SIDE), v, np.uint8)) for v in (0, 0, 128, 255)]
    for video in flat:
        assert (model.similarities(video, [*flat, signature(model, FILM)]) < 0.01).all()


def test_noise_and_single_frames_give_finite_scores(model):
    noise = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE), dtype=np.uint8)
    videos = [signature(model, v) for v in (noise, FILM[:1], np.zeros((1, SIDE, SIDE), np.uint8), FILM)]
    for video in videos:
        scores = model.similarities(video, videos)
        assert ((scores >= 0) & (scores <= 1)).all()
    assert model.similarity(videos[1], videos[3]) > 0.5, "one frame finds its film"


def test_a_second_of_video_takes_at_most_1024_bytes(model):
    features = model.embed(FILM)
    assert features.dtype == np.uint8
    assert features[0].nbytes * model.view.windows_per_s <= 1024


def test_codes_depend_on_their_own_frame_only(model):
    together = model.embed(FILM)
    np.testing.assert_array_equal(together, np.concatenate([model.embed(FILM[i : i + 1]) for i in range(len(FILM))]))


def test_scores_depend_neither_on_the_batch_nor_on_the_order_of_the_pair(model, strangers):
    query = signature(model, EDITS["picture in picture"])
    targets = [signature(model, FILM), *strangers[:2]]
    batch = model.similarities(query, targets)
    np.testing.assert_array_equal(batch, [model.similarity(query, t) for t in targets])
    np.testing.assert_array_equal(batch, [model.similarity(t, query) for t in targets])


@pytest.mark.slow
def test_a_comparison_that_may_stop_early_says_the_same_of_copies_and_stays_below_for_others(model, strangers):
    film = signature(model, FILM)
    edits = [signature(model, EDITS[edit]) for edit in ("mirrored", "picture in picture", "inside a longer film")]
    for video in (*edits, *strangers):
        whole, early = model.judge(video, film), model.judge(video, film, least=0.5)
        if whole.score >= 0.5:
            assert (early.score, early.box, early.turn) == (whole.score, whole.box, whole.turn)
            np.testing.assert_array_equal(early.matrix, whole.matrix)
        else:
            assert early.score < 0.5
    assert [model.judge(video, film, least=0.5).score >= 0.5 for video in (edits[0], strangers[0])] == [True, False]


def test_the_matrix_shows_when_the_copy_plays(model):
    matrix = model.matrix(signature(model, FILM[4:10]), signature(model, EDITS["mirrored"]))
    assert matrix.shape == (6, 12)
    np.testing.assert_array_equal(matrix.argmax(1), np.arange(4, 10))


@pytest.mark.slow
def test_a_video_longer_than_one_part_is_searched_to_its_end(model):
    long = np.concatenate([film(7, 4)] * 155 + [FILM[:8]])
    scores = model.similarities(signature(model, FILM), [signature(model, long), signature(model, film(8))])
    assert len(long) > 600
    assert scores[0] > 0.5 > scores[1]


WHOLE, SMALL = (0.0, 0.0, 1.0, 1.0), (-0.39, 0.39, 0.453, 0.453)


@pytest.mark.parametrize(
    ("edit", "placement"), [("noisy", WHOLE), ("captioned", WHOLE), ("negative", WHOLE), ("picture in picture", SMALL)]
)
def test_a_look_at_the_proposed_placement_leaves_the_copy_and_drops_others(model, edit, placement):
    turn = NEGATIVE if edit == "negative" else 0
    places = [Place(query_window=k, video_window=k, placement=placement, turn=turn) for k in (2, 6, 10)]
    videos = [model.embed(each) for each in (FILM, film(7), film(8))]
    assert model.spot(model.embed(EDITS[edit]), videos, [places] * 3).tolist() == [True, False, False]


def test_a_copy_with_a_plate_over_its_middle_is_worth_comparing_wherever_votes_place_it(model):
    covered = FILM.copy()
    covered[:, 24:104, 24:104] = 220  # 39 % of the picture
    wrong = [Place(query_window=k, video_window=11 - k, placement=(0.5, -0.5, 0.4, 0.4), turn=1) for k in (2, 6, 10)]
    videos = [model.embed(each) for each in (FILM, film(7), film(8))]
    assert model.spot(model.embed(covered), videos, [wrong] * 3).tolist() == [True, False, False]
