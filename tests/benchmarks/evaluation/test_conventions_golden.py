"""Every convention at the benchmarks' real size against the authors' evaluators, ties and all; their pickles.

Needs the annotation files and reference outputs in the folder `shared`; test_conventions.py has the same rules on small
sets.
"""

import json

import numpy as np
import pytest
from benchmark_shapes import load_recipes, write_grid
from golden_evaluators import EXACT, cc_web_maps, check_fivr, matrix_rows, shared_golden

from ndvr.benchmarks.evaluate import evaluate
from ndvr.benchmarks.evaluation.annotations import read_plain_pickle
from ndvr.benchmarks.evaluation.protocol import load_protocol

VISUAL = ("DSVR", "CSVR", "ISVR")


@pytest.fixture(scope="module")
def annotations(shared):
    return shared / "data" / "annotations"


@pytest.fixture(scope="module")
def recipes(shared):
    """The module that makes the seeded inputs of golden/evaluation."""
    return load_recipes(shared / "golden" / "evaluation")


_EVALUATORS = {"FIVR-200K evaluation.py": "fivr", "DnS": "dns", "3D-CSL (with the s2vs annotation)": "csl3d"}


@pytest.fixture(scope="module")
def fivr_5k(recipes, annotations):
    _, queries, videos, scores = recipes.fivr_scores(annotations, "5k")
    return queries, videos, scores


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "order"),
    [
        ("ties, results in sorted id order", sorted),
        ("ties, results in reverse sorted id order", lambda videos: sorted(videos, reverse=True)),
        (
            "ties, results in permuted order (RandomState(7))",
            lambda videos: list(np.array(videos)[np.random.RandomState(7).permutation(len(videos))]),
        ),
    ],
)
def test_fivr_5k_ties_in_the_order_of_the_results(shared, annotations, recipes, fivr_5k, tmp_path, case, order):
    queries, videos, scores = fivr_5k
    write_grid(tmp_path, queries, videos, recipes.quantised(scores), videos_per_part=2048)
    official = shared_golden(shared, "evaluation/fivr_5k.json")["cases"][case]
    where = {"dataset": "fivr-5k", "annotations": annotations / "fivr", "tasks": VISUAL}
    for name in ("FIVR-200K evaluation.py", "DnS"):
        tasks = evaluate(tmp_path, **where, convention=_EVALUATORS[name], tie_order=order(videos)).tasks
        check_fivr(tasks, {task: official[name][task] for task in VISUAL})
    # The two whose order of ties is theirs alone: inside the interval, of micro-AP too.
    tasks = evaluate(tmp_path, **where).tasks
    for task in VISUAL:
        found = tasks[task]
        assert found.map_low <= official["s2vs"][task] <= found.map_high
        assert found.micro_ap_low <= official["s2vs"][task.replace("VR", "VD")] <= found.micro_ap_high
        assert found.map_low < found.map_expected < found.map_high
    tasks = evaluate(tmp_path, **where, convention="csl3d").tasks
    for task in VISUAL:
        assert tasks[task].map_low <= official["3D-CSL (with the s2vs annotation)"][task] <= tasks[task].map_high


@pytest.mark.slow
def test_fivr_5k_in_every_convention(shared, annotations, recipes, fivr_5k, tmp_path):
    queries, videos, scores = fivr_5k
    cases = shared_golden(shared, "evaluation/fivr_5k.json")["cases"]
    where = {"dataset": "fivr-5k", "annotations": annotations / "fivr", "tasks": VISUAL}
    kept = recipes.kept_videos(len(videos))
    lost = np.where(kept, scores, np.nan)
    rows = [queries.index(query) for query in recipes.kept_queries(queries)]
    for name, written, names, ids, case in (
        ("dense", scores, queries, None, "dense, dataset ids = database + queries"),
        ("queries", scores[rows], recipes.kept_queries(queries), None, "missing queries"),
        ("lost", lost, queries, None, "missing videos: absent from the results, id list complete"),
        ("left", lost, queries, np.array(videos)[kept], "missing videos: absent from the results and from the id list"),
        ("beside", scores, queries, np.array(videos)[kept], "missing videos: in the results, absent from the id list"),
    ):
        write_grid(tmp_path / name, names, videos, written, videos_per_part=8192)
        for evaluator, convention in _EVALUATORS.items():
            tasks = evaluate(tmp_path / name, **where, convention=convention, ids=ids).tasks
            check_fivr(tasks, {task: cases[case][evaluator][task] for task in VISUAL})
            curve = cases[case][evaluator]["ISVR"]
            if convention == "fivr" and "pr_curve" in curve:
                assert tasks["ISVR"].precision_at_recall == pytest.approx(curve["pr_curve"], abs=EXACT)


@pytest.mark.slow
def test_ties_of_evve_cc_web_video_and_vcdb_in_the_order_of_the_results(shared, annotations, recipes):
    _, queries, videos, scores = recipes.evve(annotations)
    rows = matrix_rows(queries, videos, recipes.quantised(scores))
    official = shared_golden(shared, "evaluation/evve.json")["cases"]
    for order, case in ((videos, "ties, sorted id order"), (videos[::-1], "ties, reverse order")):
        where = {"dataset": "evve", "annotations": annotations / "evve", "tasks": ["overall"]}
        task = evaluate(rows, **where, convention="dns", tie_order=order).tasks["overall"]
        assert task.map == pytest.approx(official[case]["DnS"]["mAP"], abs=EXACT)
        assert task.map_low <= official[case]["s2vs"]["EVVE_mAP"] <= task.map_high
        assert task.micro_ap_low <= official[case]["s2vs"]["EVVE_uAP"] <= task.micro_ap_high
    _, queries, videos, scores = recipes.cc_web(annotations)
    rows = matrix_rows(queries, videos, recipes.quantised(scores))
    where = {"dataset": "cc_web_video", "annotations": annotations / "cc_web_video", "convention": "dns"}
    found = evaluate(rows, **where, tie_order=videos[::-1])
    official = shared_golden(shared, "evaluation/cc_web_video.json")["cases"]["ties, reverse order"]["DnS"]
    assert cc_web_maps(found) == pytest.approx(list(official.values()), abs=EXACT)
    _, queries, videos, _, scores = recipes.vcdb(annotations)
    official = shared_golden(shared, "evaluation/vcdb.json")["cases"]["core"]["ties, sorted order"]
    where = {"dataset": "vcdb-core", "annotations": annotations / "vcdb"}
    rows = matrix_rows(queries, videos, recipes.quantised(scores))
    task = evaluate(rows, **where, convention="tca", tie_order=videos).tasks["overall"]
    assert task.map == pytest.approx(official["TCA"]["mAP"], abs=EXACT)
    task = evaluate(rows, **where).tasks["overall"]
    assert task.map_low <= official["s2vs"]["VCDB_mAP"] <= task.map_high
    assert task.micro_ap_low <= official["s2vs"]["VCDB_uAP"] <= task.micro_ap_high


# --- pickles ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_official_pickles_say_what_their_conversions_say(annotations, tmp_path):
    def only(folder, *names):
        made = tmp_path / names[0]
        made.mkdir()
        for name in names:
            (made / name).symlink_to(annotations / folder / name)
        return made

    evve = load_protocol("evve", only("evve", "evve.pickle"))
    assert evve.tasks == load_protocol("evve", annotations / "evve").tasks
    cc_web = load_protocol("cc_web_video", only("cc_web_video", "cc_web_video.pickle"))
    assert cc_web.tasks == load_protocol("cc_web_video", annotations / "cc_web_video").tasks
    vcdb = load_protocol("vcdb", only("vcdb", "vcdb_tca.pickle"))
    reference = load_protocol("vcdb", annotations / "vcdb")
    assert (vcdb.tasks, vcdb.database) == (reference.tasks, reference.database)
    fivr = load_protocol("fivr-5k", only("fivr", "fivr_audio.pickle"))
    reference = load_protocol("fivr-5k", annotations / "fivr")
    assert (fivr.tasks, fivr.database) == (reference.tasks, reference.database)
    assert fivr.notes[0] == "labels read from fivr_audio.pickle"
    dns = read_plain_pickle(annotations / "fivr" / "dns_fivr.pickle")
    assert dns["annotation"] == json.loads((annotations / "fivr" / "dns_fivr.json").read_text())["annotation"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "convention", "file", "keys"),
    [
        ("cc_web_video", "s2vs", "cc_web_video.json", ("perfect scores", "s2vs", "mAP_star")),
        ("vcdb-core", "tca", "vcdb.json", ("core", "perfect scores", "TCA", "mAP")),
        ("vcdb-core", "s2vs", "vcdb.json", ("core", "perfect scores", "s2vs", "VCDB_mAP")),
        ("evve", "dns", "evve.json", ("perfect scores", "DnS", "mAP")),
    ],
)
def test_a_perfect_ranking_reaches_the_ceiling(shared, annotations, dataset, convention, file, keys):
    folder = annotations / dataset.removesuffix("-core")
    protocol = load_protocol(dataset, folder, convention=convention)
    name = protocol.tasks[1 if dataset == "cc_web_video" else 0].name
    relevant = next(task.relevant for task in protocol.tasks if task.name == name)
    some = sorted(protocol.database)[:50]
    rows = {
        q: dict.fromkeys(some, 0.0) | dict.fromkeys(right & protocol.database, 1.0) for q, right in relevant.items()
    }
    task = evaluate(rows, dataset=dataset, annotations=folder, convention=convention).tasks[name]
    official = shared_golden(shared, f"evaluation/{file}")["cases"]
    for key in keys:
        official = official[key]
    assert task.map == pytest.approx(official, abs=EXACT)
    assert task.ceiling == task.possible_high == pytest.approx(official, abs=EXACT)
