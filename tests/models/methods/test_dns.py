"""DnS gives the numbers of the authors' code: students that compare regions, and the coarse one."""

import argparse
import json

import golden_dns
import golden_inputs
import numpy as np
import pytest
import torch
from places import GOLDEN_FOLDER

from ndvr import models
from ndvr.models import weights as files
from ndvr.models.layers.whitening import projection

GOLDEN = np.load(GOLDEN_FOLDER / "dns.npz")
SCORE_ATOL = 2e-5  # what separates two float32 implementations of the same network
VECTOR_ATOL = 1e-6
COARSE = ("cg", "cg_noatt", "cg_trf_novlad", "cg_notrf_novlad")


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    return golden_inputs.region_features()


@pytest.fixture(scope="module")
def loaded():
    """Models with the weights of the reference numbers, by their name there; a coarse one is said to be one."""
    kept: dict[str, models.Model] = {}

    def load(network: str):
        if network not in kept:
            options = {"student": "coarse"} if network in COARSE else {}
            kept[network] = models.load("dns", golden_dns.state(network), **options)
        return kept[network]

    return load


@pytest.mark.slow
@pytest.mark.parametrize("network", ["fg_att", "fg_bin", "fg_none"])
def test_scores_of_fine_students_are_the_authors(network, loaded, clips):
    model = loaded(network)
    signatures = {clip: model.signature(features) for clip, features in clips.items()}
    for pair in golden_inputs.PAIRS:
        q, t = pair.split("-")
        expected = GOLDEN[f"{network}/{pair}/sim"].item()
        assert model.similarity(signatures[q], signatures[t]) == pytest.approx(expected, abs=SCORE_ATOL), pair


@pytest.mark.parametrize("network", ["fg_att", "fg_bin", "fg_none"])
def test_long_targets_are_compared_whole_and_the_authors_mean_over_chunks_can_be_had(network, loaded, clips):
    model = loaded(network)
    query = model.signature(clips["h"])
    both = np.concatenate([clips["h"], clips["g"]])
    whole = model.similarity(query, model.signature(both))
    assert whole == pytest.approx(GOLDEN[f"{network}/chunk_none/h-vs-hg"].item(), abs=SCORE_ATOL)
    for name, target in (("h", clips["h"]), ("hg", both)):
        chunks = [target[k : k + 8] for k in range(0, len(target), 8)]
        scores = model.similarities(query, [model.signature(chunk) for chunk in chunks if len(chunk) >= 4])
        assert scores.mean() == pytest.approx(GOLDEN[f"{network}/chunked8/h-vs-{name}"].item(), abs=SCORE_ATOL)


def test_the_fine_attention_student_is_the_network_of_s2vs(loaded, clips):
    s2vs = models.load("s2vs", golden_dns.state("fg_att"))
    assert s2vs.digest("similarity") == loaded("fg_att").digest("similarity")
    scores = [
        model.similarity(model.signature(clips["g"]), model.signature(clips["h"])) for model in (s2vs, loaded("fg_att"))
    ]
    assert scores[0] == scores[1]


@pytest.mark.slow
@pytest.mark.parametrize("network", COARSE)
def test_vectors_and_scores_of_coarse_students_are_the_authors(network, loaded, clips):
    model = loaded(network)
    signatures = [model.signature(features) for features in clips.values()]
    for clip, signature in zip(clips, signatures):
        np.testing.assert_allclose(signature[0], GOLDEN[f"{network}/{clip}"], atol=VECTOR_ATOL)
    scores = np.stack([model.similarities(query, signatures) for query in signatures])
    np.testing.assert_allclose(scores, GOLDEN[f"{network}/simmatrix"], atol=VECTOR_ATOL)


@pytest.mark.slow
def test_stages_of_the_coarse_student_are_the_authors(loaded, clips):
    network, g = loaded("cg").network("similarity"), torch.from_numpy(clips["g"])
    with torch.inference_mode():
        frames = network.frames(g)
        encoded = network.transformer(frames)
        np.testing.assert_allclose(network.attention.weights(g)[..., 0], GOLDEN["cg/g/att_w"], atol=VECTOR_ATOL)
        np.testing.assert_allclose(frames[:, :64], GOLDEN["cg/g/frame_vec"], atol=VECTOR_ATOL)
        # Not of length one: numbers up to 4, each within some units in the last place.
        np.testing.assert_allclose(encoded[:, :64], GOLDEN["cg/g/transformer"], atol=5e-6)
        np.testing.assert_allclose(network.netvlad(encoded), GOLDEN["cg/g/netvlad_layernorm"], atol=2e-5)


@pytest.mark.slow
def test_neither_order_nor_repetition_of_frames_changes_the_coarse_vector(loaded):
    model, features = loaded("cg"), golden_dns.walk(7)
    expected = model.signature(features)
    assert expected.shape == (1, 1024) and torch.linalg.norm(expected) == pytest.approx(1, abs=1e-6)
    for other in (features[::-1], np.tile(features, (3, 1, 1))):
        np.testing.assert_allclose(model.signature(other), expected, atol=VECTOR_ATOL)


def test_a_student_told_from_its_weights_is_named_and_only_the_coarse_one_is_symmetric(loaded):
    told = [("fg_att", "fine_attention"), ("fg_bin", "fine_binary"), ("fg_none", "fine_plain")]
    for network, student in told:
        assert loaded(network).options["student"] == student and not loaded(network).symmetric
    coarse = models.load("dns", golden_dns.state("cg_trf_novlad"))
    assert coarse.options["student"] == "coarse" and coarse.symmetric


def test_the_coarse_student_has_no_picture(loaded):
    signature = loaded("cg_notrf_novlad").signature(golden_dns.walk(5))
    with pytest.raises(ValueError, match="there are no windows to compare"):
        loaded("cg_notrf_novlad").matrix(signature, signature)


def test_the_option_decides_which_published_file_is_the_default(tmp_path):
    method, card = models.get("dns"), models.card("dns")
    students = ("auto", "fine_attention", "fine_binary", "coarse")
    published = [method.published(card.resolve({"student": student})) for student in students]
    assert published == ["dns_fg_att_student", "dns_fg_att_student", "dns_fg_bin_student", "dns_cg_student"]
    state = {key: torch.from_numpy(value) for key, value in golden_dns.state("fg_bin").items()}
    torch.save({"model": state, "args": argparse.Namespace(), "global_step": 1}, tmp_path / "dns_fg_bin_student.pth")
    model = models.load("dns", student="fine_binary", cache=tmp_path, parts=("similarity",))
    assert model.weights == "dns_fg_bin_student"
    named = models.load("dns", "dns_fg_bin_student", cache=tmp_path, parts=("similarity",))
    assert named.digest("similarity") == model.digest("similarity")


@pytest.mark.parametrize(
    ("network", "student", "complaint"),
    [
        ("fg_att", "coarse", "holds the fine attention student, not the coarse student that was asked for"),
        ("cg_trf_novlad", "fine_attention", "holds the coarse student, not the fine attention student that was"),
        ("fg_none", "fine_attention", "holds a fine student without attention, not the fine attention student"),
        (
            "selector",
            "auto",
            "holds the selector, which picks pairs and scores none; give it to ndvr.models.methods.dns.search",
        ),
        ("cg_notrf_novlad", "auto", "does not fit SimilarityHead: it lacks visil_head.conv1.bias"),
    ],
)
def test_weights_of_another_student_are_told_in_one_sentence(network, student, complaint):
    with pytest.raises(files.WeightsError, match=f"the given mapping {complaint}"):
        models.load("dns", golden_dns.state(network), student=student)


@pytest.mark.slow
def test_features_under_the_names_of_dns_are_the_authors():
    backbone = models.load("s2vs", "random:110", parts=("embed",)).network("embed").state_dict()
    everything = {key.removeprefix("1.0."): value for key, value in backbone.items() if key.startswith("1.0.cnn.")}
    everything |= {"cnn.fc.weight": torch.zeros(1000, 2048), "cnn.fc.bias": torch.zeros(1000)}
    pca = projection(golden_inputs.pca(), 512, source="seed 120")
    everything |= {f"pca.{key}": value for key, value in pca.items()}
    model = models.load("dns", everything)
    expected = np.load(GOLDEN_FOLDER / "s2vs.npz")["noise224/pca512"]
    np.testing.assert_allclose(model.embed(golden_inputs.noise_frames()), expected, atol=VECTOR_ATOL)
    assert model.view == models.load("s2vs", everything, sampler="opencv").view
    with pytest.raises(files.Absent, match="the given mapping holds no similarity network"):
        model.signature(golden_dns.walk(4))


@pytest.mark.slow
def test_weights_are_drawn_as_the_authors_were(shared):
    listed = json.loads((shared / "golden" / "s2vs" / "keys.json").read_text())["models"]
    for network in golden_dns.NETWORKS:
        tensors, drawn = listed[f"dns_{network}"]["tensors"], golden_dns.state(network)
        assert tensors.keys() == drawn.keys()
        for key, about in tensors.items():
            assert list(drawn[key].shape) == about["shape"]
            np.testing.assert_allclose(drawn[key].ravel()[:3], about["first3"], rtol=1e-6)
            assert np.abs(drawn[key].astype(np.float64)).sum() == pytest.approx(about["abs_sum"], rel=1e-6)


@pytest.mark.slow
def test_batches_of_the_authors_give_the_same_coarse_vectors(shared, loaded, clips):
    reference = np.load(shared / "golden" / "s2vs" / "dns_cg.npz")
    equal = (clips["g"][:7], clips["f"], clips["h"][5:12])
    for network in COARSE:
        model = loaded(network)
        for name, batch in (("batched_masked", clips.values()), ("batched_equal7", equal)):
            found = np.concatenate([model.signature(features) for features in batch])
            np.testing.assert_allclose(found, reference[f"{network}/{name}"], atol=VECTOR_ATOL)


def test_frame_similarities_inside_the_authors_padded_batches_are_those_of_single_pairs(shared, loaded, clips):
    reference = np.load(shared / "golden" / "s2vs" / "dns_fg_similarity.npz")
    pairs = [(q, t) for q in "dg" for t in "efh"]
    for network in ("fg_att", "fg_bin", "fg_none"):
        model = loaded(network)
        for (q, t), padded in zip(pairs, reference[f"{network}/masked/f2f"]):
            found = model.matrix(model.signature(clips[q]), model.signature(clips[t]))
            np.testing.assert_allclose(found, padded[: found.shape[0], : found.shape[1]], atol=VECTOR_ATOL)
