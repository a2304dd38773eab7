"""What a plan says of groups: no video is kept that is not there, and nothing may go in place of one."""

from __future__ import annotations

import dataclasses
import hashlib
import os

import pytest

from ndvr.operators.library.decisions import Decision, Decisions
from ndvr.pipeline.review.keep import plan
from ndvr.pipeline.review.pairs import Found, Pair, Video


@pytest.fixture
def found(tmp_path):
    """Three copies, the first of which is the longest; the last two are the same file."""
    made = []
    for name, seconds, data in (("film", 60.0, b"f" * 90), ("copy", 50.0, b"c" * 50), ("twin", 50.0, b"c" * 50)):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(data)
        stat, content = path.stat(), hashlib.sha256(data).hexdigest()
        facts = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "duration_s": seconds, "sha256": content}
        made.append(Video(video_id=name, content=content, uri=str(path), **facts))
    film, copy, twin = made
    pairs = [
        Pair(a=copy, b=film, kind="copy", score=0.9, a_covered=1.0, b_covered=1.0),
        Pair(a=film, b=twin, kind="copy", score=0.9, a_covered=1.0, b_covered=1.0),
        Pair(a=copy, b=twin, kind="identical", score=1.0, a_covered=1.0, b_covered=1.0),
    ]
    return Found(
        source="pairs", what="pairs", library="", query_library="", config="", weights="", options={}, pairs=pairs,
        rejected=0,
    )  # fmt: skip


def actions(found, decisions=None) -> dict[str, str]:
    lines = plan(found, ("longest",), decisions or Decisions())
    assert lines[0].action == "keep"
    return {line.video_id: line.action for line in lines}


def test_the_longest_is_kept(found):
    assert actions(found) == {"film": "keep", "copy": "may go", "twin": "may go"}


@pytest.mark.parametrize("harm", ["gone", "another", "touched"])
def test_a_video_that_is_not_there_is_not_kept_in_place_of_one_that_is(found, tmp_path, harm):
    film = tmp_path / "film.mp4"
    if harm == "gone":
        film.unlink()
    elif harm == "another":
        film.write_bytes(b"another film")
    else:
        os.utime(film, ns=(1, 1))
    assert actions(found) == {"copy": "keep", "twin": "may go", "film": "look"}


def test_neither_is_one_that_people_decided_to_keep_nor_a_twin_of_the_same_bytes(found, tmp_path):
    (tmp_path / "film.mp4").unlink()
    (tmp_path / "copy.mp4").unlink()
    film, twin = found.pairs[1].a, found.pairs[1].b
    kept = Decision.now(verdict="keep", a_content=film.content, b_content=twin.content, who="ann")
    assert actions(found, Decisions([kept])) == {"twin": "keep", "film": "look", "copy": "look"}
    (tmp_path / "twin.mp4").unlink()
    assert "may go" not in actions(found, Decisions([kept])).values(), "nothing is there"


def test_a_place_that_nobody_knows_is_taken_for_there(found):
    pairs = [
        dataclasses.replace(pair, a=dataclasses.replace(pair.a, uri=""), b=dataclasses.replace(pair.b, uri=""))
        for pair in found.pairs
    ]
    assert actions(dataclasses.replace(found, pairs=pairs))["film"] == "keep"
