"""Every recipe: it learns, and goes on from a file as if it had never stopped."""

import copy
import io

import golden_tca
import numpy as np
import pytest
import torch
from small_trainings import load, trainer

from ndvr import models
from ndvr.models.training.distillation import rotation
from ndvr.models.training.recipe import Videos
from ndvr.models.training.recipes import RECIPES, S2VSSettings
from ndvr.models.training.trainer import Trainer


def weights(trained: Trainer) -> dict[str, torch.Tensor]:
    return trained.recipe.weights()


def assert_same(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert some.keys() == others.keys()
    for key, value in some.items():
        assert torch.equal(value, others[key]), key


@pytest.mark.parametrize("method", RECIPES)
def test_a_training_goes_on_from_a_file_as_if_it_had_never_stopped(method):
    whole = trainer(method)
    losses = [whole.step() for _ in range(6)]
    stopped, kept = trainer(method), io.BytesIO()
    assert [stopped.step() for _ in range(3)] == losses[:3]
    torch.save(stopped.state(), kept)
    kept.seek(0)
    going_on = trainer(method)
    going_on.load(torch.load(kept, weights_only=True))
    assert [going_on.step() for _ in range(3)] == losses[3:]
    assert_same(weights(going_on), weights(whole))
    assert not all(torch.equal(value, weights(trainer(method))[key]) for key, value in weights(whole).items())


@pytest.mark.slow
def test_a_training_on_frames_goes_on_as_well_by_whatever_views_were_drawn_before():
    noise = np.random.default_rng(0).integers(0, 256, (3, 12, 8, 12, 3), np.uint8).repeat(16, 2).repeat(16, 3)
    frames = {f"v{number}": film for number, film in enumerate(noise)}
    backbone = models.load("s2vs", "random", parts=("embed",), backbone="lite0", pca=None)
    shown = Videos(features={}, related={}, groups={"v0": 0, "v1": 1, "v2": 2}, frames=frames, backbone=backbone)

    def begun() -> Trainer:
        settings = S2VSSettings(videos=2, frames=4, rate=1e-3, augmentations="GT,FT,TT,ViV")
        recipe = RECIPES["s2vs"](load("s2vs", "random").network("similarity"), settings)
        recipe.begin(seed=3)
        return Trainer(recipe, shown, n_steps=2, seed=1)

    whole, going_on = begun(), begun()
    whole.step()
    going_on.load(copy.deepcopy(whole.state()))
    assert going_on.step() == whole.step()
    assert_same(weights(going_on), weights(whole))


@pytest.mark.parametrize("method", RECIPES)
def test_what_was_learnt_is_loaded_under_the_authors_names(method):
    trained = trainer(method)
    trained.step()
    model = load(method, weights(trained))
    for key, value in trained.recipe.network.state_dict().items():
        assert torch.equal(value, model.network("similarity").state_dict()[key]), key


def test_padded_batches_of_tca_are_its_videos_one_by_one():
    model = models.load("tca", golden_tca.state("tca_64x2"))
    encoder = model.network("similarity").encoder
    some = [torch.randn(length, 64) for length in (3, 7, 1)]
    padded = torch.nn.utils.rnn.pad_sequence(some, batch_first=True)
    mask = torch.arange(7) < torch.tensor([[3], [7], [1]])
    torch.testing.assert_close(encoder.videos(padded, mask), torch.stack([encoder.video(each) for each in some]))


@pytest.mark.slow
@pytest.mark.parametrize("student", ["coarse", "fine_binary"])
def test_every_student_of_dns_comes_closer_to_its_teacher(student):
    trained = trainer("dns", options={"student": student})
    losses = [trained.step() for _ in range(4)]
    assert min(losses[1:]) < losses[0]
    assert models.load("dns", weights(trained), parts=("similarity",)).options["student"] == student


def test_the_binary_student_begins_with_a_rotation_by_which_signs_lose_less_than_by_chance():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((10, 20, 9, 64)) * np.linspace(0.1, 3, 64)
    given = Videos(features={f"v{n}": each for n, each in enumerate(features)}, related={}, groups={})
    begun = rotation(given, 1000, seed=0).double().numpy()
    np.testing.assert_allclose(begun @ begun.T, np.eye(64), atol=1e-4)
    regions = features.reshape(-1, 64) / np.linalg.norm(features.reshape(-1, 64), axis=1, keepdims=True)
    chance = np.linalg.qr(rng.standard_normal((64, 64)))[0]
    lost = [np.square(np.abs(each) - np.abs(each).mean()).mean() for each in (regions @ begun, regions @ chance)]
    assert lost[0] < 0.9 * lost[1]


def test_what_a_selector_has_seen_does_not_hang_on_who_computed_which_batch():
    """Running numbers of batch normalisation change after the step only, by all batches in their order."""
    both = trainer("dns-selector", parts=2)
    drawn = [
        both.recipe.draw(both.videos, np.random.default_rng(np.random.SeedSequence([1, 0, part]))) for part in (0, 1)
    ]
    seen = [both.recipe.loss(batch)[1][0, :100] for batch in drawn]
    both.step()
    running = both.recipe.network.mlp["model"][1].running_mean
    torch.testing.assert_close(running, 0.09 * seen[0] + 0.1 * seen[1])
