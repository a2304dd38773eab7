"""UCF101, HMDB51 and JHMDB: their lists, official numbers with a stable order of ties, and the k best."""

import itertools
import json

import numpy as np
import pytest
from benchmark_shapes import evaluate_command
from click.testing import CliRunner
from golden_class_retrieval import hash_codes, small, write_case
from golden_segments import numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from ndvr.benchmarks.datasets import class_retrieval
from ndvr.benchmarks.datasets.class_retrieval import top_map
from ndvr.benchmarks.evaluate import evaluate
from ndvr.benchmarks.evaluation.protocol import load_protocol
from ndvr.operators.metrics.average_precision import top_average_precision, top_average_precision_ends

EXACT = 1e-12  # the same sums in another order


def write(folder, **files):
    """Lists of lines; `__` stands for the dot of a name."""
    for name, lines in files.items():
        (folder / name.replace("__", ".")).write_text("".join(f"{line}\r\n" for line in lines))
    return folder


def ucf101(folder):
    """Two classes, four videos that answer, two that ask."""
    classes = {1: "Archery", 2: "Diving"}
    return write(
        folder,
        classInd__txt=[f"{n} {name}" for n, name in classes.items()],
        trainlist01__txt=[f"{name}/v_{name}_g08_c0{i}.avi {n}" for n, name in classes.items() for i in (1, 2)],
        testlist01__txt=["Archery/v_Archery_g01_c01.avi", "Diving/v_Diving_g01_c01.avi"],
    )


def protocol(name, folder, **settings):
    return load_protocol(name, folder, **settings)


# Lists


def test_lists_of_ucf101(tmp_path):
    found = protocol("ucf101", ucf101(tmp_path))
    right = found.tasks[0].relevant
    assert right["Diving/v_Diving_g01_c01.avi"] == {"Diving/v_Diving_g08_c01.avi", "Diving/v_Diving_g08_c02.avi"}
    assert (len(right), len(found.database), found.notes) == (2, 4, ())


def test_lists_of_hmdb51_and_jhmdb_flag_training_test_and_unused(tmp_path):
    write(
        tmp_path,
        wave_test_split1__txt=["a_wave.avi 1 ", "b wave(!).avi 2 ", "c_wave.avi 0 "],
        wave_test_split2__txt=["a_wave.avi 2 "],
        brush_hair_test_split1__txt=["d.avi 1 ", "e.avi 2 "],
    )
    for name in ("hmdb51", "jhmdb"):
        found = protocol(name, tmp_path)
        expected = {"wave/b wave(!).avi": {"wave/a_wave.avi"}, "brush_hair/e.avi": {"brush_hair/d.avi"}}
        assert found.tasks[0].relevant == expected
        assert found.database == {"wave/a_wave.avi", "brush_hair/d.avi"}


def test_lists_of_c3dhash_where_queries_are_in_the_database(tmp_path):
    write(tmp_path, test_10_210__txt=["a/1.avi 0"], db_20_420__txt=["a/1.avi 0", "a/2.avi 0", "b/3.avi 1"])
    plain, theirs = (protocol("jhmdb", tmp_path, convention=name) for name in ("lists", "c3dhash"))
    assert (plain.tasks[0].relevant, plain.ranks_query) == ({"a/1.avi": {"a/2.avi"}}, False)
    assert (theirs.tasks[0].relevant, theirs.ranks_query) == ({"a/1": {"a/1", "a/2"}}, True)
    scores = {"a/1.avi": {"a/1.avi": 1.0, "b/3.avi": 0.6, "a/2.avi": 0.5}}
    assert evaluate(scores, dataset="jhmdb", annotations=tmp_path).tasks["class"].map == 0.5
    scores = {"a/1": {"a/1": 1.0, "b/3": 0.6, "a/2": 0.5}}
    found = evaluate(scores, dataset="jhmdb", annotations=tmp_path, convention="c3dhash").tasks["class"].map
    assert found == pytest.approx((1 + 2 / 3) / 2)
    assert top_map(scores, dataset="jhmdb", annotations=tmp_path, convention="c3dhash", top=2).map == 1.0


def test_a_line_that_is_there_twice_counts_once_and_is_told(tmp_path):
    write(tmp_path, test1__txt=["a/1.avi 0"], train1__txt=["a/2.avi 0", "a/2.avi 0", "b/3.avi 1"])
    found = protocol("ucf101", tmp_path)
    assert len(found.database) == 2
    assert found.notes == ("1 lines of the lists repeat another and count once",)


def test_names_are_cut_at_their_first_dot_by_convention_only_and_never_into_one(tmp_path):
    write(tmp_path, test1__txt=["q.x.avi 0"], train1__txt=["a.1.avi 0", "a.2.avi 0"])
    assert protocol("ucf101", tmp_path).database == {"a.1.avi", "a.2.avi"}
    with pytest.raises(ValueError, match=r"line 2: 'a.2.avi' and 'a.1.avi' are one video 'a' when cut after the first"):
        protocol("ucf101", tmp_path, convention="c3dhash")


def test_a_class_that_the_database_lacks_leaves_the_mean_and_is_told(tmp_path):
    write(tmp_path, test1__txt=["a/1.avi 0", "c/1.avi 2"], train1__txt=["a/2.avi 0", "b/3.avi 1"])
    scores = {query: {"a/2.avi": 0.9, "b/3.avi": 0.1} for query in ("a/1.avi", "c/1.avi")}
    result = evaluate(scores, dataset="ucf101", annotations=tmp_path)
    assert (result.tasks["class"].map, result.tasks["class"].queries) == (1.0, 1)
    (note,) = result.notes
    assert note.startswith("1 of 2 queries (such as c/1.avi) have a class that no other video of the database has")
    assert top_map(scores, dataset="ucf101", annotations=tmp_path, top=1).queries == 1


@pytest.mark.parametrize(
    ("file", "lines", "says"),
    [
        ("trainlist01.txt", ["Archery/a.avi"], "line 1: expected 'path class-number', found 'Archery/a.avi'"),
        ("trainlist01.txt", ["Archery/a.avi 1", "Archery/a.avi 2"], "line 2: .* has class 2, and 1 in another"),
        ("trainlist01.txt", [], "no video answers in the lists of"),
        ("testlist01.txt", ["Golf/a.avi"], "testlist01.txt, line 1: 'Golf/a.avi' is of class 'Golf'"),
        ("testlist01.txt", ["Archery/v_Archery_g08_c01.avi", "Archery/a.avi"], None),
        ("classInd.txt", ["Archery"], "classInd.txt, line 1: expected 'number Name', found 'Archery'"),
        ("a_test_split1.txt", ["a.avi 3"], "a_test_split1.txt, line 1: flag 3 of 'a.avi' is none of 0, 1, 2"),
        ("a_test_split1.txt", ["a.avi"], "line 1: expected 'file flag'"),
        ("a_test_split1.txt", ["a.avi 1"], "no video asks in the lists of .*: are they those of hmdb51"),
    ],
)  # fmt: skip
def test_a_line_that_is_wrong_is_named(tmp_path, file, lines, says):
    write(ucf101(tmp_path), **{file.replace(".", "__"): lines})
    name = "hmdb51" if "split" in file else "ucf101"
    if says is None:
        assert protocol(name, tmp_path)
        return
    with pytest.raises(ValueError, match=says):
        protocol(name, tmp_path)


def test_one_video_with_two_classes_on_the_two_sides_is_named(tmp_path):
    write(tmp_path, test1__txt=["a/1.avi 0"], train1__txt=["a/1.avi 1"])
    with pytest.raises(ValueError, match="'a/1.avi' has class 0 as a query and 1 in the database"):
        protocol("ucf101", tmp_path)


@pytest.mark.parametrize("file", ["testlist01.txt", "trainlist01.txt", "classInd.txt"])
def test_a_list_that_is_missing_is_named(tmp_path, file):
    (ucf101(tmp_path) / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"no {file} in .*: it comes with the split lists"):
        protocol("ucf101", tmp_path)


# Official numbers


@pytest.mark.parametrize("name", ["b16", "b48", "b64"])
def test_codes_with_many_ties_in_the_order_of_the_database(tmp_path, name):
    case = small(name)
    codes = {key: case[key] for key in ("db_codes", "db_labels", "query_codes", "query_labels")}
    scores, lists = write_case(tmp_path, **codes)
    task = evaluate(scores, dataset="ucf101", annotations=lists).tasks["class"]
    assert task.map == pytest.approx(case["stable_mAP"], abs=EXACT)
    assert [query.ap for query in task.per_query.values()] == pytest.approx(case["stable_AP"].tolist(), abs=EXACT)
    assert task.map_low < task.map < task.map_high
    for top in (1, 5, 20):
        found = top_map(scores, dataset="ucf101", annotations=lists, top=top)
        assert found.map == pytest.approx(case[f"stable_top{top}_mAP"], abs=EXACT)
        assert found.map_low <= found.map <= found.map_high


def test_codes_without_ties(tmp_path):
    case = small("notie")
    codes = {key: case[key] for key in ("db_codes", "db_labels", "query_codes", "query_labels")}
    scores, lists = write_case(tmp_path, **codes)
    task = evaluate(scores, dataset="ucf101", annotations=lists).tasks["class"]
    assert task.map == task.map_low == task.map_high == pytest.approx(case["official_mAP"], abs=EXACT)
    args = [str(scores), "--dataset", "ucf101", "--annotations", str(lists), "--top"]
    top = json.loads(CliRunner().invoke(class_retrieval.main, [*args, "10", "--json"]).output)
    assert top["map"] == pytest.approx(case["official_top10_mAP"], abs=EXACT)
    whole = CliRunner().invoke(class_retrieval.main, [*args, "1000"]).output  # more than the database holds
    assert whole == f"top-1000 mAP {task.map:.4f}; 3 of 3 queries\n"


@pytest.mark.slow
def test_codes_of_ucf101_s_size(shared, tmp_path):
    golden = numbers()["hash_ucf101_size"]
    train, train_label, test, test_label = hash_codes()
    scores, lists = write_case(
        tmp_path, db_codes=train, db_labels=train_label, query_codes=test, query_labels=test_label
    )
    code, out, err = evaluate_command(scores, "--dataset=ucf101", "--annotations", lists, "--json")
    assert code == 0, err
    task = json.loads(out)["tasks"]["class"]
    assert task["map"] == pytest.approx(golden["stable sort: MAP"], abs=EXACT)
    ends = golden["tie bounds MAP"]
    assert (task["map_low"], task["map_high"]) == pytest.approx((ends["worst"], ends["best"]), abs=EXACT)
    assert task["tied_queries"] == 3783
    top = top_map(scores, dataset="ucf101", annotations=lists, top=100)
    assert top.map == pytest.approx(golden["stable sort: top-100 MAP"], abs=EXACT)


def test_scores_and_settings_that_cannot_be_used_are_named(tmp_path):
    lists = ucf101(tmp_path)
    with pytest.raises(ValueError, match="no query of scores in memory has a score and a right video in ucf101"):
        top_map({"x": {"y": 1.0}}, dataset="ucf101", annotations=lists, top=5)
    with pytest.raises(ValueError, match="top-k mAP is defined for hmdb51, jhmdb, ucf101, not for 'evve'"):
        top_map({}, dataset="evve", annotations=lists, top=5)
    with pytest.raises(ValueError, match="top 0: at least the best one has to count"):
        top_map({}, dataset="ucf101", annotations=lists, top=0)


# The k best


def test_top_k_divides_by_the_right_ones_inside():
    ranks_1_and_4 = np.array([0, 2])
    assert top_average_precision(ranks_1_and_4, 3) == 1.0
    assert top_average_precision(ranks_1_and_4, 4) == pytest.approx((1 + 2 / 4) / 2)
    assert top_average_precision(np.array([5]), 5) == 0.0
    assert top_average_precision(np.zeros(0, int), 5) == 0.0


def test_the_lowest_top_k_is_not_always_the_worst_order():
    """Right, wrong, then a right and a wrong one with equal scores: a third hit at rank 3 lowers the mean."""
    above, at_least = np.array([0, 1]), np.array([0, 2])
    assert top_average_precision_ends(above, at_least, 3) == pytest.approx(((1 + 2 / 3) / 2, 1.0))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6), st.integers(1, 8))
def test_ends_of_the_top_k_are_those_of_all_orders(ranking, k):
    right_scores = sorted((score for score, right in ranking if right), reverse=True)
    wrong = np.array([score for score, right in ranking if not right])
    above = np.array([np.sum(wrong > score) for score in right_scores], int)
    at_least = np.array([np.sum(wrong >= score) for score in right_scores], int)
    values = []
    for order in itertools.permutations(ranking):
        ranked = sorted(order, key=lambda row: -row[0])  # stable
        before = np.cumsum([not right for _, right in ranked])[[i for i, (_, right) in enumerate(ranked) if right]]
        values.append(top_average_precision(before, k))
    assert top_average_precision_ends(above, at_least, k) == pytest.approx((min(values), max(values)), abs=EXACT)
