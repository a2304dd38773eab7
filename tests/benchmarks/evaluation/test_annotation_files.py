"""Official files: pickles are read without running anything in them, and every oddity is told in one sentence."""

import json
import pickle

import pytest
from benchmark_shapes import ranking, shape, write_fivr
from golden_evaluators import write_fivr_5k, write_json

from ndvr.benchmarks.evaluate import evaluate
from ndvr.benchmarks.evaluation.annotations import read_plain_pickle
from ndvr.benchmarks.evaluation.protocol import load_protocol


class Calls:
    """Pickles to a call, as a file that wants to run something would."""

    def __init__(self, function, *arguments):
        self.made_by = function, arguments

    def __reduce__(self):
        return self.made_by


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_out_as_they_went_in(tmp_path, protocol):
    value = {"5k": {"queries": ["a", "b"], "database": {"a", "b"}}, "n": (1, 2.5, None, frozenset("c"))}
    path = tmp_path / "fivr.pickle"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert read_plain_pickle(path) == value


def test_strings_of_python_2_are_read(tmp_path):
    path = tmp_path / "old.pickle"
    path.write_bytes(b"(dp0\nS'q\\xe9'\np1\n(lp2\nS'a'\nas.")  # what Python 2 writes by default
    assert read_plain_pickle(path) == {"q\xe9": ["a"]}


def test_nothing_in_a_pickle_is_run(tmp_path):
    mark = tmp_path / "ran"
    path = tmp_path / "evve.pickle"
    path.write_bytes(pickle.dumps(Calls(mark.write_text, "x")))
    with pytest.raises(
        ValueError, match="evve.pickle was not read, because it names .*nothing else in a pickle is run"
    ):
        load_protocol("evve", tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04}", b"<html>", b"\x80\x04\x8c\x03abc0."])
def test_a_broken_pickle_is_named(tmp_path, content):
    path = tmp_path / "evve.pickle"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="evve.pickle was not read, because"):
        read_plain_pickle(path)


def test_a_cut_annotation_is_named(tmp_path):
    (tmp_path / "evve.json").write_text('{"queries": [')
    with pytest.raises(ValueError, match="evve.json is not a whole JSON file"):
        load_protocol("evve", tmp_path)


def test_vcdb_is_read_from_s2vs_own_file(tmp_path):
    data, rows = shape("VCDB")
    bundle = {"queries": data["queries"], "dataset": data["dataset"]}
    bundle["positives"] = {query: set(videos) for query, videos in data["positives"].items()}
    (tmp_path / "vcdb.pickle").write_bytes(pickle.dumps(bundle))
    task = evaluate(rows, dataset="vcdb", annotations=tmp_path).tasks["overall"]
    assert task.map == pytest.approx(data["expected"]["distractors"]["VCDB_mAP"], abs=1e-12)


def test_fivr_labels_of_the_authors_are_used_by_their_convention(tmp_path):
    data, _ = shape("FIVR")
    folder = write_fivr(tmp_path, data)
    labels = {query: {"DS": ["v001"], "DA": ["DS"]} for query in data["queries"]}  # as DnS's file has DA
    (folder / "dns_fivr.json").write_text(json.dumps({"annotation": labels}))
    dns = load_protocol("fivr-5k", folder, convention="dns")
    assert dns.tasks[0].relevant["q00"] == {"v001"}
    assert "labels read from dns_fivr.json" in dns.notes
    assert load_protocol("fivr-5k", folder).tasks[0].relevant["q00"] != {"v001"}


# --- oddities of a truth --------------------------------------------------------------------------------------


def test_a_query_listed_as_its_own_right_video_is_taken_out_or_kept_as_the_convention_says(tmp_path):
    # FIVR's eCrhXArKE24 does this, and of FIVR-5K's queries it alone is in the database.
    folder = write_fivr_5k(tmp_path, {"q": {"IS": ["q", "a"]}, "r": {"DS": ["b"]}}, ["q", "r"], "qab")
    rows = ranking("q", "a", "q", "b") | ranking("r", "b", "a", "q")  # r is outside the database, and evaluated
    where = {"dataset": "fivr-5k", "annotations": folder}
    ours = evaluate(rows, **where)
    assert ours.tasks["ISVR"].per_query["q"].ap == 1.0
    assert ours.tasks["ISVR"].per_query["r"].ap == 1.0
    assert "Note: q is listed among its own right videos: taken out" in ours.table()
    kept = evaluate(rows, **where, convention="fivr")
    assert kept.tasks["ISVR"].per_query["q"].ap == 0.5
    assert "Note: q is listed among its own right videos: kept in the denominator" in kept.table()


def test_queries_without_a_right_video_are_told_and_counted(tmp_path):
    folder = write_fivr_5k(tmp_path, {"q": {"DS": ["lost"]}, "r": {"DS": ["b"]}}, ["q", "r"], "ab")
    rows = ranking("q", "a", "b") | ranking("r", "b", "a")
    where = {"dataset": "fivr-5k", "annotations": folder}
    ours = evaluate(rows, **where)
    task = ours.tasks["DSVR"]
    assert (task.queries, task.queries_without_right, task.map) == (1, 1, 1.0)
    assert "queries without a right video in the database are not in the mean: 1 of DSVR" in ours.table()
    assert "score 1: 1 of DSVR" in evaluate(rows, **where, convention="csl3d").table()


def test_an_annotation_that_asks_nothing_is_refused(tmp_path):
    folder = write_json(tmp_path, "evve.json", {"queries": [], "database": ["a"], "annotation": {}})
    with pytest.raises(ValueError, match="the annotation of evve in .* asks about no query at all"):
        evaluate(ranking("q", "a"), dataset="evve", annotations=folder)


def test_scored_ids_that_nobody_knows_are_named_and_not_ranked(tmp_path):
    folder = write_fivr_5k(tmp_path, {"r": {"DS": ["b"]}}, ["r"], "ab")
    rows = ranking("r", "stranger", "b", "a") | ranking("unasked", "a", "b")
    result = evaluate(rows, dataset="fivr-5k", annotations=folder)
    assert result.tasks["DSVR"].map == 1.0
    assert "1 scored queries have no truth, not evaluated: unasked" in result.table()
    assert "1 scored videos are not in the id list, not ranked: stranger" in result.table()
    coverage = result.to_json()["coverage"]
    assert (coverage["queries_without_truth"], coverage["videos_outside_database_ids"]) == (1, ["stranger"])
