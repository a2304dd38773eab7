"""Scores of two libraries: running again computes what is missing, whatever was added, changed, removed or killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from own_processes import ours
from places import python_path
from published_features import imported
from score_libraries import compared, drifting, forget, library, scores_in

from ndvr import models
from ndvr.models.method import Method, Model
from ndvr.operators.library.library import Library
from ndvr.operators.scores.cells import ScoreCell
from ndvr.operators.scores.files import open_scores
from ndvr.operators.scores.groups import Group, packed, videos_of
from ndvr.operators.scores.signatures import Signatures, n_bytes
from ndvr.operators.storage.sealed import CHECKSUM

pytestmark = pytest.mark.usefixtures("ray_cluster")

QUERIES = {"q1": 4, "q11": 9, "q21": 1}
DATABASE = {"v2": 5, "v3": 12, "v12": 1, "v22": 30, "v31": 7}


@pytest.fixture
def sides(tmp_path):
    return library(tmp_path / "queries", QUERIES), library(tmp_path / "database", DATABASE)


def fresh(sides, tmp_path, **settings) -> dict:
    """The scores of an undisturbed run into a new folder."""
    folder = tmp_path / f"fresh{len(list(tmp_path.iterdir()))}"
    compared(*sides, folder, **settings)
    return scores_in(folder)


def group_of(path: Path) -> Group:
    """All videos of a library."""
    opened = Library(path)
    (config,) = opened.configs
    (group,) = packed(videos_of(opened.entries(config).values(), config), n_videos=99, n_windows=999)
    return group


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- running again --------------------------------------------------------------------------------------------


def test_running_again_computes_and_changes_nothing(sides, tmp_path):
    first = compared(*sides, tmp_path / "s")
    assert (first.pairs, first.pairs_computed, first.cells_resumed) == (15, 15, 0)
    before = contents(tmp_path / "s")
    again = compared(*sides, tmp_path / "s")
    assert (again.pairs, again.pairs_computed, again.cells, again.cells_resumed) == (15, 0, first.cells, first.cells)
    assert contents(tmp_path / "s") == before


def test_new_videos_cost_their_own_pairs_only(sides, tmp_path):
    compared(*sides, tmp_path / "s")
    library(sides[1], {"v4": 6, "v13": 2})
    grown = compared(*sides, tmp_path / "s")
    assert (grown.pairs, grown.pairs_computed) == (21, 3 * 2)
    library(sides[0], {"q31": 8})
    assert compared(*sides, tmp_path / "s").pairs_computed == 1 * 7
    assert scores_in(tmp_path / "s") == pytest.approx(fresh(sides, tmp_path), abs=1e-6)


def test_a_library_compared_with_itself_grows_by_a_row_and_a_column(tmp_path):
    path = library(tmp_path / "lib", {"v1": 3, "v2": 4, "v11": 5})
    compared(path, path, tmp_path / "s")
    library(path, {"v12": 6})
    assert compared(path, path, tmp_path / "s").pairs_computed == 2 * 3 + 1
    assert scores_in(tmp_path / "s") == pytest.approx(fresh((path, path), tmp_path), abs=1e-6)


def test_videos_that_are_gone_leave_the_scores_without_computing_any(sides, tmp_path):
    compared(*sides, tmp_path / "s")
    before = scores_in(tmp_path / "s")
    forget(sides[1], "v3")
    forget(sides[0], "q11")
    shrunk = compared(*sides, tmp_path / "s")
    assert (shrunk.pairs, shrunk.pairs_computed) == (2 * 4, 0)
    assert scores_in(tmp_path / "s") == {pair: s for pair, s in before.items() if not {"q11", "v3"} & set(pair)}
    assert {path.name for path in (tmp_path / "s" / "parts").iterdir()} == {
        part.name for part in open_scores(tmp_path / "s").sources
    }


def test_a_changed_video_is_compared_again_and_no_other(sides, tmp_path):
    compared(*sides, tmp_path / "s")
    before = scores_in(tmp_path / "s")
    library(sides[1], {"v3": 1})  # only the first of its windows
    assert compared(*sides, tmp_path / "s").pairs_computed == 3
    after = scores_in(tmp_path / "s")
    changed = {pair for pair in after if after[pair] != before[pair]}
    assert changed and changed <= {(query, "v3") for query in QUERIES}
    assert after == pytest.approx(fresh(sides, tmp_path), abs=1e-6)


def test_query_ids_may_change_as_long_as_some_stay(sides, tmp_path):
    compared(*sides, tmp_path / "s", query_ids=["q1", "q11"])
    done = compared(*sides, tmp_path / "s", query_ids=["q11", "q21"])
    assert (done.pairs, done.pairs_computed) == (10, 5)
    with pytest.raises(ValueError, match="holds another comparison .none of its 2 queries is asked for now"):
        compared(*sides, tmp_path / "s", query_ids=["q1"])


def test_scores_of_other_weights_or_options_are_not_mixed(sides, tmp_path):
    compared(*sides, tmp_path / "s")
    with pytest.raises(ValueError, match=r"holds another comparison \(other symmetric, options\)"):
        compared(*sides, tmp_path / "s", options={"similarity": "symmetric"})


# --- what readers see -----------------------------------------------------------------------------------------


def test_readers_see_the_last_finished_state_and_nothing_else(sides, tmp_path):
    compared(*sides, tmp_path / "s")
    before = scores_in(tmp_path / "s")
    part = next((tmp_path / "s" / "parts").iterdir())
    (part.parent / "of-a-later-run.parquet").write_bytes(part.read_bytes())
    assert scores_in(tmp_path / "s") == before
    compared(*sides, tmp_path / "s")
    assert not (part.parent / "of-a-later-run.parquet").exists()
    part.unlink()
    with pytest.raises(ValueError, match="and 0 other parts are gone: run `ndvr similarity` again"):
        open_scores(tmp_path / "s")
    assert compared(*sides, tmp_path / "s").cells_resumed > 0
    assert scores_in(tmp_path / "s") == before


def test_a_first_run_that_was_not_finished_is_no_result(sides, tmp_path):
    compared(*sides, tmp_path / "s")
    about = tmp_path / "s" / "scores.json"
    unsealed = {key: value for key, value in json.loads(about.read_text()).items() if key != CHECKSUM}
    about.write_text(json.dumps(unsealed | {"parts": None}))
    with pytest.raises(ValueError, match="was not finished: run the same `ndvr similarity` again"):
        open_scores(tmp_path / "s")


def test_queries_and_videos_without_features_are_named_with_the_reason(tmp_path):
    path = library(tmp_path / "lib", {"v1": 3, "v2": 4})
    bad = tmp_path / "bad.npy"
    np.save(bad, np.full((2, 768), np.nan, np.float32))
    imported(bad, path, method="csl3d")
    done = compared(path, path, tmp_path / "s")
    assert (done.queries, done.missing_queries, done.missing_videos, done.pairs) == (2, 1, 1, 4)
    assert open_scores(tmp_path / "s").videos["bad"].startswith("failed: corrupt")


# --- numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options"),
    [("csl3d", {}), ("s2vs", {}), ("c3dhash", {}), ("tca", {"similarity": "cosine"}), ("dns", {"student": "coarse"})],
)
def test_scores_are_those_of_one_pair_at_a_time_in_any_memory(method, options, tmp_path):
    path = library(tmp_path / "lib", DATABASE, method=method, dtype="float32")
    compared(path, path, tmp_path / "s", method=method, options=options)
    model = models.load(method, "random:5", parts=("similarity",), **options)
    only = {"c3dhash": 1}.get(method)
    features = {video_id: drifting(only or n, int(video_id[1:]), method) for video_id, n in DATABASE.items()}
    signatures = {video_id: model.signature(array) for video_id, array in features.items()}
    wanted = {(q, v): model.similarity(signatures[q], signatures[v]) for q in DATABASE for v in DATABASE}
    assert scores_in(tmp_path / "s") == pytest.approx(wanted, abs=1e-5)

    group = group_of(path)
    # One video at a time on both sides, and nothing kept.
    small = ScoreCell(model, path, path, folder=tmp_path / "signatures", memory_gb=1e-6)
    found = small.scores(group, group)
    assert {(q, v): found[i, j] for i, q in enumerate(group.ids) for j, v in enumerate(group.ids)} == pytest.approx(
        wanted, abs=1e-5
    )


@pytest.mark.parametrize("name", models.names())
def test_the_matrix_of_scores_is_that_of_the_pairs(name):
    from method_inputs import loaded, signature_of

    options = {"tca": {"similarity": "cosine"}, "dns": {"student": "coarse"}}
    variants = [loaded(name, ("similarity",))]
    if name in options:
        variants.append(models.load(name, "random", parts=("similarity",), **options[name]))
    both = loaded(name)
    for model in variants:
        made = [signature_of(both, n, seed=n) if model is variants[0] else None for n in (1, 4, 9)]
        if model is not variants[0]:
            rng = np.random.default_rng(0)
            made = [model.signature(rng.standard_normal((n, *model.feature_shape), np.float32)) for n in (1, 4, 9)]
        matrix = model.score_matrix(made[:2], made)
        assert matrix.shape == (2, 3) and matrix.dtype == np.float32
        np.testing.assert_allclose(matrix, [model.similarities(query, made) for query in made[:2]], atol=1e-5)
        assert model.score_matrix([], made).shape == (0, 3) and model.score_matrix(made, []).shape == (3, 0)
        if model.compact:
            again = model.unstack(model.stack(made))
            np.testing.assert_array_equal(model.score_matrix(again[:2], again), matrix)


class Broken(Method):
    """Compares everything but a video of four windows as the second target."""

    def build(self, weights, options, *, part, fetch):
        return torch.nn.Identity()

    def signature(self, network, features):
        return features

    def similarities(self, network, query, targets):
        return torch.tensor([torch.nan if len(target) == 4 else 0.0 for target in targets])


def test_a_score_that_is_no_number_names_its_pair(tmp_path):
    path = library(tmp_path / "lib", {"v1": 3, "v2": 4})
    parts = {"similarity": torch.nn.Identity()}
    model = Model("broken", Broken(models.card("csl3d")), parts, options={"size": "base"}, device="cpu", weights="none")
    cell = ScoreCell(model, path, path, folder=tmp_path, memory_gb=1)
    with pytest.raises(ValueError, match="broken gave a score that is not finite to query 'v1' and video 'v2'"):
        cell.scores(*2 * [group_of(path)])


def test_videos_too_long_for_the_memory_given_are_named_before_any_work(sides, tmp_path):
    with pytest.raises(
        ValueError, match=r"comparing 'q11' \(9 windows\) and 'v22' \(30 windows\) takes .* --memory-gb"
    ):
        compared(*sides, tmp_path / "s", memory_gb=1e-6)
    assert not (tmp_path / "s").exists()


def test_what_is_kept_for_other_cells_stays_within_the_memory_given(tmp_path):
    path = library(tmp_path / "lib", DATABASE, dtype="float32")
    model = models.load("csl3d", "random", parts=("similarity",))
    window = 768 * 4
    opened = Library(path)
    (config,) = opened.configs
    videos = videos_of(opened.entries(config).values(), config)
    kept = Signatures(model, path, block_bytes=20 * window, kept_bytes=40 * window, folder=tmp_path)
    for group in [group_of(path), *packed(videos, n_videos=1, n_windows=99)]:
        for block, signatures in kept.blocks(group):
            assert n_bytes(signatures) <= 20 * window or block.stop - block.start == 1
            held = sum(size for _, size in kept._kept.values())
            assert held <= 40 * window or len(kept._kept) == 1


# --- kills ----------------------------------------------------------------------------------------------------

SLOW = {f"v{k}": 60 for k in range(16)}  # some 5 ms a pair by S2VS
DRIVER = "import sys; from score_libraries import compared; compared(*sys.argv[1:], method='s2vs', workers=1)"


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow")
    path = library(folder / "lib", SLOW, method="s2vs")
    compared(path, path, folder / "undisturbed", method="s2vs")
    return path, scores_in(folder / "undisturbed")


def wait_for_parts(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(folder.glob("parts/*.parquet"))) < count:
        assert time.monotonic() < deadline, "no parts were written"
        time.sleep(0.005)


def test_a_run_whose_driver_is_killed_resumes_to_identical_scores(slow, tmp_path):
    path, undisturbed = slow
    environment = os.environ | {"PYTHONPATH": python_path()}
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, path, path, tmp_path / "s"], env=environment)
    wait_for_parts(tmp_path / "s", 3)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    with pytest.raises(ValueError, match="was not finished"):
        open_scores(tmp_path / "s")
    done = compared(path, path, tmp_path / "s", method="s2vs")
    assert done.cells_resumed >= 3 and done.pairs_computed > 0
    assert scores_in(tmp_path / "s") == undisturbed


def test_a_killed_worker_is_replaced_and_the_scores_are_identical(slow, tmp_path):
    path, undisturbed = slow
    killed = []

    def kill_one() -> None:
        wait_for_parts(tmp_path / "s", 2)
        for process in ours("ray::Worker"):
            os.kill(process, signal.SIGKILL)
            killed.append(process)

    thread = threading.Thread(target=kill_one)
    thread.start()
    done = compared(path, path, tmp_path / "s", method="s2vs", workers=1)
    thread.join()
    assert killed and done.pairs_computed == len(SLOW) ** 2
    assert scores_in(tmp_path / "s") == undisturbed


def test_leftovers_of_killed_writers_are_removed_by_the_next_run(sides, tmp_path):
    compared(*sides, tmp_path / "s")
    (tmp_path / "s" / "parts" / ".x.parquet.0123.tmp").write_bytes(b"half")
    compared(*sides, tmp_path / "s")
    assert not list((tmp_path / "s" / "parts").glob(".*"))
    (tmp_path / "new").mkdir()  # killed while it wrote the first file
    (tmp_path / "new" / ".scores.json.0123abcd.tmp").write_bytes(b"half")
    compared(*sides, tmp_path / "new")
    assert scores_in(tmp_path / "new") == scores_in(tmp_path / "s") and not list((tmp_path / "new").glob(".*"))
    assert pq.read_table(next((tmp_path / "s").glob("queries-*.parquet"))).num_rows == 3


# --- damage ---------------------------------------------------------------------------------------------------


def flip(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(share * (len(data) - 1))] ^= 0x10
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("kind", ["parts/*.parquet", "queries-*.parquet", "videos-*.parquet", "groups.parquet"])
def test_a_damaged_file_of_scores_is_made_again_and_refused_by_readers_until_then(sides, tmp_path, kind, share):
    compared(*sides, tmp_path / "s")
    before, whole = scores_in(tmp_path / "s"), contents(tmp_path / "s")
    damaged = sorted((tmp_path / "s").glob(kind))[0]
    flip(damaged, share)
    if kind != "groups.parquet":  # which only the next run reads
        with pytest.raises(ValueError, match=f"{damaged} is (damaged|not a whole Parquet file).* again"):
            scores_in(tmp_path / "s")
    again = compared(*sides, tmp_path / "s")
    assert (again.cells - again.cells_resumed) == (1 if kind.startswith("parts") else 0)
    assert scores_in(tmp_path / "s") == before and contents(tmp_path / "s") == whole


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_scores_that_do_not_say_any_more_what_they_are_are_refused(sides, tmp_path, share):
    compared(*sides, tmp_path / "s")
    flip(tmp_path / "s" / "scores.json", share)
    for use in (lambda: scores_in(tmp_path / "s"), lambda: compared(*sides, tmp_path / "s")):
        with pytest.raises(ValueError, match="scores.json"):
            use()


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_damaged_signature_is_made_again_before_new_pairs_are_compared_with_it(tmp_path, share):
    sides = library(tmp_path / "q", {"q1": 1, "q11": 1}, method="c3dhash"), tmp_path / "d"
    library(sides[1], {"v2": 1, "v3": 1}, method="c3dhash")
    compared(*sides, tmp_path / "s", method="c3dhash")
    for path in (tmp_path / "s" / "signatures").glob("*.npy"):
        flip(path, share)
    library(sides[1], {"v12": 1}, method="c3dhash")
    compared(*sides, tmp_path / "s", method="c3dhash")
    assert scores_in(tmp_path / "s") == fresh(sides, tmp_path, method="c3dhash")
