"""Pairs of one collection: each once, highest first, the best of every video; running again computes what is new."""

import itertools
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from published_features import hdf5, imported
from score_libraries import drifting, forget, library

from ndvr import models
from ndvr.operators.errors import RunStopped
from ndvr.operators.library.fencing import revoke
from ndvr.operators.library.lease import Lease
from ndvr.operators.library.library import Library
from ndvr.operators.scores.cells import PairCell, Scorer, among_best, write_pairs
from ndvr.operators.scores.pair_list import PairList
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cli import main
from ndvr.pipeline.commands.comparison import dedupe as command
from ndvr.pipeline.comparison import _grid as grid
from ndvr.pipeline.comparison.dedupe import dedupe
from ndvr.pipeline.extraction.gone import note_back, note_gone

pytestmark = pytest.mark.slow

# Families by tens: v1 and v2 and v3 are alike, so are v11 and v12.
LENGTHS = {"v1": 9, "v2": 4, "v3": 6, "v11": 5, "v12": 12, "v21": 7, "v31": 1}


@pytest.fixture
def collection(tmp_path):
    return library(tmp_path / "lib", LENGTHS)


def deduped(path, out, **settings):
    given = {"method": "csl3d", "weights": "random:5", "workers": 0, "progress": False} | settings
    return dedupe(path, out, **given)


def rows(out) -> list[tuple[str, str, float]]:
    found = pq.read_table(out / "pairs.parquet", columns=["video_id_a", "video_id_b", "score"])
    return [tuple(row.values()) for row in found.to_pylist()]


def scored(lengths=LENGTHS, **options) -> dict[tuple[str, str], float]:
    """The higher score of both directions of every pair, one at a time, of features as the library keeps them."""
    model = models.load("csl3d", "random:5", parts=("similarity",), **options)
    kept = {video_id: drifting(n, int(video_id[1:])).astype(np.float16) for video_id, n in lengths.items()}
    signatures = {video_id: model.signature(features) for video_id, features in kept.items()}
    pairs = itertools.combinations(sorted(lengths), 2)
    return {
        (a, b): max(model.similarity(signatures[a], signatures[b]), model.similarity(signatures[b], signatures[a]))
        for a, b in pairs
    }


def check(out, wanted: dict[tuple[str, str], float]) -> None:
    found = rows(out)
    assert {(a, b): score for a, b, score in found} == pytest.approx(wanted, abs=1e-5)
    assert len(found) == len(wanted)
    assert found == sorted(found, key=lambda row: (-row[2], row[:2]))
    assert all(a < b for a, b, _ in found)


def test_pairs_at_or_above_the_threshold_with_the_higher_score_of_both_directions(collection, tmp_path):
    done = deduped(collection, tmp_path / "p", threshold=0.5)
    wanted = {pair: score for pair, score in scored().items() if score >= 0.5}
    check(tmp_path / "p", wanted)
    assert (done.videos, done.compared, done.computed, done.found) == (7, 21, 21, len(wanted))
    families = pq.read_table(tmp_path / "p" / "families.parquet").to_pydict()
    assert families == {"family": [0, 0, 0, 1, 1], "video_id": ["v1", "v2", "v3", "v11", "v12"]}
    assert (done.families, done.videos_in_families, done.largest_family) == (2, 5, 3)


@pytest.mark.parametrize("cells_at_least", [1, 64])
def test_the_best_of_either_video_whatever_the_cells(collection, tmp_path, monkeypatch, cells_at_least):
    monkeypatch.setattr(grid, "CELLS_AT_LEAST", cells_at_least)
    everything = scored()
    deduped(collection, tmp_path / "p", top_k=2)
    check(tmp_path / "p", {pair: everything[pair] for pair in among_two_best(everything)})
    deduped(collection, tmp_path / "both", top_k=2, threshold=0.5)
    enough = {pair: score for pair, score in everything.items() if score >= 0.5}
    check(tmp_path / "both", {pair: enough[pair] for pair in among_two_best(enough)})


def among_two_best(scores: dict[tuple[str, str], float]) -> set[tuple[str, str]]:
    found = set()
    for video_id in LENGTHS:
        mine = [pair for pair in scores if video_id in pair]
        found |= set(sorted(mine, key=scores.get, reverse=True)[:2])
    return found


def test_a_method_that_is_symmetric_or_keeps_one_code_is_compared_once(tmp_path):
    lengths = {f"v{k}": 1 for k in (1, 2, 3, 11, 12, 21, 31, 41)}
    path = library(tmp_path / "codes", lengths, method="c3dhash")
    done = deduped(path, tmp_path / "p", method="c3dhash", threshold=0.0)
    assert done.found == done.compared == 28
    assert list((tmp_path / "p" / "signatures").glob("*.npy"))
    deduped(library(tmp_path / "lib", LENGTHS), tmp_path / "s", threshold=-1, options={"similarity": "symmetric"})
    check(tmp_path / "s", scored(similarity="symmetric"))


def test_running_again_computes_only_pairs_of_new_videos(collection, tmp_path):
    deduped(collection, tmp_path / "p", threshold=-1)
    again = deduped(collection, tmp_path / "p", threshold=-1)
    assert (again.computed, again.cells_resumed, again.found) == (0, again.cells, 21)
    library(collection, {"v22": 5, "v41": 3})
    grown = deduped(collection, tmp_path / "p", threshold=-1)
    assert (grown.compared, grown.computed) == (36, 2 * 7 + 1)
    check(tmp_path / "p", scored(LENGTHS | {"v22": 5, "v41": 3}))


def test_videos_that_are_gone_take_their_pairs_with_them(collection, tmp_path):
    deduped(collection, tmp_path / "p", threshold=-1)
    deduped(collection, tmp_path / "k", top_k=1)
    forget(collection, "v2")
    left = {video_id: n for video_id, n in LENGTHS.items() if video_id != "v2"}
    assert deduped(collection, tmp_path / "p", threshold=-1).computed == 0
    check(tmp_path / "p", scored(left))
    # What was not among the best before may be now, so the cells that lost a video are computed again.
    everything = scored(left)
    assert deduped(collection, tmp_path / "k", top_k=1).found > 0
    best = {max((pair for pair in everything if video_id in pair), key=everything.get) for video_id in left}
    check(tmp_path / "k", {pair: everything[pair] for pair in best})


def test_equal_scores_keep_the_smaller_ids():
    scores = np.array([[1, 2, 2, 2], [0, 0, 0, 0], [3, 1, 2, 0]], np.float32)
    assert among_best(scores, 2).tolist() == [
        [False, True, True, False],
        [True, True, False, False],
        [True, False, True, False],
    ]
    assert among_best(scores, 9).all()


def test_ties_across_cells_keep_the_smaller_ids_too(tmp_path):
    ids = np.array(list("abcde"), object)
    pairs = list(itertools.combinations(range(5), 2))
    for number, part in enumerate((pairs[::2], pairs[1::2])):
        a, b = (np.array(side) for side in zip(*part))
        write_pairs(tmp_path / f"{number}.parquet", ids[a], ids[b], np.zeros(len(part)))
    best = PairList("abcde").read(sorted(tmp_path.glob("*.parquet")), top_k=1)
    assert list(zip(best.a.tolist(), best.b.tolist())) == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert best.families() == [list("abcde")]


def test_identical_files_are_pairs_at_any_threshold_and_marked(tmp_path):
    """Features of dark videos, which the method knows nothing of: the same bytes are told by their hash."""
    dark = np.zeros((3, 512), np.uint8)
    arrays = {"dark": dark, "dark copy": dark, "dark copy 2": dark, "other": np.full((3, 512), 255, np.uint8)}
    assert imported(hdf5(tmp_path / "dark.hdf5", arrays), tmp_path / "lib", method="thumbprint").failed == {}
    settings = {"method": "thumbprint", "weights": None, "threshold": 0.99}
    done = deduped(tmp_path / "lib", tmp_path / "p", **settings)
    found = pq.read_table(tmp_path / "p" / "pairs.parquet").to_pylist()
    names = [("dark", "dark copy"), ("dark", "dark copy 2"), ("dark copy", "dark copy 2")]
    assert [(row["video_id_a"], row["video_id_b"]) for row in found] == names
    assert {(row["score"], row["kind"]) for row in found} == {(1.0, "identical")}
    assert (done.found, done.identical, done.largest_family) == (3, 3, 3) and "identical files" in done.text()
    assert deduped(tmp_path / "lib", tmp_path / "k", **settings | {"threshold": None, "top_k": 1}).identical == 2


def test_of_very_many_identical_files_each_is_a_pair_with_the_first(monkeypatch):
    monkeypatch.setattr("ndvr.operators.scores.pair_list.MOST_IDENTICAL", 3)
    pairs = PairList("abcdef", identical=["bd", "acef"]).read([], top_k=None)
    assert list(zip(pairs.a.tolist(), pairs.b.tolist())) == [(0, 2), (0, 4), (0, 5), (1, 3)]
    assert pairs.families() == [["a", "c", "e", "f"], ["b", "d"]]


def test_the_command_tells_what_it_found(collection, tmp_path):
    settings = ["--method", "csl3d", "--weights", "random:5", "--workers", "0", "--quiet", "--threshold", "0.5"]
    done = CliRunner().invoke(command, [str(collection), str(tmp_path / "p"), *settings])
    assert done.exit_code == 0, done.output
    assert "of 21 pairs of 7 videos scored 0.5 or more by csl3d" in done.stdout
    assert "5 videos in 2 families, the largest of 3" in done.stdout
    assert "these pairs mean nothing" in done.stderr
    again = CliRunner().invoke(command, [str(collection), str(tmp_path / "p"), *settings, "--json"])
    assert json.loads(again.stdout)["cells_resumed"] > 0


def test_pairs_with_a_video_that_its_folder_has_no_more_are_told_until_it_is_marked(collection, tmp_path):
    def note(do, *given, **settings) -> None:
        library = Library(collection)
        with Lease(library.store, "a test"):
            do(library, *given, **settings)

    def found():
        done = deduped(collection, tmp_path / "pairs", top_k=1)
        return {*itertools.chain.from_iterable(row[:2] for row in rows(tmp_path / "pairs"))}, done

    library = Library(collection)
    entry = library.entries(*library.configs)["v2"]
    note(note_gone, {"v2": entry}, "videos", mark=False)
    ids, done = found()
    assert "v2" in ids and done.gone == ("v2",)
    assert "1 of these videos, 'v2', is no longer in the folder that gave it; `ndvr extract --gone mark`" in done.text()
    note(note_gone, {"v2": entry}, "videos", mark=True)
    ids, done = found()
    assert "v2" not in ids and done.gone == () and "no longer" not in done.text()
    note(note_back, ["v2"])
    ids, done = found()
    assert "v2" in ids and done.gone == ()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "give --threshold SCORE, --top-k K, or both"),
        ({"threshold": float("nan")}, "threshold nan: give a finite number"),
        ({"top_k": 0}, "top_k 0: give 1 or more"),
    ],
)
def test_wrong_limits_are_one_sentence(collection, tmp_path, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        deduped(collection, tmp_path / "p", **settings)


def test_other_limits_and_other_folders_are_refused(collection, tmp_path):
    deduped(collection, tmp_path / "p", threshold=0.5)
    with pytest.raises(ValueError, match=r"holds another comparison \(other threshold\); name a new folder for PAIRS"):
        deduped(collection, tmp_path / "p", threshold=0.6)
    with pytest.raises(ValueError, match="exists and holds no pairs; name a new folder for PAIRS"):
        deduped(collection, collection, threshold=0.5)


HOLD = """
import sys, time
from ndvr.pipeline.comparison._score_folder import one_writer
with one_writer(sys.argv[1], "ndvr dedupe"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("started", [True, False])
def test_of_two_runs_into_one_folder_the_second_is_told_who_has_it_and_a_killed_one_holds_nothing(
    collection, tmp_path, started
):
    out = tmp_path / "p"
    if started:
        deduped(collection, out, threshold=0.5)
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        arguments = [str(collection), str(out), "--method", "csl3d", "--weights", "random:5", "--threshold", "0.5"]
        told = CliRunner().invoke(main, ["dedupe", *arguments, "--workers", "0"])
        assert told.exit_code == 2 and f"'ndvr dedupe' on {socket.gethostname()} (process {other.pid}" in told.output
    finally:
        other.kill()
        other.communicate()
    deduped(collection, out, threshold=0.5)
    check(out, {pair: score for pair, score in scored().items() if score >= 0.5})
    assert os.listdir(out / "locks") == ["revoked"], "who was killed, and nobody else"


@pytest.mark.parametrize("where", ["first part", "finish"])
def test_who_was_taken_over_writes_no_parts_and_puts_nothing_in_force(collection, tmp_path, monkeypatch, where):
    """As if it had slept, and somebody else had taken the folder over."""
    out, reads = tmp_path / "p", PairList.read

    def taken_over() -> None:
        (lock,) = (out / "locks").glob("*.json")
        revoke(Store(out), lock.stem, by="'ndvr dedupe' on far (process 9)", because="had not been heard of for 130 s")
        lock.unlink()

    def scores(self, *groups):
        if where == "first part":
            taken_over()
        return Scorer.scores(self, *groups)

    def read(self, *arguments, **settings):
        taken_over()
        return reads(self, *arguments, **settings)

    with monkeypatch.context() as patched:
        patched.setattr(PairCell, "scores", scores)
        if where == "finish":
            patched.setattr(PairList, "read", read)
        with pytest.raises(RunStopped, match=r"'ndvr dedupe' on far \(process 9\) has taken over .*p, because"):
            deduped(collection, out, threshold=0.5)
    assert json.loads((out / "pairs.json").read_text())["parts"] is None and not (out / "pairs.parquet").exists()
    if where == "first part":
        assert not (out / "parts").exists()
    deduped(collection, out, threshold=0.5)
    check(out, {pair: score for pair, score in scored().items() if score >= 0.5})


def test_a_refused_folder_is_left_as_it_was(collection, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "mine.txt").write_text("kept")
    with pytest.raises(ValueError, match="exists and holds no pairs"):
        deduped(collection, tmp_path / "p", threshold=0.5)
    assert os.listdir(tmp_path / "p") == ["mine.txt"]
