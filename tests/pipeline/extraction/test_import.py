"""Imported features: the numbers and scores of the authors' files; running again continues; settings that stop."""

import json
import os

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_configs import made_config
from published_features import VIDEOS, features, hdf5, imported, ledger, run, stored

from ndvr import models
from ndvr.benchmarks.evaluate import evaluate
from ndvr.operators.features import feature_rows
from ndvr.operators.library.config import Config
from ndvr.operators.library.library import Library
from ndvr.pipeline.comparison.similarity import similarity
from ndvr.pipeline.extraction import import_features as importing
from ndvr.pipeline.upkeep.maintenance import fsck


@pytest.fixture(scope="module")
def authors(tmp_path_factory):
    return hdf5(tmp_path_factory.mktemp("authors") / "fivr_5k.hdf5", VIDEOS)


# --- what comes out -------------------------------------------------------------------------------------------


def test_every_dataset_becomes_a_video_with_its_numbers_times_and_origin(authors, tmp_path):
    done = run("import", authors, tmp_path / "lib", "--method", "s2vs", "--dtype", "float32", "--json")
    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["videos"], summary["done"], summary["windows"]) == (0, 4, 4, 43)
    found = stored(tmp_path / "lib")
    assert list(found) == ["a", "b", "c", "vcdb/core/d"]
    for video_id, array in VIDEOS.items():
        np.testing.assert_array_equal(found[video_id][1], array)
        np.testing.assert_array_equal(found[video_id][0], np.arange(len(array)))  # one frame a second
    ends = ledger(tmp_path / "lib")
    assert ends["vcdb/core/d"]["uri"] == f"{authors}::vcdb/core/d"
    assert (ends["b"]["duration_s"], ends["b"]["decoder"]) == (30.0, "imported")


def test_half_floats_are_the_default_as_for_extraction(authors, tmp_path):
    imported(authors, tmp_path / "lib")
    found = stored(tmp_path / "lib")["b"][1]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, VIDEOS["b"].astype(np.float16))


def test_shards_of_an_import_are_plain_parquet_that_say_where_they_are_from(authors, tmp_path):
    imported(authors, tmp_path / "lib")
    (shard,) = (tmp_path / "lib" / "shards").rglob("*.parquet")
    about = json.loads(pq.read_schema(shard).metadata[b"ndvr"])
    assert about["weights"] == "imported, as published" and about["trained"] and about["view"]["rule"] == "ffmpeg"
    shown = run("show", tmp_path / "lib").stdout
    assert "s2vs, weights imported, as published" in shown and "4 videos done" in shown


def test_scores_of_an_imported_library_are_those_of_the_arrays(authors, tmp_path):
    imported(authors, tmp_path / "lib", dtype="float32")
    done = run(
        "similarity", tmp_path / "lib", tmp_path / "lib", tmp_path / "scores", "--method", "s2vs", "--weights",
        "random:5", "--format", "json", "--workers", 0, "--quiet",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / "scores" / "similarities.json").read_text())
    imported(authors, tmp_path / "half")
    half = {video_id: found for video_id, (_, found) in stored(tmp_path / "half").items()}
    model = models.load("s2vs", "random:5", parts=("similarity",))
    whole, narrow = ({key: model.signature(array) for key, array in side.items()} for side in (VIDEOS, half))
    for query in VIDEOS:
        wanted = [model.similarity(whole[query], whole[video_id]) for video_id in VIDEOS]
        np.testing.assert_allclose([scores[query][video_id] for video_id in VIDEOS], wanted, atol=1e-6)
        # Half floats of numbers between 1/8 and 1/4 are 1.2e-4 apart.
        found = [model.similarity(narrow[query], narrow[video_id]) for video_id in VIDEOS]
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_two_imports_are_comparable_and_the_references_similarities_json_evaluates_as_the_score_folder(
    authors, tmp_path
):
    imported(authors, tmp_path / "one")
    imported(hdf5(tmp_path / "more.hdf5", {"b": features(6, 9), "z": features(6, 8)}), tmp_path / "two")
    settings = {"method": "s2vs", "weights": "random:5", "format": "json", "workers": 0, "progress": False}
    assert similarity(tmp_path / "one", tmp_path / "two", tmp_path / "scores", **settings).pairs == 8
    (tmp_path / "fivr").mkdir()
    (tmp_path / "fivr" / "annotation.json").write_text(json.dumps({"a": {"ND": ["b"]}, "c": {"DS": ["z"]}}))
    (tmp_path / "fivr" / "youtube_ids.txt").write_text("a\nb\nc\nz\n")
    sources = [tmp_path / "scores", tmp_path / "scores" / "similarities.json"]
    found = [evaluate(source, dataset="fivr-200k", annotations=tmp_path / "fivr").tasks for source in sources]
    assert found[0]["DSVR"].queries == 2 and found[0]["DSVR"].map is not None
    assert {name: task.map for name, task in found[0].items()} == {name: task.map for name, task in found[1].items()}


# --- running again --------------------------------------------------------------------------------------------


def test_running_again_does_nothing_and_only_new_and_changed_videos_are_imported(tmp_path):
    path = hdf5(tmp_path / "f.hdf5", {"a": features(3, 1), "b": features(3, 2), "bad": features(0, 1)})
    imported(path, tmp_path / "lib")
    before = sorted((tmp_path / "lib").rglob("*"))
    again = imported(path, tmp_path / "lib")
    assert (again.videos, again.done, again.skipped, again.failed) == (3, 0, {"already done": 2}, {"empty": 1})
    assert sorted((tmp_path / "lib").rglob("*")) == before
    hdf5(path, {"a": features(3, 1), "b": features(3, 7), "bad": features(2, 9), "new": features(2, 3)})
    third = imported(path, tmp_path / "lib")
    assert (third.videos, third.done, third.skipped, third.failed) == (4, 3, {"already done": 1}, {})
    found = stored(tmp_path / "lib")
    assert sorted(found) == ["a", "b", "bad", "new"]
    np.testing.assert_array_equal(found["b"][1], features(3, 7).astype(np.float16))


def test_a_known_id_of_another_file_is_a_conflict_and_what_is_there_stays(tmp_path):
    first, second = (tmp_path / day for day in ("day1", "day2"))
    for number, day in enumerate((first, second)):
        day.mkdir()
        np.save(day / "clip.npy", features(5, seed=number))
        np.save(day / f"own{number}.npy", features(3, seed=10 + number))
    assert run("import", first, tmp_path / "lib", "--method", "s2vs").exit_code == 0
    done = run("import", second, tmp_path / "lib", "--method", "s2vs")
    assert done.exit_code == 1 and "1 ids are those of other files, which stay, 'clip' first" in done.output
    assert "give --prefix TEXT" in done.output
    kept = stored(tmp_path / "lib")
    np.testing.assert_array_equal(kept["clip"][1], features(5, seed=0).astype(np.float16))
    assert set(kept) == {"clip", "own0", "own1"}
    assert f"another video than {first}/clip.npy" in run("explain", tmp_path / "lib", "clip").output
    summary = json.loads(run("import", second, tmp_path / "lib", "--method", "s2vs", "--json").stdout)
    assert (summary["failed"], summary["conflicts"], summary["skipped"]) == ({"conflict": 1}, ["clip"], 1)
    done = run("import", second, tmp_path / "lib", "--method", "s2vs", "--prefix", "day2/")
    assert (done.exit_code, set(stored(tmp_path / "lib"))) == (0, {*kept, "day2/clip", "day2/own1"})
    assert run("import", second, tmp_path / "lib", "--method", "s2vs", "--prefix", "day2/").exit_code == 0
    assert fsck(tmp_path / "lib", progress=False).sound


def test_a_moved_and_touched_file_is_not_new(tmp_path):
    path = hdf5(tmp_path / "f.hdf5", {"a": features(3, 1)})
    imported(path, tmp_path / "lib")
    os.utime(path.rename(tmp_path / "g.hdf5"), ns=(1, 1))
    assert imported(tmp_path / "g.hdf5", tmp_path / "lib").skipped == {"already done": 1}


def test_failures_are_retried_when_asked(tmp_path):
    path = hdf5(tmp_path / "f.hdf5", {"a": features(3, 1), "bad": features(0, 1)})
    imported(path, tmp_path / "lib")
    assert len(list((tmp_path / "lib" / "commits").iterdir())) == 1
    assert imported(path, tmp_path / "lib", retry=("empty",)).failed == {"empty": 1}
    assert len(list((tmp_path / "lib" / "commits").iterdir())) == 2


@pytest.mark.slow
def test_a_killed_import_continues_and_every_row_is_there_once(tmp_path, monkeypatch):
    videos = {f"v{k}": features(20, k) for k in range(8)}
    path = hdf5(tmp_path / "f.hdf5", videos)
    monkeypatch.setattr(importing, "SHARD_BYTES", 400_000)  # two videos of 20 x 9 x 512 half floats and a bit
    monkeypatch.setattr(feature_rows, "PIECE_BYTES", 9 * 512 * 2 * 6)  # six windows: a video spans shards
    whole = imported(path, tmp_path / "whole")
    assert whole.done == 8 and len(list((tmp_path / "whole" / "shards").rglob("*.parquet"))) > 2

    class Killed(BaseException):
        pass

    def write_twice_then_die(self, rows, calls=[]):  # noqa: B006
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return write(self, rows)

    write = importing.Write.__call__
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(importing.Write, "__call__", write_twice_then_die)
        imported(path, tmp_path / "lib")
    assert 0 < len(stored(tmp_path / "lib")) < 8
    rest = imported(path, tmp_path / "lib")
    assert rest.done + rest.skipped["already done"] == 8 and rest.skipped["already done"] > 0
    found = stored(tmp_path / "lib")
    for video_id, array in videos.items():
        np.testing.assert_array_equal(found[video_id][1], array.astype(np.float16))
        np.testing.assert_array_equal(found[video_id][0], np.arange(20))


def test_a_full_disk_is_not_taken_for_a_bad_video(authors, tmp_path, monkeypatch):
    def full(self, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importing, "SHARD_BYTES", 1)
    monkeypatch.setattr(importing.Write, "__call__", full)
    with pytest.raises(OSError, match="No space left"):
        imported(authors, tmp_path / "lib")


def test_long_videos_are_read_in_bounded_pieces_that_join_to_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_rows, "PIECE_BYTES", 9 * 512 * 4 * 10)
    array = features(95, 1)
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file.create_dataset("flat", data=array)
        file.create_dataset("chunked", data=array, chunks=(7, 9, 64), compression="gzip")
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "out" / "npy.npy", array)
    for source in (tmp_path / "f.hdf5", tmp_path / "out"):
        imported(source, tmp_path / "lib", dtype="float32")
    library = Library(tmp_path / "lib")
    (config,) = library.configs
    for entry in library.entries(config).values():
        assert len(entry.pieces) >= 10
    for start_s, found in stored(tmp_path / "lib").values():
        np.testing.assert_array_equal(found, array)
        np.testing.assert_array_equal(start_s, np.arange(95))


# --- settings -------------------------------------------------------------------------------------------------


def test_features_of_another_method_stop_before_any_work(tmp_path):
    path = hdf5(tmp_path / "f.hdf5", {f"v{k}": features(3, k, (1024,)) for k in range(3)})
    done = run("import", path, tmp_path / "lib", "--method", "s2vs")
    assert done.exit_code == 2
    assert f"{path}::v0 has shape (3, 1024), features of s2vs are (T, 9, 512); " in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "lib").exists()


def test_the_method_of_the_shape_is_named_where_there_is_one(tmp_path):
    path = hdf5(tmp_path / "f.hdf5", {"v": features(3, 1)})
    with pytest.raises(ValueError, match="this shape is that of .*--method s2vs"):
        imported(path, tmp_path / "lib", method="thumbprint")


def test_one_odd_video_at_the_start_does_not_stop_the_rest(tmp_path):
    path = hdf5(tmp_path / "f.hdf5", {"a": features(3, 1, (7,)), "b": features(3, 1)})
    summary = imported(path, tmp_path / "lib")
    assert (summary.done, summary.failed) == (1, {"corrupt": 1})


def extracted_library(path, config: Config) -> None:
    """A library as `ndvr extract` leaves it, before its first video."""
    Library.create(path).add_config(config)


OFFICIAL = made_config(
    weights="s2vs_dns", weights_digest="ab" * 32, trained=True, options={"sampler": "opencv"},
    view={"kind": "Frames", "rule": "opencv"}, feature_shape=(9, 512),
)  # fmt: skip


def test_on_the_users_word_features_are_comparable_with_a_librarys_own(authors, tmp_path):
    extracted_library(tmp_path / "own", OFFICIAL)
    imported(authors, tmp_path / "lib", like=tmp_path / "own")
    (config,) = Library(tmp_path / "lib").configs.values()
    for key in ("weights_digest", "view", "feature_shape", "features_version", "options", "trained"):
        assert getattr(config, key) == getattr(OFFICIAL, key)
    assert config.weights == "s2vs_dns (imported, by the user's word)" and config.name != OFFICIAL.name
    with pytest.raises(ValueError, match="--like takes options, label and training from that library"):
        imported(authors, tmp_path / "lib", like=tmp_path / "own", label="mine")


def test_imports_of_other_labels_and_extracted_features_are_not_mixed(authors, tmp_path):
    imported(authors, tmp_path / "one")
    imported(authors, tmp_path / "other", label="opencv loader", untrained=True)
    extracted_library(tmp_path / "own", OFFICIAL)
    for name in ("other", "own"):
        with pytest.raises(ValueError, match="cannot be compared: their weights_digest differ"):
            similarity(tmp_path / "one", tmp_path / name, tmp_path / "scores", method="s2vs", weights="random:1")
    assert "UNTRAINED" in run("show", tmp_path / "other").stdout
