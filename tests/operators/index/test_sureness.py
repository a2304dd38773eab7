"""The stated rate of false matches, against scores whose law is known."""

import numpy as np
import pytest

from ndvr.operators.index.sureness import fit, odds


def scores_of(x: np.ndarray) -> np.ndarray:
    return x / (1 + x)


def pareto(rng: np.random.Generator, n: int) -> np.ndarray:
    """Odds of unrelated pairs: most are small, a few are not."""
    return 0.05 * ((1 - rng.random(n)) ** -0.2 - 1) / 0.2


def test_the_rate_on_held_out_pairs_is_the_one_that_was_stated():
    rng = np.random.default_rng(0)
    fitted = fit(scores_of(pareto(rng, 2000)), videos=100, limits=(0.0, 1.0))
    held_out = scores_of(pareto(rng, 2_000_000))
    for rate in (1e5, 1e4, 1e3):
        measured = 1e6 * (held_out >= fitted.score_at(rate)).mean()
        assert rate / 2 < measured < 2 * rate


def test_copies_that_nobody_knows_of_do_not_spoil_it():
    rng = np.random.default_rng(1)
    unrelated = scores_of(pareto(rng, 1000))
    spoilt = np.concatenate([unrelated, rng.uniform(0.6, 0.99, 100)])
    clean, mixed = (fit(x, videos=50, limits=(0.0, 1.0)) for x in (unrelated, spoilt))
    assert mixed.scale == pytest.approx(clean.scale, rel=0.1)


def test_score_and_rate_are_inverse_to_each_other():
    fitted = fit(scores_of(pareto(np.random.default_rng(2), 500)), videos=70, limits=(0, 1))
    for rate in (100.0, 1.0, 0.01):
        assert fitted.false_per_million(fitted.score_at(rate)) == pytest.approx(rate, rel=0.06)


def test_more_than_a_thousandth_per_million_is_never_claimed():
    fitted = fit(scores_of(0.01 * pareto(np.random.default_rng(2), 500)), videos=70, limits=(0, 1))
    assert fitted.false_per_million(1.0) == 0.001


def test_too_few_pairs_are_no_measurement():
    assert not fit([0.1, 0.2], videos=3, limits=(0, 1)).fitted
    assert not fit([], videos=1, limits=(0, 1)).fitted


def test_odds_take_the_range_of_a_method_into_account():
    assert odds(np.array([-1.0, 0.0, 0.5]), (-1.0, 1.0)).tolist() == [0.0, 1.0, 3.0]
