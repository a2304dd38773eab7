"""Videos brought here from a real S3 server: hashed, dated, in time, and never left behind."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clips import numbered_clip

from ndvr.benchmarks.chaos.s3_server import Relay
from ndvr.models.card import Frames
from ndvr.operators.errors import DecodeError
from ndvr.operators.rows import PLANNED, FileFacts, table
from ndvr.operators.storage import fetch
from ndvr.operators.storage.fetch import Fetcher
from ndvr.operators.storage.manifest import read_manifest
from ndvr.operators.storage.object_store import Access
from ndvr.operators.storage.store import Store
from ndvr.operators.video.decode import Decode, Job

pytestmark = pytest.mark.usefixtures("s3")


@pytest.fixture
def store(request):
    return Store(f"s3://bucket/{request.node.name.partition('[')[0]}")


def test_an_object_is_brought_here_with_its_hash_and_its_time_and_gone_afterwards(store):
    data = os.urandom(100_000)
    store.write("sub/ü #1?.webm", data)
    with Fetcher().fetch(f"{store}/sub/ü #1?.webm") as (path, facts):
        found = os.stat(path)
        assert Path(path).read_bytes() == data and path.endswith(".webm")
        assert facts == FileFacts(
            bytes=len(data),
            mtime_ns=read_manifest(str(store)).stats["sub/ü #1?.webm"][1],
            sha256=hashlib.sha256(data).hexdigest(),
        )
        assert (found.st_size, found.st_mtime_ns) == (facts.bytes, facts.mtime_ns)
    assert not os.path.exists(path)


def test_a_small_object_takes_three_requests(s3, store):
    store.write("a.mp4", b"video")
    before = len(s3.requests())
    with Fetcher().fetch(f"{store}/a.mp4"):
        pass
    assert [request.split()[0] for request in s3.requests()[before:]] == ["HEAD", "GET", "HEAD"]


def test_a_local_file_stays_where_it_is(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    with Fetcher().fetch(str(tmp_path / "a.mp4")) as (path, facts):
        assert (path, facts) == (str(tmp_path / "a.mp4"), FileFacts())
    assert (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    ("uri", "kind", "message"),
    [
        ("s3://bucket/nowhere/a.mp4", "io", "there is no object s3://bucket/nowhere/a.mp4"),
        ("s3://nobucket/a.mp4", "io", "there is no object s3://nobucket/a.mp4"),
        ("s3://bucket/empty.mp4", "empty", "zero bytes: s3://bucket/empty.mp4"),
        ("s3://bucket/a//b.mp4", "io", "there is no object s3://bucket/a//b.mp4"),
    ],
)
def test_what_cannot_be_brought_here_has_its_class_and_reason(uri, kind, message):
    Store("s3://bucket").write("empty.mp4", b"")
    with pytest.raises(DecodeError, match=message) as raised, Fetcher().fetch(uri):
        pass
    assert raised.value.kind == kind


def test_a_server_that_hangs_up_at_first_is_asked_again(s3, store, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSES_S", (0.01, 0.01))
    store.write("a.mp4", b"video")
    relay = Relay(s3.port, refuse=5)  # the client itself asks three times
    with Fetcher(Access(endpoint=relay.url)).fetch(f"{store}/a.mp4") as (path, _):
        assert Path(path).read_bytes() == b"video"
    relay.close()
    relay = Relay(s3.port, refuse=100)
    fetcher = Fetcher(Access(endpoint=relay.url))
    with pytest.raises(DecodeError, match="does not answer") as raised, fetcher.fetch(f"{store}/a"):
        pass
    relay.close()
    assert raised.value.kind == "io"


def test_a_download_that_does_not_end_is_given_up(s3, store):
    store.write("a.mp4", bytes(3 << 20))
    relay = Relay(s3.port, limit=1 << 20, of="downloads")
    fetcher, uri = Fetcher(Access(endpoint=relay.url), total_s=2), f"{store}/a.mp4"
    with pytest.raises(DecodeError, match="not downloaded within 2 s: s3://") as raised, fetcher.fetch(uri):
        pass
    relay.close()
    assert raised.value.kind == "timeout"


def test_an_object_that_changes_on_the_way_is_read_again(s3, store, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSES_S", (0.01, 0.01))
    monkeypatch.setattr(fetch, "BLOCK_BYTES", 1 << 20)
    store.write("a.mp4", b"a" * (3 << 20))
    relay = Relay(s3.port, limit=3 << 19, of="downloads")

    def change():
        assert relay.full.wait(60)
        store.write("a.mp4", b"b" * (3 << 20))
        relay.go_on()

    with ThreadPoolExecutor(1) as pool:
        changed = pool.submit(change)
        with Fetcher(Access(endpoint=relay.url)).fetch(f"{store}/a.mp4") as (path, _):
            assert Path(path).read_bytes() == b"b" * (3 << 20)
        changed.result()
    relay.close()


FETCHING = """
import resource, sys, time
from ndvr.operators.errors import DecodeError
from ndvr.operators.storage.fetch import Fetcher
if sys.argv[2] == "small":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with Fetcher().fetch(sys.argv[1]) as file:
        print(file.path, flush=True)
        time.sleep(600)
except DecodeError as error:
    print(error)
"""


def fetching(uri, folder, how):
    command = [sys.executable, "-c", FETCHING, uri, how]
    return subprocess.Popen(command, env={**os.environ, "TMPDIR": str(folder)}, stdout=subprocess.PIPE, text=True)


def test_the_next_worker_clears_away_the_files_of_killed_ones_and_leaves_those_of_living_ones(tmp_path, store):
    store.write("a.mp4", b"video")
    first, second = (fetching(f"{store}/a.mp4", tmp_path, "") for _ in range(2))
    killed, kept = first.stdout.readline().strip(), second.stdout.readline().strip()
    first.kill()
    first.wait()
    assert os.path.exists(killed)
    third = fetching(f"{store}/a.mp4", tmp_path, "")
    last = third.stdout.readline().strip()
    assert not os.path.exists(killed) and os.path.exists(kept) and os.path.exists(last)
    for process in (second, third):
        process.kill()
        process.wait()


def test_a_video_that_there_is_no_room_for_is_not_kept(tmp_path, store):
    store.write("a.mp4", bytes(5000))
    said, _ = fetching(f"{store}/a.mp4", tmp_path, "small").communicate(timeout=120)
    assert said.startswith("io: cannot keep s3://") and "File too large" in said
    assert [path.name for path in tmp_path.rglob("*.mp4")] == []


def test_the_decoder_gives_what_it_gives_of_a_local_file_and_knows_a_copy_by_its_hash(tmp_path, store):
    data = numbered_clip(tmp_path / "a.mp4", n_frames=50).read_bytes()
    store.write("sub/a.mp4", data)
    video = {"video_id": "a", "methods": ["m"], "contents": [None]}
    near, far = ({**video, "uri": uri} for uri in (str(tmp_path / "a.mp4"), f"{store}/sub/a.mp4"))
    piece, end = decoded(far)
    for row, local in zip((piece, end), decoded(near)):
        same = ("kind", "data", "start_s", "sha256", "bytes", "status", "frames", "windows_count")
        assert [row[name] for name in same] == [local[name] for name in same]
    assert end["uri"] == f"{store}/sub/a.mp4" and end["mtime_ns"] == read_manifest(str(store)).stats["sub/a.mp4"][1]
    (seen,) = decoded(far | {"contents": [end["sha256"]]})
    assert (seen["kind"], seen["mtime_ns"], seen["bytes"]) == ("seen", end["mtime_ns"], len(data))


def test_an_object_that_is_gone_is_a_failed_video_that_the_next_run_knows_again(store):
    video = {"video_id": "a", "uri": f"{store}/gone.mp4", "methods": ["m"], "contents": [None]}
    (end,) = decoded(video | {"bytes": 5, "mtime_ns": 7})
    assert (end["kind"], end["status"], end["error_class"]) == ("end", "failed", "io")
    assert (end["bytes"], end["mtime_ns"], end["quarantined"], end["attempt"]) == (5, 7, False, 1)
    assert end["message"] == f"there is no object {store}/gone.mp4"


def decoded(video):
    decode = Decode(jobs={"m": Job(view=Frames(fps=1), config="c")}, run="r")
    try:
        return [row for found in decode(table([video], PLANNED)) for row in found.to_pylist()]
    finally:
        decode.close()
