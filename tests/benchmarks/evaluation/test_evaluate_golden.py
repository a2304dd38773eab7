"""`ndvr evaluate` on Parquet against the official FIVR evaluators, at the benchmark's real size and on its real labels.

Needs the annotation files and reference outputs in ../shared; the same rules are tested on small data sets in
test_evaluate.py.
"""

import json
from functools import cached_property

import numpy as np
import pytest
from benchmark_shapes import evaluate_command, load_recipes, write_grid
from places import SHARED

ANNOTATIONS = SHARED / "data" / "annotations"
GOLDEN = SHARED / "golden" / "evaluation"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs ../shared/golden/evaluation")

EXACT = 1e-9  # sums of up to 12,362 terms in another order
VISUAL = ("DSVR", "CSVR", "ISVR")


@pytest.fixture(scope="module")
def recipes():
    """The module that makes the seeded inputs."""
    return load_recipes(GOLDEN)


def run(scores, dataset, *settings):
    """The tasks of the command's JSON."""
    code, out, err = evaluate_command(
        scores, "--dataset", dataset, "--annotations", ANNOTATIONS / "fivr", "--json", *settings
    )
    assert code == 0, err
    return json.loads(out)["tasks"]


def check(tasks, expected, key="map"):
    """Expected: {"DSVR": mAP or {"mAP", "queries"}, "DSVD": micro-AP, "DSVR_h": hard variant, ...}."""
    compared = 0
    for name, value in expected.items():
        task = tasks.get(name.replace("VD", "VR"))
        if task is None:
            continue
        if isinstance(value, dict):
            assert task["queries"] == value["queries"], name
            value = value["mAP"]
        assert task["micro_ap" if "VD" in name else key] == pytest.approx(value, abs=EXACT), name
        compared += 1
    assert compared


class Fivr5k:
    """The dense matrices of FIVR-5K, written as often as needed."""

    def __init__(self, recipes, folder):
        self.folder, self.golden = folder, json.loads((GOLDEN / "fivr_5k.json").read_text())
        self.cases = self.golden["cases"]
        _, self.queries, self.database, self.scores = recipes.fivr_scores(ANNOTATIONS, "5k")
        _, self.audio_queries, _, self.audio = recipes.fivr_scores(ANNOTATIONS, "5k", audio=True)
        assert recipes.digest(self.scores) == self.golden["digest"]["visual"]
        self.kept = recipes.kept_videos(len(self.database))

    @cached_property
    def dense(self):
        """The folder with all scores."""
        return self.write("dense", self.scores)

    def write(self, name, scores, queries=None):
        return write_grid(self.folder / name, queries or self.queries, self.database, scores, videos_per_part=2048)


@pytest.fixture(scope="module")
def fivr(recipes, tmp_path_factory):
    return Fivr5k(recipes, tmp_path_factory.mktemp("fivr"))


@pytest.mark.slow
def test_fivr_5k_dense(fivr):
    tasks = run(fivr.dense, "fivr-5k", "--hard")
    check({name: task for name, task in tasks.items() if "DA" not in name}, fivr.cases["dense"]["s2vs"])
    tasks = run(fivr.dense, "fivr-5k", "--convention", "fivr")
    official = fivr.cases["dense, dataset ids = database + queries"]["FIVR-200K evaluation.py"]
    check({name: tasks[name] for name in VISUAL}, official)
    for name in ("DSVR", "CSVR"):  # in ISVR that evaluator gives the query, never ranked, a place at the end
        assert tasks[name]["precision_at_recall"] == pytest.approx(official[name]["pr_curve"], abs=EXACT)


def test_fivr_5k_audio(fivr):
    scores = fivr.write("audio", fivr.audio, fivr.audio_queries)
    check(run(scores, "fivr-5k", "--hard", "--task=DAVR", "--task=DAVR_h"), fivr.cases["dense"]["s2vs audio"])


@pytest.mark.slow
def test_fivr_5k_ties_in_sorted_order_and_at_both_ends(fivr, recipes):
    tied = recipes.quantised(fivr.scores)
    assert recipes.digest(tied) == fivr.golden["digest"]["ties"]
    scores = fivr.write("ties", tied)
    official = fivr.cases["ties, results in sorted id order"]["FIVR-200K evaluation.py"]
    check(run(scores, "fivr-5k", "--convention=fivr", *(f"--task={name}" for name in VISUAL)), official)
    tasks = run(scores, "fivr-5k")
    for name, ends in fivr.golden["tie_bounds"]["ties"].items():
        assert tasks[name]["map_low"] == pytest.approx(ends["worst"], abs=EXACT)
        assert tasks[name]["map_high"] == pytest.approx(ends["best"], abs=EXACT)


@pytest.mark.slow
def test_fivr_5k_float16_scores_that_all_tie(fivr):
    official = fivr.cases["scores rounded to float16, sorted id order"]["FIVR-200K evaluation.py"]
    scores = fivr.write("float16", fivr.scores.astype(np.float16))
    check(run(scores, "fivr-5k", "--convention=fivr"), official)
    official = fivr.cases["all scores equal (0.5), sorted id order"]["FIVR-200K evaluation.py"]
    check(run(fivr.write("equal", np.full(fivr.scores.shape, 0.5)), "fivr-5k", "--convention=fivr"), official)


@pytest.mark.slow
def test_fivr_5k_missing_queries(fivr, recipes):
    kept = recipes.kept_queries(fivr.queries)
    rows = [fivr.queries.index(query) for query in kept]
    check(
        run(fivr.write("queries", fivr.scores[rows], kept), "fivr-5k", "--hard"), fivr.cases["missing queries"]["s2vs"]
    )


@pytest.mark.slow
def test_fivr_5k_missing_videos_with_and_without_their_ids(fivr):
    lost = np.where(fivr.kept, fivr.scores, np.nan)
    scores = fivr.write("videos", lost)
    complete = fivr.cases["missing videos: absent from the results, id list complete"]
    check(run(scores, "fivr-5k", "--hard"), complete["s2vs"])
    ids = fivr.folder / "kept.txt"
    ids.write_text("\n".join(np.array(fivr.database)[fivr.kept]))
    shorter = fivr.cases["missing videos: absent from the results and from the id list"]
    check(run(scores, "fivr-5k", "--hard", "--ids", ids), shorter["s2vs"])
    only = [f"--task={name}" for name in VISUAL]
    check(run(scores, "fivr-5k", "--convention=fivr", "--ids", ids, *only), shorter["FIVR-200K evaluation.py"])
    # The second number is printed beside the first even without an id list.
    visual = {name: value for name, value in shorter["s2vs"].items() if "VR" in name}
    check(run(scores, "fivr-5k", "--hard"), visual, key="map_available")
    beside = fivr.cases["missing videos: in the results, absent from the id list"]
    check(run(fivr.dense, "fivr-5k", "--hard", "--ids", ids), beside["s2vs"])


@pytest.mark.slow
def test_fivr_5k_only_the_best_100_of_each_query(fivr):
    lowest = np.sort(fivr.scores, axis=1)[:, -100:-99]
    scores = fivr.write("top", np.where(fivr.scores >= lowest, fivr.scores, np.nan))
    check(run(scores, "fivr-5k", "--hard"), fivr.cases["only the 100 best of each query"]["s2vs"])


@pytest.mark.slow
def test_fivr_relevant_sets_are_those_of_the_label_file(fivr):
    sets = json.loads((GOLDEN / "fivr_relevant_sets.json").read_text())["versions"]
    tasks = run(fivr.dense, "fivr-5k")
    reference = sets["5k"]["annotation.json (FIVR-200K 77e3d8a)"]
    for name, task in tasks.items():
        assert task["relevant_sha256"] == reference[name]["sha256"]
        assert (task["queries"], task["relevant"]) == (reference[name]["queries"], reference[name]["relevant"])


@pytest.mark.slow
def test_fivr_200k_dense_and_with_queries_and_videos_missing(recipes, tmp_path):
    golden = json.loads((GOLDEN / "fivr_200k.json").read_text())
    _, queries, database, scores = recipes.fivr_scores(ANNOTATIONS, "200k")
    assert recipes.digest(scores) == golden["digest"]["visual"]
    kept = recipes.kept_queries(queries)
    rows = np.isin(queries, kept)
    write_grid(tmp_path / "scores" / "kept", kept, database, scores[rows])
    write_grid(tmp_path / "scores" / "others", list(np.array(queries)[~rows]), database, scores[~rows])
    del scores
    only = [f"--task={name}" for name in VISUAL]
    check(run(tmp_path / "scores", "fivr-200k", *only), golden["cases"]["dense"]["s2vs"])
    (tmp_path / "ids.txt").write_text("\n".join(np.array(database)[recipes.kept_videos(len(database))]))
    official = golden["cases"]["every fifth query missing and 18 % of the videos missing"]["FIVR-200K evaluation.py"]
    shorter = run(tmp_path / "scores" / "kept", "fivr-200k", "--convention=fivr", "--ids", tmp_path / "ids.txt", *only)
    check(shorter, official["id list of the kept videos"])
    for name, task in official["id list of the kept videos"].items():
        assert shorter[name]["precision_at_recall"] == pytest.approx(task["pr_curve"], abs=EXACT)


@pytest.mark.slow
def test_fivr_200k_audio(recipes, tmp_path):
    golden = json.loads((GOLDEN / "fivr_200k.json").read_text())
    _, queries, database, scores = recipes.fivr_scores(ANNOTATIONS, "200k", audio=True)
    write_grid(tmp_path / "scores", queries, database, scores)
    check(run(tmp_path / "scores", "fivr-200k", "--task=DAVR"), golden["cases"]["dense"]["s2vs audio"])
