"""Training losses and their gradients are those of the authors' code."""

import copy

import golden_losses
import numpy as np
import pytest
import torch
from golden_losses import GOLDEN, all_pairs, close, golden, network
from golden_recipe import seeded_state

from ndvr.models.methods.tca._encoders import TransformerEncoder
from ndvr.models.training import losses

# --- S2VS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["loss4/", "loss8/"])
def test_s2vs_losses_of_a_matrix_are_the_authors(case):
    similarities, labels = (golden(f"s2vs_training/{case}{name}") for name in ("sims", "labels"))
    for temperature in (0.03, 0.07):
        found = losses.info_nce(similarities, labels, temperature=temperature)
        close(found, f"s2vs_training/{case}infonce_{temperature}")
    close(losses.hardest_negative(similarities, labels), f"s2vs_training/{case}hardneg")
    close(losses.self_similarity(similarities), f"s2vs_training/{case}self")
    cells = golden(f"s2vs_training/{case}reg_in")
    close(losses.out_of_range(cells), f"s2vs_training/{case}reg_sum")
    close(losses.out_of_range(cells) / cells.numel(), f"s2vs_training/{case}reg_mean")


def test_labels_say_which_views_share_a_source_even_where_it_was_pasted_in():
    labels = losses.same_source(golden("s2vs_training/labels_viv"))
    np.testing.assert_array_equal(labels, GOLDEN["s2vs_training/labels"])


def test_a_training_step_of_s2vs_is_the_authors_from_features_to_gradients():
    head = network("attention", 101).requires_grad_(True)
    scores, cells = all_pairs(head, golden_losses.training_batch())
    similarities, labels = scores / 2 + 0.5, golden("s2vs_training/labels")
    close(similarities, "s2vs_training/sims")
    close(losses.info_nce(similarities, labels), "s2vs_training/infonce")
    close(losses.hardest_negative(similarities, labels), "s2vs_training/hardneg")
    close(losses.self_similarity(similarities), "s2vs_training/self")
    close(losses.out_of_range(cells), "s2vs_training/reg")
    total = losses.s2vs(similarities, labels, cells)
    close(total, "s2vs_training/total")
    total.backward()
    gradients = {name: parameter.grad for name, parameter in head.named_parameters()}
    for name, gradient in gradients.items():
        close(gradient.norm(), f"s2vs_training/gradnorm/{name}", rtol=1e-5)
    for name in ("visil_head.conv1.weight", "attention.context_vector.weight"):  # largest numbers: 5 and 16
        close(gradients[name], f"s2vs_training/grad/{name}", atol=1e-4)


def test_rows_without_positives_or_negatives_give_finite_losses_and_gradients():
    similarities = torch.full((3, 3), 0.5, requires_grad=True)
    for labels in (torch.eye(3), torch.ones(3, 3)):
        total = losses.s2vs(similarities, labels, torch.zeros(1))
        total.backward()
        assert total.isfinite() and similarities.grad.isfinite().all()
    assert losses.info_nce(similarities, torch.eye(3)) == 0


def test_learning_rates_of_s2vs_are_the_authors():
    steps = GOLDEN["s2vs_training/lr_steps"].tolist()
    np.testing.assert_allclose(
        [losses.s2vs_learning_rate(step) for step in steps], GOLDEN["s2vs_training/lr_values"], rtol=1e-9
    )


# --- ViSiL, TCA, C3DHash --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["dns_losses/", "visil_similarity/loss/"])
def test_triplet_losses_are_the_authors(case):
    positive, negative = golden(f"{case}sim_pos"), golden(f"{case}sim_neg")
    close(losses.triplet(positive, negative), f"{case}triplet_g1")
    close(losses.triplet(positive, negative, margin=0.5), f"{case}triplet_g05")
    if case == "dns_losses/":
        close(losses.triplet(negative, positive), f"{case}triplet_distance_g1")  # of distances
    else:
        close(losses.out_of_range(golden(f"{case}reg_in")), f"{case}reg")


@pytest.mark.parametrize("source", ["official", "paper"])
@pytest.mark.parametrize("margin, gamma", [(0.25, 256), (0.25, 32), (0.4, 80)])
@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_circle_losses_and_gradients_are_those_of_the_paper_and_of_the_code(case, margin, gamma, source):
    logits = golden(f"circle_loss/{case}_logits").requires_grad_(True)
    loss = losses.circle(logits, margin=margin, gamma=gamma, authors_code=source == "official")
    loss.backward()
    key = f"circle_loss/{case}_m{margin}_g{gamma}_{source}"
    close(loss, f"{key}_loss")
    close(logits.grad, f"{key}_grad", atol=5e-5)  # of numbers up to 450


@pytest.mark.parametrize("case, momentum, temperature", [("moco_m0_t1", 0.0, 1.0), ("moco_m999_t07", 0.999, 0.07)])
def test_four_steps_with_a_memory_bank_are_the_authors(case, momentum, temperature):
    encoder = TransformerEncoder(32, heads=4)
    shapes = {key: value.shape for key, value in encoder.state_dict().items()}
    drawn = seeded_state(shapes, seed=2009, gain=1.5)
    encoder.load_state_dict({key: torch.from_numpy(value) for key, value in drawn.items()})
    keys = copy.deepcopy(encoder).requires_grad_(False)
    bank = losses.MemoryBank(32, 24, temperature=temperature)
    bank.queue.copy_(golden(f"{case}/queue_init"))
    optimiser = torch.optim.Adam(encoder.parameters(), lr=1e-2, weight_decay=1e-4)
    weight, key_weight = (e.transformer_encoder.layers[0].linear1.weight for e in (encoder, keys))
    lengths = [4, 6, 2], [6, 3, 5], [6, 5, 4, 3, 2, 1] + 6 * [6]
    for step in range(4):
        losses.follow(keys, encoder, momentum=momentum)
        videos = [golden_losses.frames(seed + step, n) for seed, n in zip((300, 400, 500), lengths)]
        anchors, positives, negatives = (
            torch.stack([e.video(video) for video in part]) for e, part in zip((encoder, keys, keys), videos)
        )
        logits = bank(anchors, positives)
        loss = losses.circle(logits, authors_code=True)
        bank.push(negatives)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        close(logits, f"{case}/s{step}_logits")
        close(loss, f"{case}/s{step}_loss", rtol=1e-5, atol=2e-4)  # gamma makes 1e-6 of a logit 3e-4
        close(bank.queue, f"{case}/s{step}_queue", atol=2e-5)
        close(weight.grad[:8, :8], f"{case}/s{step}_grad_linear1")
        # Adam divides by the size of gradients, also of the smallest.
        close(weight[:8, :8], f"{case}/s{step}_q_linear1_after", atol=5e-5)
        close(key_weight[:8, :8], f"{case}/s{step}_k_linear1")
        assert bank.position == GOLDEN[f"{case}/s{step}_ptr"].item()


def test_a_memory_bank_takes_whole_steps_only():
    bank = losses.MemoryBank(4, 24)
    torch.testing.assert_close(bank.queue.norm(dim=0), torch.ones(24))
    with pytest.raises(ValueError, match="choose a size that is a multiple of 7"):
        bank.push(torch.ones(7, 4))


@pytest.mark.parametrize("margin", [8, 14, 20])
@pytest.mark.parametrize("case", "abcdefg")
def test_triplets_of_a_batch_are_counted_as_the_authors_do_or_once(case, margin):
    activations = golden(f"triplet_loss/{case}_x").requires_grad_(True)
    labels = golden(f"triplet_loss/{case}_labels")
    key = f"triplet_loss/{case}_m{margin}"
    loss = losses.all_triplets(activations, labels, margin=margin)
    loss.backward()
    close(loss, f"{key}_loss")
    if f"{key}_grad" in GOLDEN:  # otherwise there is no triplet
        close(activations.grad, f"{key}_grad")
        close(losses.all_triplets(activations, labels, margin=margin, each_once=True), f"{key}_loss_each_triplet_once")
    else:
        assert loss == 0 and (activations.grad == 0).all()


# --- the reference itself ---------------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_full_reference_beside_the_project(shared):
    reference = golden_losses.reference(shared / "golden")
    assert reference.keys() == set(GOLDEN.files)
    for key, value in reference.items():
        np.testing.assert_array_equal(GOLDEN[key], value)
