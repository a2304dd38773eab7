"""EVVE, CC_WEB_VIDEO, VCDB and SVD at their real size against the official evaluators. Needs ../shared."""

import itertools
import json

import numpy as np
import pytest
from benchmark_shapes import load_recipes, write_grid
from places import SHARED

from ndvr.benchmarks.evaluate import evaluate

ANNOTATIONS = SHARED / "data" / "annotations"
GOLDEN = SHARED / "golden" / "evaluation"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs ../shared/golden/evaluation")

EXACT = 1e-9  # sums in another order


@pytest.fixture(scope="module")
def recipes():
    """The module that makes the seeded inputs."""
    return load_recipes(GOLDEN)


def cases(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())["cases"]


@pytest.fixture
def written(tmp_path):
    """Write a matrix of scores, NaN for a pair without one, and return the folder; `only` some of the queries."""
    numbers = itertools.count()

    def write(queries, videos, scores, only=None):
        if only is not None:
            places = {query: place for place, query in enumerate(queries)}
            queries, scores = list(only), scores[[places[query] for query in only]]
        return write_grid(tmp_path / f"scores{next(numbers)}", list(queries), list(videos), scores)

    return write


def check_both(task, official, prefix):
    assert task.map == pytest.approx(official[f"{prefix}_mAP"], abs=EXACT)
    assert task.micro_ap == pytest.approx(official[f"{prefix}_uAP"], abs=EXACT)


@pytest.mark.slow
def test_evve(recipes, written):
    _, queries, videos, scores = recipes.evve(ANNOTATIONS)
    where = {"dataset": "evve", "annotations": ANNOTATIONS / "evve"}
    rows, golden = written(queries, videos, scores), cases("evve")
    tasks = evaluate(rows, **where).tasks
    check_both(tasks["overall"], golden["dense"]["s2vs"], "EVVE")
    for event, aps in golden["dense"]["per_event_AP"].items():
        assert tasks[event].map == pytest.approx(np.mean(aps), abs=EXACT)
    kept = recipes.kept_videos(len(videos))
    ids = np.array(videos)[kept]
    check_both(
        evaluate(rows, **where, ids=ids).tasks["overall"],
        golden["missing videos in the results but not in all_db"]["s2vs"],
        "EVVE",
    )
    lost = written(queries, videos, np.where(kept, scores, np.nan), only=recipes.kept_queries(queries))
    official = golden["missing queries and videos; all_db = the kept ids"]["s2vs"]
    check_both(evaluate(lost, **where, ids=ids).tasks["overall"], official, "EVVE")
    check_both(
        evaluate(lost, **where).tasks["overall"], golden["missing queries and videos; all_db = None"]["s2vs"], "EVVE"
    )
    tied = evaluate(written(queries, videos, recipes.quantised(scores)), **where).tasks["overall"]
    assert tied.map == pytest.approx(golden["ties, sorted id order"]["DnS"]["mAP"], abs=EXACT)


@pytest.mark.slow
def test_cc_web_video(recipes, written):
    _, queries, videos, scores = recipes.cc_web(ANNOTATIONS)
    golden, kept = cases("cc_web_video"), recipes.kept_videos(len(videos))
    names = {"mAP": "cc_web", "mAP_star": "cc_web*", "mAP_c": "cc_web_c", "mAP_c_star": "cc_web*_c"}

    def check(rows, case, ids=None):
        tasks = evaluate(rows, dataset="cc_web_video", annotations=ANNOTATIONS / "cc_web_video", ids=ids).tasks
        for official, name in names.items():
            assert tasks[name].map == pytest.approx(golden[case]["s2vs"][official], abs=EXACT)

    rows = written(queries, videos, scores)
    check(rows, "dense")
    itself = np.array(queries)[:, None] == np.array(videos)
    check(written(queries, videos, np.where(itself, np.nan, scores)), "query removed from its own results")
    check(written(queries, videos, scores, only=recipes.kept_queries(queries)), "missing queries")
    ids = np.array(videos)[kept]
    check(rows, "missing videos not in all_db, results as numpy rows", ids)
    lost = written(queries, videos, np.where(kept, scores, np.nan))
    check(lost, "missing videos in the results; all_db = kept ids", ids)
    check(written(queries, videos, recipes.quantised(scores)), "ties, sorted id order")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "distractors", "name"), [("vcdb-core", 0, "core"), ("vcdb", 5000, "core + 5000 distractors")]
)
def test_vcdb(recipes, written, dataset, distractors, name):
    _, queries, videos, _, scores = recipes.vcdb(ANNOTATIONS, distractors)
    golden, kept = cases("vcdb")[name], recipes.kept_videos(len(videos))
    where = {"dataset": dataset, "annotations": ANNOTATIONS / "vcdb"}
    ids = np.array(videos)[kept]
    asked = [query for query in recipes.kept_queries(queries) if query in set(ids)]
    lost = written(queries, videos, np.where(kept, scores, np.nan), only=asked)
    runs = {
        "dense": (written(queries, videos, scores), None),
        "missing queries and videos; all_db = None": (lost, None),
        "missing queries and videos; all_db = the kept ids": (lost, ids),
    }
    for case, (rows, id_list) in runs.items():
        task = evaluate(rows, **where, ids=id_list).tasks["overall"]
        official = golden[case]["s2vs"]
        assert task.micro_ap == pytest.approx(official["VCDB_uAP"], abs=EXACT)
        if official["VCDB_mAP"] != "nan":  # 0 / 0 there for a query that lost every right video; skipped here
            assert task.map == pytest.approx(official["VCDB_mAP"], abs=EXACT)
        if dataset == "vcdb-core":
            task = evaluate(rows, **where, ids=id_list, convention="tca").tasks["overall"]
            assert task.map == pytest.approx(golden[case]["TCA"]["mAP"], abs=EXACT)


@pytest.mark.slow
def test_svd(recipes, tmp_path):
    labels, unlabelled, videos, scores = recipes.svd_like()
    (tmp_path / "test_groundtruth").write_text("".join(f"{q} {v} {label}\n" for q, v, label in labels))
    (tmp_path / "unlabeled-data-id").write_text("\n".join(unlabelled))
    golden, kept, queries = cases("svd_like"), recipes.kept_videos(len(videos)), sorted({row[0] for row in labels})

    def check(matrix, official, ids=None):
        scores = write_grid(tmp_path / f"{official['mAP']}", queries, videos, matrix)
        result = evaluate(scores, dataset="svd", annotations=tmp_path, ids=ids)
        assert result.tasks["overall"].map == pytest.approx(official["mAP"], abs=EXACT)

    check(scores, golden["dense"]["DnS"])
    check(recipes.quantised(scores), golden["ties, permuted order"]["DnS"])
    check(np.where(kept, scores, np.nan), golden["missing videos; all_db = kept ids"]["DnS"], np.array(videos)[kept])
