"""Every recipe: it learns, and goes on from a file as if it had never stopped."""

import io

import golden_tca
import numpy as np
import pytest
import torch

from ndvr import models
from ndvr.models.training.recipes import RECIPES, C3DHashSettings, S2VSSettings, TCASettings, Videos
from ndvr.models.training.trainer import Trainer

SETTINGS = {
    "tca": TCASettings(pairs=3, negatives=2, queue=24, rate=1e-3),
    "c3dhash": C3DHashSettings(batch=6, rate=0.1),
    "s2vs": S2VSSettings(videos=3, frames=8, rate=1e-3),
}
OPTIONS = {"tca": {"dims": 32, "heads": 4}, "c3dhash": {"bits": 16}, "s2vs": {}}
SHAPES = {"tca": (32,), "c3dhash": (512,), "s2vs": (9, 512)}


def videos(method: str, *, labels: bool = True) -> Videos:
    """Eight videos of 1 to 8 windows in four groups of two."""
    rng = np.random.default_rng(5)
    features = {f"v{n}": rng.standard_normal((n + 1, *SHAPES[method])).astype(np.float16) for n in range(8)}
    related = {f"v{n}": (f"v{n ^ 1}",) for n in range(8)} if labels else {}
    return Videos(features=features, related=related, groups={f"v{n}": n // 2 if labels else n for n in range(8)})


def trainer(method: str, *, labels: bool = True, **settings) -> Trainer:
    model = models.load(method, "random", parts=("similarity",), **OPTIONS[method])
    recipe = RECIPES[method](model.network("similarity"), SETTINGS[method])
    recipe.begin(seed=3)
    return Trainer(recipe, videos(method, labels=labels), **{"n_steps": 12, "seed": 1} | settings)


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


@pytest.mark.parametrize("method", RECIPES)
def test_what_was_learnt_is_loaded_under_the_authors_names(method):
    trained = trainer(method)
    trained.step()
    model = models.load(method, weights(trained), parts=("similarity",), **OPTIONS[method])
    for key, value in trained.recipe.network.state_dict().items():
        assert torch.equal(value, model.network("similarity").state_dict()[key]), key


def test_padded_batches_of_tca_are_its_videos_one_by_one():
    model = models.load("tca", golden_tca.state("tca_64x2"))
    encoder = model.network("similarity").encoder
    some = [torch.randn(length, 64) for length in (3, 7, 1)]
    padded = torch.nn.utils.rnn.pad_sequence(some, batch_first=True)
    mask = torch.arange(7) < torch.tensor([[3], [7], [1]])
    torch.testing.assert_close(encoder.videos(padded, mask), torch.stack([encoder.video(each) for each in some]))
