"""`ndvr evaluate`: every way to hand in scores, and one sentence for each way to hand in something else."""

import csv
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_shapes import evaluate_command as run
from benchmark_shapes import ranking, score_table, shape, truth_file, write_parts

from ndvr.benchmarks.evaluate import evaluate

# --- formats --------------------------------------------------------------------------------------------------


def test_folder_file_json_and_csv_give_the_same_numbers(tmp_path):
    _, rows = shape("FIVR")
    truth = truth_file(
        tmp_path / "truth.csv", *(f"{q},{v},near_dup,x" for q in ("q00", "q01") for v in ("v007", "v091"))
    )
    folder = write_parts(tmp_path / "folder", rows, row_group_size=7)
    table = score_table(rows)
    pq.write_table(table, tmp_path / "dictionary.parquet")
    plain = pa.table(
        {name: table[name].cast(pa.string()) for name in ("query_id", "video_id")} | {"score": table["score"]}
    )
    pq.write_table(plain, tmp_path / "plain.parquet")
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("score", "video_id", "query_id"), *((s, v, q) for q, row in rows.items() for v, s in row.items())]
        )
    (tmp_path / "excel.csv").write_text("\ufeffsep=;\r\n" + (tmp_path / "rows.csv").read_text().replace(",", ";"))
    (tmp_path / "blank.csv").write_text("\n\n" + (tmp_path / "rows.csv").read_text())
    (tmp_path / "mark.json").write_text("\ufeff" + json.dumps(rows))
    sources = [
        folder,
        folder / "parts",
        folder / "scores.json",
        *map(
            tmp_path.joinpath,
            ("dictionary.parquet", "plain.parquet", "rows.json", "rows.csv", "excel.csv", "blank.csv", "mark.json"),
        ),
    ]
    results = {str(source): evaluate(source, truth=truth).tasks["overall"] for source in sources}
    assert len({(task.map, task.micro_ap, task.queries, task.found) for task in results.values()}) == 1


def test_ids_that_are_numbers_are_read_as_text(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "7,12,copy,x")
    pq.write_table(pa.table({"query_id": [7, 7], "video_id": [12, 13], "score": [2, 1]}), tmp_path / "n.parquet")
    (tmp_path / "n.csv").write_text("query_id,video_id,score\n7,12,2\n7,13,1\n")
    for name in ("n.parquet", "n.csv"):
        assert evaluate(tmp_path / name, truth=truth).tasks["overall"].map == 1.0


def test_a_json_file_larger_than_its_buffer_is_read_whole(tmp_path):
    from ndvr.operators.scores.files import read_json_rows

    rows = {f"query {i}": {f"video, {j}": i + j / 7 for j in range(i)} for i in range(12)}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    assert all(dict(read_json_rows(path, block=block)) == rows for block in (1, 5, 64, 1 << 20))


# --- bad input: one sentence, exit 2 --------------------------------------------------------------------------


def check_refused(message, *args):
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.fixture
def good(tmp_path):
    """A score file and a truth that fit."""
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(ranking("q", "a", "b")))
    return path, truth_file(tmp_path / "truth.csv", "q,a,copy,x")


def test_scores_without_any_truth_are_refused(good):
    check_refused("scores alone cannot be judged: give --truth FILE, or --dataset", good[0])


def test_a_missing_score_folder_is_named(good, tmp_path):
    check_refused(f"no scores at {tmp_path / 'nowhere'}", tmp_path / "nowhere", "--truth", good[1])


def test_an_empty_score_folder_is_named(good, tmp_path):
    (tmp_path / "empty").mkdir()
    check_refused(
        f"no score file in {tmp_path / 'empty'}: run `ndvr similarity` first", tmp_path / "empty", "--truth", good[1]
    )


def test_a_missing_truth_file_is_named(good):
    check_refused("no truth file nowhere.csv: give a CSV with the columns", good[0], "--truth", "nowhere.csv")


def test_a_truth_without_the_columns_names_those_it_has(good, tmp_path):
    truth = truth_file(tmp_path / "t.csv", "1,2", columns="a,b")
    check_refused("no column query_id, video_id (it has a, b)", good[0], "--truth", truth)


def test_a_truth_without_rows_is_refused(good, tmp_path):
    check_refused("has no rows", good[0], "--truth", truth_file(tmp_path / "t.csv"))


def test_ids_that_do_not_meet_are_shown_from_both_sides(good, tmp_path):
    truth = truth_file(tmp_path / "t.csv", "videos/q.mp4,videos/a.mp4,copy,x")
    check_refused("(such as 'q') has a truth", good[0], "--truth", truth)
    check_refused("(which asks about 'videos/q.mp4')", good[0], "--truth", truth)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_names_its_pair(good, value):
    good[0].write_text(json.dumps({"q": {"a": 1.0, "b": value}}))
    check_refused(f"the score of query 'q' and video 'b' is {value}", good[0], "--truth", good[1])


def test_a_score_that_is_no_number_names_its_pair(good, tmp_path):
    good[0].write_text(json.dumps({"q": {"a": 1.0, "b": None}}))
    check_refused("the score of query 'q' and video 'b' is None, not a number", good[0], "--truth", good[1])
    (tmp_path / "words.csv").write_text("query_id,video_id,score\nq,a,high\n")
    check_refused("words.csv, line 2: score 'high' is not a number", tmp_path / "words.csv", "--truth", good[1])


def test_a_pair_with_two_scores_is_named(good, tmp_path):
    (tmp_path / "twice.csv").write_text("query_id,video_id,score\nq,a,1\nq,b,0.5\nq,a,0.2\n")
    check_refused("query 'q' and video 'a' have two scores in", tmp_path / "twice.csv", "--truth", good[1])
    good[0].write_text('{"q": {"a": 1.0, "a": 0.5}}')
    check_refused("names the video 'a' twice", good[0], "--truth", good[1])


def test_a_pair_in_two_files_names_both(good, tmp_path):
    folder = write_parts(tmp_path / "scores", ranking("q", "a", "b") | ranking("r", "a") | ranking("s", "a"))
    pq.write_table(score_table(ranking("q", "b")), folder / "parts" / "again.parquet")
    first, second = folder / "parts" / "00000.parquet", folder / "parts" / "again.parquet"
    check_refused(
        f"query 'q' and video 'b' have two scores in {first} and {second}: keep one", folder, "--truth", good[1]
    )


def test_a_score_table_without_scores_is_refused(good, tmp_path):
    (tmp_path / "s.csv").write_text("query_id,video_id\nq,a\n")
    check_refused("has no column score (it has query_id, video_id)", tmp_path / "s.csv", "--truth", good[1])
    pq.write_table(score_table({}), tmp_path / "none.parquet")
    check_refused("holds no scores at all", tmp_path / "none.parquet", "--truth", good[1])


def test_broken_files_are_named(good, tmp_path):
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 not really")
    check_refused("cut.parquet is not a whole Parquet file", tmp_path / "cut.parquet", "--truth", good[1])
    (tmp_path / "cut.json").write_text('{"q": {"a": 1.0')
    check_refused("cut.json is not a whole JSON file", tmp_path / "cut.json", "--truth", good[1])
    (tmp_path / "scores.txt").write_text("q a 1")
    check_refused("its name must end in .csv, .json, .parquet", tmp_path / "scores.txt", "--truth", good[1])
    (tmp_path / "latin.json").write_bytes('{"q": {"é": 1.0}}'.encode("latin-1"))
    check_refused("latin.json is not UTF-8", tmp_path / "latin.json", "--truth", good[1])
    (tmp_path / "long.json").write_text('{"q": {"a": 1' + "0" * 5000 + "}}")
    check_refused("query 'q' and video 'a' is inf", tmp_path / "long.json", "--truth", good[1])


def test_an_order_of_equal_scores_that_names_no_scored_video_is_refused(good, tmp_path):
    (tmp_path / "order.txt").write_text("a.mp4\nb.mp4\n")
    check_refused(
        "(such as 'a.mp4') is that of a scored video",
        good[0],
        "--truth",
        good[1],
        "--tie-order",
        tmp_path / "order.txt",
    )


def test_scores_of_another_format_version_are_refused(good, tmp_path):
    folder = write_parts(tmp_path / "scores", ranking("q", "a"))
    (folder / "scores.json").write_text('{"format": "ndvr-scores/9"}')
    check_refused("says format 'ndvr-scores/9', this version reads 'ndvr-scores/1'", folder, "--truth", good[1])


def test_unknown_columns_conditions_tasks_and_datasets_list_the_known_ones(good, tmp_path):
    scores, truth = good
    check_refused("choose one of query_id, video_id, relation, edit", scores, "--truth", truth, "--by", "colour")
    check_refused("write column=value", scores, "--truth", truth, "--where", "visual")
    check_refused("no row of", scores, "--truth", truth, "--where", "edit=mirror")
    check_refused("choose one of overall, copy", scores, "--truth", truth, "--task", "DSVR")
    check_refused("unknown dataset 'fivr'; choose one of", scores, "--dataset", "fivr", "--annotations", tmp_path)
    check_refused("--dataset fivr-5k needs --annotations FOLDER", scores, "--dataset", "fivr-5k")
    check_refused("no annotation.json in", scores, "--dataset", "fivr-5k", "--annotations", tmp_path)
    check_refused("give either --truth or --dataset", scores, "--dataset", "fivr-5k", "--truth", truth)
    check_refused("--symmetric belongs to --truth", scores, "--dataset", "fivr-5k", "--symmetric")
    check_refused("--per-query needs --json", scores, "--truth", truth, "--per-query")
    check_refused("no id list nowhere.txt", scores, "--truth", truth, "--ids", "nowhere.txt")
    check_refused("no id list nowhere.txt", scores, "--truth", truth, "--tie-order", "nowhere.txt")
    check_refused("is given twice: name each run once", scores, scores, "--truth", truth)


# --- ids that look the same -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "on_disk"),
    [("M\u00fcller.mp4", "Mu\u0308ller.mp4"), (" -abc", "-abc"), ("a\u200bb", "ab"), ("a\u00a0b", "a b")],
)
def test_ids_that_differ_only_invisibly_are_named_in_both_spellings(tmp_path, typed, on_disk):
    scores, truth = tmp_path / "s.csv", tmp_path / "t.csv"
    scores.write_text(f"query_id,video_id,score\nq,{on_disk},0.9\nq,x,0.1\nr,x,0.9\n", encoding="utf-8")
    truth.write_text(f"query_id,video_id,relation\nq,{typed},copy\nr,x,copy\n", encoding="utf-8")
    code, out, err = run(scores, "--truth", truth, "--json")
    assert code == 0 and json.loads(out)["alike_ids"] == [[typed, on_disk]]
    assert f"{ascii(typed)} and {ascii(on_disk)} (truth, scores)" in err and "no score" in err


def test_queries_that_differ_only_invisibly_are_named_where_none_is_left(good, tmp_path):
    truth = truth_file(tmp_path / "t.csv", "\u200bq,a,copy,x")
    check_refused(r"'\u200bq' and 'q' (truth, scores)", good[0], "--truth", truth)


def test_ids_that_look_different_are_no_warning(good):
    good[0].write_text(json.dumps({"q": {"A": 1.0, "b": 0.5}}))
    assert run(good[0], "--truth", good[1])[2] == ""
