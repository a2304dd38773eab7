"""The report: one file that loads nothing, says what was run, and marks right and wrong."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from benchmark_shapes import ranking, truth_file, write_parts
from clips import numbered_clip
from installed_copy import build_package

from ndvr.benchmarks.evaluate import evaluate
from ndvr.benchmarks.report._data import matrix_of, read_rows, results_of
from ndvr.benchmarks.report.report import write_report

ROWS = ("crop,o,near_dup,crop10", "grey,o,near_dup,grey", "late,p,partial,tcrop")
SCORES = (
    ranking("crop", "grey", "o", "p") | ranking("grey", "p", "crop", "x1", "x2", "x3", "o") | ranking("late", "p", "o")
)


@pytest.fixture
def truth(tmp_path):
    return truth_file(tmp_path / "truth.csv", *ROWS)


class Tags(HTMLParser):
    """Checks that tags nest and collects what a browser would fetch."""

    VOID = {"meta", "img", "input", "br"}

    def __init__(self, page):
        super().__init__()
        self.open, self.links = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [value for key, value in attributes if key in ("src", "href", "srcset")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.slow
def test_the_page_is_whole_and_loads_nothing(tmp_path, truth):
    video = str(numbered_clip(tmp_path / "o.mp4", n_frames=5))
    page = write_report(
        tmp_path / "out" / "report.html",
        title="Near <duplicates>",
        evaluations={"tca": evaluate(SCORES, truth=truth, by=["edit"])},
        scores={"tca": SCORES},
        videos={"o": video, "p": str(tmp_path / "nowhere.mp4")},
        truth_rows=[{"query_id": "crop", "video_id": "o", "relation": "near_dup", "edit": "crop10"}],
        matrices={("crop", "o"): np.eye(3)},
        summary={"videos": 9},
        notes=["Made for a test."],
    ).read_text()
    tags = Tags(page)
    assert tags.open == []
    assert all(link.startswith("data:") for link in tags.links)
    assert not re.search(r"url\((?!data:)|@import|https?://(?!www\.w3\.org)", page)
    assert "<title>Near &lt;duplicates&gt;</title>" in page
    assert page.count("data:image/jpeg") == 2  # each video once, though shown in several places
    for text in ("Made for a test.", "crop10", "mAP, tca", "hardest first", "✗", "✓"):
        assert text in page


@pytest.mark.slow
def test_names_from_files_cannot_end_the_script_or_open_a_tag(tmp_path):
    evil = "</script><b>x.mp4"
    path = truth_file(tmp_path / "t.csv", f"{evil},o,copy,x")
    scores = ranking(evil, "o", "p")
    out = tmp_path / "r.html"
    page = write_report(out, title="t", evaluations=evaluate(scores, truth=path), scores=scores).read_text()
    assert Tags(page).open == []
    assert "<b>x.mp4" not in page


def test_untrained_weights_are_told_at_the_top(tmp_path, truth):
    folder = write_parts(tmp_path / "scores", SCORES, trained=False)
    page = write_report(tmp_path / "r.html", title="t", evaluations=evaluate(folder, truth=truth)).read_text()
    assert page.index("untrained (random) weights") < page.index("Mean average precision")


def test_a_result_list_counts_ranks_without_pairs_that_are_neither(truth):
    evaluation = evaluate(SCORES, truth=truth, symmetric=True)
    task = evaluation.protocol.tasks[0]
    rows = read_rows(evaluation, SCORES, ["crop", "grey"])
    found = results_of(evaluation, task, rows, shown=2)
    assert [(m.video_id, m.rank, m.mark) for m in found["crop"].best] == [("grey", None, "neither"), ("o", 1, "right")]
    assert [(m.video_id, m.rank) for m in found["grey"].missed] == [("o", 5)]
    assert found["crop"].ap == 1.0
    assert found["grey"].ap == pytest.approx(1 / 5)


def test_the_heat_map_puts_related_videos_side_by_side(truth):
    evaluation = evaluate(SCORES, truth=truth)
    rows = read_rows(evaluation, SCORES, list(SCORES))
    matrix = matrix_of(evaluation.protocol.tasks[0], rows, max_videos=400)
    assert abs(matrix.queries.index("crop") - matrix.queries.index("grey")) == 1
    assert {(matrix.queries[i], matrix.videos[j]) for i, j in matrix.right} == {
        ("crop", "o"),
        ("grey", "o"),
        ("late", "p"),
    }
    i, j = matrix.queries.index("crop"), matrix.videos.index("grey")
    assert matrix.values[i, j] == 1.0
    assert np.isnan(matrix.values[matrix.queries.index("late"), j])


def test_a_large_database_is_cut_to_the_right_and_the_closest_videos(tmp_path):
    scores = {"q": {f"v{i:03d}": i / 1000 for i in range(900)}}
    evaluation = evaluate(scores, truth=truth_file(tmp_path / "t.csv", "q,v000,copy,x"))
    matrix = matrix_of(evaluation.protocol.tasks[0], read_rows(evaluation, scores, ["q"]), max_videos=3)
    assert set(matrix.videos) == {"v000", "v898", "v899"}
    assert matrix.n_videos == 900


def test_the_map_data_of_the_page_give_back_the_scores(tmp_path, truth):
    evaluation = evaluate(SCORES, truth=truth)
    page = write_report(tmp_path / "r.html", title="t", evaluations=evaluation, scores=SCORES).read_text()
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])
    levels = np.frombuffer(base64.b64decode(data["values"]), np.uint8).reshape(len(data["queries"]), -1)
    level = int(levels[data["queries"].index("grey"), data["videos"].index("x1")])
    assert data["low"] + (level - 1) / 254 * (data["high"] - data["low"]) == pytest.approx(0.8, abs=1 / 254)


def test_a_report_without_evaluations_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one evaluation"):
        write_report(tmp_path / "r.html", title="t", evaluations={})


def test_what_pip_installs_has_the_templates(tmp_path):
    of_evaluations = {"page.html", "report.html", "evaluation.html", "report.js", "evaluation.js"}
    shared = {"frame.html", "head.html", "live.html", "style.css"}
    of_matches = {"found.html", "found.css", "found.js", "learning.html"}
    of_review = {"review.html", "review.css", "review.js", "player.js", "timeline.js", "docs.html", "openapi.json"}
    package = build_package(tmp_path) / "ndvr"
    for room, names in (("benchmarks/report", of_evaluations), ("pipeline/review", shared | of_matches | of_review)):
        assert {path.name for path in (package / room / "templates").iterdir()} == names
