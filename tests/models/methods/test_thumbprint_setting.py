"""Two videos in one setting are no copies, whatever they share; copies of them are, and copies of still pictures."""

import clip_library as clips
import numpy as np
import pytest

from ndvr import models

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE, FRAMES = 128, 20
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]


@pytest.fixture(scope="module")
def model():
    return models.load("thumbprint")


def scene(seed, *, still=False):
    """A camera that swings over a picture of its own: (T, 128, 128)."""
    frames = clips.scene(seed, FRAMES / clips.FPS, size=(SIDE, SIDE), still=still)[..., 0]
    return frames[:FRAMES] if still else np.concatenate([frames[::2], frames[::-2]])


def text(rng, page, top, bottom, left, right, *, ink=0):
    for line in range(top, bottom, 10):
        at = left
        while at < right:
            word = int(rng.integers(6, 22))
            page[line : line + 5, at : min(at + word, right)][rng.random((5, min(word, right - at))) < 0.6] = ink
            at += word + 3
    return page


def deck(seed, template):
    """Five pages of text, of four frames each."""
    rng = np.random.default_rng(seed)
    return np.concatenate([np.repeat(template(rng)[None], FRAMES // 5, 0) for _ in range(5)])


def white(rng):
    page = np.full((SIDE, SIDE), 250.0)
    page[:18], page[6:11, 8:70:3], page[108:124, 108:124] = 60, 255, 110
    return text(rng, page, 28, 28 + 10 * int(rng.integers(6, 8)), 10, 100)


def dark(rng):
    page = np.full((SIDE, SIDE), 25.0) + 40 * ((ROWS + COLUMNS) % 16 < 3) * (ROWS < 26)
    page[26:29] = 190
    return text(rng, page, 36, 36 + 10 * int(rng.integers(6, 9)), 8, 120, ink=230)


def with_sidebar(rng):
    page = np.full((SIDE, SIDE), 240.0)
    page[:, :32] = 90 + 60 * (ROWS[:, :32] % 13 < 6)
    page[(ROWS - 108) ** 2 + (COLUMNS - 108) ** 2 < 160] = 70
    return text(rng, page, 10, 10 + 10 * int(rng.integers(7, 9)), 38, 120)


def before(setting, seed, people):
    """So many people (each a moving picture through an oval) who walk before a still picture."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(scene(setting, still=True)[:1], FRAMES, 0).astype(float)
    for number in range(people):
        low, high = (50, 78) if people == 1 else (15, 113)
        across = (low + high) / 2 + (high - low) / 2 * np.sin(np.arange(FRAMES) / rng.uniform(3, 8) + rng.uniform(0, 6))
        inside = ((COLUMNS - across[:, None, None]) / (24 if people == 1 else 9)) ** 2 + ((ROWS - 84) / 40) ** 2 < 1
        frames = np.where(inside, scene(1000 + 10 * seed + number), frames)
    return frames + rng.normal(0, 1.5, frames.shape)


def framed(setting, seed):
    """A film in a frame with words above and below."""
    page = text(np.random.default_rng(setting), np.full((SIDE, SIDE), 220.0), 4, 30, 6, 122)
    page = text(np.random.default_rng(setting + 1), page, 98, 124, 6, 122)
    frames = np.repeat(page[None], FRAMES, 0)
    frames[:, 34:94, 24:104] = scene(2000 + seed)[:, 34:94, 24:104]
    return frames


SETTINGS = {
    "white slides": lambda seed: deck(seed, white),
    "dark slides": lambda seed: deck(seed, dark),
    "slides with a sidebar": lambda seed: deck(seed, with_sidebar),
    "a studio": lambda seed: before(300, seed, 1),
    "a camera that stands still": lambda seed: before(301, seed, 3),
    "a frame with words": lambda seed: framed(302, seed),
}


def captioned(frames):
    out = frames.copy()
    out[:, 4:20, 8:120] = 255
    out[:, 8:16, 14:112:3] = 0
    return out


def with_inset(frames):
    out = frames.copy()
    out[:, 86:124, 86:124] = scene(77)[:, ::3, ::3][:, :38, :38]
    return out


COPIES = {
    "noisy": lambda frames: frames + np.random.default_rng(0).normal(0, 8, frames.shape),
    "pale": lambda frames: frames * 0.7 + 50,
    "mirrored": lambda frames: frames[:, :, ::-1],
    "captioned": captioned,
    "trimmed": lambda frames: frames[5:17],
}


def signature(model, frames):
    return model.signature(model.embed(np.ascontiguousarray(np.clip(frames, 0, 255).astype(np.uint8))))


@pytest.mark.parametrize("setting", SETTINGS)
def test_another_video_in_the_same_setting_is_no_copy_and_a_copy_is_one(model, setting):
    video = SETTINGS[setting](1)
    query = signature(model, video)
    others = model.similarities(query, [signature(model, SETTINGS[setting](seed)) for seed in (2, 3)])
    copies = model.similarities(query, [signature(model, edit(video)) for edit in COPIES.values()])
    assert others.max() < 0.5, others
    assert copies.min() > 0.5, dict(zip(COPIES, copies))
    assert copies[0] > others.max() + 0.3, "the one that is only noisy"


@pytest.mark.parametrize("edit", [*COPIES.values(), with_inset], ids=[*COPIES, "under an inset"])
def test_a_still_picture_is_copied_with_whatever_moves_over_it(model, edit):
    photo = scene(400, still=True)
    assert model.similarity(signature(model, photo), signature(model, edit(photo))) > 0.5


def test_a_score_in_a_setting_is_the_same_from_both_sides(model):
    videos = [signature(model, SETTINGS["a studio"](seed)) for seed in (1, 2)]
    assert model.similarity(*videos) == model.similarity(*videos[::-1])
    assert model.judge(*videos).score == pytest.approx(model.similarity(*videos), abs=1e-6)
