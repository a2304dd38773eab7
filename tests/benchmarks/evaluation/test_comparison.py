"""`ndvr evaluate A B C`: several runs side by side, and on what all of them have where they differ."""

import json

import pytest
from benchmark_shapes import evaluate_command as run
from benchmark_shapes import ranking, shape, truth_file, write_fivr, write_parts

from ndvr.benchmarks.evaluate import compare, evaluate
from ndvr.benchmarks.evaluation.comparison import names_of

TRUTH = ("q,a,copy,x", "r,b,copy,x")
GOOD = ranking("q", "a", "b", "c") | ranking("r", "b", "a", "c")
POOR = ranking("q", "b", "a", "c") | ranking("r", "b", "a", "c")


@pytest.fixture
def truth(tmp_path):
    return truth_file(tmp_path / "truth.csv", *TRUTH)


def test_runs_stand_side_by_side_in_the_order_given(tmp_path, truth):
    for name, rows in (("zeta", GOOD), ("alpha", POOR)):
        write_parts(tmp_path / name, rows)
    code, out, err = run(tmp_path / "zeta", tmp_path / "alpha", "--truth", truth)
    assert code == 0, err
    (header,) = (line for line in out.splitlines() if line.startswith("mAP (95 %)"))
    assert header.split()[-2:] == ["zeta", "alpha"]
    (overall,) = (line for line in out.splitlines() if line.startswith("overall") and "(" in line and "+" not in line)
    assert "1.0000 (1.0000 to 1.0000)" in overall and "0.7500 (0.5000 to 1.0000)" in overall
    assert "DIFFERENT IDS" not in out
    code, out, _ = run(tmp_path / "zeta", tmp_path / "alpha", "--truth", truth, "--json")
    assert list(json.loads(out)["runs"]) == ["zeta", "alpha"]


def test_a_difference_is_that_of_the_queries_both_have(truth):
    result = compare({"good": GOOD, "poor": POOR}, truth=truth)
    found = result.differences["poor"]["overall"]
    assert (found.map, found.queries, found.better, found.worse) == (-0.25, 2, 0, 1)
    assert found.interval == (-0.5, 0.0)
    assert "good" not in result.differences


def test_a_difference_can_be_surer_than_either_number(tmp_path):
    data, rows = shape("FIVR")
    worse = {q: {v: s - 0.01 * (i % 7) for i, (v, s) in enumerate(row.items())} for q, row in rows.items()}
    where = {"dataset": "fivr-5k", "annotations": write_fivr(tmp_path, data)}
    result = compare({"a": rows, "b": worse}, **where)

    def width(interval):
        return interval[1] - interval[0]

    task = result.runs["a"].tasks["DSVR"]
    assert width(result.differences["b"]["DSVR"].interval) < 0.5 * width(task.map_interval)


def test_runs_with_different_ids_are_told_apart_loudly_and_compared_on_the_common_ones(truth):
    less = {query: {video: score for video, score in row.items() if video != "c"} for query, row in POOR.items()}
    only_q = {"q": GOOD["q"]}
    result = compare({"all": GOOD, "no c": less, "only q": only_q}, truth=truth)
    assert not result.same_ids
    assert (result.common_queries, result.common_videos) == ({"q"}, {"a", "b"})
    assert [run.tasks["overall"].map for run in result.common.values()] == [1.0, 0.5, 1.0]
    out = result.table()
    assert out.splitlines()[0].startswith("only q: ") or "THE RUNS HAVE DIFFERENT IDS" in out
    assert "  no c: 2 queries (1 that not all have), 2 videos (0 that not all have)" in out
    assert "NOT comparable with one another" in out
    common = result.to_json()["common"]
    assert (common["queries"], common["videos"]) == (1, 2)
    assert common["runs"]["no c"]["tasks"]["overall"]["map"] == 0.5


def test_common_numbers_are_those_of_an_evaluation_of_just_these_ids(tmp_path):
    data, rows = shape("FIVR")
    where = {"dataset": "fivr-5k", "annotations": write_fivr(tmp_path, data)}
    kept = set(data["subset"])
    part = {q: {v: s for v, s in row.items() if v in kept} for q, row in rows.items()}
    result = compare({"whole": rows, "part": part}, **where)
    alone = evaluate(part, **where, ids=result.common_videos)
    for name, task in result.common["whole"].tasks.items():
        assert (task.map, task.micro_ap) == (alone.tasks[name].map, alone.tasks[name].micro_ap)
        assert task == result.common["part"].tasks[name]


def test_runs_without_a_common_query_cannot_be_compared(truth):
    with pytest.raises(ValueError, match="one and two have no query in common: they cannot be compared"):
        compare({"one": {"q": GOOD["q"]}, "two": {"r": GOOD["r"]}}, truth=truth)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("s2vs", "tca/"), ["s2vs", "tca"]),
        (("monday/scores", "tuesday/scores"), ["monday/scores", "tuesday/scores"]),
        (("a/x/scores", "b/x/scores", "c"), ["a/x/scores", "b/x/scores"]),
    ],
)
def test_runs_are_named_by_as_much_of_their_path_as_it_takes(paths, names):
    assert names_of(paths)[: len(names)] == names


def test_ties_of_each_run_are_told(truth):
    tied = {query: dict.fromkeys(row, 0.5) for query, row in GOOD.items()}
    out = compare({"good": GOOD, "tied": tied}, truth=truth).table()
    (header,) = (line for line in out.splitlines() if line.startswith("ties: worst, mean, best"))
    line = out.splitlines()[out.splitlines().index(header) + 2]
    assert line.split() == ["overall", "none", "0.3333", "0.6111", "1.0000"]  # any of three places: 11/18
