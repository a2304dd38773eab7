"""Frames to region features, shared by S2VS, ViSiL and DnS: the numbers of the authors' code."""

import golden_inputs
import numpy as np
import pytest
import torch
from places import GOLDEN_FOLDER

from ndvr import models
from ndvr.models.layers.regions import region_vectors, stage_maps

GOLDEN = np.load(GOLDEN_FOLDER / "s2vs.npz")
FEATURE_ATOL = 1e-6  # what separates two float32 implementations of the same network


@pytest.mark.parametrize("size", golden_inputs.STAGE_MAPS)
def test_region_pooling_of_pictures_of_any_size_is_the_authors(size):
    found = region_vectors(golden_inputs.stage_maps(size))
    np.testing.assert_allclose(found, GOLDEN[f"pool/{size}"], atol=FEATURE_ATOL)


@pytest.fixture(scope="module")
def extractor_files(tmp_path_factory) -> dict[str, str]:
    """A ResNet-50 file as torchvision's (with its classifier) and a PCA file as the authors', both seeded."""
    folder = tmp_path_factory.mktemp("weights")
    state = models.load("s2vs", "random:110", parts=("embed",)).network("embed").state_dict()
    resnet = {key.removeprefix("1.0.cnn."): value for key, value in state.items() if key.startswith("1.0.cnn.")}
    torch.save(resnet | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, folder / "resnet50.pth")
    torch.save(golden_inputs.pca(), folder / "pca.pth")
    return {"backbone": str(folder / "resnet50.pth"), "pca": str(folder / "pca.pth")}


@pytest.fixture(scope="module")
def extractor(extractor_files):
    return models.load("s2vs", parts=("embed",), **extractor_files)


@pytest.mark.slow
def test_features_of_frames_are_the_authors(extractor):
    frames = golden_inputs.noise_frames()
    normalise, (limac, _) = extractor.network("embed")
    with torch.inference_mode():
        regions = limac(normalise(torch.from_numpy(frames)))
    np.testing.assert_allclose(regions[:, :, ::16], GOLDEN["noise224/regions"], atol=FEATURE_ATOL)
    np.testing.assert_allclose(extractor.embed(frames), GOLDEN["noise224/pca512"], atol=FEATURE_ATOL)


@pytest.mark.slow
def test_frames_to_score_is_the_same_with_the_extractor_in_the_mapping(extractor):
    model = models.load("s2vs", "random:101", parts=("similarity",))
    everything = {**extractor.network("embed").state_dict(), **model.network("similarity").state_dict()}
    whole = models.load("s2vs", everything)
    assert whole.digest("embed") == extractor.digest("embed")
    assert whole.digest("similarity") == model.digest("similarity")
    windows = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    np.testing.assert_array_equal(whole.embed(windows), extractor.embed(windows))


@pytest.mark.slow
def test_embedding_changes_neither_windows_nor_weights(extractor):
    frames = golden_inputs.noise_frames()
    before, digest = frames.copy(), extractor.digest("embed")
    np.testing.assert_array_equal(extractor.embed(frames), extractor.embed(frames))
    np.testing.assert_array_equal(frames, before)
    assert extractor.digest("embed") == digest


@pytest.mark.slow
def test_folding_normalisation_into_convolutions_leaves_saved_weights_alone(extractor):
    _, (limac, _) = extractor.network("embed")
    assert not [key for key in extractor.network("embed").state_dict() if "folded" in key]
    pictures = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for with_it, without in zip(stage_maps(limac.folded, pictures), stage_maps(limac.cnn, pictures)):
        assert not torch.equal(with_it, without)
        np.testing.assert_allclose(with_it, without, atol=1e-5 * without.max().item())


@pytest.mark.slow
def test_all_reference_features_beside_the_project(shared, extractor):
    reference = np.load(shared / "golden" / "s2vs" / "feature_extractor.npz")
    normalise, (limac, _) = extractor.network("embed")
    for name in ("smooth224", "smooth240x320"):
        with torch.inference_mode():
            pictures = normalise(frames := torch.from_numpy(reference[f"in/{name}"]))
            found = {"regions": limac(pictures), "pca512": extractor.method.embed(extractor.network("embed"), frames)}
        np.testing.assert_allclose(pictures[0, :, :2, :3], reference[f"s2vs_dns/{name}/norm_sample"], atol=FEATURE_ATOL)
        for step, features in found.items():
            np.testing.assert_allclose(features, reference[f"s2vs_dns/{name}/{step}"], atol=FEATURE_ATOL)


def test_region_pooling_of_visil_is_the_same_beside_the_project(shared):
    # Where ViSiL's code does not fail: it wants the four stages to give equal grids.
    reference = np.load(shared / "golden" / "s2vs" / "feature_extractor.npz")
    for size in ("224x224", "128x128", "112x112"):
        found = region_vectors(golden_inputs.stage_maps(size))
        np.testing.assert_allclose(found, reference[f"visil/pool/{size}"], atol=FEATURE_ATOL)
