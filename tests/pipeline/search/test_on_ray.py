"""A search on Ray: parts of the index in several processes give the answers of one, also while they are killed."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace

import clip_library as clips
import numpy as np
import pytest
from click.testing import CliRunner
from own_processes import ours

from ndvr.pipeline.cli import main
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.search import build, matcher, on_ray
from ndvr.pipeline.search.matcher import Matcher, Wanted
from ndvr.pipeline.search.on_ray import OnRay
from ndvr.pipeline.search.queries import read_queries
from ndvr.pipeline.search.search import Index, search

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def parted(library, tmp_path_factory):
    """The films in an index of three segments."""
    folder = shutil.copytree(
        library, tmp_path_factory.mktemp("parted") / "library", ignore=shutil.ignore_patterns("index")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "SEGMENT_VIDEOS", 2)
        assert len(Index.open(folder).update().library_index.segments) == 3
    return folder


@pytest.fixture(scope="module")
def videos(films, tmp_path_factory):
    """A montage, an edited copy, a new film, the same file, and a file that is none."""
    folder = tmp_path_factory.mktemp("queries")
    clips.clip(folder / "montage.mp4", np.concatenate([films["film3"][:24], clips.scene(77, 4), films["film4"][8:48]]))
    clips.clip(folder / "mirror.mp4", films["film1"][:, :, ::-1], crf=28)
    clips.clip(folder / "new.mp4", clips.scene(99, 6))
    clips.clip(folder / "same.mp4", films["film0"])
    (folder / "none.mp4").write_bytes(b"no video")
    return folder


def timeless(answers):
    return [replace(answer, seconds=0.0) for answer in answers]


def test_parts_of_an_index_give_the_answers_of_the_whole(parted, videos, monkeypatch):
    monkeypatch.setattr(matcher, "BATCH", 2)  # videos: so that several processes compare with one query
    alone, together = (
        search(videos, parted, workers=workers, progress=False, false_per_million=1e6) for workers in (0, 2)
    )
    assert sum(len(answer.matches) for answer in alone.answers) >= 4
    assert timeless(together.answers) == timeless(alone.answers)
    assert replace(together, answers=[], seconds=0.0) == replace(alone, answers=[], seconds=0.0)


def test_the_command_finds_duplicates_on_ray_with_the_same_files(parted, tmp_path):
    for workers in ("0", "2"):
        told = CliRunner().invoke(
            main, ["dedupe", str(parted), str(tmp_path / workers), "--by-index", "--workers", workers, "--quiet"]
        )
        assert told.exit_code == 0, told.output
    for name in ("pairs.parquet", "groups.parquet"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def started(opened, workers):
    """A matcher, and its crew on Ray."""
    opened = replace(opened, keys=False)
    crew = OnRay(opened, Workers(workers=workers, progress=False), false_per_million=200.0)
    crew.ahead = 0
    return Matcher(opened, Wanted()), crew


@pytest.fixture(scope="module")
def two(parted):
    """An index, a matcher, and two processes that hold the parts."""
    opened = Index.open(parted).library_index
    finder, crew = started(opened, 2)
    with crew:
        yield opened, finder, crew


def test_a_process_that_is_killed_is_replaced_and_the_answers_are_the_same(two, videos):
    opened, finder, crew = two
    queries = read_queries(videos, opened)
    alone = Index(opened).search(queries).answers
    answers = finder.answers(queries.read(list(queries.uris), opened), crew)
    first = [next(answers), next(answers)]
    holders = set(ours("ray::Holder"))
    os.kill(min(holders), signal.SIGKILL)
    assert timeless([*first, *answers]) == timeless(alone)
    assert len(set(ours("ray::Holder")) - holders) == 1


def test_what_was_not_searched_while_a_process_is_gone_is_stated(two, videos, monkeypatch):
    import ray

    monkeypatch.setattr(on_ray, "PATIENCE_S", 1.0)
    opened, finder, crew = two
    queries = read_queries(videos / "mirror.mp4", opened)

    @ray.remote(num_cpus=0.9, max_retries=0)
    def other_work():
        import time

        time.sleep(600)

    def answer():
        (one,) = finder.answers(queries.read(list(queries.uris), opened), crew)
        return one

    whole = answer()
    assert (whole.status, whole.videos, whole.matches[0].video_id) == ("searched", 5, "film1")
    waiting = other_work.remote()  # takes the place of the process that dies
    os.kill(min(ours("ray::Holder")), signal.SIGKILL)
    partial = answer()
    assert (partial.status, partial.videos < 5) == ("partial", True)
    assert f"{5 - partial.videos} videos were not searched" in partial.message
    ray.cancel(waiting, force=True)
    monkeypatch.setattr(on_ray, "PATIENCE_S", 60.0)
    assert timeless([answer()]) == timeless([whole])
