"""Micro-AP over pairs, and the best pairs of frames and videos: by hand, against scikit-learn and a full sort."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ndvr.benchmarks.datasets.vsc2022 import Descriptors, best_pairs
from ndvr.operators.metrics.average_precision import micro_ap, pair_micro_ap

EXACT = 1e-12  # the same sums in another order


def test_micro_ap_mixes_the_pairs_of_all_queries():
    truth = {("q1", "a"), ("q2", "b")}
    assert pair_micro_ap([("q1", "a", 8), ("q2", "b", 4), ("q9", "z", 2)], truth).ap == 1.0
    assert pair_micro_ap([("q1", "a", 8), ("q2", "b", 4), ("q9", "z", 5)], truth).ap == pytest.approx((1 + 2 / 3) / 2)
    assert pair_micro_ap([("q1", "a", 3), ("q2", "a", 2), ("q9", "z", 1)], truth).ap == 0.5
    assert pair_micro_ap([("q1", "a", 2), ("q2", "a", 3), ("q9", "z", 1)], truth).ap == 0.25


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=40), st.integers(0, 3))
def test_micro_ap_is_that_of_scikit_learn_for_what_was_found(few_scores, missed):
    scores, right = np.array([s for s, _ in few_scores], float), np.array([r for _, r in few_scores])
    if right.any():
        result = micro_ap(scores, right, n_relevant=int(right.sum()) + missed)
        share = right.sum() / (right.sum() + missed)
        assert result.ap == pytest.approx(average_precision_score(right, scores) * share, abs=EXACT)
        assert result.recall[-1] == pytest.approx(share)


def test_equal_scores_are_one_step_and_one_by_one_in_the_interval():
    result = pair_micro_ap([("q", "right", 1), ("q", "wrong", 1)], {("q", "right")})
    assert (result.low, result.ap, result.high) == (0.5, 0.5, 1.0)
    result = pair_micro_ap([("q", "a", 1), ("q", "b", 1), ("q", "wrong", 2)], {("q", "a"), ("q", "b")})
    assert result.ap == pytest.approx(2 / 3)  # both at the last place of the step, precision 2 / 3
    assert result.low == result.high == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_pairs_scored_twice_or_not_at_all_are_named():
    with pytest.raises(ValueError, match="query 'q' and video 'v' have two scores"):
        pair_micro_ap([("q", "v", 1), ("q", "v", 2)], {("q", "v")})
    with pytest.raises(ValueError, match="the score of query 'q' and video 'v' is inf"):
        pair_micro_ap([("q", "v", float("inf"))], {("q", "v")})
    with pytest.raises(ValueError, match="the ground truth is empty"):
        pair_micro_ap([("q", "v", 1)], set())


def test_no_candidate_is_zero():
    result = pair_micro_ap([], {("q", "v")})
    assert (result.ap, result.low, result.high, len(result.recall)) == (0.0, 0.0, 0.0, 0)


# The best pairs of frames and of videos


def videos(letter, counts, vectors):
    ids = tuple(f"{letter}{n}" for n in range(len(counts)))
    return Descriptors(ids=ids, counts=np.array(counts), vectors=np.array(vectors, np.float32))


def all_pairs(queries, others, *, frame_pairs, video_pairs):
    """Every product at once, every video pair sorted."""
    scores = queries.vectors @ others.vectors.T
    owner = [np.repeat(np.arange(len(side.ids)), side.counts) for side in (queries, others)]
    flat = np.sort(scores.ravel())[::-1]
    floor = flat[frame_pairs - 1] if frame_pairs <= len(flat) else -np.inf
    best = {}
    for i, j in itertools.product(range(scores.shape[0]), range(scores.shape[1])):
        pair = queries.ids[owner[0][i]], others.ids[owner[1][j]]
        best[pair] = max(best.get(pair, -np.inf), float(scores[i, j]))
    ranked = sorted((-score, pair) for pair, score in best.items() if score >= floor)
    return [(*pair, -score) for score, pair in ranked[:video_pairs]]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 12), st.integers(1, 9))
def test_best_pairs_are_those_of_a_full_sort_whatever_the_blocks(seed, frame_pairs, video_pairs, block):
    rng = np.random.default_rng(seed)
    # Small integers: products are exact, and many are equal.
    sides = [
        videos(letter, counts, rng.integers(-2, 3, (counts.sum(), 3)))
        for letter, counts in (("q", rng.integers(1, 5, 4)), ("v", rng.integers(1, 5, 6)))
    ]
    limits = {"frame_pairs": frame_pairs, "video_pairs": video_pairs}
    assert best_pairs(*sides, **limits, block=(block, block)) == all_pairs(*sides, **limits)


@pytest.mark.parametrize(
    ("ids", "counts", "vectors", "says"),
    [
        (
            ("a", "b", "a"),
            [1, 1, 1],
            np.zeros((3, 2)),
            "video 'a' is there twice, or its vectors",
        ),
        (("a", "b"), [1, 2], np.zeros((4, 2)), "2 videos with 3 vectors in all"),
        (("a", "b"), [2, 0], np.zeros((2, 2)), "video 'b' has no vector"),
        (("a", "b"), [1, 1], [[0, 1], [np.nan, 0]], "video 'b' has a vector with a value that is not finite"),
    ],
)
def test_descriptors_check_themselves(ids, counts, vectors, says):
    with pytest.raises(ValueError, match=says):
        Descriptors(ids=ids, counts=np.array(counts), vectors=np.array(vectors, np.float32))


def test_vectors_of_different_lengths_are_not_compared():
    with pytest.raises(ValueError, match="vectors of 2 and of 3 numbers cannot be compared"):
        best_pairs(videos("q", [1], [[0, 1]]), videos("v", [1], [[0, 1, 2]]), frame_pairs=1, video_pairs=1)
