"""Decisions about pairs: only added, known by content, undone by a row, contradictions told, matches counted."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ndvr.operators.library import decisions as module
from ndvr.operators.library.decisions import Decision, DecisionLog, Decisions, from_csv
from ndvr.operators.scores.pair_list import PairList
from ndvr.operators.storage.sealed import Damaged, write_table
from ndvr.operators.storage.store import Store


def said(a: str, verdict: str, b: str, who: str = "ann", **more) -> Decision:
    return Decision.now(verdict=verdict, a_content=a, b_content=b, a_id=f"{a}.mp4", b_id=f"{b}.mp4", who=who, **more)


def test_the_last_word_on_a_pair_counts_whichever_way_round_it_is_named():
    decisions = Decisions([said("x", "same", "y"), said("y", "different", "x")])
    assert decisions.verdict("x", "y") == decisions.verdict("y", "x") == "different"
    assert decisions.partners("x", "different") == ["y"] and decisions.partners("x", "same") == []
    assert decisions.verdict("x", "z") is None
    assert decisions.contradictions() == [], "one person may change her mind"


def test_what_is_undone_does_not_count_and_what_stood_before_does_again():
    first, second = said("x", "same", "y"), said("x", "different", "y")
    undo = Decision.now(verdict="undo", a_content="", b_content="", who="ann", undoes=second.id)
    decisions = Decisions([first, second, undo])
    assert decisions.verdict("x", "y") == "same"
    assert decisions.latest_of("ann") == first


def test_contradictions_are_told():
    assert "ann" in Decisions([said("x", "same", "y"), said("x", "different", "y", "bob")]).contradictions()[0]
    chain = Decisions([said("x", "same", "y"), said("y", "same", "z"), said("x", "different", "z")])
    assert len(chain.contradictions()) == 1 and "lead from one to the other" in chain.contradictions()[0]
    kept = Decisions([said("x", "keep", "y"), said("y", "keep", "x", "bob")])
    assert len(kept.contradictions()) == 1 and kept.kept() == {("x", "y"): "y"}


def test_decisions_say_how_right_sure_matches_were():
    rows = [said(f"a{n}", "different" if n < 2 else "same", "b", false_per_million=0.05) for n in range(312)]
    rows += [said("c", "different", "b", false_per_million=5.0), said("d", "same", "b")]
    assert [each.text() for each in Decisions(rows).calibration()] == [
        "of 312 pairs judged with 0.1 or fewer false per million, 2 were not a match",
        "of 313 pairs judged with 10 or fewer false per million, 3 were not a match",
    ]


@pytest.mark.slow
def test_many_writers_at_once_lose_nothing_and_many_files_become_few(tmp_path):
    log = DecisionLog(Store(tmp_path))
    rows = [said(f"a{n}", "same", "b", who=f"w{n % 4}") for n in range(200)]
    random.Random(0).shuffle(rows)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda row: log.append([row]), rows))
    assert {row.id for row in log.read().every} == {row.id for row in rows}
    assert len(log.read()) == 200
    assert len(list((tmp_path / "decisions").iterdir())) <= 70
    assert pq.read_table(tmp_path / "decisions").num_rows >= 200, "plain Parquet, for any reader"


def test_a_table_is_read_back_as_it_was_written_and_a_short_one_is_enough(tmp_path):
    rows = [said("x", "different", 'y "the second"', note="läuft, anders", score=0.5, false_per_million=2.0)]
    rows.append(Decision.now(verdict="undo", a_content="x", b_content="y", who="ann", undoes=rows[0].id))
    table = tmp_path / "all.csv"
    table.write_text(Decisions(rows).as_csv())
    again = from_csv(table, {})
    assert [row.to_json() | {"time": ""} for row in again] == [row.to_json() | {"time": ""} for row in rows]
    short = tmp_path / "short.csv"
    short.write_text("a_id;b_id;verdict\nx.mp4;y.mp4;same\n")
    (row,) = from_csv(short, {"x.mp4": "x", "y.mp4": "y"})
    assert (row.verdict, row.pair) == ("same", ("x", "y"))
    short.write_text("a_id,b_id,verdict\nx.mp4,y.mp4,perhaps\n")
    with pytest.raises(ValueError, match="line 2: unknown verdict 'perhaps'"):
        from_csv(short, {"x.mp4": "x", "y.mp4": "y"})


def test_one_file_is_no_pair():
    with pytest.raises(ValueError, match="the same file, byte by byte"):
        said("x", "different", "x")


def test_rejected_pairs_leave_a_list_of_pairs_before_the_best_are_chosen(tmp_path):
    part = tmp_path / "part.parquet"
    columns = {
        "video_id_a": ["a", "a", "b"],
        "video_id_b": ["b", "c", "c"],
        "score": pa.array([0.9, 0.8, 0.7], "float"),
    }
    write_table(part, pa.table(columns))
    best = PairList(["a", "b", "c"], rejected=[("b", "a"), ("a", "unknown")]).read([part], top_k=1)
    assert (best.n_rejected, best.score.tolist()) == (1, pytest.approx([0.8, 0.7]))
    assert best.families() == [["a", "b", "c"]]


def test_pairs_judged_the_same_are_listed_at_any_score(tmp_path):
    part = tmp_path / "part.parquet"
    columns = {"video_id_a": ["a"], "video_id_b": ["b"], "score": pa.array([0.9], "float")}
    write_table(part, pa.table(columns))
    best = PairList(["a", "b", "c"], decided={("a", "b"): 0.9, ("b", "c"): 0.1}).read([part], top_k=None)
    best.write(tmp_path / "pairs.parquet")
    rows = pq.read_table(tmp_path / "pairs.parquet").to_pylist()
    assert [(row["video_id_a"], row["video_id_b"], row["kind"]) for row in rows] == [
        ("a", "b", "similar"),
        ("b", "c", "decided"),
    ]
    assert best.families() == [["a", "b", "c"]]


def test_no_changed_byte_of_a_decision_counts(tmp_path):
    log = DecisionLog(Store(tmp_path))
    log.append([Decision.now(verdict="different", a_content="a", b_content="b", who="me")])
    (path,) = (tmp_path / "decisions").iterdir()
    whole = path.read_bytes()
    for at in range(0, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(Damaged, match="decisions/"):
            log.read()
    path.write_bytes(whole)
    assert log.read().verdict("a", "b") == "different"


def host(days: float) -> type[datetime]:
    """The clock of a host."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=days)

    return Clock


@pytest.mark.parametrize("clocks", [(0, -1), (1, 0), (400, -400)])
@pytest.mark.parametrize("kept", ["as written", "folded", "by an earlier version"])
def test_the_last_word_counts_whatever_the_clocks_of_hosts_say(tmp_path, monkeypatch, clocks, kept):
    log = DecisionLog(Store(tmp_path))
    monkeypatch.setattr(module, "datetime", host(clocks[0]))
    (first,) = log.append([said("x", "same", "y")])
    if kept == "folded":
        monkeypatch.setattr(module, "_MOST_FILES", 1)
        log.append([said("v", "same", "w")])
        monkeypatch.undo()
    elif kept == "by an earlier version":  # whose names had no milliseconds
        (path,) = (tmp_path / "decisions").iterdir()
        path.rename(path.with_name(re.sub(r"\d{3}-", "-", path.name, count=1)))
    monkeypatch.setattr(module, "datetime", host(clocks[1]))
    log.append([said("x", "different", "y", "bob")])
    assert log.read().verdict("x", "y") == "different"
    (again,) = log.append([said("x", "keep", "y"), said("x", "same", "y")])[1:]
    assert log.read().latest_of("ann") == again and again.time > first.time
    assert log.read().verdict("x", "y") == "same"
    table = tmp_path / "short.csv"
    table.write_text("a_id,b_id,verdict\nx,y,same\nx,y,different\n")
    log.append(from_csv(table, {"x": "x", "y": "y"}, now=log.now()), keep_times=True)
    assert log.read().verdict("x", "y") == "different", "the last line of a table without times"


def test_a_decision_of_the_end_of_time_does_not_stop_others(tmp_path):
    log, table = DecisionLog(Store(tmp_path)), tmp_path / "all.csv"
    table.write_text("a_id,b_id,verdict,time\nx,y,same,9999-12-31T23:59:59.999\n")
    log.append(from_csv(table, {"x": "x", "y": "y"}), keep_times=True)
    log.append([said("x", "different", "z")])
    assert len(log.read()) == 2
