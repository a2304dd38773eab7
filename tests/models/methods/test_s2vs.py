"""S2VS gives the numbers of the authors' code, however the work is cut."""

import dataclasses

import golden_inputs
import golden_s2vs
import numpy as np
import pytest
import torch
from method_inputs import difference_between_directions
from places import GOLDEN_FOLDER

from ndvr import models
from ndvr.models import weights as files
from ndvr.models.layers import comparator
from ndvr.models.method import Model

GOLDEN = np.load(GOLDEN_FOLDER / "s2vs.npz")
SCORE_ATOL = 2e-5  # what separates two float32 implementations of the same network
FEATURE_ATOL = 1e-6

# Variant -> (seed of its weights, what they hold, options).
VARIANTS = {
    "att": (101, "attention", {}),
    "none": (101, "plain", {}),
    "sym_att": (101, "attention", {"similarity": "symmetric"}),
    "bin": (102, "binary", {}),
    "att_bn": (107, "batch_norm", {}),
    "attnorm": (108, "normalised", {}),
}


def seeded(case: str, **changes) -> Model:
    """S2VS with nothing but a mapping of the authors' keys; it tells from them which variant it is."""
    seed, kind, options = VARIANTS[case]
    return models.load("s2vs", golden_s2vs.state(golden_s2vs.S2VS[kind], seed), **(options | changes))


@pytest.fixture(scope="module")
def clips() -> dict[str, torch.Tensor]:
    return {clip: torch.from_numpy(features) for clip, features in golden_inputs.region_features().items()}


@pytest.fixture(scope="module")
def model():
    return models.load("s2vs", "random:101", parts=("similarity",))


def long_clip(length: int, seed: int = 0) -> torch.Tensor:
    """A smooth walk through feature space: neighbours alike, like a video."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((length, 9, 512)) + 2 * rng.standard_normal((9, 512))
    return torch.nn.functional.normalize(torch.from_numpy(steps).float(), dim=-1)


def signatures_of(model, clips: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {clip: model.signature(features.numpy()) for clip, features in clips.items()}


def scores(model, clips: dict[str, torch.Tensor]) -> np.ndarray:
    signatures = signatures_of(model, clips)
    pairs = [pair.split("-") for pair in golden_inputs.PAIRS]
    return np.array([model.similarity(signatures[q], signatures[t]) for q, t in pairs])


def expected(variant: str, name: str) -> np.ndarray:
    return np.array([GOLDEN[f"{variant}/{pair}/{name}"].item() for pair in golden_inputs.PAIRS])


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_of_every_variant_are_the_authors(variant, clips):
    np.testing.assert_allclose(scores(seeded(variant), clips), expected(variant, "sim"), atol=SCORE_ATOL)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_without_the_cnn_are_the_authors(variant, clips):
    found = scores(seeded(variant, comparator="off"), clips)
    np.testing.assert_allclose(found, expected(variant, "sim_features_only"), atol=SCORE_ATOL)


@pytest.mark.parametrize("variant", ["att", "sym_att"])
def test_scores_without_pooling_are_the_authors(variant, clips):
    found = scores(seeded(variant, comparator="dense"), clips)
    np.testing.assert_allclose(found, expected(variant, "sim_nopool"), atol=SCORE_ATOL)


def test_the_dense_picture_of_a_pair_is_the_authors(clips, monkeypatch):
    model = seeded("att", picture="dense")
    g, h = (model.signature(clips[clip].numpy()) for clip in "gh")
    np.testing.assert_allclose(model.matrix(g, h), GOLDEN["att/g-h/head_nopool_post"], atol=SCORE_ATOL)
    monkeypatch.setattr(comparator, "DENSE_CELLS", 40)  # two rows of 17 at a time
    np.testing.assert_allclose(model.matrix(g, h), GOLDEN["att/g-h/head_nopool_post"], atol=SCORE_ATOL)


def test_the_dense_picture_of_batch_normalisation_has_a_cell_for_every_pair_of_frames(clips, monkeypatch):
    model = seeded("att_bn", picture="dense")
    g, h = (model.signature(clips[clip].numpy()) for clip in "gh")
    whole = model.matrix(g, h)
    assert whole.shape == (12, 17)
    monkeypatch.setattr(comparator, "DENSE_CELLS", 40)
    np.testing.assert_allclose(model.matrix(g, h), whole, atol=SCORE_ATOL)


def test_many_queries_and_targets_score_as_in_the_authors_batch(clips):
    model = seeded("att")
    f, g, h = (model.signature(clips[clip].numpy()) for clip in "fgh")
    found = [model.similarities(query, [f, g[:7], h[:7]]) for query in (g[:5], h[:5])]
    np.testing.assert_allclose(found, GOLDEN["att/batch/sim"], atol=SCORE_ATOL)


def test_targets_of_different_lengths_score_as_the_authors_score_them_alone(clips):
    # What the authors' padded and masked batch of the same gives differs by up to 1.2.
    signatures = signatures_of(model := seeded("att"), clips)
    found = [model.similarities(signatures[query], [signatures[clip] for clip in "efh"]) for query in "dg"]
    np.testing.assert_allclose(found, GOLDEN["att/masked/sim_unmasked_reference"], atol=SCORE_ATOL)


@pytest.mark.parametrize("variant", VARIANTS)
def test_matrices_before_and_after_the_cnn_are_the_authors(variant, clips):
    model = seeded(variant)
    matrix = model.matrix(*(model.signature(clips[clip].numpy()) for clip in "gh"))
    np.testing.assert_allclose(matrix, GOLDEN[f"{variant}/g-h/f2f"], atol=FEATURE_ATOL)
    cells = model.network("similarity").visil_head(torch.from_numpy(matrix)[None, None])[0, 0]
    np.testing.assert_allclose(cells, GOLDEN[f"{variant}/g-h/head_pre"], atol=SCORE_ATOL)


def test_attention_weights_and_binary_codes_are_the_authors(clips):
    for variant in ("att", "attnorm"):
        found = seeded(variant).network("similarity").attention.weights(clips["f"])[..., 0]
        np.testing.assert_allclose(found, GOLDEN[f"{variant}/attw/f"], atol=FEATURE_ATOL)
    np.testing.assert_array_equal(seeded("bin").signature(clips["e"].numpy()).numpy(), GOLDEN["bin/index/e"])


def test_weights_of_another_variant_than_the_one_asked_for_are_refused():
    with pytest.raises(files.WeightsError, match="binarization.W that do not belong here"):
        seeded("bin", variant="attention")
    assert models.load("s2vs", "random", parts=("similarity",), variant="binary").digest("similarity")


def test_both_samplers_of_the_authors_can_be_asked_for():
    card, method = models.card("s2vs"), models.get("s2vs")
    ffmpeg, opencv = (method.view(card.resolve({"sampler": name})) for name in ("ffmpeg", "opencv"))
    assert (ffmpeg.rule, ffmpeg.kernel, ffmpeg.resize, ffmpeg.crop, ffmpeg.fps) == ("ffmpeg", "swscale", 256, 224, 1)
    assert opencv == dataclasses.replace(ffmpeg, rule="opencv", kernel="cubic")
    assert method.view(card.resolve({})) == card.view == ffmpeg


def test_short_videos_are_repeated_until_there_are_four_frames(model):
    assert [len(model.signature(long_clip(n).numpy())) for n in (1, 2, 3, 4, 5)] == [4, 4, 6, 4, 5]


def test_scores_depend_on_which_video_is_the_query_as_published(model, clips):
    g, h = (model.signature(clips[clip].numpy()) for clip in "gh")
    assert abs(model.similarity(g, h) - model.similarity(h, g)) > 0.01


def test_the_comparator_can_be_left_out(clips):
    model = models.load("s2vs", "random:101", parts=("similarity",), comparator="off")
    g, h = (model.signature(clips[clip].numpy()) for clip in "gh")
    assert model.similarity(g, h) == pytest.approx(GOLDEN["att/g-h/sim_features_only"].item(), abs=SCORE_ATOL)


def test_random_weights_depend_on_the_seed_only():
    digests = [models.load("s2vs", f"random:{s}", parts=("similarity",)).digest("similarity") for s in (7, 7, 8)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.slow
def test_all_reference_matrices_beside_the_project(shared, clips):
    reference = np.load(shared / "golden" / "s2vs" / "s2vs_similarity.npz")
    for variant in VARIANTS:
        model = seeded(variant)
        dense = seeded(variant, picture="dense")
        signatures = signatures_of(model, clips)
        for pair in golden_inputs.PAIRS:
            q, t = (signatures[clip] for clip in pair.split("-"))
            matrix = model.matrix(q, t)
            np.testing.assert_allclose(matrix, reference[f"{variant}/{pair}/f2f"], atol=FEATURE_ATOL)
            cells = model.network("similarity").visil_head(torch.from_numpy(matrix)[None, None])[0, 0]
            np.testing.assert_allclose(cells, reference[f"{variant}/{pair}/head_pre"], atol=SCORE_ATOL)
            if (key := f"{variant}/{pair}/head_nopool_post") in reference:
                np.testing.assert_allclose(dense.matrix(q, t), reference[key], atol=SCORE_ATOL)


def test_weights_drawn_from_a_seed_are_the_authors_reference_beside_the_project(shared):
    for name, kind, seed in (("att512", "attention", 101), ("bin512", "binary", 102)):
        reference = np.load(shared / "golden" / "s2vs" / f"state_{name}_seed{seed}.npz")
        drawn = golden_s2vs.state(golden_s2vs.S2VS[kind], seed)
        random = models.load("s2vs", f"random:{seed}", parts=("similarity",), variant=kind).network("similarity")
        assert drawn.keys() == set(reference.files) == random.state_dict().keys()
        for key, value in random.state_dict().items():
            np.testing.assert_array_equal(drawn[key], reference[key])
            np.testing.assert_array_equal(value, reference[key])


def test_symmetric_chamfer_does_not_make_scores_symmetric_since_the_cnn_is_not():
    model = seeded("sym_att")
    assert difference_between_directions(model) > 1e-5
    assert not model.symmetric
