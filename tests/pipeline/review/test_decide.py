"""`ndvr decide`: what people say of a pair is gone from tomorrow's answers, and comes back when it is taken back."""

from __future__ import annotations

import shutil

import clip_library as clips
import pyarrow.parquet as pq
import pytest
from commands import as_json, ndvr

from ndvr.operators.library.library import Library
from ndvr.pipeline.review.found import read_found
from ndvr.pipeline.search.duplicates import duplicates
from ndvr.pipeline.search.out_folder import read_answers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with films a and b, and a library of them; copy is an edited copy of a, and is in both."""
    folder = tmp_path_factory.mktemp("decide")
    film = clips.scene(1, 6)
    frames = {"a": film, "b": clips.scene(2, 6), "copy": clips.EDITS["mirror"](film)}
    videos = {name: clips.clip(folder / "videos" / f"{name}.mp4", each, crf=24) for name, each in frames.items()}
    clips.extract(folder / "library", videos)
    clips.clip(folder / "new.mp4", clips.EDITS["brighter"](film))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def seen(folder) -> list[str]:
    (answer,) = as_json("search", folder / "new.mp4", folder / "library", "--quiet")["answers"]
    return [match["video_id"] for match in answer["matches"]]


def test_a_pair_judged_no_match_is_gone_from_the_next_search_and_counted(folder):
    library = folder / "library"
    assert sorted(seen(folder)) == ["a", "copy"]
    out = ndvr("decide", library, folder / "new.mp4", "copy", "different", "--note", "another take", "--who", "ann")
    assert "ann: " in out and "new.mp4 is no match of copy (another take)" in out
    assert seen(folder) == ["a"]
    text = ndvr("search", folder / "new.mp4", library, "--quiet")
    assert "1 match among 3 videos (1 left out, judged not a match)" in text
    (folder / "new.mp4").rename(folder / "moved.mp4")  # decisions know contents, not names
    assert "1 left out" in ndvr("search", folder / "moved.mp4", library, "--quiet")
    assert "what was said of" in ndvr("decide", library, "--undo", "--who", "ann")
    (folder / "moved.mp4").rename(folder / "new.mp4")
    assert sorted(seen(folder)) == ["a", "copy"]
    assert "0 decisions stand" in ndvr("decide", library)


def test_nothing_seen_is_said_when_all_was_judged_no_match(folder):
    library = folder / "library"
    for video_id in ("a", "copy"):
        ndvr("decide", library, folder / "new.mp4", video_id, "different")
    assert "not seen, among 3 videos (2 left out" in ndvr("search", folder / "new.mp4", library, "--quiet", code=1)


def kinds(folder, query: str = "new.mp4") -> dict[str, str]:
    """What a page of the kept answers would show of a query."""
    found = read_found(folder / "matches", folder / "library")
    return {pair.b.video_id: pair.kind for pair in found.pairs if pair.a.video_id == query}


def test_a_pair_judged_the_same_is_in_the_answers_at_any_score(folder):
    library, search = folder / "library", ["search", folder / "new.mp4", folder / "library", "--quiet"]
    ndvr(*search, "--out", folder / "matches")
    ndvr("decide", library, folder / "new.mp4", "b", "same")
    text = ndvr(*search)
    assert "1. b: the same, by decision, score 0." in text and "3 matches among 3 videos" in text
    assert "new.mp4: 3 matches" in ndvr(*search, "--out", folder / "matches"), "its kept answer has not got it"
    assert "1 query had its answer" in ndvr(*search, "--out", folder / "matches")
    assert kinds(folder)["b"] == "decided"
    assert "yes decision: judged the same" in ndvr("explain", library, folder / "new.mp4", "b")
    ndvr("decide", library, "--undo")
    assert "2 matches among 3 videos" in ndvr(*search) and "b" not in kinds(folder)
    elsewhere = clips.clip(folder / "elsewhere.mp4", clips.scene(9, 2))
    ndvr("decide", library, folder / "new.mp4", elsewhere, "same")
    again = ndvr(*search, "--out", folder / "matches")
    assert "1 query had its answer" in again, "what is not in the library is not searched for again and again"


def test_what_a_kept_answer_left_out_comes_back_without_another_search(folder):
    library, search = folder / "library", ["search", folder / "new.mp4", folder / "library", "--quiet"]
    ndvr("decide", library, folder / "new.mp4", "copy", "different")
    ndvr(*search, "--out", folder / "matches")
    assert pq.read_table(folder / "matches" / "matches")["video_id"].to_pylist() == ["a"]
    assert list(kinds(folder)) == ["a"]
    assert "NO  decision: judged not a match" in ndvr("explain", library, folder / "new.mp4", "copy")
    ndvr("decide", library, "--undo")
    assert "1 query had its answer" in ndvr(*search, "--out", folder / "matches")
    assert sorted(kinds(folder)) == ["a", "copy"]
    assert all(pair.segments for pair in read_found(folder / "matches", library).pairs)


def test_duplicates_have_what_was_judged_the_same(folder):
    library = folder / "library"
    every = ["dedupe", library, folder / "all", "--threshold", "0.5", "--workers", "0", "--quiet"]
    assert duplicates(library, folder / "pairs", progress=False).found == as_json(*every)["found"] == 1
    ndvr("decide", library, "b", "copy", "same")
    done = duplicates(library, folder / "pairs", progress=False)
    assert (done.found, done.decided, done.searched, done.videos_in_groups) == (2, 1, 2, 3)
    assert "1 pair scores less and is here by decision: judged the same" in done.text()
    assert [as_json(*every)[name] for name in ("found", "decided", "videos_in_families")] == [2, 1, 3]
    for pairs in ("pairs", "all"):
        found = {(pair.a.video_id, pair.b.video_id): pair for pair in read_found(folder / pairs, library).pairs}
        assert found["b", "copy"].kind == "decided" and 0 <= found["b", "copy"].score < 0.5
    ndvr("decide", library, "--undo")
    assert duplicates(library, folder / "pairs", progress=False).found == as_json(*every)["found"] == 1


def test_duplicates_leave_it_out_by_index_and_by_all_pairs(folder):
    library = folder / "library"
    assert duplicates(library, folder / "pairs", progress=False).found == 1
    ndvr("decide", library, "copy", "a", "different")
    done = duplicates(library, folder / "pairs", progress=False)
    assert (done.found, done.rejected, done.groups, done.searched) == (0, 1, 0, 0)
    assert "1 pair is left out: judged not a match" in done.text()
    every = ["dedupe", library, folder / "all", "--threshold", "0.5", "--workers", "0", "--quiet"]
    both = as_json(*every)
    assert (both["found"], both["rejected"]) == (0, 1)
    for pairs in ("pairs", "all"):
        found = read_found(folder / pairs, library)
        assert (found.pairs, found.rejected, len(found.left_out)) == ([], 1, 1)
    ndvr("decide", library, "a", "copy", "--undo")
    for pairs in ("pairs", "all"):  # at once, before dedupe is run again
        found = read_found(folder / pairs, library)
        ((a, b),) = [(pair.a.video_id, pair.b.video_id) for pair in found.pairs]
        assert (a, b, found.rejected, found.left_out) == ("a", "copy", 0, [])
    assert duplicates(library, folder / "pairs", progress=False).found == 1, "kept answers know nothing of decisions"
    assert as_json(*every)["found"] == 1


def test_decisions_of_a_search_keep_how_sure_it_was_and_know_its_queries(folder):
    library, out = folder / "library", folder / "matches"
    ndvr("search", folder / "new.mp4", library, "--out", out, "--quiet")
    (folder / "new.mp4").unlink()
    (answer,) = read_answers(out)[1]
    ndvr("decide", library, answer.query_id, "a", "same", "--matches", out)
    judged = as_json("decide", library, answer.query_id, "copy", "different", "--matches", out)
    (row,) = judged["decided"]
    assert row["score"] == pytest.approx(answer.matches[1].score) and row["false_per_million"] is not None
    assert "of 2 pairs judged with" in ndvr("decide", library)
    ndvr("report", out, folder / "page.html", "--no-pictures")
    page = (folder / "page.html").read_text()
    assert "<b>a</b>" in page and "<b>copy</b>" not in page and "judged not a match, left out" in page
    table = folder / "decisions.csv"
    ndvr("decide", library, "--export", table)
    shutil.rmtree(library / "decisions")
    assert "2 decisions added" in ndvr("decide", library, "--import", table)
    assert "0 decisions added" in ndvr("decide", library, "--import", table)


def test_what_cannot_be_decided_is_refused_in_a_sentence(folder):
    library = folder / "library"
    assert "no video 'nobody', and there is no such file" in ndvr("decide", library, "nobody", "a", "same", code=2)
    assert "unknown verdict 'diferent'" in ndvr("decide", library, "a", "b", "diferent", code=2)
    assert "the same file" in ndvr("decide", library, folder / "videos" / "a.mp4", "a", "different", code=2)
    assert "no decision by" in ndvr("decide", library, "--undo", code=2)


def test_decisions_are_neither_cleared_away_nor_a_damage(folder):
    library = folder / "library"
    ndvr("decide", library, "a", "b", "different", "--who", "ann")
    assert "CONTRADICTION" in ndvr("decide", library, "a", "b", "same", "--who", "bob")
    assert "CONTRADICTION" not in ndvr("decide", library, "a", "copy", "same"), "it has nothing to do with that"
    assert "lead from one to the other" in ndvr("decide", library, "copy", "b", "different")
    ndvr("decide", library, "a", "copy", "--undo")
    ndvr("decide", library, "b", "copy", "--undo")
    ndvr("gc", library)
    ndvr("fsck", library, "--quiet")
    assert "2 decisions stand" in ndvr("decide", library)
    assert Library(library).store.names("decisions")
