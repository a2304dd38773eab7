"""Soundprint on made-up tunes: the same sound is found however it was changed, and nothing in what does not change."""

import numpy as np
import pytest
from sounds import RATE, frames, heard, noise, tune

from ndvr import models
from ndvr.operators.index.lines import find_lines

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return models.load("soundprint")


def at_speed(samples, speed):
    """As a tape played faster: time and pitch together."""
    at = np.arange(0, len(samples) - 1, speed)
    return np.interp(at, np.arange(len(samples)), samples).astype(np.int16)


def mixed(samples, other, db):
    """With another sound on top, `db` below it."""
    x, y = samples.astype(float), np.resize(other.astype(float), len(samples))
    both = x + y * np.sqrt((x**2).mean() / (y**2).mean()) * 10 ** (-db / 20)
    return (both / np.abs(both).max() * 25_000).astype(np.int16)


def features_of(model, samples):
    return model.embed(heard(frames(samples, rate=RATE), model.view)[1])


def signature_of(model, samples):
    return model.signature(features_of(model, samples))


EDITS = {
    "quiet": lambda x: (x * 0.03).astype(np.int16),
    "cut off at both ends": lambda x: x[int(2.37 * RATE) : int(6.9 * RATE)],
    "with hiss": lambda x: mixed(x, noise(len(x)), 6),
    "with other music on top": lambda x: mixed(x, tune(900), 3),
    "clipped": lambda x: np.clip(x.astype(float) * 8, -20_000, 20_000).astype(np.int16),
    "dull": lambda x: np.convolve(x, np.ones(12) / 12, "same").astype(np.int16),
    "3 % faster": lambda x: at_speed(x, 1.03),
    "5 % slower": lambda x: at_speed(x, 0.95),
    "inside another sound": lambda x: np.concatenate([tune(901, 6), x[RATE : 7 * RATE], tune(902, 9)]),
}


@pytest.fixture(scope="module")
def others(model):
    return [signature_of(model, tune(seed)) for seed in range(100, 106)]


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
def test_the_same_sound_is_found_however_it_was_changed(model, others, edit):
    source = tune(1)
    query = signature_of(model, EDITS[edit](source))
    assert model.similarity(query, signature_of(model, source)) > 0.6
    assert model.similarities(query, others).max() < 0.4


def test_another_tempo_at_the_same_pitch_is_found(model):
    query = signature_of(model, tune(1, tempo=1.25))
    assert model.similarity(query, signature_of(model, tune(1))) > 0.6


NOTHING = {
    "silence": np.zeros(8 * RATE, np.int16),
    "a tone": (8000 * np.sin(2 * np.pi * 440 * np.arange(8 * RATE) / RATE)).astype(np.int16),
    "a chord": sum(5000 * np.sin(2 * np.pi * hz * np.arange(8 * RATE) / RATE) for hz in (220, 277, 330)).astype(
        np.int16
    ),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_sound_that_does_not_change_cannot_be_judged(model, kind):
    features = features_of(model, NOTHING[kind])
    signature = model.signature(features)
    assert model.similarity(signature, signature) < 0.1
    assert len(model.probes(features)) == len(model.keys(features)) == 0


def test_the_picture_of_a_pair_shows_where_they_agree(model):
    source = tune(3)
    query = signature_of(model, source[4 * RATE : 8 * RATE])
    judged = model.judge(query, signature_of(model, source))
    assert judged.score == pytest.approx(model.similarity(query, signature_of(model, source)))
    rows = np.arange(2, 14)
    assert judged.matrix[rows, rows + 16].min() > 0.8
    assert np.median(judged.matrix) < 0.2


def test_the_picture_of_a_pair_ends_where_the_shared_sound_ends(model):
    source = tune(6)
    query = np.concatenate([tune(7, 4), source[3 * RATE : 7 * RATE], tune(8, 4)])
    (line, *_) = find_lines(model.judge(signature_of(model, query), signature_of(model, source)).matrix)
    per_s = model.view.windows_per_s
    assert (line.first / per_s, (line.last + 1) / per_s) == (pytest.approx(4, abs=0.3), pytest.approx(8, abs=0.3))
    assert line.begin / per_s == pytest.approx(3, abs=0.3)


def test_a_match_is_found_by_the_keys_of_its_source(model):
    source = tune(4)
    keys = model.keys(features_of(model, source))
    probes = model.probes(features_of(model, at_speed(source[int(1.3 * RATE) :], 1.04)))
    other = model.keys(features_of(model, tune(5)))
    best = (probes.vectors @ keys.vectors.T).max(1)
    assert np.sort(best)[-20:].mean() > 0.75 > np.sort((probes.vectors @ other.vectors.T).max(1))[-20:].mean()


def test_a_second_of_sound_takes_at_most_500_bytes(model):
    assert model.feature_shape[0] * model.view.windows_per_s <= 500
