"""`--convention`: the numbers of the authors' own evaluators, on small sets that contain every quirk."""

import pytest
from golden_evaluators import cc_web_maps, golden, rows_of, write_fivr_5k, write_json

from ndvr.benchmarks.evaluate import evaluate

EXACT = 1e-12  # the same sums in another order
TASKS = ("DSVR", "CSVR", "ISVR")


def check_per_query(result, official):
    """official: {query: {task: AP}}, or {query: AP} of the only task."""
    assert official
    for query, aps in official.items():
        for task, ap in aps.items() if isinstance(aps, dict) else [("overall", aps)]:
            assert result.tasks[task].per_query[query].ap == pytest.approx(ap, abs=EXACT), (query, task)


@pytest.mark.parametrize(
    ("scores", "official", "lost"),
    [
        ("similarities", "out_all_db_list", ()),
        ("similarities_incomplete", "out_incomplete", ()),
        ("similarities_incomplete", "out_incomplete_db_without_them", ("v06", "v13")),
    ],
)
def test_csl3d_on_fivr_gives_a_query_without_a_right_video_the_score_1(tmp_path, scores, official, lost):
    data = golden()["csl3d_fivr"]
    folder = write_fivr_5k(tmp_path, data["annotation"], data["queries"], data["database"])
    where = {"dataset": "fivr-5k", "annotations": folder}
    ids = [video for video in data["database"] if video not in lost]
    result = evaluate(rows_of(data[scores]), **where, convention="csl3d", ids=ids)
    check_per_query(result, data[official])
    for task in TASKS:
        assert result.tasks[task].queries == len(data[official])  # v04 has no row, v20 nobody asks about
    assert "v02" not in evaluate(rows_of(data[scores]), **where).tasks["DSVR"].per_query  # ours: not in the mean


@pytest.mark.parametrize("case", ["tca_fivr_distinct", "tca_fivr_ties"])
@pytest.mark.parametrize("convention", ["tca", "visil", "dns"])
def test_tca_and_visil_on_fivr(tmp_path, case, convention):
    data = golden()[case]
    scores = data["similarities"]
    folder = write_fivr_5k(tmp_path, data["annotation"], data["annotation"], data["database"])
    result = evaluate(
        rows_of(scores), dataset="fivr-5k", annotations=folder, convention=convention, tie_order=scores["videos"]
    )
    check_per_query(result, data["per_query"])


@pytest.mark.parametrize("labels", ["DA", "ND,DS"])
def test_ausil_query_by_query_in_the_order_of_each_row(tmp_path, labels):
    data = golden()["ausil"]
    folder = write_json(tmp_path, "annotation.json", data["annotation"])
    (folder / "youtube_ids.txt").write_text("\n".join(data["ids"]))
    task = {"DA": "DAVR", "ND,DS": "DSVR"}[labels]
    official, rows = data["expected"][labels], rows_of(data["results"])
    where = {"dataset": "fivr-200k", "annotations": folder, "convention": "ausil", "tasks": [task]}
    assert list(evaluate(rows, **where).tasks[task].per_query) == sorted(_evaluated(data["annotation"], official))
    for query, ap in zip(_evaluated(data["annotation"], official), official["ap"]):
        alone = evaluate({query: rows[query]}, **where, tie_order=list(rows[query])).tasks[task]
        assert alone.map == pytest.approx(ap, abs=EXACT), query
        assert alone.map_low <= ap <= alone.map_high


def _evaluated(annotation, official):
    """Queries in the order of the annotation, less those that the script warns about."""
    skipped = {word for line in official["log"] if "WARNING" in line for word in line.split()}
    return [query for query in annotation if query not in skipped]


@pytest.mark.parametrize("labels", ["DA", "ND,DS"])
def test_ausil_puts_videos_without_a_score_at_zero_of_the_curve(tmp_path, labels):
    data = golden()["ausil"]
    folder = write_json(tmp_path, "annotation.json", data["annotation"])
    (folder / "youtube_ids.txt").write_text("\n".join(data["ids"]))
    task = {"DA": "DAVR", "ND,DS": "DSVR"}[labels]
    where = {"dataset": "fivr-200k", "annotations": folder, "convention": "fivr"}
    curve = evaluate(rows_of(data["results"]), **where).tasks[task].precision_at_recall
    assert curve == pytest.approx(data["expected"][labels]["pr"], abs=EXACT)


@pytest.mark.parametrize(
    ("prefix", "out", "only"),
    [("", "out", 2), ("", "out_only_first_query", 1), ("path_", "out_path_index", 2)],
)
def test_csl3d_on_cc_web_video_skips_five_files_where_the_index_names_files(tmp_path, prefix, out, only):
    data = golden()["csl3d_cc_web"]
    files = {key: data[f"{prefix}{key}"] for key in ("index", "ground_truth", "excluded")}
    folder = write_json(tmp_path, "cc_web_video.json", {"queries": data["queries"], **files})
    rows = rows_of(data["similarities"])
    rows = {query: rows[query] for query in data["queries"][:only]}
    result = evaluate(rows, dataset="cc_web_video", annotations=folder, convention="csl3d")
    assert cc_web_maps(result) == pytest.approx(list(data[out].values()), abs=EXACT)


@pytest.mark.parametrize("case", ["distinct", "ties", "only_second", "incomplete"])
def test_tca_on_cc_web_video(tmp_path, case):
    data = golden()[f"tca_cc_web_{case}"]
    files = {key: data[key] for key in ("vid2index", "queries", "ground_truth", "excluded")}
    folder = write_json(tmp_path, "cc_web_video.json", files)
    scores = data["similarities"]
    result = evaluate(
        rows_of(scores),
        dataset="cc_web_video",
        annotations=folder,
        convention="tca",
        tie_order=scores["videos"],
    )
    official = data["mAP"]
    order = [f"all_videos={everything},clean={clean}" for clean in (False, True) for everything in (False, True)]
    assert cc_web_maps(result) == pytest.approx([official[key] for key in order], abs=EXACT)


@pytest.mark.parametrize("case", ["plain", "with_external", "ties", "query_missing"])
def test_tca_on_evve(tmp_path, case):
    data = golden()[f"tca_evve_{case}"]
    events = {name: [queries, positives, []] for name, (queries, positives) in data["events"].items()}
    files = {"queries": data["queries"], "database": data["database"], "annotation": events}
    folder = write_json(tmp_path, "evve.json", files)
    scores = data["similarities"]
    result = evaluate(
        rows_of(scores),
        dataset="evve",
        annotations=folder,
        convention="tca",
        ids=data["all_db"],
        tie_order=scores["videos"],
    )
    check_per_query(result, data["per_query_ap"])


@pytest.mark.parametrize("case", ["tca_vcdb", "tca_vcdb_query_not_scored"])
def test_tca_on_vcdb_counts_the_query_in_the_divisor(tmp_path, case):
    data = golden()["tca_vcdb"]
    pairs = [{"videos": pair} for pair in data["pairs"]]
    folder = write_json(tmp_path, "vcdb_tca.json", {"index": data["all_db"], "video_pairs": pairs})
    rows = rows_of(golden()[case]["similarities"])
    result = evaluate(rows, dataset="vcdb", annotations=folder, convention="tca", ids=data["all_db"])
    check_per_query(result, golden()[case]["per_query"])


def test_published_tie_orders_lie_inside_the_interval(tmp_path):
    data = golden()["ties"]
    folder = write_fivr_5k(tmp_path, data["annotation"], ["q"], "abcd")
    where = {"dataset": "fivr-5k", "annotations": folder}
    task = evaluate(data["similarities"], **where).tasks["DSVR"]
    for official in data["expected"].values():
        assert task.map_low <= official <= task.map_high
    stable, reversed_argsort = list("badc"), list("cdab")
    orders = dict(zip(data["expected"], (reversed_argsort, stable)))
    for name, order in orders.items():
        assert evaluate(data["similarities"], **where, tie_order=order).tasks["DSVR"].map == data["expected"][name]
