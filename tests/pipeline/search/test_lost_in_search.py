"""Features that are missing or damaged: what cannot be judged is never "not seen"."""

from __future__ import annotations

import json
import shutil

import clip_library as clips
import pytest
from click.testing import CliRunner
from lost_shards import HARM, shard_of

from ndvr.operators.storage.sealed import Damaged
from ndvr.pipeline.cli import main
from ndvr.pipeline.search.search import search
from ndvr.pipeline.upkeep.maintenance import fsck

pytestmark = pytest.mark.slow


def run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments), "--quiet"])


@pytest.fixture
def place(library, films, tmp_path):
    """The library of films and, in a shard of its own, "late"; the films are indexed."""
    place = shutil.copytree(library, tmp_path / "library")
    assert run("index", place).exit_code == 0
    clips.extract(place, {"late": clips.clip(tmp_path / "late.mp4", clips.scene(40, 6))}, run="r2")
    return place


@pytest.mark.parametrize("harm", HARM)
def test_a_video_lost_before_it_was_indexed_makes_every_answer_partial(place, tmp_path, harm):
    shard, query = shard_of(place, "late"), clips.clip(tmp_path / "q.mp4", clips.scene(90, 4))
    kept = shard.read_bytes()
    HARM[harm](shard)
    done = run("index", place, "--json")
    assert (done.exit_code, json.loads(done.stdout)["lost"]) == (1, ["late"])
    done = run("search", query, place, "--out", tmp_path / "out")
    assert done.exit_code == 3, "cannot be judged is not 1, which is not seen"
    assert "cannot judge: 1 videos that it may show have lost their features: 'late'" in done.stdout
    assert "left out, 1 videos: 'late'" in done.stderr and "not seen" not in done.stdout
    assert run("search", query, place, "--strict").exit_code == 2
    shard.write_bytes(kept)
    done = run("search", query, place, "--out", tmp_path / "out")
    assert (done.exit_code, "not seen, among 6 videos" in done.stdout) == (1, True), "asked again, as it is there again"


@pytest.mark.parametrize("harm", HARM)
def test_a_candidate_that_is_lost_makes_its_own_answers_partial(place, films, tmp_path, harm):
    assert run("index", place).exit_code == 0
    HARM[harm](shard_of(place, "late"))
    assert run("index", place).exit_code == 0, "its keys are there"
    copy = clips.clip(tmp_path / "copy.mp4", clips.scene(40, 6), crf=30)
    result = search(copy, place, progress=False)
    assert (result.answers[0].status, result.lost, result.complete) == ("partial", ("late",), False)
    with pytest.raises((Damaged, FileNotFoundError)):
        search(copy, place, strict=True, progress=False)
    pairs = run("dedupe", place, tmp_path / "pairs", "--by-index", "--json")
    assert (pairs.exit_code, json.loads(pairs.stdout)["lost"]) == (1, ["late"])
    assert fsck(place, repair=True, progress=False).sound
    assert search(copy, place, progress=False).answers[0].status == "searched", "it is gone for good, and due again"
