"""ViSiL gives the numbers of the authors' code, in every variant."""

import golden_inputs
import golden_s2vs
import numpy as np
import pytest
import torch
from places import GOLDEN_FOLDER

from ndvr import models
from ndvr.models import weights as files

GOLDEN = np.load(GOLDEN_FOLDER / "visil.npz")
SCORE_ATOL = 2e-5  # what separates two float32 implementations of the same network
FEATURE_ATOL = 1e-6

# Case -> (numbers a region, seed of its weights, options).
CASES = {
    "visil_v": (3840, 103, {}),
    "visil_sym512": (512, 104, {"variant": "sym"}),
    "visil_v512": (512, 104, {"dims": "512"}),
    "visil_f": (3840, None, {"variant": "f"}),
    "visil_f_att": (3840, 103, {"variant": "f_att"}),
}


def loaded(case: str):
    dims, seed, options = CASES[case]
    weights = None if seed is None else golden_s2vs.visil_state(dims, seed)
    return models.load("visil", weights, parts=("similarity",), **options)


@pytest.fixture(scope="module")
def clips() -> dict[int, dict[str, np.ndarray]]:
    return {dims: golden_inputs.region_features(seed, dims) for seed, dims in ((900, 512), (901, 3840))}


def signatures_of(model, clips) -> dict[str, torch.Tensor]:
    return {clip: model.signature(features) for clip, features in clips[model.feature_shape[1]].items()}


@pytest.mark.parametrize("case", CASES)
def test_scores_of_every_variant_are_the_authors(case, clips):
    signatures = signatures_of(model := loaded(case), clips)
    for pair in golden_inputs.PAIRS:
        query, target = (signatures[clip] for clip in pair.split("-"))
        wanted = GOLDEN[f"{case}/{pair}/sim"].item()
        assert model.similarity(query, target) == pytest.approx(wanted, abs=SCORE_ATOL)


@pytest.mark.parametrize("case", CASES)
def test_what_leads_to_the_score_is_the_authors(case, clips):
    signatures = signatures_of(model := loaded(case), clips)
    matrix = model.matrix(signatures["g"], signatures["h"])
    np.testing.assert_allclose(matrix, GOLDEN[f"{case}/g-h/f2f"], atol=FEATURE_ATOL)
    network = model.network("similarity")
    if (key := f"{case}/attw/e") in GOLDEN:
        weights = network.attention.weights(torch.from_numpy(clips[model.feature_shape[1]]["e"]))
        np.testing.assert_allclose(weights[..., 0], GOLDEN[key], atol=FEATURE_ATOL)
    if (key := f"{case}/g-h/head_pre") in GOLDEN:
        cells = network.visil_head(torch.from_numpy(matrix)[None, None])[0, 0]
        np.testing.assert_allclose(cells, GOLDEN[key], atol=SCORE_ATOL)


def test_symmetric_chamfer_does_not_make_scores_symmetric_since_the_cnn_is_not():
    a, b = (GOLDEN[f"visil_sym512/{pair}/sim"].item() for pair in ("g-h", "h-g"))
    assert abs(a - b) > 0.1
    assert not loaded("visil_sym512").symmetric


def test_random_weights_are_those_of_the_reference():
    ours = models.load("visil", "random:103", parts=("similarity",))
    assert ours.digest("similarity") == loaded("visil_v").digest("similarity")


def test_variants_say_what_they_are_shown_and_what_a_region_holds():
    card, method = models.card("visil"), models.get("visil")
    shapes = {"v": (9, 3840), "sym": (9, 512), "f": (9, 3840), "f_att": (9, 3840)}
    assert {name: method.feature_shape(card.resolve({"variant": name})) for name in shapes} == shapes
    assert method.feature_shape(card.resolve({"dims": 512})) == (9, 512)
    assert method.published(card.resolve({"variant": "sym"})) == "visil_symmetric"
    opencv, ffmpeg = (method.view(card.resolve({"sampler": name})) for name in ("opencv", "ffmpeg"))
    assert card.view == opencv == method.view(card.resolve({}))
    assert ffmpeg == models.card("s2vs").view


def test_weights_of_another_width_than_the_variant_are_refused_saying_what_to_ask_for():
    with pytest.raises(files.WeightsError, match="512 numbers a region, these options make 3840.*variant sym"):
        models.load("visil", golden_s2vs.visil_state(512, 104))


@pytest.fixture(scope="module")
def extractor_state() -> dict[str, torch.Tensor]:
    return models.load("visil", "random:110", parts=("embed",), dims="512").network("embed").state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["v", "f", "f_att"])
def test_a_whole_model_of_the_authors_is_read_as_its_two_halves(variant, extractor_state):
    head = golden_s2vs.visil_state(512, 104)
    renamed = {"0.": "cnn.normalizer.", "1.0.cnn.": "cnn.cnn.", "1.1.": "cnn.pca."}
    whole = {f"visil_head.{key}": value for key, value in head.items()}
    for key, value in extractor_state.items():
        ours = next(start for start in renamed if key.startswith(start))
        whole[renamed[ours] + key.removeprefix(ours)] = value
    whole |= {"cnn.cnn.fc.weight": torch.zeros(1000, 2048), "cnn.cnn.fc.bias": torch.zeros(1000)}
    whole = {f"module.{key}": value for key, value in whole.items()}
    found = models.load("visil", whole, variant=variant, dims="512")
    alone = models.load("visil", head, variant=variant, dims="512", parts=("similarity",))
    assert found.digest("similarity") == alone.digest("similarity")
    embed = models.load("visil", extractor_state, dims="512")
    assert found.digest("embed") == embed.digest("embed")
    assert variant == "f" or isinstance(embed._networks["similarity"], files.Absent)


def test_a_model_saved_with_our_names_is_read_again():
    model = loaded("visil_v")
    again = models.load("visil", model.network("similarity").state_dict())
    assert again.digest("similarity") == model.digest("similarity")


@pytest.mark.slow
def test_full_whitening_begins_with_the_directions_of_the_narrow_one(tmp_path, extractor_state):
    resnet = {key.removeprefix("1.0.cnn."): v for key, v in extractor_state.items() if key.startswith("1.0.cnn.")}
    torch.save(resnet, tmp_path / "resnet50.pth")
    torch.save(golden_inputs.pca(), tmp_path / "pca.pth")
    paths = {"backbone": str(tmp_path / "resnet50.pth"), "pca": str(tmp_path / "pca.pth")}
    frames = golden_inputs.noise_frames()
    wide, narrow = (models.load("visil", parts=("embed",), dims=dims, **paths).embed(frames) for dims in (3840, 512))
    assert wide.shape == (2, 9, 3840)
    np.testing.assert_allclose(np.linalg.norm(wide, axis=-1), 1, atol=FEATURE_ATOL)
    first = wide[..., :512] / np.linalg.norm(wide[..., :512], axis=-1, keepdims=True)
    np.testing.assert_allclose(first, narrow, atol=FEATURE_ATOL)
    # The authors' three extractors agree on pictures of this size.
    reference = np.load(GOLDEN_FOLDER / "s2vs.npz")["noise224/pca512"]
    np.testing.assert_allclose(narrow, reference, atol=FEATURE_ATOL)


def test_all_reference_matrices_beside_the_project(shared, clips):
    reference = np.load(shared / "golden" / "s2vs" / "visil_similarity.npz")
    for case in CASES:
        signatures = signatures_of(model := loaded(case), clips)
        for pair in golden_inputs.PAIRS:
            matrix = model.matrix(*(signatures[clip] for clip in pair.split("-")))
            np.testing.assert_allclose(matrix, reference[f"{case}/{pair}/f2f"], atol=FEATURE_ATOL)
            if (key := f"{case}/{pair}/head_pre") in reference:
                cells = model.network("similarity").visil_head(torch.from_numpy(matrix)[None, None])[0, 0]
                np.testing.assert_allclose(cells, reference[key], atol=SCORE_ATOL)


def test_weights_drawn_from_a_seed_are_the_authors_reference_beside_the_project(shared):
    for name, dims, seed in (("v", 3840, 103), ("sym512", 512, 104)):
        reference = np.load(shared / "golden" / "s2vs" / f"state_visil_{name}_seed{seed}.npz")
        drawn = golden_s2vs.visil_state(dims, seed)
        assert drawn.keys() == set(reference.files)
        for key, value in drawn.items():
            np.testing.assert_allclose(value, reference[key], rtol=1e-6, atol=1e-7)  # LAPACK rounds by machine
