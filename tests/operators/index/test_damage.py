"""One changed byte in any file of an index: it is refused, or nothing is another."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from ndvr.operators.index.segments import IndexFiles
from ndvr.operators.storage.sealed import seal_json
from ndvr.pipeline.cli import main

pytestmark = pytest.mark.slow


def contents(root) -> list:
    """All that an index says."""
    files = IndexFiles(str(root))
    snapshot = files.snapshot()
    segments = files.open(snapshot)
    return [
        files.about(),
        snapshot,
        *(each.table for each in segments),
        *(each.lists.starts.tolist() for each in segments),
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A library with an index."""
    folder = tmp_path_factory.mktemp("damage")
    rng = np.random.default_rng(0)
    (folder / "f").mkdir()
    for number in range(6):
        np.save(folder / "f" / f"v{number}.npy", rng.integers(0, 256, (12, 512), dtype=np.uint8))
    for command in (["import", folder / "f", folder / "lib", "--method", "thumbprint"], ["index", folder / "lib"]):
        assert CliRunner().invoke(main, [*map(str, command), "--quiet"]).exit_code == 0
    return folder / "lib"


def test_no_changed_byte_of_an_index_is_silent(place, tmp_path):
    (root,) = (place / "index").iterdir()
    whole, rng, told = contents(root), np.random.default_rng(1), 0
    names = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file() and "locks" not in path.parts]
    assert {name.suffix for name in names} == {".json", ".arrow", ".lists", ".parquet"}
    for name in names:
        for _ in range(12):
            shutil.copytree(root, tmp_path / "index")
            data = bytearray((tmp_path / "index" / name).read_bytes())
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
            (tmp_path / "index" / name).write_bytes(data)
            try:
                assert contents(tmp_path / "index") == whole, f"{name} was changed in silence"
            except ValueError as error:
                assert "index LIBRARY" in str(error), error
                told += 1
            shutil.rmtree(tmp_path / "index")
    assert told > 40


def test_a_damaged_index_is_refused_and_made_again(place, tmp_path):
    for kind in ("*.arrow", "*.json"):
        library = shutil.copytree(place, tmp_path / kind.strip("*."))
        path = max((library / "index").rglob(kind))
        path.write_bytes(path.read_bytes()[:-3] + b"xyz")
        told = CliRunner().invoke(main, ["search", str(library), str(library), "--quiet"])
        assert told.exit_code == 2 and "--again" in told.output, told.output
        assert CliRunner().invoke(main, ["index", str(library), "--again", "--quiet"]).exit_code == 0
        assert CliRunner().invoke(main, ["search", str(library), str(library), "--quiet"]).exit_code in (0, 1, 3)


@pytest.mark.parametrize(("key", "value"), [("segments", ["../../../f/v0"]), ("segments", 7), ("surprise", 1)])
def test_a_snapshot_that_says_something_else_is_refused(place, tmp_path, key, value):
    library = shutil.copytree(place, tmp_path / "library")
    snapshot = max((library / "index").rglob("snapshots/*.json"))
    held = json.loads(snapshot.read_text()) | {key: value}
    snapshot.write_text(json.dumps(seal_json(held)))
    told = CliRunner().invoke(main, ["search", str(library), str(library), "--quiet"])
    assert told.exit_code == 2 and snapshot.name in told.output, told.output
