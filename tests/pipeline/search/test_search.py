"""Have we seen this video before, where in it, how sure: on clips that are made here."""

from __future__ import annotations

import json

import clip_library as clips
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from ndvr.models import keys, method
from ndvr.models.method import Model
from ndvr.models.methods.thumbprint import _search as thumbprint
from ndvr.operators.index import kinds
from ndvr.pipeline.cli import main
from ndvr.pipeline.search.out_folder import read_answers
from ndvr.pipeline.search.search import search

pytestmark = pytest.mark.slow


def ask(index, path, frames, **wanted):
    """The answer to one clip."""
    (answer,) = index.search(clips.clip(path, frames, crf=28), **wanted).answers
    return answer


@pytest.mark.parametrize(
    ("edit", "placement", "speed", "backward"),
    [
        ("mirror", "mirrored", 1.0, False),
        ("cropped", "cropped to 68% of the picture", 1.0, False),
        ("brighter", "", 1.0, False),
        ("faster", "", 1.25, False),
        ("reversed", "", 1.0, True),
    ],
)
def test_an_edited_copy_is_found_with_its_times(index, films, tmp_path, edit, placement, speed, backward):
    answer = ask(index, tmp_path / "q.mp4", clips.EDITS[edit](films["film1"]))
    (match,) = answer.matches
    assert (match.video_id, match.kind, match.placement) == ("film1", "copy", placement)
    assert match.score > 0.9 and match.false_per_million <= 200
    (segment,) = match.segments
    assert segment.speed == pytest.approx(speed, abs=0.03)
    assert segment.reversed is backward
    assert (segment.v_start_s, segment.v_end_s) == (pytest.approx(0, abs=0.5), pytest.approx(8, abs=0.5))
    assert segment.q_end_s == pytest.approx(8 / speed, abs=0.5)


def test_an_excerpt_is_a_part_and_the_longer_video_contains_it(index, films, tmp_path):
    (match,) = ask(index, tmp_path / "part.mp4", films["film2"][24:48]).matches
    assert (match.video_id, match.kind) == ("film2", "part")
    (segment,) = match.segments
    assert (segment.q_start_s, segment.q_end_s) == (0, 3)
    assert segment.v_start_s == pytest.approx(3, abs=0.5)
    longer = np.concatenate([clips.scene(50, 6), films["film2"], clips.scene(51, 6)])
    (match,) = ask(index, tmp_path / "longer.mp4", longer).matches
    assert (match.video_id, match.kind) == ("film2", "contains")
    assert match.segments[0].q_start_s == pytest.approx(6, abs=0.5)


def test_hours_are_compared_in_parts_by_a_coarse_matrix_with_the_same_answer(index, films, tmp_path, monkeypatch):
    """At ten hours the matrix of a video with itself takes 20 GB; here what is long begins at seconds."""
    longer = np.concatenate([clips.scene(50, 6), films["film2"], clips.scene(51, 6)])
    monkeypatch.setattr(keys, "MOST_CELLS", 160)  # of 16 x 40
    monkeypatch.setattr(method, "LONG_WINDOWS", 12)
    monkeypatch.setattr(thumbprint, "MAX_FRAMES", 12)
    monkeypatch.setattr(kinds, "_OWN_WINDOWS", 16)
    monkeypatch.setattr(kinds, "_OWN_PARTS", 2)
    made = spied(monkeypatch, "judge"), spied(monkeypatch, "own_matrix")
    (match,) = ask(index, tmp_path / "longer.mp4", longer).matches
    assert (match.video_id, match.kind) == ("film2", "contains")
    (segment,) = match.segments
    times = (segment.q_start_s, segment.q_end_s, segment.v_start_s, segment.v_end_s)
    assert times == pytest.approx((6, 14, 0, 8), abs=1.0)
    assert {(judged.step, judged.matrix.shape) for judged in made[0]} == {(2, (20, 8))}
    assert max(len(matrix) for matrix in made[1]) == 16


def spied(monkeypatch, name):
    """What a model's method returns from now on."""
    returned, original = [], getattr(Model, name)
    monkeypatch.setattr(Model, name, lambda *given: returned.append(original(*given)) or returned[-1])
    return returned


def test_a_montage_shares_material_with_each_of_its_sources(index, films, tmp_path):
    frames = np.concatenate([films["film3"][:24], clips.scene(77, 4), films["film4"][8:48]])
    matches = ask(index, tmp_path / "montage.mp4", frames).matches
    where = {m.video_id: (m.kind, round(m.segments[0].q_start_s), round(m.segments[0].v_start_s)) for m in matches}
    assert where == {"film3": ("shared", 0, 0), "film4": ("shared", 7, 1)}


def test_a_new_video_is_not_seen_and_a_black_one_cannot_be_judged(index, tmp_path):
    new = ask(index, tmp_path / "new.mp4", clips.scene(99, 6))
    assert (new.status, new.matches) == ("searched", [])
    assert "not seen, among 5 videos" in new.text()
    black = ask(index, tmp_path / "black.mp4", np.zeros((40, 96, 128, 3), np.uint8))
    assert (black.status, black.message) == ("unsure", "its pictures are too dark or flat")
    assert "not seen" not in black.text()


def test_the_same_file_is_identical_whatever_it_shows(index, library, tmp_path):
    same = tmp_path / "renamed.mp4"
    same.write_bytes((library.parent / "videos" / "film0.mp4").read_bytes())
    (answer,) = index.search(same).answers
    assert (answer.matches[0].video_id, answer.matches[0].kind, answer.matches[0].score) == ("film0", "identical", 1.0)


def test_scores_are_those_of_the_exhaustive_comparison(index, library, films, tmp_path):
    from ndvr.operators.library.feature_reader import FeatureReader

    path = clips.clip(tmp_path / "q.mp4", clips.EDITS["cropped"](films["film1"]), crf=28)
    voted, every = (index.search(path, exhaustive=exhaustive).answers[0].matches for exhaustive in (False, True))
    assert voted == every
    clips.extract(tmp_path / "queries", {"q": path})
    model, opened = index.library_index.model, index.library_index
    from ndvr.pipeline.search.library_index import open_index

    query = open_index(tmp_path / "queries").lookup(["q"])["q"]
    a = model.signature(FeatureReader(tmp_path / "queries").read(query.pieces))
    b = model.signature(FeatureReader(library).read(opened.lookup(["film1"])["film1"].pieces))
    assert voted[0].score == pytest.approx(model.similarity(a, b), abs=1e-6)


def test_a_library_as_queries_does_not_find_itself(index, library):
    result = index.search(library)
    assert len(result.answers) == 5
    assert not result.seen


# --- What is kept in OUT, and what the command says ------------------------------------------------------------------


def matched(answers):
    """Which videos were found, by query."""
    return {answer.query_id: [match.video_id for match in answer.matches] for answer in answers}


def run(*arguments):
    return CliRunner().invoke(main, ["search", *map(str, arguments), "--quiet"])


def test_answers_are_kept_and_the_second_run_repeats_nothing(index, library, films, tmp_path):
    clips.clip(tmp_path / "new" / "a.mp4", films["film1"][8:40])
    first = search(tmp_path / "new", library, out=tmp_path / "out", progress=False)
    assert (len(first.answers), first.repeated) == (1, 0)
    clips.clip(tmp_path / "new" / "b.mp4", clips.scene(98, 4))
    second = search(tmp_path / "new", library, out=tmp_path / "out", progress=False)
    assert ([answer.query_id for answer in second.answers], second.repeated) == (["b.mp4"], 1)
    queries, matches, segments = (pq.read_table(tmp_path / "out" / kind) for kind in ("queries", "matches", "segments"))
    assert sorted(zip(queries["query_id"].to_pylist(), queries["matches"].to_pylist())) == [("a.mp4", 1), ("b.mp4", 0)]
    assert matches.select(["query_id", "rank", "video_id", "kind"]).to_pylist() == [
        {"query_id": "a.mp4", "rank": 1, "video_id": "film1", "kind": "part"}
    ]
    assert segments["v_start_s"].to_pylist() == [pytest.approx(1, abs=0.5)]
    with pytest.raises(ValueError, match="holds answers with top 10, not 3"):
        search(tmp_path / "new", library, out=tmp_path / "out", top=3, progress=False)


def test_a_query_has_one_answer_that_of_the_file_as_it_is_now(index, library, films, tmp_path):
    query, out = tmp_path / "videos" / "q.mp4", tmp_path / "out"
    clips.clip(query, films["film1"][:50])
    assert matched(search(query.parent, library, out=out, progress=False).answers) == {"q.mp4": ["film1"]}
    clips.clip(query, films["film3"][:60], crf=30)
    clips.clip(query.with_name("r.mp4"), films["film2"][4:60])
    assert matched(search(query.parent, library, out=out, progress=False).answers) == {
        "q.mp4": ["film3"],
        "r.mp4": ["film2"],
    }
    for kind in ("matches", "segments"):
        rows = [row for file in (out / kind).glob("*.parquet") for row in pq.read_table(file).to_pylist()]
        assert {(row["query_id"], row["video_id"]) for row in rows} == {("q.mp4", "film3"), ("r.mp4", "film2")}
    assert matched(read_answers(out)[1]) == {"q.mp4": ["film3"], "r.mp4": ["film2"]}
    query.write_bytes(b"no video")
    search(query.parent, library, out=out, progress=False)
    assert matched(read_answers(out)[1]) == {"q.mp4": [], "r.mp4": ["film2"]}
    clips.clip(query, films["film1"][:50])
    search(query.parent, library, out=out, progress=False)
    assert matched(read_answers(out)[1]) == {"q.mp4": ["film1"], "r.mp4": ["film2"]}


def test_exit_codes_tell_seen_from_not_seen_from_not_judged(index, library, films, tmp_path):
    seen, new = clips.clip(tmp_path / "seen.mp4", films["film1"]), clips.clip(tmp_path / "new.mp4", clips.scene(97, 4))
    (tmp_path / "broken.mp4").write_bytes(seen.read_bytes()[:500])
    assert run(seen, library).exit_code == 0
    assert run(new, library).exit_code == 1
    broken = run(tmp_path / "broken.mp4", library)
    assert broken.exit_code == 3 and "could not be searched for" in broken.output
    assert run(tmp_path / "nowhere.mp4", library).exit_code == 2
    assert run(new, library, "--false-per-million", "-1").exit_code == 2


def test_json_and_csv_have_the_times(index, library, films, tmp_path):
    path = clips.clip(tmp_path / "seen.mp4", films["film1"][16:])
    answer = json.loads(run(path, library, "--json").output)["answers"][0]
    assert answer["matches"][0]["segments"][0]["v_start_s"] == pytest.approx(2, abs=0.5)
    head, row = run(path, library, "--format", "csv").output.splitlines()
    assert dict(zip(head.split(","), row.split(",")))["video_id"] == "film1"


def test_every_gate_is_explained(index, films, tmp_path):
    path = clips.clip(tmp_path / "q.mp4", films["film1"], crf=28)
    why = index.explain(str(path), "film1")
    assert why.verdict == "a copy" and all(gate.passed for gate in why.gates)
    other = index.explain("film0", "film1")
    assert other.verdict == "not found"
    assert {gate.name: gate.passed for gate in other.gates}["score"] is False
    with pytest.raises(ValueError, match="no features of a video 'film9'"):
        index.explain("film0", "film9")


def test_two_videos_of_a_library_that_are_no_match_are_compared_once(index, monkeypatch):
    judged = []
    original = type(index.library_index.model).judge
    monkeypatch.setattr(type(index.library_index.model), "judge", lambda *pair: judged.append(pair) or original(*pair))
    result = index.search(str(index.library_index.library), exhaustive=True)
    assert [answer.matches for answer in result.answers] == [[]] * 5
    assert len(judged) == 5 * 4 / 2
