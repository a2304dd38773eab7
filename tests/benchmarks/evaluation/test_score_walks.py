"""Counting in parts and in Ray tasks: bit for bit what one process finds."""

import numpy as np
import pytest
from benchmark_shapes import evaluate_command as run
from benchmark_shapes import ranking, shape, truth_file, write_fivr, write_parts
from hypothesis import given, settings
from hypothesis import strategies as st

from ndvr.benchmarks.evaluate import evaluate
from ndvr.benchmarks.evaluation.counting import evaluate_protocol
from ndvr.benchmarks.evaluation.question import choose_protocol
from ndvr.operators.metrics.rank_counts import Thresholds
from ndvr.operators.scores.files import Scores, open_scores
from ndvr.pipeline.cluster.score_walks import HERE, Walks


@pytest.fixture(scope="module")
def fivr(tmp_path_factory):
    """Score files of FIVR's shape, many scores equal, and what is asked of them."""
    data, rows = shape("FIVR")
    folder = tmp_path_factory.mktemp("fivr")
    tied = {query: {video: round(score, 1) for video, score in row.items()} for query, row in rows.items()}
    scores = write_parts(folder / "scores", tied, row_group_size=11)
    return scores, {"dataset": "fivr-5k", "annotations": write_fivr(folder / "labels", data), "hard": True}


def in_parts(order):
    """Walk file by file, in another order, each part by itself."""

    def parts(scores):
        every = scores.parts()
        return [every[i] for i in np.random.default_rng(order).permutation(len(every))]

    return Walks(parts=parts, map=HERE.map)


@pytest.mark.slow
@pytest.mark.parametrize("order", range(3))
@pytest.mark.parametrize("convention", ["s2vs", "fivr"])
def test_parts_in_any_order_add_up_to_the_same_bits(fivr, order, convention):
    scores, where = fivr
    protocol = choose_protocol(**where, convention=convention)
    here = evaluate_protocol(open_scores(scores), protocol)
    apart = evaluate_protocol(open_scores(scores), protocol, walks=in_parts(order))
    assert apart == here
    assert apart.to_json(per_query=True) == here.to_json(per_query=True)


def test_ray_tasks_find_the_same_bits(fivr, ray_cluster):
    scores, where = fivr
    assert evaluate(scores, **where, workers=3) == evaluate(scores, **where)


def test_a_bad_pair_is_one_sentence_from_ray_as_well(tmp_path, ray_cluster):
    truth = truth_file(tmp_path / "truth.csv", "q,a,copy,x")
    rows = ranking("q", "a", "b") | ranking("r", "a") | ranking("s", "a", "b")
    rows["s"]["b"] = float("nan")
    scores = write_parts(tmp_path / "scores", rows)
    code, out, err = run(scores, "--truth", truth, "--workers", 2)
    assert (code, out) == (2, "")
    assert err.startswith("Error: the score of query 's' and video 'b' is nan")
    assert err.count("\n") == 1


def test_a_pair_scored_in_two_parts_is_found_where_the_parts_meet(tmp_path):
    twice = [{"q": {"a": 1.0, "b": 0.5}}, {"q": {"b": 0.4}}]
    scores = Scores(name="two", sources=tuple(twice))
    protocol = choose_protocol(truth=truth_file(tmp_path / "truth.csv", "q,a,copy,x"))
    with pytest.raises(ValueError, match="query 'q' and video 'b' have two scores"):
        evaluate_protocol(scores, protocol, walks=in_parts(0))


numbers = st.one_of(st.floats(-2, 2), st.integers(-3, 3).map(float), st.floats(allow_nan=False, allow_infinity=False))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(numbers, max_size=30), st.lists(numbers, min_size=1, max_size=60))
def test_scores_are_looked_up_where_a_binary_search_would_find_them(thresholds, scores):
    values = np.unique(np.array(thresholds, float))
    scores = np.array(scores + thresholds)
    place = np.searchsorted(values, scores)
    expected = 2 * place + np.isin(scores, values)
    with np.errstate(over="ignore"):
        assert Thresholds(values).bins(scores).tolist() == expected.tolist()
