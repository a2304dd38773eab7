"""A store that fails in a fifth of requests, in every way: all is done, nothing is lost; one that is away is told."""

import os

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from ndvr.benchmarks.chaos.flaky_relay import KINDS, flaky
from ndvr.operators.library.library import Library
from ndvr.operators.storage.object_store import Access, Unreachable
from ndvr.operators.storage.sealed import SealedTable, seal_table
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cli import TRY_AGAIN, main


@pytest.fixture
def quick(monkeypatch):
    """Pauses of a busy store, shortened."""
    monkeypatch.setattr("ndvr.operators.storage.object_store.PAUSES_S", (0.05,) * 8)
    monkeypatch.setattr("ndvr.operators.storage.object_store.FIRST_PAUSES_S", (0.05,) * 8)
    monkeypatch.setattr("ndvr.operators.storage.object_store.SILENT_S", 0.4)


def test_every_operation_is_done_whatever_goes_wrong_on_the_way(s3, quick):
    with flaky(s3.port, rate=0.5, seed=3, silent_s=0.6) as relay:
        store = Store("s3://bucket/flaky", Access(endpoint=relay.url))
        data = {f"a/{number}.bin": os.urandom(1 + 40_000 * number) for number in range(8)}
        for name, content in data.items():
            store.write(name, content)
        assert store.sizes("a") == {name.removeprefix("a/"): len(content) for name, content in data.items()}
        assert {name: store.read(name) for name in data} == data
        table = pa.table({"n": np.random.default_rng(0).integers(0, 1 << 60, 50_000)})
        store.write("t.parquet", seal_table(table, row_group_size=10_000))
        for _ in range(3):
            with store.open("t.parquet") as source:
                assert SealedTable(source, "t.parquet").read().column("n").equals(table.column("n"))
        store.remove(*data)
        assert store.names("a") == [] and store.exists("t.parquet") and not store.exists("a/0.bin")
        with pytest.raises(FileNotFoundError):
            store.read("a/0.bin")
    assert set(relay.counts) == {*KINDS, "passed on"}, "every kind of fault was met"


def test_commands_end_well_on_a_flaky_store_and_lose_nothing(s3, quick, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    features = {f"v{number}": rng.integers(0, 255, (4, 512)).astype(np.uint8) for number in range(6)}
    (tmp_path / "f").mkdir()
    for video_id, array in features.items():
        np.save(tmp_path / "f" / f"{video_id}.npy", array)
    library = "s3://bucket/flaky-library"
    with flaky(s3.port, rate=0.2, seed=5, silent_s=0.6) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        for command in (["import", str(tmp_path / "f"), library, "--method", "thumbprint", "--quiet"], ["gc", library]):
            done = CliRunner().invoke(main, command)
            assert done.exit_code == 0, done.output
        settings = ["--workers", "0", "--quiet", "--format", "json"]
        done = CliRunner().invoke(main, ["similarity", library, library, str(tmp_path / "flaky"), *settings])
        assert done.exit_code == 0, done.output
        assert sum(count for kind, count in relay.counts.items() if kind != "passed on") > 5
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    opened = Library(library)
    (config,) = opened.configs
    held = {video_id: array for video_id, _, array in opened.read(opened.entries(config).values())}
    assert set(held) == set(features) and all((held[video_id] == features[video_id]).all() for video_id in features)
    assert CliRunner().invoke(main, ["fsck", library, "--quiet"]).exit_code == 0
    assert CliRunner().invoke(main, ["similarity", library, library, str(tmp_path / "s"), *settings]).exit_code == 0
    flaky_scores, scores = (tmp_path / name / "similarities.json" for name in ("flaky", "s"))
    assert flaky_scores.read_text() == scores.read_text()


def test_a_store_that_stays_away_ends_in_a_code_that_schedulers_repeat(s3, quick, monkeypatch):
    Library.create("s3://bucket/lib")
    with flaky(s3.port, rate=1.0, silent_s=0.1) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        with pytest.raises(Unreachable, match=f"s3://bucket/lib: {relay.url}") as error:
            Store("s3://bucket/lib").names("commits")
        assert error.value.passing
        done = CliRunner().invoke(main, ["fsck", "s3://bucket/lib", "--quiet"])
        assert done.exit_code == TRY_AGAIN == 75 and "Traceback" not in done.output
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    wrong = CliRunner().invoke(main, ["fsck", "s3://nobucket/lib", "--quiet"])
    assert wrong.exit_code == 2, wrong.output
