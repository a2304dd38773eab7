"""`ndvr evaluate`: official numbers, truth tables read one and both ways, coverage, and what bad input is told."""

import hashlib
import json

import pyarrow.parquet as pq
import pytest
from benchmark_shapes import evaluate_command as run
from benchmark_shapes import ranking, score_table, shape, truth_file, write_fivr, write_parts

from ndvr.benchmarks.evaluate import evaluate

EXACT = 1e-12  # the same sums in another order


# --- FIVR -----------------------------------------------------------------------------------------------------


def check_fivr(result, expected):
    """Names of the reference: DSVR is a mAP, DSVD its micro-AP, _h the hard variant."""
    for name, value in expected.items():
        task = result["tasks"][name.replace("VD", "VR")]
        assert task["micro_ap" if "VD" in name else "map"] == pytest.approx(value, abs=EXACT), name


@pytest.fixture
def fivr(tmp_path):
    data, rows = shape("FIVR")
    return data, write_parts(tmp_path / "scores", rows), write_fivr(tmp_path / "fivr", data)


@pytest.mark.parametrize("case", ["s2vs_full", "s2vs_audio_full"])
def test_fivr_command_gives_the_official_numbers(fivr, case):
    data, scores, annotations = fivr
    code, out, _ = run(scores, "--dataset", "fivr-5k", "--annotations", annotations, "--hard", "--json")
    assert code == 0
    check_fivr(json.loads(out), data["expected"][case])


def test_videos_lost_from_the_id_list_leave_ranking_and_denominator(fivr, tmp_path):
    data, scores, annotations = fivr
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(data["subset"]))
    code, out, _ = run(scores, "--dataset=fivr-5k", "--annotations", annotations, "--hard", "--ids", ids, "--json")
    assert code == 0
    check_fivr(json.loads(out), data["expected"]["s2vs_subset"])


def test_convention_fivr_keeps_a_query_in_its_own_relevant_set(fivr):
    data, _, annotations = fivr
    _, rows = shape("FIVR")
    del rows["q07"]  # the evaluator of this convention divides by zero on it
    ours = evaluate(rows, dataset="fivr-5k", annotations=annotations, convention="fivr").to_json(per_query=True)
    check_fivr(ours, data["expected"]["dns_without_q07"])
    per_query = data["expected"]["dns_per_query_AP_without_q07"]["ISVR"]
    assert {q: r["ap"] for q, r in ours["tasks"]["ISVR"]["per_query"].items()} == pytest.approx(per_query, abs=EXACT)


def test_every_number_names_its_ids(fivr):
    data, scores, annotations = fivr
    result = evaluate(scores, dataset="fivr-5k", annotations=annotations).to_json()
    lines = "".join(f"{video}\n" for video in sorted(data["database"]))
    assert result["database"] == {"size": 123, "sha256": hashlib.sha256(lines.encode()).hexdigest()}
    task = result["tasks"]["DSVR"]
    assert (task["queries"], task["relevant"]) == (7, 61)
    assert len(task["relevant_sha256"]) == len(result["queries_sha256"]) == 64


def test_labels_and_lists_can_come_from_the_s2vs_bundle(fivr, tmp_path):
    data, scores, annotations = fivr
    lists = {"queries": data["queries"], "database": data["database"]}
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "fivr_audio.json").write_text(json.dumps({"5k": lists, "annotation": data["annotation"]}))
    result = evaluate(scores, dataset="fivr-5k", annotations=bundle)
    assert result.tasks["ISVR"].map == evaluate(scores, dataset="fivr-5k", annotations=annotations).tasks["ISVR"].map


# --- truth tables ---------------------------------------------------------------------------------------------

# Two originals o, p; edits of o: crop, grey. Written once, from copy to source.
ROWS = ("crop,o,near_dup,crop10", "grey,o,partial,grey", "pcopy,p,near_dup,crop10")
IDS = ("crop", "grey", "o", "p", "pcopy")


def test_overall_and_each_relation(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", *ROWS)
    scores = ranking("crop", "o", "p") | ranking("grey", "p", "o") | ranking("pcopy", "p", "o")
    tasks = evaluate(scores, truth=truth).tasks
    assert {name: task.map for name, task in tasks.items()} == {
        "overall": pytest.approx((1 + 1 / 2 + 1) / 3),
        "near_dup": 1.0,
        "partial": 0.5,
    }
    assert list(evaluate(scores, truth=truth, by=["edit"]).tasks) == ["overall", "crop10", "grey"]


def test_read_both_ways_two_edits_of_one_original_are_neither_right_nor_wrong(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", *ROWS)
    scores = ranking("crop", "grey", "o", "p")  # grey above o: no row pairs it with crop
    assert evaluate(scores, truth=truth).tasks["overall"].map == 0.5
    assert evaluate(scores, truth=truth, symmetric=True).tasks["overall"].map == 1.0
    assert evaluate(scores, truth=truth, symmetric=True, siblings="wrong").tasks["overall"].map == 0.5


def test_read_both_ways_the_original_finds_its_edits(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", *ROWS)
    scores = ranking("o", "crop", "p", "grey")
    task = evaluate(scores, truth=truth, symmetric=True).tasks["overall"]
    assert task.map == pytest.approx((1 + 2 / 3) / 2)
    assert (task.queries, task.expected_queries, task.relevant) == (1, 5, 6)


def test_for_one_edit_the_other_edits_of_the_query_are_neither(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", *ROWS)
    scores = ranking("o", "crop", "grey", "p")
    tasks = evaluate(scores, truth=truth, symmetric=True, by=["edit"]).tasks
    assert tasks["grey"].map == 1.0  # crop stands above it, but is not asked about


def test_originals_in_one_concatenation_stay_wrong_for_copies_of_each_other(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", *ROWS, "both,o,partial,concat", "both,p,partial,concat")
    scores = ranking("crop", "pcopy", "o")  # crop - o - both - p - pcopy is connected, and yet unrelated
    assert evaluate(scores, truth=truth, symmetric=True).tasks["overall"].map == 0.5


def test_families_say_what_rows_do_not(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", *ROWS)
    families = tmp_path / "families.csv"
    families.write_text("family,path\nbeach,crop\nbeach,p\n")
    scores = ranking("crop", "p", "o")
    assert evaluate(scores, truth=truth).tasks["overall"].map == 0.5
    assert evaluate(scores, truth=truth, families=families).tasks["overall"].map == 1.0


def test_rows_that_are_not_asked_about_are_neither_right_nor_wrong(tmp_path):
    rows = ("mix,o,near_dup,1", "mix,music,audio_only,0")
    truth = truth_file(tmp_path / "truth.csv", *rows, columns="query_id,video_id,relation,visual")
    scores = ranking("mix", "music", "o", "p")
    assert evaluate(scores, truth=truth).tasks["overall"].map == 1.0
    assert evaluate(scores, truth=truth, where=["visual=1"]).tasks["overall"].map == 1.0
    assert evaluate(scores, truth=truth, where=["visual=0"]).tasks["overall"].relevant == 1
    assert evaluate(scores, truth=truth, where=["visual!=0"]).tasks["overall"].relevant == 1


def test_the_query_itself_is_never_ranked(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", *ROWS)
    assert evaluate(ranking("crop", "crop", "o", "p"), truth=truth).tasks["overall"].map == 1.0


# --- ties, coverage -------------------------------------------------------------------------------------------


def test_ties_go_by_id_and_the_interval_shows_both_ends(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,b,copy,x")
    task = evaluate({"q": dict.fromkeys("abcd", 0.5)}, truth=truth).tasks["overall"]
    assert (task.map, task.map_low, task.map_high) == (1 / 2, 1 / 4, 1.0)
    assert task.tied_queries == 1
    assert task.micro_ap == 1 / 4  # one step: one right of four


def test_a_score_kept_in_float32_ties_only_with_equal_float32_scores(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,b,copy,x")
    table = score_table({"q": {"a": 0.1, "b": 0.10000001}}, "float32")
    pq.write_table(table, tmp_path / "scores.parquet")
    assert evaluate(tmp_path / "scores.parquet", truth=truth).tasks["overall"].map == 1.0


def test_coverage_tells_what_is_missing_and_what_it_could_change(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,a,copy,x", "q,b,copy,x", "r,a,copy,x")
    videos = {"a": "done", "b": "failed", "c": "done"}
    scores = write_parts(
        tmp_path / "scores", ranking("q", "c", "a"), videos=videos, queries={"q": "done", "r": "failed"}
    )
    result = evaluate(scores, truth=truth)
    coverage = result.to_json()["coverage"]
    assert coverage["queries"] == {"expected": 2, "scored": 1, "missing": 1, "missing_ids": {"r": "failed"}}
    assert coverage["videos"] == {"expected": 3, "scored": 2, "missing": 1, "missing_ids": {"b": "failed"}}
    missing = {"q -> b": "failed", "r -> a": "query failed"}
    assert coverage["positives"] == {"expected": 3, "scored": 1, "missing": 2, "missing_ids": missing}
    task = result.tasks["overall"]
    assert task.map == pytest.approx(1 / 4)  # a at rank 2 of two right ones
    assert task.map_available == pytest.approx(1 / 2)  # b leaves the id list
    assert task.possible_low == pytest.approx((1 / 4 + 0) / 2)
    assert task.possible_high == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert "b (failed)" in result.table()
    assert "could be" in result.table()


def test_an_unfinished_grid_of_pairs_is_told(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,a,copy,x", "r,b,copy,x")
    result = evaluate(ranking("q", "a", "b", "c") | ranking("r", "r", "b"), truth=truth)
    assert result.to_json()["coverage"]["pairs"] == {"expected": 7, "scored": 4, "missing": 3, "missing_ids": {}}
    assert "make every number too high" in result.table()


def test_complete_scores_say_so(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,a,copy,x")
    result = evaluate(ranking("q", "a", "b"), truth=truth)
    assert result.coverage.complete
    assert "every query, right pair and database video has a score" in result.table()


def test_untrained_weights_are_told_loudly(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,a,copy,x")
    scores = write_parts(tmp_path / "scores", ranking("q", "a", "b"), trained=False)
    assert run(scores, "--truth", truth)[1].startswith("UNTRAINED WEIGHTS")
    assert json.loads(run(scores, "--truth", truth, "--json")[1])["untrained"] is True
