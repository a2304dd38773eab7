"""On a GPU every method gives what it gives on a CPU, and the numbers of the authors' code; training learns alike."""

from __future__ import annotations

import dataclasses
import io

import golden_ausil
import golden_c3dhash
import golden_csl3d
import golden_dns
import golden_inputs
import golden_losses
import golden_s2vs
import golden_tca
import numpy as np
import pytest
import torch
from method_inputs import features_of, loaded, windows_of
from places import GOLDEN_FOLDER
from small_trainings import SETTINGS, trainer

from ndvr import models
from ndvr.models.card import Overview
from ndvr.models.keys import Keys, Place
from ndvr.models.layers.head import exact_convolutions
from ndvr.models.training import batches, losses
from ndvr.models.training.recipes import RECIPES
from ndvr.models.training.trainer import Trainer

# Two ways to add up float32: relative to the largest number of a feature, and of scores in [-1, 1].
FEATURE_RTOL, SCORE_ATOL = 2e-5, 2e-5
# Scores of features that were made on a GPU too: rounding to half floats or bytes may tip over.
WHOLE_ATOL = 1e-4
# Of networks that run in half floats on a GPU.
HALF_ATOL = {"glance": 5e-3}
LENGTHS = (1, 4, 9, 14)

WAYS = [
    *((name, {}) for name in models.names()),
    ("c3dhash", {"bits": 16}),
    ("csl3d", {"similarity": "topk"}),
    ("csl3d", {"similarity": "symmetric"}),
    ("dns", {"student": "fine_binary"}),
    ("dns", {"student": "coarse"}),
    ("s2vs", {"similarity": "symmetric"}),
    ("s2vs", {"comparator": "dense"}),
    ("s2vs", {"backbone": "lite0"}),
    ("tca", {"similarity": "cosine"}),
    *(("tca", {"encoder": encoder, "dims": 64}) for encoder in ("netvlad", "nextvlad", "lstm", "gru", "none")),
    ("tca", {"backbone": "lite0", "pooling": "rmac", "dims": 64}),
    ("visil", {"variant": "sym"}),
]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: "-".join([way[0], *map(str, way[1].values())]))
def both(request):
    """The method on the CPU and on the GPU, with the same weights."""
    name, options = request.param
    return loaded(name, **options), loaded(name, device="cuda", **options)


def counts(model) -> tuple[int, ...]:
    return (1, 1, 1) if isinstance(model.view, Overview) else LENGTHS


def features(model) -> list[np.ndarray]:
    return [features_of(model, count, seed) for seed, count in enumerate(counts(model))]


def test_features_are_those_of_the_cpu(both):
    on_cpu, on_gpu = (model.embed(windows_of(model, 5)) for model in both)
    if on_cpu.dtype == np.uint8:
        assert (on_cpu != on_gpu).mean() < (0.2 if both[0].name in HALF_ATOL else 2e-3)
    else:
        np.testing.assert_allclose(on_gpu, on_cpu, atol=FEATURE_RTOL * np.abs(on_cpu).max())


def test_scores_of_the_same_features_are_those_of_the_cpu(both):
    signatures = [[model.signature(each) for each in features(both[0])] for model in both]
    scores = [model.score_matrix(each, each) for model, each in zip(both, signatures)]
    np.testing.assert_allclose(scores[1], scores[0], atol=SCORE_ATOL)
    one_by_one = [both[1].similarities(query, signatures[1]) for query in signatures[1]]
    np.testing.assert_allclose(one_by_one, scores[0], atol=SCORE_ATOL)


def test_scores_of_features_made_on_the_gpu_are_those_of_the_cpu(both):
    scores = []
    for model in both:
        made = [
            model.embed(windows_of(model, count, seed)).astype(model.card.feature_dtype)
            for seed, count in enumerate(counts(model))
        ]
        signatures = [model.signature(each) for each in made]
        scores.append(model.score_matrix(signatures, signatures))
    np.testing.assert_allclose(scores[1], scores[0], atol=HALF_ATOL.get(both[0].name, WHOLE_ATOL))


def test_pictures_and_judgements_of_pairs_are_those_of_the_cpu(both):
    if both[0].compact:
        return
    some = features(both[0])[1:3]
    matrices, own, judged = [], [], []
    for model in both:
        query, target = (model.signature(each) for each in some)
        matrices.append(model.matrix(query, target))
        own.append(model.own_matrix(query))
        judged.append(model.judge(query, target))
    np.testing.assert_allclose(matrices[1], matrices[0], atol=SCORE_ATOL)
    np.testing.assert_allclose(own[1], own[0], atol=SCORE_ATOL)
    assert judged[1].score == pytest.approx(judged[0].score, abs=SCORE_ATOL)


def test_keys_and_probes_are_those_of_the_cpu(both):
    for verb in ("keys", "probes"):
        on_cpu, on_gpu = (getattr(model, verb)(features(both[0])[-1]) for model in both)
        for field in dataclasses.fields(Keys):
            np.testing.assert_allclose(getattr(on_gpu, field.name), getattr(on_cpu, field.name), atol=1e-5)


def test_a_closer_look_at_candidates_is_that_of_the_cpu(both):
    query, *targets = features(both[0])
    places = [[Place(placement=(0.0, 0.0, 1.0, 1.0), turn=0, query_window=0, video_window=0)] for _ in targets]
    np.testing.assert_array_equal(*(model.spot(query, targets, places) for model in both))


def test_signatures_come_back_from_a_file(both):
    if both[1].compact:
        signatures = [both[1].signature(each) for each in features(both[0])]
        again = both[1].unstack(both[1].stack(signatures))
        scores = [both[1].score_matrix(each, each) for each in (signatures, again)]
        np.testing.assert_array_equal(*scores)


def test_a_long_video_is_compared_in_parts_on_the_gpu_too():
    model = loaded("thumbprint", device="cuda")
    video = features_of(loaded("thumbprint"), 700)
    parts, whole = model.long_signature(video, 10 << 20), model.signature(video)
    assert model.similarity(parts, parts) == model.similarity(whole, whole)


def test_the_selector_of_dns_doubts_as_on_the_cpu():
    shown = features(loaded("dns"))
    coarse = np.random.default_rng(0).random((4, 4), np.float32)
    doubts = []
    for device in ("cpu", "cuda"):
        selector = models.load_selector("dns", "random", device)
        signatures = [selector.signature(each) for each in shown]
        doubts.append(selector.urgency(signatures, signatures, coarse))
    np.testing.assert_allclose(doubts[1], doubts[0], atol=SCORE_ATOL)


# --- The authors' numbers -----------------------------------------------------------------------------------------


def golden(name: str):
    return np.load(GOLDEN_FOLDER / f"{name}.npz")


@pytest.mark.parametrize(
    ("variant", "kind", "seed", "options"),
    [
        ("att", "attention", 101, {}),
        ("none", "plain", 101, {}),
        ("sym_att", "attention", 101, {"similarity": "symmetric"}),
        ("bin", "binary", 102, {}),
        ("att_bn", "batch_norm", 107, {}),
        ("attnorm", "normalised", 108, {}),
    ],
)
def test_scores_of_s2vs_are_the_authors(variant, kind, seed, options):
    model = models.load("s2vs", golden_s2vs.state(golden_s2vs.S2VS[kind], seed), "cuda", **options)
    check_pairs(model, golden_inputs.region_features(), golden("s2vs"), variant)


@pytest.mark.parametrize(
    ("case", "dims", "seed", "options"),
    [
        ("visil_v", 3840, 103, {}),
        ("visil_sym512", 512, 104, {"variant": "sym"}),
        ("visil_v512", 512, 104, {"dims": "512"}),
    ],
)
def test_scores_of_visil_are_the_authors(case, dims, seed, options):
    model = models.load("visil", golden_s2vs.visil_state(dims, seed), "cuda", parts=("similarity",), **options)
    check_pairs(model, golden_inputs.region_features(901 if dims == 3840 else 900, dims), golden("visil"), case)


@pytest.mark.parametrize("student", ["fg_att", "fg_bin", "fg_none"])
def test_scores_of_fine_students_of_dns_are_the_authors(student):
    model = models.load("dns", golden_dns.state(student), "cuda")
    check_pairs(model, golden_inputs.region_features(), golden("dns"), student)


def check_pairs(model, clips, numbers, case: str) -> None:
    signatures = {clip: model.signature(each) for clip, each in clips.items()}
    for pair in golden_inputs.PAIRS:
        query, target = (signatures[clip] for clip in pair.split("-"))
        wanted = numbers[f"{case}/{pair}/sim"].item()
        assert model.similarity(query, target) == pytest.approx(wanted, abs=SCORE_ATOL), pair


def test_vectors_of_the_coarse_student_of_dns_are_the_authors():
    model = models.load("dns", golden_dns.state("cg"), "cuda", student="coarse")
    for clip, each in golden_inputs.region_features().items():
        np.testing.assert_allclose(model.signature(each)[0].cpu(), golden("dns")[f"cg/{clip}"], atol=2e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tca_1024x1", {}),
        ("tca_64x2", {}),
        ("netvlad_32x8", {"encoder": "netvlad"}),
        ("nextvlad_32x8", {"encoder": "nextvlad"}),
        ("lstm_24", {"encoder": "lstm"}),
        ("gru_24", {"encoder": "gru"}),
    ],
)
def test_vectors_of_videos_by_tca_are_the_authors(name, options):
    model = models.load("tca", golden_tca.state(name), "cuda", similarity="cosine", **options)
    for number, each in enumerate(golden_tca.features(name)):
        np.testing.assert_allclose(model.signature(each).cpu(), golden("tca")[f"{name}/forward"][number], atol=1e-5)


def test_features_of_csl3d_are_the_authors():
    state = loaded("csl3d", ("embed",)).network("embed").state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    model = models.load("csl3d", golden_csl3d.weights("small", shapes), "cuda", size="small")
    wanted = golden_csl3d.GOLDEN["small/one_clip_features"]
    np.testing.assert_allclose(model.embed(golden_csl3d.clips("one_clip")), wanted, atol=1e-4)


@pytest.mark.parametrize(("bits", "frames"), [(16, 16), (48, 32), (64, 16)])
def test_features_and_codes_of_c3dhash_are_the_authors(bits, frames):
    state = {"module." + key: value for key, value in golden_c3dhash.state(bits).items()}
    model, case = models.load("c3dhash", state, "cuda", frames=frames), f"bits{bits}_T{frames}"
    made = model.embed(golden_c3dhash.windows(bits, frames))
    np.testing.assert_allclose(made, golden("c3dhash")[f"{case}_pooled"], atol=4e-5)  # values reach 9
    codes = [np.unpackbits(model.signature(each[None])) * 2 - 1.0 for each in made]
    np.testing.assert_array_equal(codes, golden("c3dhash")[f"{case}_code"])


def test_scores_of_ausil_are_the_authors():
    model = models.load("ausil", {**golden_ausil.cnn_weights(), **golden_ausil.tf_weights()}, "cuda")
    numbers = golden("ausil")
    signatures = [model.signature(numbers[f"{name}/features"]) for name in ("r4", "r5", "r7", "short_0s5")]
    np.testing.assert_allclose(model.similarities(signatures[0], signatures), numbers["r4/scores"], atol=SCORE_ATOL)


@pytest.mark.parametrize("method", RECIPES)
@pytest.mark.parametrize("mixed", [False, True])
def test_training_learns_what_it_learns_on_the_cpu(method, mixed):
    """The first loss; then Adam divides by the size of gradients, also of the smallest. In half floats roughly."""
    learnt = []
    for device in ("cpu", "cuda"):
        trained = undropped(method, device=device, mixed=mixed and device == "cuda")
        learnt.append([trained.step() for _ in range(4)])
    np.testing.assert_allclose(learnt[1][0], learnt[0][0], rtol=0.1 if mixed else 1e-4)
    np.testing.assert_allclose(learnt[1], learnt[0], rtol=0.1 if mixed else 2e-2)


def undropped(method: str, **how) -> Trainer:
    """A training without dropout, which is drawn on the device."""
    settings = {"dropout": 0.0} if hasattr(SETTINGS[method], "dropout") else {}
    made = trainer(method, settings=settings, **how)
    for module in made.recipe.network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return made


@pytest.mark.parametrize("method", RECIPES)
def test_a_training_goes_on_from_a_file_on_the_other_device(method):
    whole = undropped(method)
    losses_of_whole = [whole.step() for _ in range(4)]
    for first, then in (("cpu", "cuda"), ("cuda", "cpu")):
        begun, kept = undropped(method, device=first), io.BytesIO()
        begun.step(), begun.step()
        torch.save(begun.state(), kept)
        kept.seek(0)
        going_on = undropped(method, device=then)
        going_on.load(torch.load(kept, weights_only=True))
        np.testing.assert_allclose([going_on.step() for _ in range(2)], losses_of_whole[2:], rtol=2e-2)


def test_a_training_step_of_s2vs_is_the_authors_from_features_to_gradients():
    head = golden_losses.network("attention", 101).cuda().requires_grad_(True)
    with exact_convolutions():  # backward, too, as `Trainer` does
        prepared = batches.prepare(head, golden_losses.training_batch().cuda())
        scores, cells = batches.compare(head, prepared[:, None], prepared[None])
        total = losses.s2vs(scores / 2 + 0.5, golden_losses.golden("s2vs_training/labels").cuda(), cells)
        total.backward()
    golden_losses.close(total.cpu(), "s2vs_training/total", rtol=1e-5)
    for name, parameter in head.named_parameters():
        golden_losses.close(parameter.grad.norm().cpu(), f"s2vs_training/gradnorm/{name}", rtol=1e-4)
