"""The page of what was found: one file that loads nothing, shows where two videos agree, and never runs an id."""

import re

import pytest
from clips import numbered_clip, read_number

from ndvr.operators.index.kinds import Stretch
from ndvr.operators.video.stills import new_sandbox, stills
from ndvr.pipeline.comparison.dedupe import dedupe
from ndvr.pipeline.comparison.similarity import similarity
from ndvr.pipeline.review.found_page import matching_times, write_found_page
from ndvr.pipeline.search.answers import Answer, Match
from ndvr.pipeline.search.out_folder import OutFolder, read_answers

pytestmark = pytest.mark.slow

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
        answer("perhaps.mp4", match("film.mp4", false_per_million=2500.4)),
        answer("unknown.mp4"),
        answer("dark.mp4", status="unsure", message="too dark"),
    )
    page = write_found_page(folder, tmp_path / "out" / "page.html").read_text()
    assert "<b>new.mp4</b>" in page and "is a part of" in page and "<b>film.mp4</b>" in page
    assert "00:00.0-00:04.0 at 01:02.5-01:06.5, mirrored" in page and "0.02 false per million" in page
    assert "2,500 false per million" in page
    assert "<li>unknown.mp4</li>" in page and "<li>dark.mp4: too dark</li>" in page
    assert "no pictures" in page  # neither of the two can be read any more


def test_a_page_without_matches_says_why(tmp_path, matches):
    page = write_found_page(matches(answer("new.mp4")), tmp_path / "page.html").read_text()
    assert "None of the queries was seen before." in page and "<article" not in page and "find an id" not in page


def test_ids_are_text_and_nothing_is_loaded(tmp_path, matches):
    query = numbered_clip(tmp_path / "q.mp4", n_frames=12)
    folder = matches(answer(HOSTILE, match(HOSTILE, placement=HOSTILE), uri=str(query)))
    page = write_found_page(folder, tmp_path / "page.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert len(re.findall("<script", page)) == 1
    assert not re.findall(r"(?:src|href|srcset)=", page) and "http" not in page
    assert page.count("data:image/jpeg;base64,") == 1


def test_a_folder_without_matches_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="`ndvr search VIDEOS LIBRARY --out"):
        write_found_page(tmp_path, tmp_path / "page.html")


def test_frames_lie_under_each_other_at_the_matching_times():
    forward = Stretch(
        q_start_s=1.0, q_end_s=5.0, v_start_s=60.0, v_end_s=68.0, speed=2.0, reversed=False, agreement=0.5
    )
    backward = Stretch(
        q_start_s=10.0, q_end_s=14.0, v_start_s=5.0, v_end_s=9.0, speed=1.0, reversed=True, agreement=0.5
    )
    a_s, b_s = matching_times([forward, backward], 4)
    assert a_s == (2.0, 4.0, 11.0, 13.0)
    assert b_s == (62.0, 66.0, 8.0, 6.0)
    assert matching_times([], 4) == ((), ())


@pytest.mark.parametrize("what", ["index", "all pairs", "scores"])
def test_pairs_and_scores_have_the_same_page(collection, tmp_path, what):
    library = collection / "library"
    known = {"method": "thumbprint", "workers": 0, "progress": False}
    if what == "index":
        folder = collection / "pairs"
    elif what == "all pairs":
        folder = tmp_path / "all"
        dedupe(library, folder, threshold=0.5, **known)
    else:
        folder = tmp_path / "scores"
        similarity(library, library, folder, **known)
    out = write_found_page(folder, tmp_path / "page.html", pictures=1, maps=2, figures=tmp_path / "figures")
    page = out.read_text()
    assert "<b>film</b>" in page and "<b>old</b>" in page and len(re.findall("<article", page)) == 6
    assert page.count("data:image/jpeg;base64,") == 2, "two strips for the first pair"
    assert page.count("data:image/png;base64,") == 2 and page.count("Window by window: ") == 2
    assert page.count('class="part"') >= 2, "segments are found again where the folder has none"
    assert ("<h2>Groups</h2>" in page) is (what != "scores")
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"scores.png", "scores.svg", "map-0001.png", "map-0002.svg", "figures.json"} <= drawn


def test_the_frames_of_a_strip_are_those_of_the_times(tmp_path):
    clip = numbered_clip(tmp_path / "c.mp4", n_frames=100, fps=25)
    with new_sandbox() as sandbox:
        pictures = stills(str(clip), [0.0, 1.0, 3.9, 99.0], 48, sandbox=sandbox)
    assert [read_number(picture) for picture in pictures] == [0, 25, 97, 99]
