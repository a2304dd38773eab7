"""Scores with gradients, of plain and of padded batches, are those of the authors' training code."""

import golden_dns
import golden_losses
import golden_s2vs
import numpy as np
import pytest
import torch
from golden_losses import ATOL, GOLDEN, all_pairs, close, network

from ndvr import models
from ndvr.models.layers.comparator import Comparator
from ndvr.models.layers.head import SimilarityHead
from ndvr.models.training import batches as training
from ndvr.models.training import losses
from ndvr.models.training.distillation import DnSSettings, DnSStudent, Triplets, own_similarities

STUDENTS = {"fg_att": ("attention", 101), "fg_bin": ("binary", 102), "fg_none": ("plain", 101)}
TEACHER = torch.tensor([[0.8, -0.3], [0.2, -0.9]])


def test_a_batch_of_one_length_scores_as_in_the_authors_forward_pass():
    scores, cells = all_pairs(network("attention", 101), golden_losses.forward_batch())
    close(scores / 2 + 0.5, "s2vs_similarity/att/forward/sims")
    close(losses.out_of_range(cells), "s2vs_similarity/att/forward/reg_loss")


def test_a_padded_batch_scores_as_in_the_authors_forward_pass():
    head = network("attention", 101)
    features, mask = golden_losses.padded("dfgh", 17)
    x = training.prepare(head, features)
    scores, cells = training.compare(head, x[:, None], x[None], query_mask=mask[:, None], target_mask=mask[None])
    close(scores / 2 + 0.5, "s2vs_similarity/att/forward_masked/sims")
    close(losses.out_of_range(cells), "s2vs_similarity/att/forward_masked/reg_loss")


@pytest.mark.parametrize("case", ["s2vs_similarity/att", *(f"dns_fg_similarity/{student}" for student in STUDENTS)])
def test_masked_matrices_and_cells_are_the_authors(case):
    head = network(*STUDENTS.get(case.rpartition("/")[2], ("attention", 101)))
    (queries, q_mask), (targets, t_mask) = golden_losses.padded("dg", 12), golden_losses.padded("efh", 17)
    # These are scores of the trained network, so signs are hard.
    prepare = head.binarization if case.endswith("bin") else lambda features: training.prepare(head, features)
    q, t = prepare(queries)[:, None], prepare(targets)[None]
    wanted = GOLDEN[f"{case}/masked/f2f"]
    np.testing.assert_allclose(training.frame_similarities(head, q, t).reshape(wanted.shape), wanted, atol=1e-6)
    scores, cells = training.compare(head, q, t, query_mask=q_mask[:, None], target_mask=t_mask[None])
    close(scores, f"{case}/masked/sim")
    mask = (q_mask[:, None, :, None] * t_mask[None, :, None]).reshape(6, 1, 12, 17)
    kept = training.masked_cells(head.visil_head, mask, mask)[1]
    wanted = GOLDEN[f"{case}/masked/head_pre"]
    np.testing.assert_array_equal(kept.reshape(wanted.shape), GOLDEN[f"{case}/masked/mask_out"])
    kept = kept.reshape(wanted.shape).numpy()
    np.testing.assert_allclose(cells.reshape(wanted.shape) * kept, wanted * kept, atol=ATOL)


@pytest.mark.slow
@pytest.mark.parametrize("student", STUDENTS)
def test_distillation_of_every_student_is_the_authors(student):
    head = network(*STUDENTS[student])
    anchors, positives, negatives = (golden_losses.padded(names, 17) for names in ("gh", "hf", "ed"))
    found, outputs = [], []
    for targets, key in ((positives, "pos"), (negatives, "neg")):
        q, t = (training.prepare(head, features) for features, _ in (anchors, targets))
        scores, cells = training.compare(head, q, t, query_mask=anchors[1], target_mask=targets[1])
        close(scores[:, None], f"dns_fg_similarity/{student}/train/{key}")
        found.append(scores)
        outputs.append(cells)
    scores, cells = torch.stack(found, 1), torch.stack(outputs)
    close(losses.out_of_range(cells), f"dns_fg_similarity/{student}/train/reg")
    close(losses.distillation(scores, TEACHER), f"dns_fg_similarity/{student}/train/l1")
    close(losses.distillation(scores, TEACHER, cells), f"dns_fg_similarity/{student}/train/total_r1e-3")


@pytest.mark.slow
@pytest.mark.parametrize("student", STUDENTS)
def test_the_step_that_a_student_is_trained_by_has_the_authors_loss_and_that_of_a_whole_batch(student):
    """Pairs one by one, as training takes them, with gradients of the batch that is held at once."""
    head = network(*STUDENTS[student]).requires_grad_(True)
    clips = golden_losses.clips()
    drawn = Triplets(
        anchors=[clips[name] for name in "gh"],
        targets=([clips[name] for name in "hf"], [clips[name] for name in "ed"]),
        teacher=TEACHER.t(),
    )
    loss, _ = DnSStudent(head, DnSSettings()).loss(drawn)
    close(loss, f"dns_fg_similarity/{student}/train/total_r1e-3")
    loss.backward()
    gradients = [parameter.grad.clone() for parameter in head.parameters()]
    head.zero_grad()
    (anchors, a_mask), (targets, t_mask) = golden_losses.padded("ghgh", 17), golden_losses.padded("hfed", 17)
    q, t = (training.prepare(head, features) for features in (anchors, targets))
    scores, cells = training.compare(head, q, t, query_mask=a_mask, target_mask=t_mask)
    losses.distillation(scores, TEACHER.t().flatten(), cells).backward()
    for mine, parameter in zip(gradients, head.parameters()):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_vectors_of_the_coarse_student_in_training_are_the_authors():
    student = models.load("dns", golden_dns.state("cg")).network("similarity")
    clips = golden_losses.clips()
    close(student.vectors([clips["g"], clips["h"]]), "dns_cg/cg/train_nodropout_gh", atol=1e-6)
    student.train()
    DnSStudent(student, DnSSettings(dropout=0.1))
    assert not torch.allclose(student.vectors([clips["g"]]), golden_losses.golden("dns_cg/cg/train_nodropout_gh")[:1])


def test_what_the_selector_learns_from_of_padded_videos_is_the_authors():
    selector = models.load_selector("dns", golden_dns.state("selector")).network("similarity")
    clips = golden_losses.clips()
    found = own_similarities(selector, [clips[name] for name in "abcdefgh"])
    close(found[:, None], "dns_selector/index_batched_masked", atol=1e-6)


@pytest.mark.parametrize(
    "name, state, options",
    [
        ("s2vs", golden_s2vs.state(golden_s2vs.S2VS["attention"], 101), {}),
        ("s2vs", golden_s2vs.state(golden_s2vs.S2VS["attention"], 101), {"similarity": "symmetric"}),
        ("s2vs", golden_s2vs.state(golden_s2vs.S2VS["batch_norm"], 107), {}),
        ("dns", golden_s2vs.state(golden_s2vs.S2VS["attention"], 101), {}),
        ("visil", golden_s2vs.visil_state(512, 104), {"dims": "512", "variant": "v"}),
        ("visil", golden_s2vs.visil_state(512, 104), {"dims": "512", "variant": "sym"}),
    ],
    ids=["s2vs", "s2vs symmetric", "s2vs batch norm", "dns", "visil", "visil symmetric"],
)
def test_without_padding_training_scores_are_those_of_retrieval(name, state, options):
    features = golden_losses.forward_batch()
    model = models.load(name, state, **options)
    scores, _ = all_pairs(model.network("similarity"), features)
    signatures = [model.signature(clip.numpy()) for clip in features]
    np.testing.assert_allclose(scores, [model.similarities(q, signatures) for q in signatures], atol=2e-5)


def test_masks_that_cannot_be_honoured_are_refused():
    plain, batch_norm = (SimilarityHead(comparator=Comparator(batch_norm=norm)) for norm in (False, True))
    features, mask = golden_losses.padded("gh", 17)
    with pytest.raises(ValueError, match="one of query_mask and target_mask is missing"):
        training.compare(plain, features, features, query_mask=mask)
    with pytest.raises(ValueError, match="videos of one length"):
        training.compare(batch_norm, features, features, query_mask=mask, target_mask=mask)
