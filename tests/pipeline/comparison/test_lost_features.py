"""Features that are missing or damaged cost their videos, by name; the rest of the library is compared as ever."""

from __future__ import annotations

import json

import pytest
from lost_shards import HARM, flip, shard_of
from published_features import run
from score_libraries import compared, library, scores_in

from ndvr.operators.storage.sealed import Damaged
from ndvr.pipeline.comparison.dedupe import dedupe
from ndvr.pipeline.upkeep.maintenance import fsck

VIDEOS = {"v2": 5, "v3": 12, "v12": 4}
SETTINGS = ["--method", "csl3d", "--weights", "random:5", "--workers", "0", "--quiet"]


@pytest.fixture
def place(tmp_path):
    """A library of two shards: that of v21, and that of VIDEOS."""
    library(tmp_path / "library", {"v21": 6})
    return library(tmp_path / "library", VIDEOS)


@pytest.mark.parametrize("harm", HARM)
def test_a_lost_shard_costs_its_videos_and_is_told(place, tmp_path, harm):
    compared(place, place, tmp_path / "whole")
    HARM[harm](shard_of(place, "v21"))
    done = run("similarity", place, place, tmp_path / "s", *SETTINGS, "--json")
    assert (done.exit_code, json.loads(done.stdout)["lost"]) == (1, ["v21"])
    assert "left out, 1 videos: 'v21': their features are missing or damaged" in done.stderr
    rest = {pair: score for pair, score in scores_in(tmp_path / "whole").items() if "v21" not in pair}
    assert scores_in(tmp_path / "s") == rest


@pytest.mark.parametrize("harm", HARM)
def test_strict_stops(place, tmp_path, harm):
    HARM[harm](shard_of(place, "v21"))
    done = run("similarity", place, place, tmp_path / "s", *SETTINGS, "--strict")
    assert done.exit_code == 2 and "--repair" in done.stderr
    with pytest.raises(Damaged):
        compared(place, place, tmp_path / "t", strict=True)


def test_scores_that_were_there_leave_with_the_features_and_come_back_with_them(place, tmp_path):
    compared(place, place, tmp_path / "s")
    before, shard = scores_in(tmp_path / "s"), shard_of(place, "v21")
    kept = shard.read_bytes()
    flip(shard)
    assert compared(place, place, tmp_path / "s").lost == (), "what has been computed needs no features"
    shard.unlink()
    lost = compared(place, place, tmp_path / "s")
    assert (lost.lost, lost.missing_videos, lost.pairs_computed) == (("v21",), 1, 0)
    shard.write_bytes(kept)
    back = compared(place, place, tmp_path / "s")
    assert (back.lost, back.pairs_computed) == ((), 7)
    assert scores_in(tmp_path / "s") == pytest.approx(before, abs=1e-6)  # fewer pairs at once round otherwise


@pytest.mark.parametrize("harm", ["missing", "flipped"])
def test_dedupe_and_a_proposer_leave_them_out_too(place, tmp_path, harm):
    HARM[harm](shard_of(place, "v21"))
    pairs = dedupe(place, tmp_path / "p", method="csl3d", weights="random:5", top_k=3, workers=0, progress=False)
    assert (pairs.lost, pairs.videos, pairs.compared) == (("v21",), 3, 3)
    done = run(
        "similarity", place, place, tmp_path / "r", *SETTINGS, "--propose", "csl3d:weights=random:6", "--best", "2"
    )
    assert done.exit_code == 1 and "'v21'" in done.stderr
    assert {query for query, _ in scores_in(tmp_path / "r")} == set(VIDEOS)


def test_show_counts_them_and_lists_the_others(place):
    shard_of(place, "v21").unlink()
    (facts,) = json.loads(run("show", place, "--json").stdout)["configs"]
    assert (facts["done"], facts["failed"]) == (3, {"lost": 1})
    assert "1 have lost their features; `ndvr fsck" in run("show", place).stdout
    assert [line.split()[0] for line in run("show", place, "--list").stdout.splitlines()] == sorted(VIDEOS)


def test_after_the_repair_and_a_new_import_all_is_as_it_was(place, tmp_path):
    compared(place, place, tmp_path / "whole")
    flip(shard_of(place, "v21"))
    assert fsck(place, repair=True, progress=False).sound
    assert compared(place, place, tmp_path / "s").lost == ()
    library(place, {"v21": 6})
    compared(place, place, tmp_path / "s")
    assert scores_in(tmp_path / "s") == pytest.approx(scores_in(tmp_path / "whole"), abs=1e-6)


def test_ray_workers_meet_them_too(place, tmp_path, ray_cluster):
    flip(shard_of(place, "v21"))
    done = compared(place, place, tmp_path / "s", workers=1)
    assert (done.lost, done.pairs) == (("v21",), 9)
