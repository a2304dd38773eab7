"""Average precision and the counts it is made of, against numbers a reader can check and against scikit-learn."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ndvr.operators.metrics import average_precision as metrics
from ndvr.operators.metrics.rank_counts import Counter, Plan
from ndvr.operators.metrics.survey import PairSet, survey
from ndvr.operators.scores.files import ScoreBatch, Scores


def test_average_precision_of_hits_at_ranks_1_and_3_of_2_is_five_sixths():
    assert metrics.average_precision(np.array([0, 1]), 2) == pytest.approx((1 + 2 / 3) / 2)


def test_a_right_video_that_was_not_found_adds_nothing():
    assert metrics.average_precision(np.array([0]), 4) == 0.25
    assert metrics.average_precision(np.zeros(0), 4) == 0.0


@pytest.mark.parametrize(
    ("ranks", "n_relevant", "expected"),
    [  # EVVE's own evaluator on 0-based ranks
        ([0, 1, 2], 3, 1.0),
        ([0, 2, 5], 4, 0.5083333333333333),
        ([3], 2, 0.0625),
        ([], 5, 0.0),
        ([1, 2, 3, 10], 4, 0.4683712121212121),
    ],
)
def test_trapezoids_agree_with_the_evaluator_of_evve(ranks, n_relevant, expected):
    wrong_before = np.array(ranks, int) - np.arange(len(ranks))
    assert metrics.trapezoid_average_precision(wrong_before, n_relevant) == pytest.approx(expected, abs=1e-12)


def test_precision_at_recall_is_the_best_precision_from_there_on():
    curve = metrics.precision_recall_curve(np.array([1, 2]), np.array([1, 1]), 2)  # ranks 2 and 3
    assert curve[1] == curve[20] == pytest.approx(2 / 3)
    assert curve[0] == 1.0  # by convention


few_scores = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=40)


@pytest.mark.slow
@settings(deadline=None)
@given(few_scores)
def test_steps_agree_with_scikit_learn_whatever_the_ties(rows):
    scores = np.array([score for score, _ in rows], float)
    right = np.array([is_right for _, is_right in rows])
    if not right.any():
        return
    mine = np.sort(scores[right])[::-1]
    wrong_at_least = np.array([np.sum(scores[~right] >= score) for score in mine])
    got = metrics.step_average_precision(mine, wrong_at_least, int(right.sum()))
    assert got == pytest.approx(average_precision_score(right, scores), abs=1e-12)


def batches_of(matrix, *, rows_per_batch, rng):
    """The scores of a (Q, V) matrix in random order, cut into batches with dictionaries of their own."""
    n_queries, n_videos = matrix.shape
    order = rng.permutation(matrix.size)
    for start in range(0, len(order), rows_per_batch):
        query, video = np.divmod(order[start : start + rows_per_batch], n_videos)
        q_ids, q = np.unique(query, return_inverse=True)
        v_ids, v = np.unique(video, return_inverse=True)
        yield ScoreBatch(
            queries=pa.array([f"q{i}" for i in q_ids]),
            videos=pa.array([f"v{i:02d}" for i in v_ids]),
            query=q,
            video=v,
            score=matrix[query, video],
        )


class RandomBatches(Scores):
    """Scores of a matrix; walks in another order every time."""

    def __init__(self, matrix, rows_per_batch, seed):
        super().__init__(name="matrix", sources=())
        object.__setattr__(self, "made", (matrix, rows_per_batch, np.random.default_rng(seed)))

    def batches(self):
        matrix, rows_per_batch, rng = self.made
        return batches_of(matrix, rows_per_batch=rows_per_batch, rng=rng)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 6))
def test_counts_equal_a_full_sort_for_any_split_into_batches(seed, rows_per_batch, n_values):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, n_values, (3, 20)) / 4  # few values: many ties
    right = {f"q{i}": {f"v{j:02d}" for j in rng.choice(20, 4, replace=False)} for i in range(3)}
    scores = RandomBatches(matrix, rows_per_batch, seed)
    surveyed = survey(scores, right)
    order = surveyed.videos.order()
    plan = Plan(surveyed=surveyed, right=right, order=order, ranked=np.ones(20, bool), groups=[frozenset(right)])
    counter = Counter(plan)
    counter.walk(scores)
    counted = counter.counted()
    everything = []
    for i in range(3):
        wrong = [(matrix[i, j], f"v{j:02d}") for j in range(20) if f"v{j:02d}" not in right[f"q{i}"]]
        everything += [score for score, _ in wrong]
        mine = counted.tallies[f"q{i}"]
        assert mine.total == 16
        for code, above, tied, before in zip(mine.codes, mine.above, mine.tied, mine.tied_before):
            name = surveyed.videos.ids[code]
            score = matrix[i, int(name[1:])]
            assert above == sum(other > score for other, _ in wrong)
            assert tied == sum(other == score for other, _ in wrong)
            assert before == sum(other == score and video < name for other, video in wrong)
    pooled = counted.pooled[frozenset(right)]
    assert pooled.above.tolist() == [sum(other > score for other in everything) for score in counted.thresholds]
    assert pooled.tied.tolist() == [sum(other == score for other in everything) for score in counted.thresholds]
    summed = sum(counted.at_least[query] for query in right)
    assert summed.tolist() == [sum(other >= level for other in everything) for level in counted.levels]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 300), unique=True), max_size=8))
def test_repeated_pairs_are_found_in_short_and_long_rows(parts):
    pairs = PairSet()
    for part in parts:
        pairs.add(5, np.array(part, np.int64), 301)
    flat = [video for part in parts for video in part]
    assert bool(pairs.queries_with_repeats()) == (len(flat) != len(set(flat)))
    assert pairs.counts(6)[5] == len(flat)
    assert set(np.flatnonzero(pairs.any_query(301))) == set(flat)
