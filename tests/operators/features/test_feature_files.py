"""What FILES may be, and what becomes of arrays that are no good: one row each, never the run."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest
from published_features import SHAPE, VIDEOS, features, hdf5, imported, ledger, run, stored

from ndvr import models
from ndvr.operators.features.feature_files import FeatureFile, find_features
from ndvr.operators.library.library import CONFIGS, Library
from ndvr.operators.storage.store import write_json
from ndvr.pipeline.comparison.similarity import similarity


@pytest.fixture(scope="module")
def authors(tmp_path_factory):
    return hdf5(tmp_path_factory.mktemp("authors") / "fivr_5k.hdf5", VIDEOS)


# --- the other formats ----------------------------------------------------------------------------------------


def test_a_folder_of_ausil_takes_the_array_called_features_of_every_video(tmp_path):
    array = features(3, 1)
    for video_id in ("x", "deep/y"):
        (tmp_path / "out" / video_id).mkdir(parents=True)
        np.savez_compressed(tmp_path / "out" / video_id / "wlaf.npz", features=array, log=np.zeros(2))
    (tmp_path / "out" / "notes.md").write_text("made in 2021")
    summary = imported(tmp_path / "out", tmp_path / "lib", dtype="float32")
    assert (summary.done, summary.ignored) == (2, {".md": 1})
    assert sorted(stored(tmp_path / "lib")) == ["deep/y", "x"]
    np.testing.assert_array_equal(stored(tmp_path / "lib")["x"][1], array)


def test_a_folder_of_numpy_files_restores_the_axis_that_single_frames_lost(tmp_path):
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "out" / "many.mp4.npy", features(3, 1))
    np.save(tmp_path / "out" / "one.npy", features(1, 2)[0])
    np.savez(tmp_path / "out" / "zip.npz", anything=np.asfortranarray(features(4, 3).astype(np.float64)))
    assert imported(tmp_path / "out", tmp_path / "lib").done == 3
    found = stored(tmp_path / "lib")
    assert {video_id: len(array) for video_id, (_, array) in found.items()} == {"many.mp4": 3, "one": 1, "zip": 4}
    np.testing.assert_array_equal(found["one"][1], features(1, 2).astype(np.float16))
    np.testing.assert_array_equal(found["zip"][1], features(4, 3).astype(np.float16))


def test_one_numpy_file_is_one_video_and_a_single_frame_in_hdf5_counts(tmp_path):
    np.save(tmp_path / "solo.npy", features(2, 1))
    assert imported(tmp_path / "solo.npy", tmp_path / "lib").done == 1
    imported(hdf5(tmp_path / "frame.hdf5", {"frame": features(1, 2)[0]}), tmp_path / "lib")
    assert {video_id: len(array) for video_id, (_, array) in stored(tmp_path / "lib").items()} == {
        "solo": 2,
        "frame": 1,
    }


@pytest.mark.parametrize("gap, end", [(" ", "\n"), ("\t", "\n"), ("   ", "\r\n"), (" \t ", "  \r\n")])
def test_a_list_of_the_references_is_read_whatever_its_blanks_and_line_ends(authors, tmp_path, gap, end):
    (tmp_path / "some where").mkdir()
    np.savez_compressed(tmp_path / "some where" / "wlaf.npz", features=features(3, 1))
    lines = ["first" + gap + "some where/wlaf.npz", f"a{gap}{authors}", f"other{gap}{authors}::vcdb/core/d", ""]
    (tmp_path / "list.txt").write_bytes(("\ufeff" + end.join(lines)).encode())
    assert imported(tmp_path / "list.txt", tmp_path / "lib", dtype="float32").done == 3
    found = stored(tmp_path / "lib")
    for video_id, array in {"first": features(3, 1), "a": VIDEOS["a"], "other": VIDEOS["vcdb/core/d"]}.items():
        np.testing.assert_array_equal(found[video_id][1], array)


@pytest.mark.parametrize("method", [name for name in models.names() if models.card(name).feature_dtype != "uint8"])
def test_features_of_every_method_can_be_imported(method, tmp_path):
    options = models.card(method).resolve({})
    array = features(5, 1, models.get(method).feature_shape(options))
    imported(hdf5(tmp_path / "f.hdf5", {"v": array}), tmp_path / "lib", method=method, dtype="float32")
    start_s, found = stored(tmp_path / "lib")["v"]
    np.testing.assert_array_equal(found, array)
    rate = models.get(method).view(options).windows_per_s
    np.testing.assert_allclose(start_s, np.arange(5) / rate if rate else np.zeros(5))


def test_an_option_that_changes_the_feature_is_asked_for_and_checked_before_comparing(tmp_path):
    path = hdf5(tmp_path / "f.hdf5", {"v": features(5, 1, (9, 512))})
    with pytest.raises(ValueError, match=r"features of visil are \(T, 9, 3840\); .*--method visil --option dims=512"):
        imported(path, tmp_path / "lib", method="visil")
    assert imported(path, tmp_path / "lib", method="visil", options={"dims": "512"}).done == 1
    imported(hdf5(tmp_path / "t.hdf5", {"v": features(5, 1, (384,))}), tmp_path / "small", method="csl3d",
             options={"size": "small"})  # fmt: skip
    imported(hdf5(tmp_path / "u.hdf5", {"v": features(5, 1, (768,))}), tmp_path / "base", method="csl3d")
    with pytest.raises(ValueError, match="cannot be compared: their feature_shape differ"):
        similarity(tmp_path / "small", tmp_path / "base", tmp_path / "scores", method="csl3d", weights="random")


def test_weights_of_another_width_are_refused_before_comparing(tmp_path):
    path = hdf5(tmp_path / "f.hdf5", {"v": features(5, 1, (512,))})
    imported(path, tmp_path / "lib", method="tca", options={"dims": "512"})
    (config,) = Library(tmp_path / "lib").configs.values()
    changed = config.to_json() | {"options": config.options | {"dims": None}}
    write_json(tmp_path / "lib" / CONFIGS / f"{config.name}.json", changed)
    (tmp_path / "lib" / CONFIGS / f"{config.name}.sha256").unlink()
    with pytest.raises(ValueError, match=r"have shape \[512\], tca under these settings compares \[1024\]"):
        similarity(tmp_path / "lib", tmp_path / "lib", tmp_path / "scores", method="tca", weights="random")


# --- bad videos -----------------------------------------------------------------------------------------------


def test_a_bad_dataset_costs_one_row_and_the_ledger_balances(tmp_path):
    bad = features(4, 1)
    bad[2, 3, 4] = np.nan
    arrays = {
        "good": features(4, 1), "narrow": features(4, 1, (1024,)), "nan": bad, "none": features(0, 1),
        "whole": np.ones((2, 9, 512), np.int32), "wide": features(2, 1) * 1e6,
    }  # fmt: skip
    path = hdf5(tmp_path / "f.hdf5", arrays)
    with h5py.File(path, "a") as file:
        file["nowhere"] = h5py.SoftLink("/gone")
        file.create_dataset("unwritten", (50, *SHAPE), np.float32, chunks=True)
    done = run("import", path, tmp_path / "lib", "--method", "s2vs", "--json")
    summary = json.loads(done.stdout)
    assert done.exit_code == 1 and (summary["videos"], summary["done"], summary["windows"]) == (8, 1, 4)
    assert summary["failed"] == {"io": 1, "corrupt": 5, "empty": 1}
    said = {video_id: (end["error_class"], end["message"]) for video_id, end in ledger(tmp_path / "lib").items()}
    assert said["narrow"] == ("corrupt", f"{path}::narrow: it has shape (4, 1024), expected (T, 9, 512)")
    assert said["nan"] == ("corrupt", f"{path}::nan: row 2 has values that are not finite")
    assert said["none"] == ("empty", f"{path}::none: it has no rows: its shape is (0, 9, 512)")
    assert "holds int32, not float16 features" in said["whole"][1]
    assert "do not fit float16; import with --dtype float32" in said["wide"][1]
    assert said["nowhere"] == ("io", f"{path}::nowhere: there is no such dataset in the file")
    assert "(50, 9, 512), but nothing was ever written" in said["unwritten"][1]
    assert list(stored(tmp_path / "lib")) == ["good"]
    assert f"corrupt     nan  {path}::nan: row 2" in run("show", tmp_path / "lib", "--failures").stdout
    assert "try again: ndvr import ... --retry io,corrupt,empty" in run(
        "import", path, tmp_path / "lib", "--method", "s2vs", "--quiet"
    ).stdout  # fmt: skip


def test_damaged_and_missing_numpy_files_are_failures_with_a_class(tmp_path):
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "out" / "good.npy", features(3, 1))
    np.savez(tmp_path / "out" / "good2.npz", features=features(3, 1))
    whole, packed = ((tmp_path / "out" / name).read_bytes() for name in ("good.npy", "good2.npz"))
    (tmp_path / "out" / "cut.npy").write_bytes(whole[:-100])
    (tmp_path / "out" / "long.npy").write_bytes(whole + b"x")
    (tmp_path / "out" / "head.npy").write_bytes(whole.replace(b"}", b"(", 1))  # which NumPy reads as Python
    (tmp_path / "out" / "key.npy").write_bytes(whole.replace(b" 'shape'", b"b'shape'", 1))
    (tmp_path / "out" / "cut.npz").write_bytes(packed[:-100])
    (tmp_path / "out" / "flipped.npz").write_bytes(packed[:5000] + bytes([packed[5000] ^ 1]) + packed[5001:])
    (tmp_path / "out" / "page.npy").write_bytes(b"<html>not found</html>" * 9)
    np.save(tmp_path / "out" / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "out" / "two.npz", x=features(3, 1), y=features(3, 1))
    np.save(tmp_path / "out" / "nothing.npy", np.array([], np.float32))
    names = [file.name for file in sorted((tmp_path / "out").iterdir())]
    (tmp_path / "list.txt").write_text("".join(f"{name} out/{name}\n" for name in [*names, "gone.npy"]))
    summary = imported(tmp_path / "list.txt", tmp_path / "lib")
    assert (summary.videos, summary.done) == (13, 2)
    assert summary.failed == {"io": 1, "corrupt": 8, "empty": 1, "unsupported": 1}
    said = {video_id: end["message"] for video_id, end in ledger(tmp_path / "lib").items()}
    assert "cut.npy: it is cut short: 100 bytes are missing" in said["cut.npy"]
    assert "it holds more than its shape (3, 9, 512) says" in said["long.npy"]
    assert "it holds x, y; expected one array, or one that is called 'features'" in said["two.npz"]
    assert "gone.npy: No such file or directory" in said["gone.npy"]
    assert "Bad CRC" in said["flipped.npz"]


def test_wrong_sources_are_one_sentence_and_leave_no_library(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.hdf5").write_bytes(b"no hdf5")
    (tmp_path / "what.pkl").write_bytes(b"x")
    h5py.File(tmp_path / "none.h5", "w").close()
    for name, message in {
        "nowhere": "FILES does not exist: .*nowhere; give an HDF5 file",
        "empty": "no .npy or .npz files in folder",
        "cut.hdf5": "is no HDF5 file, or its beginning is lost",
        "what.pkl": "is neither an HDF5 file nor named .npy, .npz, .txt",
        "none.h5": "none.h5 holds no datasets",
    }.items():
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            imported(tmp_path / name, tmp_path / "lib")
    assert not (tmp_path / "lib").exists()
    np.save(tmp_path / "empty" / "a.npy", features(1, 1))
    np.savez(tmp_path / "empty" / "a.npz", features(1, 1))
    with pytest.raises(ValueError, match="have the same id 'a'; keep one of them"):
        find_features(tmp_path / "empty")
    with pytest.raises(ValueError, match="unknown error class 'bad'"):
        imported(tmp_path / "empty", tmp_path / "lib", retry=("bad",))


def test_a_group_that_contains_itself_is_named(tmp_path):
    path = hdf5(tmp_path / "f.hdf5", {"g/a": features(1, 1)})
    with h5py.File(path, "a") as file:
        file["g/loop"] = file["g"]
    with pytest.raises(ValueError, match="group 'g/loop' contains itself"):
        list(find_features(path).walk())


def test_the_total_grows_with_the_groups_that_are_found(authors):
    files = find_features(authors)
    assert list(files.walk())[-1] == FeatureFile(video_id="vcdb/core/d", path=str(authors), dataset="vcdb/core/d")
    assert files.total == 4


# --- files made to harm -----------------------------------------------------------------------------------------


def test_what_lies_in_another_file_is_refused_by_name_and_never_read(tmp_path):
    secret = tmp_path / "key"
    secret.write_bytes(b"TOP-SECRET" * 2000)
    hdf5(tmp_path / "other.hdf5", {"a": features(2, 1), "g/b": features(2, 2)})
    path = hdf5(tmp_path / "f.hdf5", {"good": features(2, 3)})
    layout = h5py.VirtualLayout(shape=(2, *SHAPE), dtype="f4")
    layout[:] = h5py.VirtualSource(tmp_path / "other.hdf5", "a", shape=(2, *SHAPE))
    with h5py.File(path, "a") as file:
        file.create_dataset("stored", shape=(1, *SHAPE), dtype="f4", external=[(str(secret), 0, 9 * 512 * 4)])
        file.create_virtual_dataset("virtual", layout)
        file["linked"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "a")
        file["group"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "g")
        file["through"] = h5py.SoftLink("/group/b")
        file["endless"] = h5py.SoftLink("/endless")
        file["nowhere"] = h5py.SoftLink("/gone")
        file["second"] = h5py.SoftLink("good")
    summary = imported(path, tmp_path / "lib", method="s2vs")
    assert (summary.done, summary.failed) == (2, {"unsupported": 5, "corrupt": 1, "io": 1})
    said = {video_id: end["message"] for video_id, end in ledger(tmp_path / "lib").items()}
    assert f"its numbers lie in another file, '{secret}'" in said["stored"]
    assert "it is a virtual dataset" in said["virtual"]
    for name in ("linked", "group", "through"):
        assert "it is a link to another file" in said[name]
    assert "lead to each other without an end" in said["endless"]
    assert not any(b"TOP-SECRET" in file.read_bytes() for file in (tmp_path / "lib").rglob("*.parquet"))


def test_groups_that_are_met_again_or_lie_without_end_are_refused_in_time(tmp_path):
    path = tmp_path / "f.hdf5"
    with h5py.File(path, "w") as file:
        group = file.create_group("g0")
        for _ in range(60):  # 2 ** 60 paths
            inner = group.create_group("left")
            group["right"], group = inner, inner
    with pytest.raises(ValueError, match="is group '.*' by another name; remove that link"):
        list(find_features(path).walk())
    with h5py.File(path, "w") as file:
        file.create_group("/".join("g" * 3000))
    with pytest.raises(ValueError, match="more than 100 deep"):
        list(find_features(path).walk())


@pytest.mark.slow
def test_files_that_say_or_unpack_to_more_than_they_can_hold_are_failures(tmp_path):
    (tmp_path / "out").mkdir()
    whole = io.BytesIO()
    np.lib.format.write_array_header_1_0(whole, {"descr": "<f4", "fortran_order": True, "shape": (10**12, *SHAPE)})
    (tmp_path / "out" / "claims.npy").write_bytes(whole.getvalue() + bytes(100))
    with zipfile.ZipFile(tmp_path / "out" / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("features.npy", "w") as file:
            for _ in range(300):
                file.write(bytes(1 << 20))
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        dataset = file.create_dataset("sparse", shape=(10**9, *SHAPE), chunks=(1, *SHAPE), dtype="f4")
        dataset[0] = 1
        file.create_dataset("chunk", shape=(10**6, *SHAPE), chunks=(10**6, 1, 512), dtype="f4")
    lines = [
        *(f"{name} out/{name}" for name in ("claims.npy", "bomb.npz")),
        *(f"{x} f.hdf5::{x}" for x in ("sparse", "chunk")),
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    summary = imported(tmp_path / "list.txt", tmp_path / "lib")
    assert summary.failed == {"corrupt": 3, "unsupported": 1}
    said = {video_id: end["message"] for video_id, end in ledger(tmp_path / "lib").items()}
    assert "bytes are missing" in said["claims.npy"]
    assert "it would unpack to 0.3 GB out of 1." in said["bomb.npz"]
    assert "it would unpack to 18,432.0 GB" in said["sparse"]
    assert "take more than 1 GiB each" in said["chunk"]
