"""EVVE, CC_WEB_VIDEO, VCDB and SVD: official numbers on small invented sets in the shape of each."""

import json

import pytest
from benchmark_shapes import shape

from ndvr.benchmarks.evaluate import evaluate
from ndvr.benchmarks.evaluation.protocol import datasets, load_protocol

EXACT = 1e-12  # the same sums in another order


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def write(folder, name, content):
    (folder / name).write_text(json.dumps(content))
    return folder


def check(task, *, map=None, micro_ap=None):
    assert map is None or task.map == pytest.approx(map, abs=EXACT)
    assert micro_ap is None or task.micro_ap == pytest.approx(micro_ap, abs=EXACT)


def test_evve(folder):
    data, rows = shape("EVVE")
    annotation = {"queries": data["queries"], "database": data["database"], "annotation": data["events"]}
    write(folder, "evve.json", annotation)
    official = data["expected"]
    task = evaluate(rows, dataset="evve", annotations=folder).tasks["overall"]
    check(task, map=official["full"]["EVVE_mAP"], micro_ap=official["full"]["EVVE_uAP"])
    task = evaluate(rows, dataset="evve", annotations=folder, ids=data["subset"]).tasks["overall"]
    check(task, map=official["subset_extra_results"]["EVVE_mAP"], micro_ap=official["subset_extra_results"]["EVVE_uAP"])


def test_evve_tells_each_event(folder):
    data, rows = shape("EVVE")
    write(folder, "evve.json", {"queries": data["queries"], "database": data["database"], "annotation": data["events"]})
    tasks = evaluate(rows, dataset="evve", annotations=folder).tasks
    means = [tasks[event].map * tasks[event].queries for event in data["events"]]
    assert sum(means) / len(data["queries"]) == pytest.approx(tasks["overall"].map, abs=EXACT)


@pytest.mark.parametrize(("case", "absent"), [("full", None), ("missing_query_0", 0)])
def test_cc_web_video_in_its_four_variants(folder, case, absent):
    data, rows = shape("CC_WEB_VIDEO")
    keys = ("index", "queries", "ground_truth", "excluded")
    write(folder, "cc_web_video.json", {key: data[key] for key in keys})
    if absent is not None:
        del rows[data["queries"][absent]]
    tasks = evaluate(rows, dataset="cc_web_video", annotations=folder).tasks
    names = {"mAP": "cc_web", "mAP_star": "cc_web*", "mAP_c": "cc_web_c", "mAP_c_star": "cc_web*_c"}
    for official, name in names.items():
        check(tasks[name], map=data["expected"][case][official])


@pytest.mark.parametrize(("dataset", "case"), [("vcdb-core", "core_with_extra_results"), ("vcdb", "distractors")])
def test_vcdb_with_and_without_background(folder, dataset, case):
    data, rows = shape("VCDB")
    pairs = [
        {"videos": [a, b]}
        for a, partners in data["positives"].items()
        for b in partners
        if a < b and b in data["queries"]
    ]
    write(folder, "vcdb_tca.json", {"index": data["queries"] + data["dataset"], "video_pairs": pairs})
    task = evaluate(rows, dataset=dataset, annotations=folder).tasks["overall"]
    check(task, map=data["expected"][case]["VCDB_mAP"], micro_ap=data["expected"][case]["VCDB_uAP"])


def test_vcdb_core_can_be_read_from_its_segments(folder):
    data, rows = shape("VCDB")
    lines = {
        f"{a}-{b}": [[0, 0, 1, 1]] for a in data["queries"] for b in [a, *data["positives"][a]] if b != "absent_video"
    }
    write(folder, "label_file.json", lines)
    task = evaluate(rows, dataset="vcdb-core", annotations=folder).tasks["overall"]
    check(task, map=data["expected"]["core"]["VCDB_mAP"])


def svd(folder):
    data, rows = shape("SVD")
    lines = [f"{q} {v} {label}\n" for q, mine in data["ground_truth"].items() for v, label in mine.items()]
    (folder / "test_groundtruth").write_text("".join(lines))
    (folder / "unlabeled-data-id").write_text("\n".join(data["unlabelled"]))
    return data, rows


def test_svd_ranks_only_the_own_candidates_and_the_unlabelled(folder):
    data, rows = svd(folder)
    check(evaluate(rows, dataset="svd", annotations=folder).tasks["overall"], map=data["expected"]["full"]["mAP"])
    subset = evaluate(rows, dataset="svd", annotations=folder, ids=data["subset"])
    check(subset.tasks["overall"], map=data["expected"]["subset"]["mAP"])
    labelled = [video for mine in data["ground_truth"].values() for video in mine]
    only = evaluate(rows, dataset="svd", annotations=folder, ids=labelled)
    check(only.tasks["overall"], map=data["expected"]["labelled_only"]["mAP"])


def test_a_line_of_svd_that_is_no_triple_is_named(folder):
    svd(folder)
    with (folder / "test_groundtruth").open("a") as file:
        file.write("q v maybe\n")
    with pytest.raises(ValueError, match=r"test_groundtruth, line \d+: expected 'query candidate 0'"):
        load_protocol("svd", folder)


@pytest.mark.parametrize("name", datasets())
def test_every_dataset_names_the_file_it_misses(name, folder):
    with pytest.raises(FileNotFoundError, match=rf"no \S+ in {folder}: .+"):
        load_protocol(name, folder)


@pytest.mark.parametrize("name", datasets())
def test_every_dataset_lists_its_conventions(name, folder):
    with pytest.raises(ValueError, match=f"unknown convention 'mine' for {name}; choose one of"):
        load_protocol(name, folder, convention="mine")


def test_only_fivr_has_a_hard_variant(folder):
    with pytest.raises(ValueError, match="evve has no hard variant"):
        load_protocol("evve", folder, hard=True)
