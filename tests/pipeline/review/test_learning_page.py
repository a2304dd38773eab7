"""The page of a training says what its folder says, loads nothing, and never runs what stands in it."""

import json
import re

import pytest
from click.testing import CliRunner

from ndvr.pipeline.cli import main
from ndvr.pipeline.review.learning_page import write_learning_page

HOSTILE = "<script>alert(1)</script>"
DESCRIPTION = {
    "format": "ndvr-training/1", "method": "tca", "steps": 40, "videos": 1240, "pairs": 33, "library": HOSTILE,
    "features": "random:0", "features_trained": False, "settings": {"rate": 1e-4}, "truth": None,
}  # fmt: skip
POINTS = [(0, None, None, 0.25), (10, 2.0, 1e-4, 0.5), (20, 1.0, 5e-5, 0.75), (30, 0.5, 2e-5, 0.5)]


@pytest.fixture
def training(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "training.json").write_text(json.dumps(DESCRIPTION))
    rows = [dict(zip(("step", "loss", "rate", "map"), point)) for point in POINTS]
    (folder / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_report_draws_the_curves_of_a_training_and_marks_the_best_point(training, tmp_path):
    said = CliRunner().invoke(main, ["report", str(training), str(tmp_path / "page.html")])
    assert said.exit_code == 0, said.output
    page = (tmp_path / "page.html").read_text()
    assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page
    assert not re.search(r"(?:src|href)=\"?http|url\(", page)
    loss, judged, rate = re.findall(r"<svg.*?</svg>", page, re.S)
    assert [len(re.findall("<circle", chart)) for chart in (loss, judged, rate)] == [3, 4, 3]
    (best,) = re.findall(r'r="5"><title>(.*?)</title>', judged)
    assert best == "step 20: 0.75" and 'r="5"' not in loss
    heights = [float(y) for y in re.findall(r'cy="(.*?)"', loss)]
    assert heights == sorted(heights)  # losses fall: each point is drawn below the one before
    assert "untrained (random) weights" in page and "30 of 40 steps are done" in page


def test_a_training_that_was_just_begun_has_a_page_and_a_damaged_one_is_a_sentence(training, tmp_path):
    (training / "curve.jsonl").unlink()
    assert "No step is done yet" in write_learning_page(training, tmp_path / "page.html").read_text()
    (training / "curve.jsonl").write_text('{"step": 1')
    with pytest.raises(ValueError, match="training.json or curve.jsonl is damaged"):
        write_learning_page(training, tmp_path / "page.html")
