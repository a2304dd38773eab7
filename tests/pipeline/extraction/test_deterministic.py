"""The rows of a library do not depend on how it was made: how many workers, which other videos, in how many runs."""

import hashlib
import shutil

import clip_library
import pytest
from clips import numbered_clip

from ndvr.operators.library.library import Library
from ndvr.pipeline.extraction.extract import extract
from ndvr.pipeline.extraction.pools import Pools

pytestmark = pytest.mark.usefixtures("ray_cluster")

# S2VS's convolutions gave other bits with two threads than with one, AuSiL's for one window than for two.
METHODS = ("s2vs", "ausil")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Of 9, 6 and 1 windows of picture; no batch is full, and one is as small as can be."""
    folder = tmp_path_factory.mktemp("videos")
    numbered_clip(folder / "a.mp4", n_frames=90, fps=10, audio_s=9.0)
    numbered_clip(folder / "b.mkv", n_frames=60, fps=10, audio_s=6.0, numbers=range(100, 160))
    numbered_clip(folder / "c.webm", n_frames=10, fps=10, numbers=range(200, 210))
    return folder


@pytest.fixture(scope="module")
def once(videos, tmp_path_factory):
    """All rows as one process makes them, without Ray and a method at a time."""
    library = tmp_path_factory.mktemp("once") / "lib"
    for method in METHODS:
        clip_library.extract(library, clip_library.videos_in(videos), method=method, weights="random", run=method)
    return rows_in(library)


def rows_of(videos, library, **workers) -> dict[tuple[str, str], tuple[int, str]]:
    """The rows after one more run."""
    weights = dict.fromkeys(METHODS, "random")
    extract(videos, library, methods=METHODS, weights=weights, pools=Pools(**workers), progress=False)
    return rows_in(library)


def rows_in(library) -> dict[tuple[str, str], tuple[int, str]]:
    """Number of windows and hash of the rows of every video, by method and id."""
    opened, found = Library(library), {}
    for name, config in opened.configs.items():
        for video_id, start_s, features in opened.read(opened.entries(name).values()):
            digest = hashlib.sha256(start_s.tobytes() + features.tobytes()).hexdigest()
            found[config.method, video_id] = len(start_s), digest
    return found


@pytest.fixture(scope="module")
def otherwise(videos, tmp_path_factory):
    """The rows of a run over one of the videos, and those of all after a run over the others by two workers a stage."""
    place = tmp_path_factory.mktemp("otherwise")
    shutil.copytree(videos, place / "videos", ignore=shutil.ignore_patterns("[ac].*"))
    alone = rows_of(place / "videos", place / "lib", decode_workers=1, embed_workers=1)
    shutil.copytree(videos, place / "videos", dirs_exist_ok=True)
    return alone, rows_of(place / "videos", place / "lib", decode_workers=2, embed_workers=2)


def test_of_every_method_all_windows_are_there(once):
    assert {key: count for key, (count, _) in once.items()} == {
        ("s2vs", "a.mp4"): 9, ("s2vs", "b.mkv"): 6, ("s2vs", "c.webm"): 1, ("ausil", "a.mp4"): 10, ("ausil", "b.mkv"): 6
    }  # fmt: skip


def test_a_video_alone_in_a_run_by_one_worker_has_the_same_bits(once, otherwise):
    alone, _ = otherwise
    assert alone == {key: rows for key, rows in once.items() if key[1] == "b.mkv"} and len(alone) == len(METHODS)


def test_one_process_or_two_workers_a_stage_give_the_same_bits(once, otherwise):
    """Of the two other videos: the first was there already."""
    _, both = otherwise
    assert both == once
