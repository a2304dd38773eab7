"""Two hosts: one sleeps between its last look and putting its work in force, or its clock is a day behind."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from ndvr.benchmarks.chaos.library_check import scores_in
from ndvr.operators.errors import RunStopped
from ndvr.operators.library.fencing import revoke
from ndvr.operators.library.library import Library
from ndvr.operators.library.receipt_files import fold
from ndvr.operators.storage.store import Store
from ndvr.pipeline.comparison._score_folder import ScoreFolder
from ndvr.pipeline.comparison.dedupe import dedupe
from ndvr.pipeline.comparison.similarity import similarity
from ndvr.pipeline.extraction.import_features import import_features
from ndvr.pipeline.review.found import read_found
from ndvr.pipeline.search.build import update
from ndvr.pipeline.search.library_index import open_index
from ndvr.pipeline.upkeep.maintenance import fsck, gc, remove

HASHED = {"method": "c3dhash", "weights": "random:1", "workers": 0, "progress": False}


def imported(folder: Path, names: str, method: str, shape: tuple[int, ...]) -> None:
    """Import made features of videos whose names have one letter."""
    features = folder / f"features-{names}"
    features.mkdir(parents=True)
    for number, name in enumerate(names):
        codes = np.random.default_rng(number).integers(0, 256, shape)
        if method == "thumbprint":
            codes[:, :5] = (0, 128, 0, 128, 150)
        np.save(features / f"{name}.npy", codes.astype(np.uint8 if method == "thumbprint" else np.float32))
    import_features(features, folder / "library", method=method, progress=False)


def take_over(folder: Path) -> None:
    """Take it from whoever has it, as after two minutes of silence."""
    (lock,) = (folder / "locks").glob("*.json")
    revoke(Store(folder), lock.stem, by="'ndvr' on far (process 9)", because="had not been heard of for 130 s")
    lock.unlink()


@pytest.fixture
def sleep_once(monkeypatch):
    """Let a method of a class sleep once, the `nth` time it is called on such a file, while something else is done."""

    def sleep_once(owner, name, meanwhile, *, nth, of=""):
        original, calls = getattr(owner, name), []

        def sleeping(self, *arguments):
            calls.append(not of or arguments[0].startswith(of))
            if calls[-1] and sum(calls) == nth:
                meanwhile()
            return original(self, *arguments)

        monkeypatch.setattr(owner, name, sleeping)

    return sleep_once


def test_scores_that_a_sleeper_puts_in_force_do_not_count_and_the_next_run_mends_that(tmp_path, sleep_once):
    imported(tmp_path, "ab", "c3dhash", (1, 512))
    library, out = tmp_path / "library", tmp_path / "scores"

    def other() -> None:
        take_over(out)
        imported(tmp_path, "cd", "c3dhash", (1, 512))
        similarity(library, library, out, **HASHED)
        assert len(scores_in(out)) == 16

    sleep_once(ScoreFolder, "_write_manifest", other, nth=2)
    with pytest.raises(RunStopped, match="has taken over"):
        similarity(library, library, out, **HASHED)
    with pytest.raises(ValueError, match=r"scores.json was written by a run that another one had taken over; run the"):
        scores_in(out)
    similarity(library, library, out, **HASHED)
    assert len(scores_in(out)) == 16


@pytest.mark.parametrize("name", ["_write_manifest", "write_ids"])
def test_pairs_that_a_sleeper_puts_in_force_are_refused_and_the_next_run_mends_that(
    tmp_path, sleep_once, monkeypatch, name
):
    """It sleeps before it writes pairs.json, or (the look before pairs.parquet went well) wrote the pairs late."""
    imported(tmp_path, "ab", "c3dhash", (1, 512))
    library, out = tmp_path / "library", tmp_path / "pairs"

    def other() -> None:
        old = {each: (out / each).read_bytes() for each in ("pairs.parquet", "families.parquet")}
        take_over(out)
        imported(tmp_path, "cd", "c3dhash", (1, 512))
        dedupe(library, out, top_k=3, **HASHED)
        for each, data in old.items() if name == "write_ids" else ():
            (out / each).write_bytes(data)

    sleep_once(ScoreFolder, name, other, nth=2 if name == "_write_manifest" else 1)
    with pytest.raises(RunStopped, match="has taken over"):
        dedupe(library, out, top_k=3, **HASHED)
    with pytest.raises(ValueError, match=r"(had taken over|is not the file that pairs.json names); run `ndvr dedupe`"):
        read_found(out)
    dedupe(library, out, top_k=3, **HASHED)
    assert len(read_found(out).pairs) == 6


@pytest.mark.slow
def test_what_a_sleeper_commits_to_an_index_does_not_count(tmp_path, sleep_once):
    imported(tmp_path, "ab", "thumbprint", (30, 512))

    def other() -> None:
        (index,) = (tmp_path / "library" / "index").iterdir()
        take_over(index)
        imported(tmp_path, "cd", "thumbprint", (30, 512))
        update(open_index(tmp_path / "library"), progress=False)

    sleep_once(Store, "write_json", other, nth=1, of="snapshots/")
    with pytest.raises(RunStopped, match="has taken over"):
        update(open_index(tmp_path / "library"), progress=False)
    opened = open_index(tmp_path / "library")
    assert sorted(video.video_id for segment in opened.segments for video in segment.videos) == ["a", "b", "c", "d"]
    done = update(open_index(tmp_path / "library"), progress=False)
    assert (done.videos, done.added) == (4, 0)


class Behind(datetime):
    """The clock of a host that is a day behind."""

    @classmethod
    def now(cls, tz=None):
        return super().now(tz) - timedelta(days=1)


@pytest.mark.parametrize("folded", [False, True])
def test_the_latest_word_counts_whatever_the_clock_of_its_host_says(tmp_path, monkeypatch, folded):
    imported(tmp_path, "abc", "c3dhash", (1, 512))
    if folded:
        fold(Store(tmp_path / "library"), fewest=1)
    for module in ("receipt_files", "shards"):
        monkeypatch.setattr(f"ndvr.operators.library.{module}.datetime", Behind)
    remove(tmp_path / "library", ["b"])
    assert in_library(tmp_path / "library") == ["a", "c"]
    remove(tmp_path / "library", ["b"], undo=True)
    assert in_library(tmp_path / "library") == ["a", "b", "c"]
    new = np.full((1, 512), 0.25, np.float32)
    np.save(tmp_path / "features-abc" / "a.npy", new)
    import_features(tmp_path / "features-abc", tmp_path / "library", method="c3dhash", progress=False)
    library = Library(tmp_path / "library")
    entries = library.entries(library.config_of("c3dhash"))
    ((_, _, features),) = library.read([entries["a"]])
    np.testing.assert_array_equal(features, new)


def in_library(path: Path) -> list[str]:
    """List the videos that are not removed."""
    library = Library(path)
    return [each for each, entry in library.entries(library.config_of("c3dhash")).items() if not entry.removed]


def test_gc_on_a_host_whose_clock_is_a_day_behind_loses_no_row(tmp_path, monkeypatch):
    """What it moved counts, though by its clock it was moved before it was written."""
    imported(tmp_path, "abc", "c3dhash", (1, 512))
    remove(tmp_path / "library", ["b"])
    monkeypatch.setattr("ndvr.operators.library.receipt_files.datetime", Behind)
    gc(tmp_path / "library", force=True)
    report = fsck(tmp_path / "library", progress=False)
    assert report.sound, report.problems
    assert len(list((tmp_path / "library" / "shards").rglob("*.parquet"))) == 1
