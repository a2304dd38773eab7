"""The page of matches: one file that loads nothing, shows where two videos agree, and never runs an id."""

import re

import pytest
from clips import numbered_clip

from ndvr.operators.index.kinds import Stretch
from ndvr.pipeline.review.matches_page import write_matches_page
from ndvr.pipeline.search.answers import Answer, Match
from ndvr.pipeline.search.out_folder import OutFolder, read_answers

HOSTILE = "<script>alert(1)</script>\"'&.mp4"


def match(video_id: str, **changes) -> Match:
    stretch = Stretch(
        q_start_s=0.0, q_end_s=4.0, v_start_s=62.5, v_end_s=66.5, speed=1.0, reversed=False, agreement=0.5
    )
    known = {"kind": "part", "score": 0.8, "false_per_million": 0.02, "query_covered": 1.0, "video_covered": 0.04}
    return Match(**known | {"video_id": video_id, "placement": "mirrored", "segments": [stretch]} | changes)


def answer(query_id: str, *matches: Match, **changes) -> Answer:
    known = {"uri": "", "status": "searched", "duration_s": 4.0, "bytes": 1, "mtime_ns": 1, "videos": 7}
    return Answer(**known | {"query_id": query_id, "matches": list(matches)} | changes)


@pytest.fixture
def matches(tmp_path):
    def write(*answers: Answer):
        OutFolder(tmp_path / "m", {"library": str(tmp_path / "no library")}).write(answers)
        return tmp_path / "m"

    return write


def test_answers_are_read_back_as_they_were_written(matches):
    answers = [answer("q1", match("v1"), match("v2", kind="shared")), answer("q2")]
    _, again = read_answers(matches(*answers))
    assert [(each.query_id, each.status) for each in again] == [("q1", "searched"), ("q2", "searched")]
    first, second = again[0].matches
    stretches = match("v1").segments
    assert (first.video_id, first.kind, first.placement, first.segments) == ("v1", "part", "mirrored", stretches)
    assert (second.video_id, second.kind, second.score) == ("v2", "shared", pytest.approx(0.8))


def test_the_page_says_who_was_seen_where_and_how_sure(tmp_path, matches):
    folder = matches(
        answer("new.mp4", match("film.mp4")),
        answer("unknown.mp4"),
        answer("dark.mp4", status="unsure", message="too dark"),
    )
    page = write_matches_page(folder, tmp_path / "out" / "page.html").read_text()
    assert "<b>new.mp4</b>" in page and "is a part of" in page and "<b>film.mp4</b>" in page
    assert "00:00.0-00:04.0 at 01:02.5-01:06.5, mirrored" in page and "0.02 false per million" in page
    assert "<li>unknown.mp4</li>" in page and "<li>dark.mp4: too dark</li>" in page
    assert "no pictures" in page  # neither of the two can be read any more


def test_ids_are_text_and_nothing_is_loaded(tmp_path, matches):
    query = numbered_clip(tmp_path / "q.mp4", n_frames=12)
    folder = matches(answer(HOSTILE, match(HOSTILE, placement=HOSTILE), uri=str(query)))
    page = write_matches_page(folder, tmp_path / "page.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert len(re.findall("<script", page)) == 1
    assert not re.findall(r"(?:src|href|srcset)=", page) and "http" not in page
    assert page.count("data:image/jpeg;base64,") == 1


def test_a_folder_without_matches_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="`ndvr search VIDEOS LIBRARY --out"):
        write_matches_page(tmp_path, tmp_path / "page.html")
