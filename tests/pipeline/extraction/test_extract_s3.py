"""From videos in an object store to a library in one, through the command: once, again, killed, compared.

The Ray of these tests was started without a word about the store: what its workers know of it came with their work.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from clip_library import extract, videos_in
from clips import numbered_clip

from ndvr.benchmarks.chaos.flaky_relay import flaky
from ndvr.operators.library.library import Library
from ndvr.operators.storage.manifest import read_manifest
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cli import main

VIDEOS, LIBRARY = "s3://bucket/extract s3/videos #1", "s3://bucket/extract s3/library"
COUNT = 16

pytestmark = pytest.mark.usefixtures("ray_cluster", "s3")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Short clips, an empty file, a web page that calls itself a video, a note."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        numbered_clip(folder / f"{number}.mp4", n_frames=25 + 25 * number, fps=25)
    found = {f"{n:02d}/clip ü{n}.mp4": (folder / f"{n % 4}.mp4").read_bytes() for n in range(COUNT)}
    return found | {"empty.mp4": b"", "page.mp4": b"<html>not found</html>" * 20, "notes.txt": b"bought in 1998"}


@pytest.fixture(scope="module")
def extracted(ray_cluster, object_store, files):
    """What the command said of its first run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_store.env.items():
            patch.setenv(name, value)
        store = Store(VIDEOS)
        for name, data in files.items():
            store.write(name, data)
        before = len(object_store.requests())
        done = run("extract", VIDEOS, LIBRARY, "--json")
        assert done.exit_code == 1 and done.stdout, done.output  # two failed
        return json.loads(done.stdout), object_store.requests()[before:]


@pytest.fixture(scope="module")
def local(files, tmp_path_factory):
    """The rows that local files give, in one process."""
    folder = tmp_path_factory.mktemp("local")
    for name, data in files.items():
        (folder / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "videos" / name).write_bytes(data)
    return rows(extract(folder / "library", videos_in(folder / "videos")))


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def rows(place) -> dict[str, tuple[bytes, bytes, str]]:
    """Times, features and content of every done video. An entry names each of its rows once."""
    opened = Library(place)
    (config,) = opened.configs
    entries = opened.entries(config)
    return {
        video_id: (start_s.tobytes(), features.tobytes(), entries[video_id].end["sha256"])
        for video_id, start_s, features in opened.read(entries.values())
    }


def windows_in_shards(place) -> int:
    store = Store(place)
    (config,) = Library(place).configs
    opened = Library(place)
    return sum(opened.open_shard(f"{config}/{name}").metadata.num_rows for name in store.names(f"shards/{config}"))


def test_every_object_is_done_or_failed_with_a_class(extracted):
    found, requests = extracted
    assert (found["videos"], found["done"], found["failed"]) == (COUNT + 2, COUNT, {"empty": 1, "corrupt": 1})
    assert found["ignored"] == {".txt": 1} and found["library"] == LIBRARY
    fetched = [request for request in requests if request.startswith("GET /bucket/extract%20s3/videos")]
    assert len(fetched) == COUNT + 1  # each once, the empty one not at all
    ends = Library(LIBRARY).entries(next(iter(Library(LIBRARY).configs)))
    assert ends["empty.mp4"].end["message"] == f"zero bytes: {VIDEOS}/empty.mp4"
    assert {video_id: (entry.end["bytes"], entry.end["mtime_ns"]) for video_id, entry in ends.items()} == read_manifest(
        VIDEOS
    ).stats


def test_running_again_reads_no_video(extracted, s3):
    before = len(s3.requests())
    again = json.loads(run("extract", VIDEOS, LIBRARY, "--json").stdout)
    assert (again["done"], again["skipped"], again["failed"]) == (0, COUNT, {"corrupt": 1, "empty": 1})
    asked = [request for request in s3.requests()[before:] if "extract%20s3/videos" in request]
    assert all("clip" not in request for request in asked) and len(asked) <= 3


def test_the_rows_are_those_of_local_files_and_lie_in_the_store_once(extracted, local):
    assert rows(LIBRARY) == local and len(local) == COUNT
    assert windows_in_shards(LIBRARY) == extracted[0]["windows"]


def test_a_driver_that_is_killed_in_the_middle_leaves_what_the_next_run_completes(extracted, s3):
    library = "s3://bucket/extract s3/killed"
    command = [sys.executable, "-m", "ndvr.pipeline.cli", "extract", VIDEOS, library, "--quiet", "--json"]
    env = {**os.environ, **s3.env}
    driver = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    store = Store(library)
    while driver.poll() is None and not store.names("commits"):
        time.sleep(0.1)
    driver.kill()
    assert driver.wait() == -9, "it was done before it could be killed"
    done = run("extract", VIDEOS, library, "--quiet", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and found["failed"] == {"corrupt": 1, "empty": 1}, done.stderr
    assert 0 < found["skipped"] <= COUNT
    assert rows(library) == rows(LIBRARY) and windows_in_shards(library) == windows_in_shards(LIBRARY)
    assert store.names("locks") == [] and [name for name in store.names("runs") if name.endswith(".open")] == []


def test_libraries_in_a_store_are_shown_and_compared_into_a_local_folder(extracted, tmp_path):
    shown = run("show", LIBRARY, "--failures")
    assert shown.exit_code == 0 and f"{COUNT} videos done" in shown.output
    assert f"empty       empty.mp4  zero bytes: {VIDEOS}/empty.mp4" in shown.output
    (tmp_path / "ids.txt").write_text("03/clip ü3.mp4\n")
    scored = run("similarity", LIBRARY, LIBRARY, tmp_path / "scores", "--query-ids", tmp_path / "ids.txt", "--json")
    assert scored.exit_code == 0 and json.loads(scored.stdout)["pairs"] == COUNT, scored.output
    refused = run("similarity", LIBRARY, LIBRARY, "s3://bucket/scores")
    assert refused.exit_code == 2
    assert "s3://bucket/scores: scores are kept in a local folder; name one for SCORES" in refused.output


def test_two_objects_are_compared_without_a_library(extracted):
    one, other = (f"{VIDEOS}/{name}" for name in ("03/clip ü3.mp4", "07/clip ü7.mp4"))  # of the same bytes
    found = run("compare", one, other, "--json")
    assert found.exit_code == 0 and np.isfinite(json.loads(found.stdout)["score"]), found.output


def test_a_store_that_fails_in_a_fifth_of_requests_costs_time_and_no_video(s3, files, local, monkeypatch):
    videos, library = "s3://bucket/flaky/videos", "s3://bucket/flaky/extracted"
    some = {name: data for name, data in files.items() if name < "06"}
    for name, data in some.items():
        Store(videos).write(name, data)
    with flaky(s3.port, rate=0.2, seed=7, silent_s=1.0) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        for _ in range(3):  # 75: a scheduler repeats it
            if (done := run("extract", videos, library, "--quiet", "--json")).exit_code != 75:
                break
        assert done.exit_code == 0, done.output
        assert sum(count for kind, count in relay.counts.items() if kind != "passed on") > 5
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    assert rows(library) == {name: found for name, found in local.items() if name in some} and len(some) == 6
    assert run("fsck", library, "--quiet").exit_code == 0
