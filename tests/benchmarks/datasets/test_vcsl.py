"""VCSL's segments: its official numbers on the real labels, files in its formats, and files that are wrong."""

import csv
import hashlib
import json

import pytest
from click.testing import CliRunner
from golden_segments import numbers, vcsl_boxes

from ndvr.benchmarks.datasets import vcsl

EXACT = 1e-12  # the same sums in another order
ONE = [[0, 0, 10, 10]]


@pytest.fixture
def folder(tmp_path):
    """Two pairs with a copy, two without."""
    labels = {"a-b": [[0, 5, 10, 15]], "a-c": [[0, 0, 10, 10], [20, 20, 30, 30]]}
    (tmp_path / "label_file_test.json").write_text(json.dumps(labels))
    (tmp_path / "pair_file_test.csv").write_text("query_id,reference_id\na,b\na,c\nd,e\nd,f\n")
    return tmp_path


def run(folder, found, *settings):
    """stdout of python -m ndvr.benchmarks.datasets.vcsl."""
    (folder / "found.json").write_text(json.dumps(found))
    args = [str(folder / "found.json"), "--annotations", str(folder), *settings]
    result = CliRunner().invoke(vcsl.main, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vcdb", "vcsl"])
def test_real_labels_give_the_official_numbers(shared, name):
    folder, golden = shared / "data" / "annotations" / name, numbers()["vcsl"]["cases"][name]
    labels_file, pairs_file = next(files for files in vcsl._FILES if (folder / files[0]).exists())
    with (folder / pairs_file).open() as file:
        names = [f"{row['query_id']}-{row['reference_id']}" for row in csv.DictReader(file)]
    found = vcsl_boxes(json.loads((folder / labels_file).read_text()), names, golden["seed"])
    assert hashlib.sha256(json.dumps(found, separators=(",", ":")).encode()).hexdigest() == golden["sha256"]
    result = vcsl.evaluate_segments(found, folder)
    overlap, micro, macro = result.overlap, golden["micro"], golden["macro"]
    assert overlap.precision == pytest.approx(micro["precision"], abs=EXACT)
    assert overlap.recall == pytest.approx(micro["recall"], abs=EXACT)
    assert overlap.f1 == pytest.approx(micro["F1"], abs=EXACT)
    assert overlap.by_query() == pytest.approx((macro["precision"], macro["recall"]), abs=EXACT)
    assert result.ceiling == pytest.approx(golden["perfect"], abs=EXACT)
    # The authors divide by half of the pairs, which is the number of labelled ones in VCSL, not in VCDB.
    assert overlap.missed / (overlap.pairs / 2) == pytest.approx(micro["FRR"], abs=EXACT)
    assert overlap.false_alarms / (overlap.pairs / 2) == pytest.approx(micro["FAR"], abs=EXACT)
    for pair, expected in golden["first_pairs"].items():
        mine = overlap.per_pair[tuple(pair.split("-"))]
        assert (mine.precision, mine.recall) == pytest.approx(expected, abs=EXACT)
    assert result.empty_true_boxes == {"vcdb": 0, "vcsl": 46}[name]


def test_perfect(folder):
    labels = json.loads((folder / "label_file_test.json").read_text())
    result = json.loads(run(folder, labels, "--json"))
    assert result["f1"] == result["ceiling"] == pytest.approx(1.0, abs=1e-6)  # 1e-6 s in the denominators
    assert (result["false_rejection_rate"], result["false_alarm_rate"]) == (0.0, 0.0)


def test_a_pair_missed_costs_recall_and_a_false_one_precision(folder):
    result = json.loads(run(folder, {"a-b": [[0, 5, 10, 15]], "d-e": ONE, "d-f": []}, "--json"))
    assert (result["precision"], result["recall"]) == pytest.approx((0.5, 0.5), abs=1e-6)
    assert (result["false_rejection_rate"], result["false_alarm_rate"]) == (0.5, 0.5)


def test_half_of_a_pair_s_segments_is_a_quarter_of_its_recall(folder):
    """Half of the query's time, times half of the video's."""
    result = json.loads(run(folder, {"a-c": ONE}, "--json"))
    assert result["recall"] == pytest.approx((0 + 1 / 4) / 2, abs=1e-6)


def test_nothing_found_is_f_zero_where_the_script_divides_by_zero(folder):
    result = json.loads(run(folder, {}, "--json"))
    assert (result["precision"], result["recall"], result["f1"]) == (None, 0.0, 0.0)
    assert "precision     -" in run(folder, {})


def test_labels_without_length_and_what_they_cost_are_told(folder):
    (folder / "label_file_test.json").write_text(json.dumps({"a-b": [[5, 5, 5, 9]], "a-c": ONE}))
    table = run(folder, {"a-c": ONE})
    assert "4 pairs, 2 of them labelled with 2 segments; 1 found" in table
    assert "1 labels have no length: a perfect result has F 0.50000" in table


def test_pairs_that_are_not_listed_are_counted_and_left_out(folder):
    result = json.loads(run(folder, {"a-b": [[0, 5, 10, 15]], "x-y": ONE}, "--json"))
    assert (result["unlisted_pairs"], result["precision"]) == (1, pytest.approx(1.0, abs=1e-6))
    assert "1 found pairs, such as 'x-y', are not listed: left out" in run(folder, {"a-b": ONE, "x-y": ONE})
    with pytest.raises(ValueError, match="no found pair .such as 'x-y'. is listed in .* .such as 'a-b'."):
        vcsl.evaluate_segments({"x-y": ONE}, folder)


def test_ids_may_hold_the_sign_between_them(folder):
    (folder / "pair_file_test.csv").write_text("query_id,reference_id\n-x,y-\n")
    (folder / "label_file_test.json").write_text(json.dumps({"-x-y-": ONE}))
    assert json.loads(run(folder, {"-x-y-": ONE}, "--json"))["recall"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([[0, 0, float("nan"), 1]], r"pair 'a-b' has the box \[0, 0, nan, 1\], which is not finite or ends before"),
        ([[0, 7, 1, 3]], r"pair 'a-b' has the box \[0, 7, 1, 3\]"),
        ([[0, 1, 2]], "pair 'a-b': expected boxes of four numbers"),
        ([0, 1, 2, 3], "pair 'a-b': expected boxes of four numbers"),
        ([["a", 1, 2, 3]], "pair 'a-b': expected boxes of four numbers"),
        (7, "pair 'a-b': expected boxes of four numbers, found 7"),
    ],
)
def test_a_box_that_is_none_is_named_with_its_pair(folder, boxes, says):
    with pytest.raises(ValueError, match=says):
        vcsl.evaluate_segments({"a-b": boxes}, folder)


def test_files_that_are_missing_or_do_not_match_are_named(folder):
    with pytest.raises(FileNotFoundError, match="no found segments at"):
        vcsl.read_found(folder / "gone.json")
    with pytest.raises(FileNotFoundError, match="no annotation folder"):
        vcsl.evaluate_segments({}, folder / "gone")
    (folder / "found.json").write_text("[1")
    with pytest.raises(ValueError, match="is not JSON"):
        vcsl.read_found(folder / "found.json")
    (folder / "found.json").write_text("[]")
    with pytest.raises(ValueError, match="holds a list"):
        vcsl.read_found(folder / "found.json")
    (folder / "label_file_test.json").write_text("{}")
    with pytest.raises(ValueError, match="has a label in label_file_test.json: files do not match"):
        vcsl.evaluate_segments({}, folder)
    (folder / "pair_file_test.csv").write_text("query,reference\na,b\n")
    with pytest.raises(ValueError, match="has no column query_id, reference_id"):
        vcsl.evaluate_segments({}, folder)
    (folder / "pair_file_test.csv").unlink()
    with pytest.raises(FileNotFoundError, match="no pair_file_test.csv in"):
        vcsl.evaluate_segments({}, folder)


def test_the_command_says_what_is_wrong_in_one_sentence(folder):
    result = CliRunner().invoke(vcsl.main, [str(folder / "gone.json"), "--annotations", str(folder)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: no found segments at {folder}") and result.stderr.count("\n") == 1
