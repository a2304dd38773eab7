"""What holds for every method, found by listing the folder: a new method is tested without writing a test."""

import dataclasses

import numpy as np
import pytest
from method_inputs import difference_between_directions, loaded, signature_of, windows_of

from ndvr import models
from ndvr.models.card import Overview

METHODS = models.names()


@pytest.fixture(scope="module", params=METHODS)
def model(request):
    return loaded(request.param)


@pytest.mark.parametrize("name", METHODS)
def test_the_card_read_from_source_is_the_card_of_the_method(name):
    assert models.card(name) == models.get(name).card
    assert all(field.name in vars(models.card(name)) for field in dataclasses.fields(models.card(name)))


@pytest.mark.parametrize("name", METHODS)
def test_published_files_name_their_address(name):
    card = models.card(name)
    for file in [*card.weights.values(), *card.requires.values()]:
        assert file.url.startswith(("http://", "https://"))
        assert file.sha256 is None or len(file.sha256) == 64


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_features_that_are_not_finite_never_reach_a_score(name):
    model = loaded(name, ("similarity",))
    if model.card.feature_dtype != "uint8":
        with pytest.raises(ValueError, match="not finite"):
            model.signature(np.full((4, *model.feature_shape), np.nan, np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_features_of_nothing_but_zeros_give_a_score(name):
    model = loaded(name, ("similarity",))
    dtype = np.uint8 if model.card.feature_dtype == "uint8" else np.float32
    nothing = model.signature(np.zeros((4, *model.feature_shape), dtype))
    assert np.isfinite(model.similarities(nothing, [nothing, nothing])).all()


@pytest.mark.parametrize("name", METHODS)
def test_weights_of_another_method_are_refused(name):
    if models.card(name).weights:
        with pytest.raises(ValueError, match="belong|lacks|another method|holds"):
            models.load(name, {"stranger.weight": np.zeros((3, 3), np.float32)})


@pytest.mark.parametrize("name", [name for name in METHODS if models.card(name).weights])
def test_random_weights_say_that_they_are_untrained(name):
    assert not loaded(name, ("similarity",)).trained


@pytest.mark.slow
def test_features_have_the_shape_and_type_on_the_card(model):
    features = model.embed(windows_of(model, 2))
    assert features.shape == (2, *model.feature_shape)
    assert features.dtype == (np.uint8 if model.card.feature_dtype == "uint8" else np.float32)


@pytest.mark.slow
def test_no_windows_give_no_features(model):
    assert model.embed(windows_of(model, 1)[:0]).shape == (0, *model.feature_shape)


@pytest.mark.slow
def test_a_feature_depends_on_its_window_only(model):
    windows = windows_of(model, 3)
    together = model.embed(windows).astype(np.float32)
    alone = np.concatenate([model.embed(windows[k : k + 1]) for k in range(3)]).astype(np.float32)
    # Other sizes of batches are summed in another order.
    np.testing.assert_allclose(together, alone, atol=2e-5 * max(1.0, np.abs(alone).max()))


@pytest.mark.slow
def test_windows_of_another_shape_are_refused_naming_both(model):
    with pytest.raises(ValueError, match=f"{model.name} expects windows of shape"):
        model.embed(np.zeros((2, 5, 5, 3), model.view.window_dtype))


@pytest.mark.slow
def test_features_of_another_width_are_refused_naming_both(model):
    with pytest.raises(ValueError, match=f"{model.name} expects features of shape"):
        model.signature(np.zeros((2, 7), np.float32))


@pytest.mark.slow
def test_scores_are_finite_and_in_range_for_every_length(model):
    signatures = [signature_of(model, count, seed=count) for count in (1, 2, 3, 5, 9)]
    low, high = model.card.range
    for query in signatures:
        scores = model.similarities(query, signatures)
        assert scores.shape == (5,) and np.isfinite(scores).all()
        assert (scores >= low - 1e-5).all() and (scores <= high + 1e-5).all()


@pytest.mark.slow
def test_batched_scores_equal_those_one_by_one(model):
    targets = [signature_of(model, count, seed=count) for count in (1, 7, 4, 12, 4)]
    query = signature_of(model, 6, seed=4)
    together = model.similarities(query, targets)
    alone = [model.similarity(query, target) for target in targets]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(model.similarities(query, targets[::-1])[::-1], together, atol=1e-5)


def symmetric_ways(name: str) -> list[tuple[str, dict]]:
    """The method with every combination of options that its card calls symmetric."""
    card = models.card(name)
    return [(name, options) for options in ([{}] if card.symmetric else card.symmetric_if)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [way for name in METHODS for way in symmetric_ways(name)])
def test_a_method_that_says_so_is_symmetric(name, options):
    model = loaded(name, ("similarity",), **options)
    assert model.symmetric
    assert difference_between_directions(model) < 1e-5


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_does_not_say_so_is_not_symmetric(name):
    model = loaded(name, ("similarity",))
    assert model.symmetric == (difference_between_directions(model) < 1e-5)


@pytest.mark.slow
def test_without_a_selector_high_scores_are_urgent_and_scores_keep_their_scale(model):
    signatures = [signature_of(model, count, seed=count) for count in (4, 9)]
    scores = model.score_matrix(signatures, signatures)
    np.testing.assert_array_equal(model.urgency(signatures, signatures, scores), scores)
    if model.card.selector is None:
        np.testing.assert_array_equal(model.to_proposer_scale(scores), scores)


def test_nothing_to_compare_with_gives_no_scores(model):
    assert model.similarities(signature_of(model, 4), []).shape == (0,)


@pytest.mark.slow
def test_equal_settings_have_equal_digests(model):
    again = loaded.__wrapped__(model.name)
    for part in ("embed", "similarity"):
        assert model.digest(part) == again.digest(part)


def test_the_picture_of_a_pair_has_a_cell_for_every_pair_of_windows(model):
    matrix = model.matrix(signature_of(model, 5, seed=1), signature_of(model, 8, seed=2))
    wanted = (1, 1) if isinstance(model.view, Overview) else (5, 8)
    assert matrix.shape == wanted and np.isfinite(matrix).all()


def test_an_unknown_method_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=f"unknown method 'nonesuch'; choose one of .*{METHODS[0]}"):
        models.card("nonesuch")


def test_an_unknown_option_and_a_wrong_choice_are_named():
    card = models.card(METHODS[0])
    with pytest.raises(ValueError, match="unknown option 'colour'"):
        card.resolve({"colour": "blue"})
