"""Duplicates of a library by way of its index: pairs, what they cover, and the groups they make."""

from __future__ import annotations

import clip_library as clips
import numpy as np
import pyarrow.parquet as pq
import pytest

from ndvr.operators.library.lease import Lease
from ndvr.operators.library.library import Library
from ndvr.pipeline.extraction.gone import note_gone
from ndvr.pipeline.search.duplicates import duplicates, group


def pair(a: str, b: str, score: float = 0.9, *, kind: str = "copy", covered: tuple[float, float] = (1.0, 1.0)) -> dict:
    return {
        "video_id_a": a,
        "video_id_b": b,
        "score": score,
        "kind": kind,
        "a_covered": covered[0],
        "b_covered": covered[1],
        "false_per_million": 0.1,
    }


def test_a_chain_is_called_one_and_its_weakest_link_is_told():
    rows = group([pair("a", "b", 0.95), pair("b", "c", 0.6)], {"a": 9, "b": 9, "c": 9})
    assert {(row["video_id"], row["representative"], row["chain"], row["weakest_link"]) for row in rows} == {
        ("a", "b", True, 0.6),
        ("b", "b", True, 0.6),
        ("c", "b", True, 0.6),
    }


def test_the_representative_is_the_one_that_shows_the_others():
    pairs = [
        pair("clip", "film", kind="part", covered=(1.0, 0.3)),
        pair("film", "short", kind="contains", covered=(0.4, 1.0)),
    ]
    rows = group(pairs, {"clip": 3, "film": 10, "short": 4})
    assert {row["video_id"]: (row["representative"], row["covered"]) for row in rows} == {
        "clip": ("film", 1.0),
        "film": ("film", 1.0),
        "short": ("film", 1.0),
    }


def test_shared_material_and_a_common_setting_make_no_group():
    assert group([pair("a", "b", kind="shared"), pair("b", "c", kind="setting")], {}) == []


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """A film, its mirrored copy, an excerpt of it, and another film."""
    folder = tmp_path_factory.mktemp("duplicates")
    film = clips.scene(1, 8)
    frames = {"film": film, "mirrored": film[:, :, ::-1], "excerpt": film[16:48], "other": clips.scene(2, 8)}
    videos = {name: clips.clip(folder / f"{name}.mp4", each, crf=24) for name, each in frames.items()}
    return clips.extract(folder / "library", videos)


def rows_of(path):
    return pq.read_table(path).to_pylist()


@pytest.mark.slow
def test_copies_are_paired_and_grouped_and_the_second_run_searches_for_nothing(collection, tmp_path):
    done = duplicates(collection, tmp_path / "pairs", progress=False)
    assert (done.videos, done.searched, done.groups, done.videos_in_groups) == (4, 4, 1, 3)
    pairs = {
        (row["video_id_a"], row["video_id_b"]): row["kind"] for row in rows_of(tmp_path / "pairs" / "pairs.parquet")
    }
    assert pairs == {("film", "mirrored"): "copy", ("excerpt", "film"): "part", ("excerpt", "mirrored"): "part"}
    covered = {row["video_id"]: row["covered"] for row in rows_of(tmp_path / "pairs" / "groups.parquet")}
    assert covered == {"film": 1.0, "mirrored": pytest.approx(1.0, abs=0.1), "excerpt": pytest.approx(1.0, abs=0.1)}
    again = duplicates(collection, tmp_path / "pairs", threshold=0.999, progress=False)
    assert (again.searched, again.found) == (0, 0), "another threshold is a matter of reading"
    with pytest.raises(ValueError, match="scores are kept from 0.5 to 1"):
        duplicates(collection, tmp_path / "pairs", threshold=0.2, progress=False)


@pytest.mark.slow
def test_a_new_video_costs_one_search(collection, tmp_path):
    duplicates(collection, tmp_path / "pairs", progress=False)
    new = clips.clip(tmp_path / "new.mp4", np.clip(clips.scene(2, 8) * 0.8 + 30, 0, 255).astype(np.uint8))
    clips.extract(collection, {"new": new}, run="r2")
    done = duplicates(collection, tmp_path / "pairs", progress=False)
    assert (done.searched, done.groups) == (1, 2)
    assert ("new", "other") in {
        (r["video_id_a"], r["video_id_b"]) for r in rows_of(tmp_path / "pairs" / "pairs.parquet")
    }
    library = Library(collection)
    entry = library.entries(*library.configs)["new"]
    with Lease(library.store, "a test"):
        note_gone(library, {"new": entry}, "videos", mark=False)
    done = duplicates(collection, tmp_path / "pairs", progress=False)
    assert done.gone == ("new",) and "1 of these videos, 'new', is no longer in the folder that gave it" in done.text()
