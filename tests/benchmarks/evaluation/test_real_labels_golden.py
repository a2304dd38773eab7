"""The authors' evaluators on the real labels with made-up scores: S2VS, DnS, AuSiL, query by query.

Needs the annotation files and reference outputs in the folder `shared`.
"""

import hashlib
import json
import zlib

import numpy as np
import pytest
from benchmark_shapes import write_grid
from golden_evaluators import EXACT, cc_web_maps, check_fivr, matrix_rows, shared_golden, write_fivr_5k

from ndvr.benchmarks.evaluate import evaluate
from ndvr.benchmarks.evaluation.protocol import load_protocol


@pytest.fixture(scope="module")
def annotations(shared):
    return shared / "data" / "annotations"


# --- golden/s2vs/eval_real_annotation.json ------------------------------------------------------------------------

_BONUS = {"ND": 0.75, "DS": 0.55, "CS": 0.40, "IS": 0.25, "DA": 0.15}


def seeded(seed, name):
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def real_fivr(annotations, version, seed):
    """(queries, videos, scores, the subset of videos), as golden/s2vs/README.md has it."""
    labels = json.loads((annotations / "fivr" / "annotation.json").read_text())
    protocol = load_protocol(f"fivr-{version}", annotations / "fivr")
    queries, videos = sorted(protocol.queries), sorted(protocol.database)
    column = {video: i for i, video in enumerate(videos)}
    scores = np.empty((len(queries), len(videos)))
    for row, query in zip(scores, queries):
        bonus = np.zeros(len(videos))
        for label, value in _BONUS.items():
            mine = [column[video] for video in labels[query].get(label, ()) if video in column]
            bonus[mine] = np.maximum(bonus[mine], value)
        row[:] = seeded(seed, query).random(len(videos)) + bonus * seeded(seed, f"bonus/{query}").random(len(videos))
    return queries, videos, scores, np.array(videos)[seeded(seed, "subset").random(len(videos)) < 0.8]


@pytest.mark.slow
@pytest.mark.parametrize(("version", "seed"), [("5k", 501), ("200k", 502)])
def test_s2vs_and_dns_on_real_labels(shared, annotations, tmp_path, version, seed):
    data = shared_golden(shared, "s2vs/eval_real_annotation.json")[f"FIVR-{version.upper()}"]
    queries, videos, scores, subset = real_fivr(annotations, version, seed)
    assert scores.sum() == pytest.approx(data["meta"]["S_sum"])
    dropped = np.arange(len(queries)) % 7 == 0
    write_grid(tmp_path / "some", list(np.array(queries)[~dropped]), videos, scores[~dropped])
    write_grid(tmp_path / "others", list(np.array(queries)[dropped]), videos, scores[dropped])
    where = {"dataset": f"fivr-{version}", "annotations": annotations / "fivr"}
    official = data["results"]
    tasks = evaluate(tmp_path, **where, hard=True).tasks
    check_fivr(tasks, official["s2vs_full"])
    check_fivr(tasks, official["s2vs_audio_full"])
    for task, aps in data["per_query_AP_s2vs"].items():
        assert {q: r.ap for q, r in tasks[task].per_query.items()} == pytest.approx(aps, abs=EXACT)
    check_fivr(evaluate(tmp_path, **where, convention="dns").tasks, official["dns_full"])
    less = {"ids": subset, **where}
    check_fivr(evaluate(tmp_path / "some", **less, hard=True).tasks, official["s2vs_subset_missing_queries"])
    check_fivr(evaluate(tmp_path / "some", **less, convention="visil").tasks, official["dns_subset_missing_queries"])


def plus_bonus(seed, queries, bonus):
    return np.stack(
        [
            seeded(seed, query).random(len(row)) + row * seeded(seed, f"bonus/{query}").random(len(row))
            for query, row in zip(queries, bonus)
        ]
    )


@pytest.mark.slow
def test_evve_on_real_labels(shared, annotations):
    data = shared_golden(shared, "s2vs/eval_real_annotation.json")["EVVE"]
    protocol = load_protocol("evve", annotations / "evve")
    queries, videos = sorted(protocol.queries), sorted(protocol.database)
    right = protocol.tasks[0].relevant
    bonus = np.array([[video in right[query] for video in videos] for query in queries])
    scores = plus_bonus(601, queries, 0.8 * bonus)
    where = {"dataset": "evve", "annotations": annotations / "evve"}
    assert scores.sum() == pytest.approx(data["meta"]["S_sum"])
    rows = matrix_rows(queries, videos, scores)
    for convention in ("s2vs", "dns"):
        tasks = evaluate(rows, **where, convention=convention).tasks
        assert tasks["overall"].map == pytest.approx(data["dns_full"]["mAP"], abs=EXACT)
        assert tasks["overall"].micro_ap == pytest.approx(data["s2vs_full"]["EVVE_uAP"], abs=EXACT)
        for event, value in data["per_event_mean_AP"].items():
            assert tasks[event].map == pytest.approx(value, abs=EXACT)


@pytest.mark.slow
def test_cc_web_video_on_real_labels(shared, annotations):
    data = shared_golden(shared, "s2vs/eval_real_annotation.json")["CC_WEB_VIDEO"]
    where = {"dataset": "cc_web_video", "annotations": annotations / "cc_web_video"}
    protocol = load_protocol(where["dataset"], where["annotations"])
    queries = json.loads((annotations / "cc_web_video" / "cc_web_video.json").read_text())["queries"]
    videos, right = sorted(protocol.database), protocol.tasks[0].relevant
    bonus = np.array([[video in right[query] for video in videos] for query in queries])
    scores = plus_bonus(602, queries, bonus)
    assert scores.sum() == pytest.approx(data["meta"]["S_sum"])
    subset = np.array(videos)[seeded(602, "subset").random(len(videos)) < 0.85]
    assert len(subset) == data["meta"]["subset_size"]
    rows = matrix_rows(queries, videos, scores)
    dropped = {query: row for i, (query, row) in enumerate(rows.items()) if i % 7}
    for convention in ("s2vs", "visil", "tca", "csl3d"):
        for given, ids, case in (
            (rows, None, "full"),
            (dropped, None, "missing_queries"),
            (rows, subset, "results_restricted_to_subset"),
        ):
            found = evaluate(given, **where, convention=convention, ids=ids)
            assert cc_web_maps(found) == pytest.approx(list(data[case].values()), abs=EXACT), (convention, case)


# --- golden/ausil/eval/fivr_hash_expected.json --------------------------------------------------------------------


@pytest.mark.slow
def test_ausil_on_real_labels_with_scores_from_a_hash(shared, annotations):
    data = shared_golden(shared, "ausil/eval/fivr_hash_expected.json")["expected"]
    labels = json.loads((annotations / "fivr" / "annotation.json").read_text())
    ids = (annotations / "fivr" / "youtube_ids.txt").read_text().split()
    annotated = {video for lists in labels.values() for videos in lists.values() for video in videos}
    pool = sorted({*ids[::100], *annotated, *labels})

    def score(query, video):
        value = int(hashlib.md5(f"{query}|{video}".encode()).hexdigest()[:8], 16) / 2**32
        return value**0.05 if video in labels[query].get("DA", ()) else value

    rows = {query: {video: score(query, video) for video in pool} for query in labels}
    where = {"dataset": "fivr-200k", "annotations": annotations / "fivr", "convention": "ausil"}
    tasks = evaluate(rows, **where, tie_order=pool).tasks
    names = {"DA": "DAVR", "ND,DS": "DSVR", "ND,DS,CS": "CSVR", "ND,DS,CS,IS": "ISVR"}
    for name, official in data.items():
        task = tasks[names[name]]
        assert task.queries == official["n_queries"]
        assert task.map == pytest.approx(official["mAP"], abs=EXACT)
        assert task.precision_at_recall == pytest.approx(official["pr"], abs=EXACT)
        evaluated = [query for query in labels if query in task.per_query]
        first = [task.per_query[query].ap for query in evaluated[:5]]
        assert first == pytest.approx(official["ap_first5"], abs=EXACT)


# --- golden/s2vs/eval_fixtures.json: what tests/golden/benchmark_shapes.json leaves out ----------------------------


def test_s2vs_given_arrays_with_a_score_for_every_video(shared, tmp_path):
    data = shared_golden(shared, "s2vs/eval_fixtures.json")["FIVR"]
    folder = write_fivr(tmp_path, data)
    videos = sorted(data["database"])
    rows = {
        query: {video: row.get(video, -1.0 - 0.001 * i) for i, video in enumerate(videos)}
        for query, row in data["similarities"].items()
        if query in data["queries"]
    }
    where = {"dataset": "fivr-5k", "annotations": folder, "hard": True}
    check_fivr(evaluate(rows, **where).tasks, data["expected"]["s2vs_array_input_full"])
    check_fivr(evaluate(rows, **where, ids=data["subset"]).tasks, data["expected"]["s2vs_array_input_subset"])


def test_s2vs_on_vcdb_and_evve_with_a_part_of_the_queries_and_videos(shared, tmp_path):
    data = shared_golden(shared, "s2vs/eval_fixtures.json")["VCDB"]
    (tmp_path / "vcdb.json").write_text(json.dumps({key: data[key] for key in ("queries", "positives", "dataset")}))
    rows = data["similarities"]
    some = {query: row for query, row in rows.items() if query not in data["dropped_queries"]}
    for given, ids, case in ((rows, data["subset"], "distractors_subset"), (some, None, "distractors_missing_queries")):
        task = evaluate(given, dataset="vcdb", annotations=tmp_path, ids=ids).tasks["overall"]
        official = data["expected"][case]
        assert (task.map, task.micro_ap) == pytest.approx((official["VCDB_mAP"], official["VCDB_uAP"]), abs=EXACT)


def write_fivr(folder, data):
    write_fivr_5k(folder, data["annotation"], data["queries"], data["database"])
    (folder / "fivr_easy_duplicates.txt").write_text("\n".join(data["easy_duplicates"]))
    return folder
