"""A film of hours among clips: it is compared in parts, or left out by name; the clips are compared in any case."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from published_features import run
from score_libraries import compared, library, scores_in

from ndvr import models
from ndvr.operators.scores.signatures import n_bytes

pytestmark = pytest.mark.slow

CLIPS = {"clip1": 20, "clip2": 20}


def codes(seed: int, windows: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (windows, 512), dtype=np.uint8)


@pytest.fixture
def clips_and_film(tmp_path):
    """A library by thumbprint in which half of "clip2" is a part of a film of two hours."""
    features = {"film": codes(0, 14_400)} | {name: codes(1, n) for name, n in CLIPS.items()}
    features["clip2"] = np.concatenate([features["film"][7_190:7_210], codes(2, 4)])
    (tmp_path / "f").mkdir()
    for name, array in features.items():
        np.save(tmp_path / "f" / f"{name}.npy", array)
    assert run("import", tmp_path / "f", tmp_path / "lib", "--method", "thumbprint", "--quiet").exit_code == 0
    return tmp_path / "lib"


def test_a_long_video_scores_in_parts_what_it_scores_whole():
    model = models.load("thumbprint", parts=("similarity",))
    film, clip = codes(0, 1_300), codes(1, 20)
    clip[:12] = film[595:607]  # across the border of two parts
    in_parts, whole, short = model.long_signature(film, 25_000_000), model.signature(film), model.signature(clip)
    assert len(in_parts) == len(whole) == 3 and n_bytes(in_parts) < sum(map(n_bytes, map(list, map(_arrays, whole))))
    np.testing.assert_array_equal(
        model.score_matrix([in_parts, short], [short, in_parts]), model.score_matrix([whole, short], [short, whole])
    )


def _arrays(part):
    return [value for value in vars(part).values() if hasattr(value, "nbytes")]


def test_a_film_among_clips_is_compared_in_little_memory(clips_and_film, tmp_path):
    settings = ("--threshold", "0.5", "--workers", "0", "--quiet", "--json")
    done = run("dedupe", clips_and_film, tmp_path / "p", *settings, "--memory-gb", "0.4")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["videos"], report["compared"], report["too_long"]) == (3, 3, [])
    assert [
        (row["video_id_a"], row["video_id_b"]) for row in pq.read_table(tmp_path / "p/pairs.parquet").to_pylist()
    ] == [("clip2", "film")]


def test_what_a_method_cannot_compare_is_left_out_and_named(tmp_path):
    long = library(tmp_path / "long", {"v1": 9, "v2": 4, "v11": 2000})
    short = library(tmp_path / "short", {"v1": 9, "v2": 4})
    memory_gb = 4000 * 768 * 4 / 0.6 / 1e9 * 0.9  # two of 1800 windows
    settings = ("--method", "csl3d", "--weights", "random:5", "--workers", "0", "--quiet", "--memory-gb", memory_gb)
    done = run("similarity", long, long, tmp_path / "s", *settings)
    assert done.exit_code == 1
    assert "left out: 'v11': too long for this method in the memory given; give more by --memory-gb" in done.stderr
    compared(short, short, tmp_path / "wanted")
    assert scores_in(tmp_path / "s") == scores_in(tmp_path / "wanted")
    (ids,) = (tmp_path / "s").glob("videos-*.parquet")
    reasons = {row["video_id"]: (row["status"], row["reason"]) for row in pq.read_table(ids).to_pylist()}
    assert reasons["v11"] == ("skipped", "too long for the memory given")

    # With more memory, it alone is new.
    again = compared(long, long, tmp_path / "s")
    assert (again.pairs, again.pairs_computed, again.too_long) == (9, 5, ())


def test_pairs_are_found_among_the_others_too(tmp_path):
    long = library(tmp_path / "long", {"v1": 9, "v2": 4, "v11": 2000})
    settings = ("--method", "csl3d", "--weights", "random:5", "--workers", "0", "--quiet", "--memory-gb", "0.01")
    done = run("dedupe", long, tmp_path / "p", "--threshold", "-1", *settings, "--json")
    assert done.exit_code == 1 and "left out: 'v11'" in done.stderr
    assert json.loads(done.stdout)["too_long"] == ["v11"]
    assert pq.read_table(tmp_path / "p/pairs.parquet").num_rows == 1
