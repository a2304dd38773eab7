"""Regions of EfficientNet-Lite0 in place of ResNet-50's: how they are pooled and whitened, and what is never called."""

import numpy as np
import pytest
import torch

from ndvr import models
from ndvr.models.layers.lite0 import CHANNELS
from ndvr.models.weights import Absent, WeightsError
from ndvr.operators.features import pca

REGIONAL = ("s2vs", "visil", "dns")
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 14, 14, 3), np.uint8).repeat(16, 1).repeat(16, 2)


@pytest.fixture(scope="module")
def raw():
    return models.load("s2vs", parts=("embed",), backbone="lite0", pca="none")


@pytest.fixture(scope="module")
def fitted(raw, tmp_path_factory):
    """A PCA of noise around the regions of a few pictures, as `ndvr fit-pca` writes it."""
    regions = raw.embed(FRAMES).reshape(-1, 768)
    points = np.random.default_rng(1).standard_normal((900, 768)) * 0.02 + regions.mean(0)
    path = tmp_path_factory.mktemp("pca") / "pca.npz"
    pca.fit([points], points=900, dims=600).write(path)
    return path


def test_stages_have_the_sizes_and_widths_of_the_paper_and_the_last_is_what_glance_pools(raw):
    lite0 = raw.network("embed").lite0
    with torch.inference_mode():
        maps = lite0.stages(torch.from_numpy(FRAMES[:1]))
        assert tuple(each.shape[1] for each in maps) == CHANNELS
        assert [each.shape[2] for each in maps] == [56, 28, 14, 14, 7, 7]
        pooled = maps[-1].clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)
        torch.testing.assert_close(lite0(torch.from_numpy(FRAMES[:1])), pooled)


def test_a_region_is_the_largest_of_its_field_stage_by_stage(raw):
    with torch.inference_mode():
        maps = raw.network("embed").lite0.stages(torch.from_numpy(FRAMES[:1]))
    parts = []
    for stage, field in zip(maps, (28, 14, 6, 6, 3, 3)):  # three by three fields that overlap by half: the middle one
        step = (field + 1) // 2
        part = stage[0, :, step : step + field, step : step + field].amax((1, 2)).numpy()
        parts.append(part / np.linalg.norm(part))
    np.testing.assert_allclose(raw.embed(FRAMES[:1])[0, 4], np.concatenate(parts) / np.sqrt(6), atol=1e-6)


@pytest.mark.parametrize("name", [*REGIONAL, "tca"])
def test_features_are_called_lite0_and_have_the_width_of_their_pca(name, fitted):
    model = models.load(name, parts=("embed",), backbone="lite0", pca=str(fitted))
    assert model.weights == "lite0" and model.trained
    features = model.embed(FRAMES)
    assert features.shape == (3, *model.feature_shape)
    assert model.feature_shape == ((9, 512) if name in REGIONAL else (600,))
    np.testing.assert_allclose(np.linalg.norm(features, axis=-1), 1, atol=1e-5)


def test_whitening_projects_on_the_strongest_directions_and_weighs_the_weak_ones_down(raw, fitted):
    features = models.load("s2vs", parts=("embed",), backbone="lite0", pca=str(fitted)).embed(FRAMES)
    arrays = {key: value.astype(np.float64) for key, value in np.load(fitted).items()}
    strong = arrays["lams"][:512]
    wanted = (raw.embed(FRAMES) - arrays["mu"].T) @ arrays["U"][:, :512] / np.sqrt(strong + strong.mean())
    wanted /= np.linalg.norm(wanted, axis=-1, keepdims=True)
    np.testing.assert_allclose(features, wanted, atol=1e-4)


@pytest.mark.parametrize("name", REGIONAL)
def test_the_authors_weights_are_refused_as_they_know_nothing_of_these_features(name, fitted):
    (first, *_) = models.card(name).weights
    for parts in (("embed",), ("similarity",)):
        with pytest.raises(WeightsError, match=f"{first} was trained on ResNet-50 and knows nothing of backbone=lite0"):
            models.load(name, first, parts=parts, backbone="lite0", pca=str(fitted))


@pytest.mark.parametrize("name", ["visil", "dns"])
def test_without_weights_what_has_to_be_trained_says_so(name):
    with pytest.raises(WeightsError, match="nobody has published weights of .* for backbone=lite0"):
        models.load(name, parts=("similarity",), backbone="lite0")


def test_without_training_s2vs_compares_these_regions_by_chamfer_similarity():
    model = models.load("s2vs", parts=("similarity",), backbone="lite0")
    rng = np.random.default_rng(2)
    a, b = (rng.standard_normal((count, 9, 512)).astype(np.float32) for count in (5, 7))
    a, b = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (a, b))
    frames = np.einsum("trd,usd->turs", a, b).max(3).mean(2)  # of each region the best of the other frame's
    found = model.similarity(model.signature(a), model.signature(b))
    assert found == pytest.approx(frames.max(1).mean(), abs=1e-5)


def test_a_pca_is_asked_for_and_one_of_other_features_refused(tmp_path):
    with pytest.raises(Absent, match="nobody has published a PCA for backbone=lite0; make one .*ndvr fit-pca RAW"):
        models.load("s2vs", parts=("embed",), backbone="lite0")
    rng = np.random.default_rng(3)
    pca.fit([rng.standard_normal((700, 520))], points=700, dims=512).write(tmp_path / "x.npz")
    with pytest.raises(WeightsError, match=r"pca.mean has shape \(520,\), expected \(768,\)"):
        models.load("s2vs", parts=("embed",), backbone="lite0", pca=str(tmp_path / "x.npz"))
    with pytest.raises(WeightsError, match="is not of TCA's frame vectors, which have 768 numbers"):
        models.load("tca", parts=("embed",), backbone="lite0", pca=str(tmp_path / "x.npz"))
