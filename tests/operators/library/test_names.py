"""Names that stand in a library or in SCORES are names of its own files: what leads out of it is refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from published_features import features, hdf5, imported
from score_libraries import compared, library

from ndvr.operators.library.library import Library
from ndvr.operators.scores.files import open_scores
from ndvr.operators.storage.store import Store, file_name
from ndvr.pipeline.cli import main

OUTSIDE = ["../home/thesis.txt", "../../thesis.parquet", "/etc/passwd", "a/../../thesis.parquet", "..\\thesis.parquet"]
OUTSIDE += ["C:\\thesis.parquet", "x\0.parquet", "", ".", "..", "config/../../x.parquet", None, 7, ["x.parquet"]]


def run(*arguments, code=0) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def place(tmp_path):
    """A library of two videos, folded, and a file beside it that is nobody's business."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    (tmp_path / "thesis.parquet").write_text("precious")
    imported(hdf5(tmp_path / "f.hdf5", {"a": features(3, 1), "b": features(2, 2)}), tmp_path / "lib")
    run("gc", tmp_path / "lib")
    yield tmp_path / "lib"
    assert (tmp_path / "home" / "thesis.txt").read_text() == (tmp_path / "thesis.parquet").read_text() == "precious"


@pytest.mark.parametrize("name", OUTSIDE, ids=repr)
def test_what_is_no_plain_name_is_refused_naming_where_it_stands(name):
    with pytest.raises(ValueError, match="lib/snapshots/1.json names .*no file of its own"):
        file_name(name, "lib/snapshots/1.json", folders=("", "config"))


def test_names_of_files_in_their_folder_are_taken_as_they_are():
    assert file_name("20260101-0a.parquet", "s") == "20260101-0a.parquet"
    assert file_name("ledger/0a.parquet", "s", folders=("ledger",)) == "ledger/0a.parquet"
    with pytest.raises(ValueError, match="no file of its own"):
        file_name("ledger/0a.parquet", "s")
    with pytest.raises(ValueError, match="no file of its own"):
        file_name("0a.json", "s")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "x\0"])
def test_a_store_reaches_nothing_outside_its_root(tmp_path, name):
    store = Store(tmp_path / "root")
    for touch in (store.read, store.open, store.exists, store.remove, store.names, lambda x: store.write(x, b"data")):
        with pytest.raises(ValueError, match="none of its files"):
            touch(name)
    with pytest.raises(ValueError, match="none of its files"):
        store.write_parquet(name, pa.table({"n": [1]}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["retired", "folded", "ledger"])
@pytest.mark.parametrize("name", ["../../home/thesis.txt", "../../thesis.parquet", "ledger/../../thesis.parquet"])
def test_a_snapshot_that_names_files_elsewhere_is_refused_and_nothing_is_removed(place, key, name):
    (snapshot,) = sorted((place / "snapshots").iterdir())[-1:]
    held = json.loads(snapshot.read_text())
    held.pop("sha256", None)
    snapshot.write_text(json.dumps(held | {key: [{"name": name, "rows": 1}] if key == "ledger" else [name]}))
    before = sorted(path for path in place.rglob("*") if path.is_file())
    for command in (("gc", place), ("show", place), ("remove", place, "a")):
        assert f"{snapshot} names" in run(*command, code=2)
    assert sorted(path for path in place.rglob("*") if path.is_file()) == before


def test_a_run_record_of_another_name_overwrites_nothing(place):
    (place.parent / "config.json").write_text('{"auths": "mine"}')
    (place / "runs").mkdir(exist_ok=True)
    (place / "runs" / "zz.open").write_text('{"clustered": false}')
    record = {"run": "../../config", "library": "lib", "settings": {}, "configs": {}, "outcome": "running"}
    (place / "runs" / "zz.json").write_text(json.dumps(record | {"started": "x"}))
    assert "runs/zz.json is the record of a run '../../config'" in run("gc", place, code=2)
    assert (place.parent / "config.json").read_text() == '{"auths": "mine"}'


@pytest.mark.parametrize("name", ["../home/thesis.txt", "CONFIG/../../../thesis.parquet", "../thesis.parquet", "x"])
def test_a_receipt_that_names_a_shard_elsewhere_is_refused(place, name):
    opened = Library(place)
    (config,) = opened.configs
    ledger = opened.ledger
    shards = [shard and name.replace("CONFIG", config) for shard in ledger["shard"].to_pylist()]
    changed = ledger.set_column(ledger.column_names.index("shard"), "shard", pa.array(shards, pa.string()))
    for folder in ("snapshots", "ledger", "commits"):
        for path in (place / folder).glob("*"):
            path.unlink()
    pq.write_table(changed, place / "commits" / "r1-0.parquet")
    opened = Library(place)
    with pytest.raises(ValueError, match="the ledger of .*lib names .*no file of its own"):
        list(opened.read(opened.entries(config).values()))


def test_a_configuration_under_another_name_is_refused(place):
    (path,) = (place / "configs").glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": "../../x"}))
    assert f"{path} is damaged (its content has changed)" in run("show", place, code=2)
    path.with_suffix(".sha256").unlink()
    assert f"{path} is damaged (it is of a configuration '../../x')" in run("show", place, code=2)


@pytest.mark.parametrize("key", ["parts", "ids"])
def test_scores_that_name_files_elsewhere_are_refused(tmp_path, key):
    path = library(tmp_path / "lib", {"v1": 3, "v2": 4})
    compared(path, path, tmp_path / "s")
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"query_id": ["v1"], "video_id": ["v2"], "score": np.zeros(1, np.float32)}), other)
    about = tmp_path / "s" / "scores.json"
    held = json.loads(about.read_text())
    held.pop("sha256", None)
    named = ["../../other.parquet"] if key == "parts" else {"queries": "../other.parquet", "videos": "../other.parquet"}
    about.write_text(json.dumps(held | {key: named}))
    with pytest.raises(ValueError, match="scores.json names .*no file of its own"):
        open_scores(tmp_path / "s")
