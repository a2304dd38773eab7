"""What a chain of pairs connects belongs together."""

import numpy as np

from ndvr.operators.connected import connected, families, needed


def test_each_thing_is_labelled_by_the_first_that_it_reaches():
    assert connected(6, np.array([4, 1, 3]), np.array([1, 5, 2])).tolist() == [0, 1, 2, 2, 1, 1]
    assert connected(2, np.zeros(0, int), np.zeros(0, int)).tolist() == [0, 1]


def test_a_long_chain_in_any_order_is_one_family():
    links = [(f"v{number:04d}", f"v{number + 1:04d}") for number in range(2000)]
    shuffled = [links[at] for at in np.random.default_rng(0).permutation(len(links))]
    (family,) = families(shuffled)
    assert family == [f"v{number:04d}" for number in range(2001)]


def test_the_largest_family_comes_first_and_equals_by_their_first_name():
    assert families([("y", "x"), ("b", "a"), ("n", "m"), ("m", "l")]) == [["l", "m", "n"], ["a", "b"], ["x", "y"]]
    assert families([]) == []


def test_the_last_pair_that_is_needed_connects_all():
    pairs = [("a", "b"), ("c", "d"), ("a", "b"), ("b", "d"), ("a", "d")]
    assert needed(pairs) == 4
    assert needed(pairs[:1]) == 1
