"""What stands beside each number: the expected AP over ties, intervals, and what missing videos could change."""

import itertools

import numpy as np
import pytest
from benchmark_shapes import evaluate_command as run
from benchmark_shapes import ranking, shape, truth_file, write_fivr, write_parts
from golden_evaluators import write_json
from hypothesis import given, settings
from hypothesis import strategies as st

from ndvr.benchmarks.evaluate import evaluate
from ndvr.benchmarks.evaluation._bootstrap import mean_interval, micro_interval
from ndvr.operators.metrics import average_precision as metrics

EXACT = 1e-12  # the same sums in another order

# --- ties -----------------------------------------------------------------------------------------------------

AP = {"sum": metrics.average_precision, "trapezoid": metrics.trapezoid_average_precision}


def mean_over_all_orders(rows, n_relevant, ap):
    """rows: (score, is right). Every order of equal scores, one by one."""
    scores = sorted({score for score, _ in rows}, reverse=True)
    groups = [[right for score, right in rows if score == mine] for mine in scores]
    values = []
    for orders in itertools.product(*(sorted(set(itertools.permutations(group))) for group in groups)):
        right = np.array([is_right for order in orders for is_right in order])
        wrong_before = np.cumsum(~right)[right]
        values.append(ap(wrong_before, n_relevant))
    return np.mean(values)


few_rows = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(few_rows, st.integers(0, 2), st.sampled_from(["sum", "trapezoid"]))
def test_the_expected_ap_is_the_mean_over_all_orders_of_equal_scores(rows, not_found, kind):
    right = np.array(sorted((score for score, is_right in rows if is_right), reverse=True), float)
    wrong = np.array([score for score, is_right in rows if not is_right], float)
    if not len(right):
        return
    above = np.array([np.sum(wrong > score) for score in right])
    tied = np.array([np.sum(wrong == score) for score in right])
    n_relevant = len(right) + not_found
    expected = metrics.expected_average_precision(right, above, tied, n_relevant, kind=kind)
    assert expected == pytest.approx(mean_over_all_orders(rows, n_relevant, AP[kind]), abs=EXACT)


def test_the_expected_ap_of_a_long_tie_needs_no_walk_through_it():
    n = 200_000
    expected = metrics.expected_average_precision(np.array([0.5]), np.array([0]), np.array([n - 1]), 1)
    assert expected == pytest.approx(np.sum(1 / np.arange(1, n + 1)) / n, rel=1e-12)  # any place is as likely


def test_two_right_videos_in_a_tie_of_four(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,b,copy,x", "q,d,copy,x")
    task = evaluate({"q": dict.fromkeys("abcd", 0.5)}, truth=truth).tasks["overall"]
    # Places of the two among four: 12 13 14 23 24 34, all as likely.
    every = [1, (1 + 2 / 3) / 2, (1 + 1 / 2) / 2, (1 / 2 + 2 / 3) / 2, 1 / 2, (1 / 3 + 1 / 2) / 2]
    assert (task.map_low, task.map_high) == (pytest.approx(min(every)), max(every))
    assert task.map_expected == task.micro_ap_expected == pytest.approx(np.mean(every))
    assert (task.micro_ap_low, task.micro_ap_high) == (task.map_low, task.map_high)


def test_ties_can_be_given_an_order(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,b,copy,x")
    tied = {"q": dict.fromkeys("abcd", 0.5)}
    assert evaluate(tied, truth=truth, tie_order=["c", "b"]).tasks["overall"].map == 1 / 2  # a and d behind them
    order = tmp_path / "order.txt"
    order.write_text("d\nc\na\nb\n")
    assert evaluate(tied, truth=truth, tie_order=order).tasks["overall"].map == 1 / 4
    with pytest.raises(FileNotFoundError, match="no id list nowhere.txt"):
        evaluate(tied, truth=truth, tie_order="nowhere.txt")


# --- intervals ------------------------------------------------------------------------------------------------


def test_an_interval_spans_two_standard_errors_of_the_mean_on_either_side():
    values = np.random.default_rng(1).random(400)
    low, high = mean_interval(values)
    error = values.std() / np.sqrt(len(values))
    # 2,000 resamples place an end of the interval to about a tenth of a standard error.
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.25 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.25 * error)
    assert mean_interval(values) == (low, high)  # seeded


def test_one_query_has_no_interval():
    assert mean_interval(np.array([0.5])) is None


@pytest.mark.slow
def test_many_queries_are_resampled_in_pieces():
    values = np.random.default_rng(2).random(5000)
    low, high = mean_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(5000), rel=0.15)


@pytest.mark.slow
def test_the_micro_interval_is_that_of_whole_rankings_made_of_resampled_queries():
    rng = np.random.default_rng(3)
    n_queries, n_right, n_wrong = 30, 10, 200
    right = np.sort(rng.random((n_queries, n_right)) + rng.random((n_queries, 1)), axis=1)
    wrong = rng.random((n_queries, n_wrong)) + 0.5 * rng.random((n_queries, 1))

    def micro(rows):
        scores = np.sort(right[rows].ravel())[::-1]
        at_least = np.sum(wrong[rows].ravel()[None] >= scores[:, None], axis=1)
        return metrics.step_average_precision(scores, at_least, len(rows) * n_right)

    drawn = [micro(rng.integers(0, n_queries, n_queries)) for _ in range(2000)]
    levels = np.sort(right.ravel())[::-1]
    at_least = [np.sum(part[:, None, :] >= levels[:, None], axis=2) for part in (right, wrong)]
    value = micro(np.arange(n_queries))
    low, high = micro_interval(value, right=at_least[0], wrong=at_least[1], n_relevant=np.full(n_queries, n_right))
    width = np.quantile(drawn, 0.975) - np.quantile(drawn, 0.025)
    # Two sets of 2,000 resamples: the ends differ by about a twentieth of the width.
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.1 * width)


@pytest.fixture
def fivr(tmp_path):
    data, rows = shape("FIVR")
    return data, rows, write_fivr(tmp_path / "fivr", data)


def test_every_number_has_its_interval_and_ids(fivr):
    _, rows, annotations = fivr
    result = evaluate(rows, dataset="fivr-5k", annotations=annotations)
    for task in result.tasks.values():
        assert task.map_interval[0] < task.map < task.map_interval[1]
        assert task.micro_ap_interval[0] < task.micro_ap < task.micro_ap_interval[1]
        assert len(task.queries_sha256) == 64
    out = result.to_json()
    assert out["tasks"]["DSVR"]["map_interval"] == result.tasks["DSVR"].map_interval
    assert out["scored_videos"]["size"] == len(result.scored_videos) == 123
    assert "2000 times" in out["intervals"]


# --- what missing videos could change -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_the_complete_numbers_lie_between_what_could_be(fivr_once, seed):
    data, rows, annotations = fivr_once
    where = {"dataset": "fivr-5k", "annotations": annotations}
    whole = evaluate(rows, **where)
    rng = np.random.default_rng(seed)
    lost = {video for video in data["database"] if rng.random() < 0.3}
    unasked = {query for query in data["queries"] if rng.random() < 0.3} - {"q00"}
    part = {q: {v: s for v, s in row.items() if v not in lost} for q, row in rows.items() if q not in unasked}
    for name, task in evaluate(part, **where).tasks.items():
        complete = whole.tasks[name]
        assert task.possible_low <= complete.map <= task.possible_high
        assert task.micro_ap_possible_low <= complete.micro_ap <= task.micro_ap_possible_high


@pytest.fixture(scope="module")
def fivr_once(tmp_path_factory):
    data, rows = shape("FIVR")
    complete = {q: {v: row.get(v, -1.0 - i / 1000) for i, v in enumerate(data["database"])} for q, row in rows.items()}
    return data, complete, write_fivr(tmp_path_factory.mktemp("fivr"), data)


def test_missing_wrong_videos_could_all_stand_on_top(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,a,copy,x")
    videos = {"a": "done", "b": "failed", "c": "failed", "d": "done"}
    scores = write_parts(tmp_path / "scores", ranking("q", "a", "d"), videos=videos, queries={"q": "done"})
    task = evaluate(scores, truth=truth).tasks["overall"]
    assert (task.possible_low, task.map, task.possible_high) == (1 / 3, 1.0, 1.0)  # behind b and c
    assert (task.micro_ap_possible_low, task.micro_ap_possible_high) == (1 / 3, 1.0)


def test_a_missing_shard_is_told_before_any_number(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,a,copy,x", "r,b,copy,x", "s,a,copy,x")
    done = dict.fromkeys("abc", "done")
    rows = ranking("q", "a", "b", "c") | ranking("r", "b", "a", "c") | ranking("s", "a", "b", "c")
    scores = write_parts(tmp_path / "scores", rows, videos=done, queries=dict.fromkeys("qrs", "done"))
    assert "INCOMPLETE" not in run(scores, "--truth", truth)[1]
    (scores / "parts" / "00002.parquet").unlink()  # that of query s
    out = run(scores, "--truth", truth)[1]
    assert out.startswith("SCORES ARE INCOMPLETE: 3 of 9 pairs have none (unfinished, a file is missing")
    assert "queries: 2/3 scored; missing s (extracted, but without a score)" in out
    coverage = evaluate(scores, truth=truth).to_json()["coverage"]
    assert not coverage["complete"]
    assert coverage["pairs"]["missing"] == 3


def test_a_right_video_outside_the_id_list_is_out_of_reach_and_the_ceiling_says_so(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,a,copy,x", "q,z,copy,x")
    result = evaluate(ranking("q", "a", "b"), truth=truth)  # no id list: z may be found one day
    assert (result.tasks["overall"].ceiling, result.tasks["overall"].possible_high) == (1.0, 1.0)
    core = {"index": ["q", "a", "b"], "video_pairs": [{"videos": ["q", "a"]}]}
    folder = write_json(tmp_path / "vcdb", "vcdb_tca.json", core)
    result = evaluate(ranking("q", "a", "b"), dataset="vcdb", annotations=folder, convention="tca")
    task = result.tasks["overall"]
    assert task.per_query["q"].ap == 0.5  # the query is one of its two right videos, and never ranked
    assert "a perfect ranking has mAP 0.33333 in overall" in result.table()  # 1/2, 1/2 and 0 for q, a and b
