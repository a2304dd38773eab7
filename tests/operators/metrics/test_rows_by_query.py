"""Rows of scores are the same however a file lays them out, and whether they are read once or twice."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ndvr.operators.metrics.rank_counts import Counter, Plan
from ndvr.operators.metrics.rows_by_query import Codes, KeptRows, sorted_rows
from ndvr.operators.metrics.survey import survey
from ndvr.operators.scores.files import open_scores

VIDEOS = [f"a video with a long name {n:05d}" for n in range(500)]


def table(order: str) -> dict[tuple[str, str], float]:
    """Scores of three queries with 500 videos, in the same order, in another for each, or all rows mixed."""
    rng = np.random.default_rng(2)
    pairs = [(f"q{q}", video) for q in range(3) for video in (VIDEOS if order == "same" else rng.permutation(VIDEOS))]
    pairs = [pairs[n] for n in rng.permutation(len(pairs))] if order == "mixed" else pairs
    return {(query, str(video)): float(np.float32(score)) for (query, video), score in zip(pairs, rng.random(1500))}


def written(path, rows: dict[tuple[str, str], float], kind: pa.DataType):
    """Ids row by row, in groups whose ends lie amid the rows of a query."""
    queries, videos = ([pair[side] for pair in rows] for side in (0, 1))
    columns = [pa.array(queries), pa.array(videos), pa.array(list(rows.values()), kind)]
    made = pa.table(columns, names=["query_id", "video_id", "score"])
    pq.write_table(made, path, use_dictionary=["query_id"], row_group_size=700)
    return open_scores(path)


def named(walk, queries: Codes, videos: Codes) -> dict[tuple[str, str], float]:
    rows = [zip(*(column.tolist() for column in part)) for part in walk]
    return {(queries.ids[q], videos.ids[v]): score for part in rows for q, v, score in part}


@pytest.mark.parametrize("order", ["same", "other", "mixed"])
@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_ids_that_are_written_out_are_read_as_they_are_and_kept_for_the_next_walk(tmp_path, order, kind):
    rows, queries, videos, kept = table(order), Codes(), Codes(), KeptRows()
    rows[("q0", VIDEOS[0])] += 0.0 if kind == pa.float32() else 1e-12  # beyond float32
    scores = written(tmp_path / "scores.parquet", rows, kind)
    first = []
    for part in sorted_rows(scores, queries, videos):
        kept.add(*part)
        first.append(part)
    assert named(first, queries, videos) == rows and kept.whole
    for one, again in zip(first, kept.rows(), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, again))
        assert np.all(np.diff(one[0]) >= 0)


def test_more_rows_than_may_be_kept_are_read_again_with_the_same_counts(tmp_path):
    rows = table("other")
    scores = written(tmp_path / "scores.parquet", rows, pa.float32())
    kept = KeptRows(limit=1000)
    for part in sorted_rows(scores, Codes(), Codes()):
        kept.add(*part)
    assert not kept.whole and not list(kept.rows())
    right = {f"q{q}": frozenset(VIDEOS[q : q + 5]) for q in range(3)}
    tallies = []
    for forget in (False, True):
        surveyed = survey(scores, right)
        assert surveyed.kept is not None
        if forget:
            object.__setattr__(surveyed, "kept", None)
        order, ranked = surveyed.videos.order(), np.ones(len(surveyed.videos), bool)
        counter = Counter(Plan(surveyed=surveyed, right=right, order=order, ranked=ranked, groups=[]))
        counter.walk(scores)
        tallies.append([counts.tolist() for counts in counter.counts()])
    assert tallies[0] == tallies[1]


def test_codes_are_given_in_the_order_of_appearance_however_many_are_looked_up_at_once():
    codes = Codes()
    assert codes.of(["b", "a"]).tolist() == [0, 1]
    assert codes.of_array(pa.array(["c", "a", "d", "b"])).tolist() == [2, 1, 3, 0]
    assert codes.of_array(pa.array(["d"])).tolist() == [3] and codes.ids == ["b", "a", "c", "d"]
    half = Codes()
    half.of(["\ud800", "a"])  # half a character, which arrow cannot hold
    assert half.of_array(pa.array(["z", "a"])).tolist() == [2, 1]
