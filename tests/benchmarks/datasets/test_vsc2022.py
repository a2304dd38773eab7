"""The Video Similarity Challenge 2022: both tracks on the official numbers, on files, and on files that are wrong."""

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner
from golden_segments import descriptors, match, matches, numbers, pairs

from ndvr.benchmarks.datasets import vsc2022
from ndvr.benchmarks.datasets.vsc2022 import Descriptors, read_matches, write_matches
from ndvr.operators.metrics.average_precision import micro_ap

EXACT = 1e-12  # the same sums in another order
GOLDEN = numbers()["vsc2022"]


def check_matching(track, expected):
    assert track.segment.ap == pytest.approx(expected["segment_ap"], abs=EXACT)
    assert track.pairs.ap == pytest.approx(expected["pairwise_micro_ap"], abs=EXACT)
    assert len(track.segment.recall) == expected["pr_points"]
    assert track.segment.recall[-1] == pytest.approx(expected["last_recall"], abs=EXACT)


# Official numbers


def test_matching_of_three_true_and_six_found_matches():
    truth, found = ([match(*row) for row in GOLDEN["literal"][key]] for key in ("ground_truth", "predictions"))
    check_matching(vsc2022.matching_track(found, truth), GOLDEN["literal"]["result"])


@pytest.mark.slow
def test_matching_of_eleven_thousand_matches():
    truth, found = matches()
    check_matching(vsc2022.matching_track(found, truth), GOLDEN["segments"]["dense"])
    check_matching(vsc2022.matching_track(found + found[::-1], truth), GOLDEN["segments"]["every prediction twice"])
    check_matching(vsc2022.matching_track(truth, truth), GOLDEN["segments"]["perfect"])


@pytest.mark.slow
def test_matching_with_many_equal_scores_in_any_order():
    truth, found = matches(ties=True)
    check_matching(vsc2022.matching_track(found, truth), GOLDEN["segments"]["ties (1 decimal)"])
    check_matching(vsc2022.matching_track(found[::-1], truth), GOLDEN["segments"]["ties, reverse order"])


def test_micro_ap_of_two_hundred_thousand_pairs():
    scores, right, fifth = pairs()
    dense = micro_ap(scores, right, n_relevant=6000)
    assert dense.ap == pytest.approx(GOLDEN["pairs"]["dense"]["ap"], abs=EXACT)
    assert dense.low == dense.high == pytest.approx(dense.ap, abs=EXACT)
    fewer = micro_ap(scores[~fifth], right[~fifth], n_relevant=6000)
    official = GOLDEN["pairs"]["every fifth query missing from the candidates"]["ap"]
    assert fewer.ap == pytest.approx(official, abs=EXACT)
    none = micro_ap(scores[~right], right[~right], n_relevant=6000)
    assert none.ap == GOLDEN["pairs"]["no correct candidate"]["ap"] == 0


def test_micro_ap_of_pairs_with_equal_scores():
    scores, right, _ = pairs(ties=True)
    tied = micro_ap(scores, right, n_relevant=6000)
    assert tied.ap == pytest.approx(GOLDEN["pairs"]["ties (2 decimals), recipe order"]["ap"], abs=EXACT)
    for order in ("ties (2 decimals), recipe order", "ties, reverse order"):
        assert tied.low < GOLDEN["pairs"][order]["simple_ap"] < tied.high
    equal = micro_ap(np.full(20000, 0.5), right[:20000], n_relevant=6000)
    assert equal.ap == pytest.approx(GOLDEN["pairs"]["all scores equal, recipe order"]["ap"], abs=EXACT)


@pytest.mark.slow
def test_descriptors_of_two_thousand_videos():
    query_counts, queries, video_counts, videos, true_pairs = descriptors()
    golden = GOLDEN["descriptors"]
    for name, array in (("query", queries), ("reference", videos)):
        assert hashlib.sha256(array.tobytes()).hexdigest() == golden["digest"][name]
    sides = [
        Descriptors(ids=tuple(f"{letter}{n:06d}" for n in range(len(counts))), counts=counts, vectors=vectors)
        for letter, counts, vectors in (("Q", query_counts, queries), ("R", video_counts, videos))
    ]
    truth = [match(f"Q{i:06d}", f"R{j:06d}", 0, 1, 0, 1) for i, j in true_pairs]
    track = vsc2022.descriptor_track(*sides, truth)
    assert track.pairs.ap == pytest.approx(golden["micro_ap"], abs=EXACT)
    assert len(track.candidates) == golden["candidates"]
    for row, expected in zip(track.candidates, golden["first_candidates"]):
        assert row[:2] == tuple(expected[:2])
        assert row[2] == pytest.approx(expected[2], abs=1e-6)  # float32 products in another order


# Files


@pytest.fixture
def folder(tmp_path):
    write_matches(tmp_path / "truth.csv", [match("Q1", "R1", 4, 14, 10, 18)])
    return tmp_path


def run(*args):
    """stdout of python -m ndvr.benchmarks.datasets.vsc2022."""
    result = CliRunner().invoke(vsc2022.main, list(map(str, args)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_matches_are_read_as_they_were_written(folder):
    rows = [match("Q1", "R1", 0.1, 1 / 3, 2, 3e3, -0.7), match("Q2", "R000001", 5, 5, 0, 1, 1e-9)]
    write_matches(folder / "matches.csv", rows)
    assert read_matches(folder / "matches.csv", scored=True) == rows


def test_columns_may_stand_in_any_order_and_a_truth_needs_no_score(folder):
    (folder / "truth.csv").write_text("query_start,query_end,ref_start,ref_end,ref_id,query_id\n4,14,10,18,R1,Q1\n")
    (folder / "found.csv").write_text(
        "\ufeffquery_id,ref_id,query_start,query_end,ref_start,ref_end,score\n"
        "Q2,R1,4,14,10,18,3.0\nQ1,R2,4,14,10,18,2.0\nQ1,R1,4,14,10,18,1.0\n"
    )
    result = json.loads(run("matching", folder / "found.csv", folder / "truth.csv", "--json"))
    assert result["segment_ap"] == pytest.approx(1 / 3)
    assert "segment AP         0.3333" in run("matching", folder / "found.csv", folder / "truth.csv")


def test_descriptor_files_of_the_challenge(folder):
    vectors = np.eye(4, dtype=np.float32)
    np.savez(folder / "q.npz", video_ids=["Q1", "Q1"], timestamps=[0, 1], features=vectors[:2])
    np.savez(folder / "r.npz", video_ids=["R2", "R1", "R1"], timestamps=[0, 0, 1], features=vectors[[3, 2, 1]])
    result = json.loads(run("descriptors", folder / "q.npz", folder / "r.npz", folder / "truth.csv", "--json"))
    assert (result["micro_ap"], result["candidates"]) == (1.0, 2)
    assert "micro-AP           1.0000   1 of 1 right pairs among 2" in run(
        "descriptors", folder / "q.npz", folder / "r.npz", folder / "truth.csv"
    )
    np.savez(folder / "numbers.npz", video_ids=[7, 7], timestamps=[0, 1], features=vectors[:2])
    assert vsc2022.read_descriptors(folder / "numbers.npz", letter="Q").ids == ("Q000007",)


def test_scores_below_zero_are_compared_as_they_are():
    """The challenge's script takes them for zero in its pairwise number."""
    truth = [match("Q1", "R1", 0, 1, 0, 1)]
    found = [match("Q1", "R1", 0, 1, 0, 1, -1.0), match("Q2", "R1", 0, 1, 0, 1, -2.0)]
    assert vsc2022.matching_track(found, truth).pairs.ap == 1.0


HEAD = "query_id,ref_id,query_start,query_end,ref_start,ref_end,score\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("query_id,ref_id,score\n", "has no column query_start, query_end, ref_start, ref_end"),
        (HEAD + "Q1,R1,0,1,0,1,1\nR1,Q1,0,1,0,1,1\n", "line 3: query_id is 'R1', but ids of this column start with Q"),
        (HEAD + "1,2,0,1,0,1,1\n", "line 2: query_id is '1', but ids of this column start with Q"),
        (HEAD + "Q1,R1,5,1,0,1,1\n", "line 2: a segment from 5.0 to 1.0 s ends before it starts"),
        (HEAD + "Q1,R1,0,1,0,1,nan\n", "line 2: the match of query 'Q1' and video 'R1' has the score nan"),
        (HEAD + "Q1,R1,0,x,0,1,1\n", "line 2: could not convert string to float: 'x'"),
        (HEAD + "Q1,R1,0,1\n", "line 2: "),
        ("", "has no column query_id"),
    ],
)
def test_a_line_that_is_no_match_is_named(folder, text, says):
    (folder / "found.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_matches(folder / "found.csv", scored=True)


def test_no_match_found_is_zero_and_no_true_match_an_error(folder):
    (folder / "none.csv").write_text(HEAD)
    assert json.loads(run("matching", folder / "none.csv", folder / "truth.csv", "--json"))["segment_ap"] == 0.0
    with pytest.raises(ValueError, match="the ground truth covers no time"):
        vsc2022.matching_track(read_matches(folder / "truth.csv", scored=True), [])


def test_the_commands_say_what_is_wrong_in_one_sentence(folder):
    for args in (["matching", "gone.csv", "truth.csv"], ["descriptors", "gone.npz", "gone.npz", "truth.csv"]):
        result = CliRunner().invoke(vsc2022.main, [args[0], *(str(folder / name) for name in args[1:])])
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert f"at {folder / args[1]}: give" in result.stderr


def test_missing_files_are_named(folder):
    with pytest.raises(FileNotFoundError, match="no matches at .*gone.csv"):
        read_matches(folder / "gone.csv", scored=True)
    with pytest.raises(FileNotFoundError, match="no descriptors at .*gone.npz"):
        vsc2022.read_descriptors(folder / "gone.npz", letter="Q")


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"features": np.zeros((1, 2), np.float32)}, "is no npz file with video_ids and features"),
        ({"video_ids": ["Q1", "Q2"], "features": np.zeros((1, 2), np.float32)}, "one row for each frame"),
        ({"video_ids": ["Q1"], "features": np.zeros((1, 513), np.float32)}, "at most 512"),
        ({"video_ids": ["Q1"], "features": np.zeros((1, 2))}, "descriptors of 2 numbers of float64"),
        ({"video_ids": ["R1"], "features": np.zeros((1, 2), np.float32)}, "ids of this file start with Q"),
        ({"video_ids": ["Q1", "Q2", "Q1"], "features": np.zeros((3, 2), np.float32)}, "'Q1' is there twice"),
        ({"video_ids": np.array([None, {}]), "features": np.zeros((2, 2), np.float32)}, "is no npz file"),
    ],
)
def test_descriptors_that_the_challenge_would_not_take(folder, arrays, says):
    np.savez(folder / "q.npz", **arrays)
    with pytest.raises(ValueError, match=says):
        vsc2022.read_descriptors(folder / "q.npz", letter="Q")
