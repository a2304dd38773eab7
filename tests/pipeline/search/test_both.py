"""One verdict of picture and sound: re-dubbed, muted, the same sound under other pictures, and when."""

from __future__ import annotations

import csv
import io
import shutil

import clip_library as clips
import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import as_json, ndvr
from sounds import RATE, tune

from ndvr.operators.index.kinds import Stretch
from ndvr.operators.library.library import Library
from ndvr.pipeline.review.found import read_found
from ndvr.pipeline.review.found_page import write_found_page
from ndvr.pipeline.review.state import State
from ndvr.pipeline.search.answers import Match
from ndvr.pipeline.search.both import search_both
from ndvr.pipeline.search.verdict import Judgeable, verdict_of

BOTH = ("--method", "soundprint", "--method", "thumbprint")


def match(*times: tuple[float, float, float], kind: str = "copy", speed: float = 1.0) -> Match:
    """A match with segments from a second of the query to another one, at a second of the video."""
    segments = [
        Stretch(
            q_start_s=a, q_end_s=b, v_start_s=v, v_end_s=v + (b - a) * speed, speed=speed, reversed=False, agreement=1
        )
        for a, b, v in times
    ]
    known = {"video_id": "v", "score": 0.9, "false_per_million": 0.1, "query_covered": 1.0, "video_covered": 1.0}
    return Match(**known, kind=kind, placement="", segments=segments)


WHOLE = match((0, 10, 0))
CAN = Judgeable(query=True, video=True)


@pytest.mark.parametrize(
    ("picture", "sound", "hears", "words", "together"),
    [
        (WHOLE, WHOLE, CAN, "same picture and same sound", 1.0),
        (WHOLE, match((0, 3, 0)), CAN, "same picture, in part the same sound", 0.3),
        (WHOLE, match((0, 10, 20)), CAN, "same picture and same sound, at other times", 0.0),
        (match((0, 8, 0), speed=1.25), match((0, 8, 0.2), speed=1.25), CAN, "same picture and same sound", 1.0),
        (WHOLE, None, CAN, "same picture, other sound", 0.0),
        (WHOLE, None, Judgeable(query=None, video=True), "same picture, no sound (muted)", 0.0),
        (WHOLE, None, Judgeable(query=True, video=None), "same picture, sound added (the other has none)", 0.0),
        (WHOLE, None, Judgeable(query=None, video=None), "same picture, no sound in either", 0.0),
        (WHOLE, None, Judgeable(query=False, video=True), "same picture; the sound cannot be judged", 0.0),
        (match((0, 9, 0), kind="setting"), None, CAN, "same setting, other sound", 0.0),
        (match(kind="decided"), None, CAN, "the same, by decision", 0.0),
        (None, WHOLE, CAN, "same sound, other picture", 0.0),
    ],
)
def test_two_matches_make_one_verdict(picture, sound, hears, words, together):
    verdict = verdict_of(picture, sound, looks=CAN, hears=hears)
    assert (verdict.words, verdict.together) == (words, pytest.approx(together))


def test_of_a_black_picture_nothing_is_said():
    verdict = verdict_of(None, WHOLE, looks=Judgeable(query=False, video=True), hears=CAN)
    assert verdict.words == "same sound; the picture cannot be judged"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A library of two films with sound, and a folder of edits of the first one."""
    folder = tmp_path_factory.mktemp("both")
    first, second, other = clips.scene(1, 6), clips.scene(2, 6), clips.scene(3, 6)
    sound, dub = tune(1, 6), tune(3, 6)
    videos = {
        "first": clips.clip(folder / "videos" / "first.mp4", first, sound=sound),
        "second": clips.clip(folder / "videos" / "second.mp4", second, sound=tune(2, 6)),
    }
    for run, method in enumerate(("thumbprint", "soundprint")):
        clips.extract(folder / "library", videos, method=method, run=f"r{run}")
    edits = folder / "edits"
    clips.clip(edits / "copy.mp4", clips.EDITS["mirror"](first), sound=(sound * 0.4).astype(np.int16))
    clips.clip(edits / "dubbed.mp4", first[8:], crf=28, sound=dub[RATE:])
    clips.clip(edits / "muted.mp4", first, crf=28)
    clips.clip(edits / "radio.mp4", other, sound=sound)
    return folder


WORDS = {
    "copy.mp4": "same picture and same sound",
    "dubbed.mp4": "same picture, other sound",
    "muted.mp4": "same picture, no sound (muted)",
    "radio.mp4": "same sound, other picture",
}


@pytest.mark.slow
def test_edits_of_picture_and_sound_are_told_apart_and_kept(made, tmp_path):
    search = ["search", made / "edits", made / "library", *BOTH, "--out", tmp_path / "out", "--quiet"]
    done = as_json(*search)
    said = {each["query_id"]: [(v["video_id"], v["verdict"]) for v in each["verdicts"]] for each in done["answers"]}
    assert said == {query: [("first", words)] for query, words in WORDS.items()}
    (copy,) = done["answers"][0]["verdicts"]
    for side in ("by_picture", "by_sound"):
        (segment,) = copy[side]["segments"]
        assert [segment[name] for name in ("q_start_s", "v_start_s")] == [pytest.approx(0, abs=0.6)] * 2
    assert copy["together"] > 0.8
    rows = pq.read_table(tmp_path / "out" / "verdicts").to_pylist()
    assert {row["query_id"]: row["verdict"] for row in rows} == WORDS
    again = as_json(*search)
    assert (again["answers"], again["by_picture"]["repeated"]) == ([], 4)
    assert f"4 queries had their answers in {tmp_path / 'out'} already" in ndvr(*search)
    assert "holds answers with sound" in ndvr(*search[:3], "--out", tmp_path / "out", code=2), "by pictures alone"
    found = read_found(tmp_path / "out", made / "library")
    assert {pair.a.video_id: pair.verdict.words for pair in found.pairs} == WORDS
    assert found.seen == WORDS.keys(), "what is heard only was seen before too"
    state = State(Library(made / "library"), read_found(tmp_path / "out", made / "library"), "ann")
    details = state.details(0)
    state.close()
    assert details["picture_and_sound"] == "same picture and same sound"
    assert [line.partition(" ")[0] for line in details["where"]][-1] == "sound:"
    page = write_found_page(tmp_path / "out", tmp_path / "page.html", pictures=0, maps=0).read_text()
    assert all(f'<span class="tag">{words}</span>' in page for words in WORDS.values())
    assert page.count('aria-label="where the two sound alike"') == 2
    assert "<b>radio.mp4</b>" in page and "has the same sound as" in page


@pytest.mark.slow
def test_processes_on_ray_give_the_verdicts_of_one(made, ray_cluster):
    alone, together = (search_both(made / "edits", made / "library", workers=n, progress=False) for n in (0, 2))
    assert [each.verdicts for each in together.answers] == [each.verdicts for each in alone.answers]
    assert sum(len(each.verdicts) for each in together.answers) == len(WORDS)


@pytest.mark.slow
def test_the_configuration_of_either_can_be_named(made):
    library, copy = made / "library", made / "edits" / "copy.mp4"
    configs = [Library(library).config_of(method) for method in ("thumbprint", "soundprint")]
    assert len({search_both(copy, library, config=config, progress=False).seen for config in configs}) == 1
    said = ndvr("search", copy, library, *BOTH, "--config", "glance-12345678", code=2)
    assert "--config glance-12345678 is of neither thumbprint nor soundprint" in said


@pytest.mark.slow
def test_a_verdict_judged_no_match_is_left_out_and_comes_back(made, tmp_path):
    search = ["search", made / "edits" / "radio.mp4", made / "library", *BOTH, "--out", tmp_path / "out", "--quiet"]
    ndvr("decide", made / "library", made / "edits" / "radio.mp4", "first", "different")
    said = "radio.mp4: not seen (1 left out, judged not a match): by picture, among 2 videos; by sound, among 2 videos"
    assert said in ndvr(*search, code=1)
    found = read_found(tmp_path / "out", made / "library")
    assert (found.pairs, found.rejected) == ([], 1)
    ndvr("decide", made / "library", "--undo")
    (pair,) = read_found(tmp_path / "out", made / "library").pairs
    assert (pair.kind, pair.verdict.words) == ("sound", WORDS["radio.mp4"])


@pytest.mark.slow
def test_what_each_finds_is_compared_by_the_other_however_few_are_wanted(tmp_path):
    """The best by picture and the best by sound are two videos, and both are both."""
    frames, sound = clips.scene(1, 6), tune(1, 6)
    noise = np.random.default_rng(0).normal(0, 900, len(sound))
    videos = {
        "a": clips.clip(tmp_path / "a.mp4", frames, sound=np.clip(sound + noise, -32768, 32767).astype(np.int16)),
        "b": clips.clip(tmp_path / "b.mp4", clips.EDITS["cropped"](frames), crf=34, sound=sound),
    }
    for run, method in enumerate(("thumbprint", "soundprint")):
        clips.extract(tmp_path / "library", videos, method=method, run=f"r{run}")
    query = clips.clip(tmp_path / "q.mp4", frames, crf=24, sound=sound)
    (answer,) = search_both(query, tmp_path / "library", top=1, progress=False).answers
    assert {each.video_id: each.words for each in answer.verdicts} == dict.fromkeys("ab", WORDS["copy.mp4"])


@pytest.mark.slow
def test_lost_features_of_sound_are_not_another_sound(made, tmp_path):
    library = Library(shutil.copytree(made / "library", tmp_path / "library"))
    search_both(made / "edits" / "copy.mp4", tmp_path / "library", progress=False)  # both are indexed
    for shard in library.entries(library.config_of("soundprint"))["first"].shards:
        (tmp_path / "library" / "shards" / shard).unlink()
    (answer,) = search_both(made / "edits" / "copy.mp4", tmp_path / "library", progress=False).answers
    assert [each.words for each in answer.verdicts] == ["same picture; the sound cannot be judged"]
    assert answer.status == "partial" and "have lost their features" in answer.text()


@pytest.mark.slow
def test_text_and_csv_have_the_verdict_and_the_times_of_both(made, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{name} {made / 'edits' / name}.mp4\n" for name in ("copy", "muted")))
    done = search_both(listed, made / "library", progress=False)
    text = done.text()
    assert "1. first: same picture and same sound" in text and "picture: a copy" in text and "sound: a copy" in text
    assert "muted: 1 match: by picture, among 2 videos; by sound, no sound" in text
    rows = list(csv.DictReader(io.StringIO(done.csv())))
    assert [(row["query_id"], row["verdict"], row["by"], row["kind"]) for row in rows] == [
        ("copy", "same picture and same sound", "picture", "copy"),
        ("copy", "same picture and same sound", "sound", "copy"),
        ("muted", "same picture, no sound (muted)", "picture", "copy"),
    ]


@pytest.mark.slow
def test_the_gates_of_both_are_explained(made):
    why = ndvr("explain", made / "library", made / "edits" / "copy.mp4", "first", *BOTH)
    assert "first: same picture and same sound" in why and "by picture, " in why and "by sound, " in why


@pytest.mark.slow
def test_a_page_of_matches_by_picture_alone_listens_where_the_library_has_sound(made, tmp_path):
    ndvr("search", made / "edits" / "dubbed.mp4", made / "library", "--out", tmp_path / "out", "--quiet")
    page = write_found_page(tmp_path / "out", tmp_path / "page.html", pictures=0, maps=1).read_text()
    assert '<span class="tag">same picture, other sound</span>' in page


def test_methods_that_do_not_go_together_are_refused(tmp_path):
    out = ndvr("search", "x.mp4", tmp_path, "--method", "thumbprint", "--method", "s2vs", code=2)
    assert "one that looks and one that listens" in out
