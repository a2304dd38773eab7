"""AuSiL gives the numbers of the authors' code, from samples to scores, however the work is cut."""

from __future__ import annotations

import json

import golden_ausil
import numpy as np
import pytest
import torch
from places import GOLDEN_FOLDER
from sounds import frames, heard

from ndvr import models
from ndvr.models.card import Mel
from ndvr.models.methods.ausil._network import repeated

GOLDEN = np.load(GOLDEN_FOLDER / "ausil.npz")
# What separates two float32 implementations of the same network.
FEATURE_ATOL, SIGNATURE_ATOL, SCORE_ATOL = 1e-5, 1e-6, 2e-5

PAIRS = ("r4-r4", "r5-r7", "r7-r5")


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return {**golden_ausil.cnn_weights(), **golden_ausil.tf_weights()}


@pytest.fixture(scope="module")
def model(weights):
    return models.load("ausil", weights)


def windows_of(db: np.ndarray, rows: int = 174, step: int = 87) -> np.ndarray:
    """A spectrogram (T, 128) filled up and cut as the authors do."""
    filled = np.pad(db, ((0, 176 - len(db) % 176), (0, 0)))
    if 176 % step:
        filled = np.pad(filled, ((0, step - len(filled) % step), (0, 0)))
    return np.stack([filled[start : start + rows] for start in range(0, len(filled) - rows + 1, step)])


def random_features(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 2528), np.float32) / 10


@pytest.mark.slow
def test_features_of_a_spectrogram_are_the_authors(model):
    found = model.embed(windows_of(GOLDEN["short_0s5/db"]))
    np.testing.assert_allclose(found, GOLDEN["short_0s5/features"], atol=FEATURE_ATOL)


def test_features_of_samples_are_the_authors(model):
    _, windows, _ = heard(frames(GOLDEN["short_0s5/pcm"]))
    np.testing.assert_allclose(model.embed(windows), GOLDEN["short_0s5/features"], atol=FEATURE_ATOL)


@pytest.mark.slow
@pytest.mark.parametrize("video", ["r4", "r5", "r7"])
def test_signatures_are_the_authors(video, model):
    found = model.signature(GOLDEN[f"{video}/features"])[:, 0, ::16]
    np.testing.assert_allclose(found, GOLDEN[f"{video}/signature"], atol=SIGNATURE_ATOL)


@pytest.mark.parametrize("pair", PAIRS)
def test_similarities_before_and_after_the_cnn_and_scores_are_the_authors(pair, model):
    query, target = (model.signature(GOLDEN[f"{video}/features"]) for video in pair.split("-"))
    network, matrix = model.network("similarity"), model.matrix(query, target)
    np.testing.assert_allclose(matrix, GOLDEN[f"{pair}/before"], atol=SIGNATURE_ATOL)
    cells = network.visil_head(torch.from_numpy(matrix)[None, None])[0, 0].clamp(-1, 1)
    np.testing.assert_allclose(cells, GOLDEN[f"{pair}/after"], atol=SCORE_ATOL)
    np.testing.assert_allclose(network.one_by_one(query, target), GOLDEN[f"{pair}/sim"], atol=SCORE_ATOL)


def test_scores_are_those_of_the_authors_script(model):
    names = [f"{video}/features" for video in ("r4", "r5", "r7", "short_0s5")]
    signatures = [model.signature(GOLDEN[name]) for name in names]
    np.testing.assert_allclose(model.similarities(signatures[0], signatures), GOLDEN["r4/scores"], atol=SCORE_ATOL)


def test_half_floats_in_shards_change_no_score_by_a_thousandth(model):
    names = [f"{video}/features" for video in ("r4", "r5", "r7", "short_0s5")]
    assert model.card.feature_dtype == "float16"
    stored = [model.signature(GOLDEN[name].astype(np.float16)) for name in names]
    np.testing.assert_allclose(model.similarities(stored[0], stored), GOLDEN["r4/scores"], atol=1e-3)


def test_targets_are_repeated_to_ten_windows_and_queries_to_four():
    lengths = [len(repeated(torch.zeros(n, 1, 2), 10)) for n in (1, 2, 3, 4, 6, 9, 10, 11)]
    assert lengths == [16, 16, 12, 16, 12, 18, 10, 11]
    assert [len(repeated(torch.zeros(n, 1, 2), 4)) for n in (1, 2, 3, 4, 9)] == [4, 4, 6, 4, 9]


def test_many_targets_of_very_different_lengths_score_as_one_by_one(model):
    network = model.network("similarity")
    targets = [model.signature(random_features(n, n)) for n in (1, 2, 5, 9, 10, 11, 12, 13, 30, 61, 250, 10)]
    for length in (1, 4, 7, 43):
        query = model.signature(random_features(length, 99))
        alone = [network.one_by_one(repeated(query, 4), repeated(target, 10)).item() for target in targets]
        np.testing.assert_allclose(model.similarities(query, targets), alone, atol=1e-5)


def test_the_comparator_can_be_left_out(weights):
    model = models.load("ausil", weights, parts=("similarity",), comparator="off")
    query, target = (model.signature(GOLDEN[f"{video}/features"]) for video in ("r5", "r7"))
    wanted = GOLDEN["r5-r7/before"].max(1).mean()  # repeated windows change neither maximum nor mean
    assert model.similarity(query, target) == pytest.approx(wanted, abs=SCORE_ATOL)


def test_the_finer_step_and_the_dropped_tail_are_other_views():
    card, method = models.card("ausil"), models.get("ausil")
    assert method.view(card.resolve({})) == card.view == Mel()
    assert method.view(card.resolve({"step": "125ms"})) == Mel(rows=176, step=11)
    assert method.view(card.resolve({"step": "125ms", "tail": "drop"})) == Mel(rows=176, step=11, tail="drop")


@pytest.mark.slow
def test_scores_of_random_weights_are_varied():
    model = models.load("ausil", "random")
    signatures = []
    for seed in range(4):
        texture = np.random.default_rng(seed).standard_normal((26, 16)).repeat(8, 0).repeat(8, 1).astype(np.float32)
        windows = np.stack([texture[4 * k : 4 * k + 174] for k in range(5 + seed)]) * 15 - 30
        signatures.append(model.signature(model.embed(windows)))
    scores = np.array([model.similarities(query, signatures) for query in signatures])
    assert np.abs(scores).max() < 1 and scores.std() > 0.02


@pytest.mark.slow
def test_all_reference_features_beside_the_project(shared, model, weights):
    folder = shared / "golden" / "ausil"
    sounds, reference = np.load(folder / "mel.npz"), np.load(folder / "cnn.npz")
    for key in reference:
        if key.startswith("desc__"):
            case = key.removeprefix("desc__")
            found = model.embed(windows_of(sounds[f"{case}__db"]))
            np.testing.assert_allclose(found, reference[key], atol=FEATURE_ATOL)
            _, windows, _ = heard(frames(sounds[f"{case}__pcm"]))
            np.testing.assert_allclose(model.embed(windows), reference[key], atol=FEATURE_ATOL)
    finer = models.load("ausil", weights, parts=("embed",), step="125ms")
    windows = windows_of(sounds["sine_noise_5s3__db"], rows=176, step=11)
    assert len(windows) == reference["desc125ms__count"]
    picked = windows[reference["desc125ms__sine_noise_5s3__idx"]]
    np.testing.assert_allclose(finer.embed(picked), reference["desc125ms__sine_noise_5s3"], atol=FEATURE_ATOL)


def test_all_reference_activations_beside_the_project(shared, model):
    reference = np.load(shared / "golden" / "ausil" / "cnn.npz")
    x, vectors = torch.from_numpy(reference["input"]), []
    with torch.inference_mode():
        features = model.network("embed")(x[:, 0])
        for number, layer in enumerate(model.network("embed").children(), start=1):
            x = layer(x)
            step, wanted = 6 if number <= 6 else 1, reference[f"act__layer{number}"]
            np.testing.assert_allclose(x[0, :, ::step, ::step], wanted, atol=1e-6 * wanted.max())
            if f"mac__layer{number}" in reference:
                vectors.append(reference[f"mac__layer{number}"])
    np.testing.assert_allclose(features[0], np.concatenate(vectors), atol=FEATURE_ATOL)


@pytest.mark.slow
def test_all_reference_scores_beside_the_project(shared, model):
    folder = shared / "golden" / "ausil"
    reference = np.load(folder / "ausil.npz")
    videos = [key.removeprefix("feat__") for key in reference if key.startswith("feat__")]
    signatures = {video: model.signature(reference[f"feat__{video}"]) for video in videos}
    for video in videos:
        np.testing.assert_allclose(signatures[video][:, 0], reference[f"emb__{video}"], atol=SIGNATURE_ATOL)
    network = model.network("similarity")
    for key in reference:
        if key.startswith("sim__"):
            pair = key.removeprefix("sim__")
            query, target = (signatures[video] for video in pair.split("__"))
            matrix = model.matrix(query, target)
            np.testing.assert_allclose(matrix, reference[f"before__{pair}"], atol=SIGNATURE_ATOL)
            cells = network.visil_head(torch.from_numpy(matrix)[None, None])[0, 0].clamp(-1, 1)
            np.testing.assert_allclose(cells, reference[f"after__{pair}"], atol=SCORE_ATOL)
            np.testing.assert_allclose(network.one_by_one(query, target), reference[key], atol=SCORE_ATOL)
            if len(target) >= 10:  # so that nothing is repeated
                assert model.similarity(query, target) == pytest.approx(reference[key].item(), abs=SCORE_ATOL)
    for query, scores in json.loads((folder / "e2e_similarities.json").read_text()).items():
        found = model.similarities(signatures[query], [signatures[video] for video in scores])
        np.testing.assert_allclose(found, list(scores.values()), atol=SCORE_ATOL)


def test_all_reference_stages_of_the_cnn_beside_the_project(shared, model):
    reference = np.load(shared / "golden" / "ausil" / "ausil.npz")
    comparator = model.network("similarity").visil_head
    x = torch.from_numpy(reference["before__r8__r11"])[None, None]
    for number in (1, 2, 3):
        x = getattr(comparator, f"conv{number}")(torch.nn.functional.pad(x, (1, 1, 1, 1), "replicate")).relu()
        wanted = reference[f"stage__r8__r11__conv{number}"].transpose(0, 3, 1, 2)
        np.testing.assert_allclose(x.detach(), wanted, atol=SCORE_ATOL)
        if number < 3:
            x = torch.nn.functional.max_pool2d(x, 2)
            wanted = reference[f"stage__r8__r11__pool{number}"].transpose(0, 3, 1, 2)
            np.testing.assert_allclose(x.detach(), wanted, atol=SCORE_ATOL)
    wanted = reference["stage__r8__r11__fconv"].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(comparator.fconv(x).detach(), wanted, atol=SCORE_ATOL)
