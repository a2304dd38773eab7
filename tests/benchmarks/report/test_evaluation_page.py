"""The page of `ndvr evaluate --html`: one file, everything in it, every run told apart."""

import json
import re
from html.parser import HTMLParser

import pytest
from benchmark_shapes import evaluate_command as run
from benchmark_shapes import ranking, shape, truth_file, write_fivr, write_parts

from ndvr.benchmarks.evaluate import compare, evaluate
from ndvr.benchmarks.report.evaluation_page import write_page


class Elements(HTMLParser):
    """Counts elements, and checks that what is opened is closed."""

    EMPTY = {"meta", "path", "circle"}

    def __init__(self, text):
        super().__init__()
        self.open, self.count = [], {}
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def fivr(tmp_path):
    data, rows = shape("FIVR")
    worse = {q: {v: s - 0.03 * (i % 7) for i, (v, s) in enumerate(row.items())} for q, row in rows.items()}
    return rows, worse, {"dataset": "fivr-5k", "annotations": write_fivr(tmp_path / "fivr", data)}


def page_of(tmp_path, result):
    return write_page(tmp_path / "page.html", result).read_text()


def test_each_task_has_its_means_its_curve_and_its_queries_for_each_run(tmp_path, fivr):
    rows, worse, where = fivr
    page = page_of(tmp_path, compare({"ours": rows, "theirs": worse}, **where))
    assert Elements(page).count["svg"] == 4 * 3
    curves = re.findall(r'aria-label="precision over recall">(.*?)</svg>', page, re.DOTALL)
    assert all(curve.count('class="line"') == 2 for curve in curves)
    dots = re.findall(r'class="dots" d="([^"]*)"', page)
    assert [path.count("h0") for path in dots] == [7, 7, 7, 7, 8, 8, 3, 3]  # queries of each task, for each run


def test_the_page_loads_nothing(tmp_path, fivr):
    rows, _, where = fivr
    page = page_of(tmp_path, evaluate(rows, **where))
    assert not re.search(r"""(src|href)\s*=|url\(|@import|https?://""", page)
    assert len(page) < 100_000


def test_numbers_of_the_page_are_those_of_the_result(tmp_path, fivr):
    rows, worse, where = fivr
    result = compare({"ours": rows, "theirs": worse}, **where)
    page = page_of(tmp_path, result)
    for evaluation in result.runs.values():
        for task in evaluation.tasks.values():
            assert f"{task.map:.4f}" in page
            assert f"{task.micro_ap:.4f}" in page
            assert "{:.4f} to {:.4f}".format(*task.map_interval) in page
    assert f"{result.differences['theirs']['DSVR'].map:+.4f}" in page
    values = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    order = values[0]["queries"]
    ours = result.runs["ours"].tasks["DSVR"].per_query
    assert values[0]["ap"][0] == [round(ours[query].ap, 4) for query in order]
    assert values[0]["ap"][0] == sorted(values[0]["ap"][0])  # hardest first


def test_names_cannot_break_the_page(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "</script><b>,a,copy,x", "r,a,copy,x")
    rows = ranking("</script><b>", "a", "b") | ranking("r", "b", "a")
    page = page_of(tmp_path, compare({"<i>one": rows, "two</script>": rows}, truth=truth))
    Elements(page)
    assert "<i>one" not in page
    assert page.count("</script><b>") == 0


def test_different_ids_and_untrained_weights_are_told_at_the_top(tmp_path, fivr):
    rows, worse, where = fivr
    random = write_parts(tmp_path / "random", {query: worse[query] for query in list(worse)[:5]}, trained=False)
    page = page_of(tmp_path, compare({"ours": rows, "random": random}, **where))
    top = page[: page.index("<h2>")]
    assert "random: UNTRAINED WEIGHTS" in top
    assert "THE RUNS HAVE DIFFERENT IDS" in top
    assert "Not comparable with one another." in page
    assert "Drawn on what all runs have: 5 queries, 123 videos." in page


def test_more_runs_than_colours_are_dashed(tmp_path):
    truth = truth_file(tmp_path / "truth.csv", "q,a,copy,x", "r,a,copy,x")
    rows = ranking("q", "a", "b") | ranking("r", "b", "a")
    page = page_of(tmp_path, compare({f"run {i}": rows for i in range(9)}, truth=truth))
    assert '<g class="r0 dashed">' in page


def test_the_command_writes_the_page_beside_its_table(tmp_path, fivr):
    rows, worse, where = fivr
    scores = [write_parts(tmp_path / name, scored) for name, scored in (("a", rows), ("b", worse))]
    page = tmp_path / "page.html"
    settings = ("--dataset", "fivr-5k", "--annotations", where["annotations"], "--html", page)
    code, out, err = run(*scores, *settings)
    assert code == 0, err
    assert "mAP (95 %)" in out
    assert "<title>fivr-5k</title>" in page.read_text()
