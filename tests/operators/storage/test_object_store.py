"""Libraries and videos on a real S3 server: whole objects or none, and errors that say what is wrong in a sentence."""

import contextlib
import hashlib
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ndvr.benchmarks.chaos.flaky_relay import FlakyRelay
from ndvr.benchmarks.chaos.s3_server import KEYS, Relay, free_port, running_server
from ndvr.operators.errors import DecodeError
from ndvr.operators.library.library import Library
from ndvr.operators.storage.fetch import Fetcher, content_of
from ndvr.operators.storage.manifest import read_manifest
from ndvr.operators.storage.object_store import Access, Unreachable, errors_explained, filesystem
from ndvr.operators.storage.store import Store

BIG = 25 << 20  # in three parts
UPLOAD = f"""
import sys
from ndvr.operators.storage.store import Store
store = Store("s3://bucket/killed")
print("ready", flush=True)
store.write("object", b"x" * {BIG})
"""


pytestmark = pytest.mark.usefixtures("s3")


@pytest.fixture
def store(request):
    return Store(f"s3://bucket/{request.node.name.partition('[')[0]}")


# Writing and reading


@pytest.mark.parametrize("size", [0, 3, BIG])
def test_an_object_is_read_as_it_was_written(store, size):
    data = os.urandom(size)
    store.write("commits/a.parquet", data)
    assert store.read("commits/a.parquet") == data and store.sizes("commits") == {"a.parquet": size}


def test_names_may_hold_what_urls_may_not():
    store = Store("s3://bucket/a folder/ü #1?")
    names = ["50% off.mp4", "per%41cent", "a+b&c=d.mp4", "question?.mp4", "hash#tag", "ß 映画.mkv", "back\\slash"]
    for number, name in enumerate(names):
        store.write(f"videos/{name}", bytes([number]))
    assert store.names("videos") == sorted(names)
    assert [store.read(f"videos/{name}") for name in names] == [bytes([n]) for n in range(len(names))]
    store.remove(*(f"videos/{name}" for name in names))
    assert store.names("videos") == []


def test_nothing_lies_in_a_folder_that_does_not_exist(store):
    assert (store.names("runs"), store.sizes("runs"), store.age_s("runs"), store.unfinished("runs")) == ([], {}, {}, [])
    assert store.empty() and not store.exists("runs") and not store.exists("runs/a")
    store.remove("runs/a")
    with pytest.raises(FileNotFoundError):
        store.read("runs/a")
    store.write("runs/a", b"1")
    assert not store.empty() and store.exists("runs/a") and not store.exists("runs")
    assert 0 <= store.age_s("runs")["a"] < 600


def test_a_second_write_replaces_the_first_and_a_folder_lists_only_its_own_files(store):
    store.write("a", b"old")
    store.write("a", b"newer")
    store.write("below/b", b"")
    assert store.read("a") == b"newer" and store.names("") == ["a"] and store.names("", "b") == []


def test_lists_longer_than_an_answer_of_the_server_are_whole(store):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.write(f"many/{number:04d}.mp4", b"x"), range(1050)))
    assert store.names("many") == [f"{number:04d}.mp4" for number in range(1050)]
    manifest = read_manifest(f"{store}/many")
    assert len(manifest) == len(manifest.stats) == 1050


def test_many_read_at_once(store):
    table = pa.table({"n": range(100_000)})
    store.write_parquet("shard.parquet", table)

    def total(_):
        with pq.ParquetFile(store.open("shard.parquet")) as file:
            return sum(file.read()["n"].to_pylist())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(total, range(16))) == {sum(range(100_000))}


def test_a_small_object_is_one_request(s3, store):
    before = len(s3.requests())
    store.write("a.json", b"{}")
    assert s3.requests()[before:] == ["PUT /bucket/test_a_small_object_is_one_request/a.json"]


# Whole or not at all


def uploading(relay):
    env = {**os.environ, "AWS_ENDPOINT_URL": relay.url}
    return subprocess.Popen([sys.executable, "-c", UPLOAD], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_writer_that_is_killed_in_the_middle_leaves_no_object(s3):
    relay = Relay(s3.port, limit=BIG // 2)
    writer = uploading(relay)
    assert relay.full.wait(120)
    writer.kill()
    writer.communicate()
    relay.close()
    assert "POST /bucket/killed/object?uploads" in s3.requests()
    assert Store("s3://bucket/killed").names("") == []


def test_a_writer_that_is_interrupted_in_the_middle_leaves_the_whole_object(s3):
    relay = Relay(s3.port, limit=BIG // 2)
    writer = uploading(relay)
    assert relay.full.wait(120)
    writer.send_signal(signal.SIGINT)
    relay.go_on()
    _, said = writer.communicate(timeout=120)
    relay.close()
    store = Store("s3://bucket/killed")
    assert b"KeyboardInterrupt" in said and store.sizes("") == {"object": BIG}
    store.remove("object")


class NoLongUploads(FlakyRelay):
    """A server that fails to begin an upload in parts, and does all else."""

    def _pass_on(self, client):
        if client.command == "POST":
            client.send_error(500)
        else:
            super()._pass_on(client)


def test_an_upload_that_fails_is_not_made_of_what_was_sent_of_it(s3):
    before = len(s3.requests())
    with contextlib.closing(NoLongUploads(s3.port, rate=0.0)) as relay, uploading(relay) as writer:
        _, said = writer.communicate(timeout=120)
    assert b"Unreachable" in said and not [request for request in s3.requests()[before:] if request.startswith("PUT")]
    assert Store("s3://bucket/killed").names("") == []


def test_a_connection_that_is_lost_in_the_middle_is_an_error_and_leaves_no_object(s3, store, monkeypatch):
    monkeypatch.setattr("ndvr.operators.storage.object_store.FIRST_PAUSES_S", (0.05,) * 2)
    relay = Relay(s3.port, limit=BIG // 2, cut=True)
    with pytest.raises(Unreachable, match=r"s3://bucket/.*: http://127.0.0.1:\d+ does not answer \(.*; check"):
        Store(str(store), Access(endpoint=relay.url)).write("object", b"x" * BIG)
    relay.close()
    assert store.names("") == []


# What is wrong, where, what to do


def test_a_server_that_is_not_there_is_named(monkeypatch):
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(Unreachable, match=rf"s3://bucket/videos: {url} does not answer \(.*\); check the address and"):
        read_manifest("s3://bucket/videos")
    with pytest.raises(ValueError, match=f"s3://bucket/library: {url} does not answer"):
        Library.create("s3://bucket/library")


def test_a_bucket_that_is_not_there_is_named(s3):
    sentence = rf"there is no bucket 'nobucket' at {s3.url}; check its name, or make it"
    with pytest.raises(Unreachable, match=sentence):
        read_manifest("s3://nobucket/videos")
    with pytest.raises(Unreachable, match=sentence):
        Library.create("s3://nobucket/library")
    with pytest.raises(FileNotFoundError, match="no library at s3://nobucket/library; `ndvr extract"):
        Library("s3://nobucket/library")


def test_keys_that_the_server_does_not_know_and_no_keys_at_all_are_told(tmp_path, monkeypatch):
    with running_server(tmp_path, only_known_keys=True) as strict:
        monkeypatch.setenv("AWS_ENDPOINT_URL", strict.url)
        with pytest.raises(
            Unreachable, match=rf"{strict.url} refuses access \(.*\); check the credentials: AWS_ACCESS"
        ):
            Store("s3://bucket/library").names("commits")
        for name in KEYS:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(Unreachable, match="no AWS_ACCESS_KEY_ID is set here"):  # moto answers 500, Amazon 403
            Store("s3://bucket/library").names("commits")


def test_a_clock_that_is_wrong_is_told_and_not_tried_again():
    skewed = "AWS Error REQUEST_TIME_TOO_SKEWED during PutObject operation: The difference is too large."
    with pytest.raises(Unreachable, match="the clock of this machine is too far off .*; set it") as error:
        with errors_explained("s3://bucket"):
            raise OSError(skewed)
    assert not error.value.passing


@pytest.mark.parametrize("place", ["ftp://host/library", "http://host/a.mp4", "s3://", "file:///tmp/library"])
def test_other_places_are_refused(place):
    with pytest.raises(ValueError, match=rf"cannot use {place}.*: give a path, s3://bucket/path or gs://bucket/path"):
        Store(place)
    with pytest.raises(ValueError, match="cannot use .*: give a path"):
        read_manifest(place)


def test_googles_store_is_there_too():
    files, path = filesystem("gs://anonymous@bucket/a folder/ü#1.mp4")
    assert files.type_name == "gcs" and path == "bucket/a folder/ü#1.mp4"


def test_how_to_reach_a_store_travels_with_it_but_no_keys(s3, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    sent = pickle.dumps(Store("s3://bucket/travels"))
    assert b"secret" not in sent and b"AWS_" not in sent
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name)
    store = pickle.loads(sent)
    assert store.access == Access(endpoint=s3.url, region="eu-west-1")
    store.write("a", b"1")
    assert store.names("") == ["a"]


# Keys that are no paths

ODD = [
    "d//b.mp4",
    "/lead.mp4",
    "./d.mp4",
    "../e.mp4",
    "f.mp4/",
    "///t.mp4",
    "x/../../y.mp4",
    "g//",
    "50%2F//a+b #?.mp4",
]


@pytest.fixture
def odd(s3):
    """Make objects of a bucket as other programs do, whatever their keys."""
    given = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3.url, **given)
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket="odd")
    return lambda key, data: client.put_object(Bucket="odd", Key=key, Body=data)


def test_keys_that_are_no_paths_are_listed_and_read_as_any_other(odd):
    contents = {f"v/{key}": key.encode() * 9 for key in [*ODD, "plain.mp4"]}
    for key, data in contents.items():
        odd(key, data)
    odd("v/marker/", b"")  # of a folder, as consoles make them
    manifest = read_manifest("s3://odd/v")
    fetcher, found = Fetcher(), {}
    for video_id, uri in manifest.uris.items():
        with fetcher.fetch(uri) as file:
            found[f"v/{video_id}"] = Path(file.path).read_bytes()
        assert file.facts.sha256 == content_of(uri) == hashlib.sha256(found[f"v/{video_id}"]).hexdigest()
        assert manifest.stats[video_id] == (file.facts.bytes, file.facts.mtime_ns), "not taken for changed next time"
    assert {key.rstrip("/"): data for key, data in contents.items()} == found


def test_keys_that_differ_only_by_slashes_at_their_end_are_objects_of_their_own(odd):
    contents = {f"u/{key}": key.encode() * 9 for key in ("a.mp4", "a.mp4/", "b.mp4/", "b.mp4//", "c.mp4/", "d.mp4")}
    for key, data in contents.items():
        odd(key, data)
    manifest = read_manifest("s3://odd/u")
    found = {}
    for video_id, uri in manifest.uris.items():
        with Fetcher().fetch(uri) as file:
            found[f"u/{video_id}"] = Path(file.path).read_bytes()
        assert manifest.stats[video_id] == (file.facts.bytes, file.facts.mtime_ns), "not taken for changed next time"
    alone = {"u/c.mp4": contents.pop("u/c.mp4/")}  # as any object, under the name that a list has for it
    assert found == contents | alone


def test_a_key_that_is_no_path_may_stand_in_a_list_or_alone(odd, tmp_path):
    odd("w/d//b.mp4", b"12345")
    (tmp_path / "list.txt").write_text("b s3://odd/w/d//b.mp4\nnone s3://odd/w//none.mp4\n")
    assert {name: stat and stat[0] for name, stat in read_manifest(tmp_path / "list.txt").stats.items()} == {
        "b": 5,
        "none": None,
    }
    assert read_manifest("s3://odd/w/d//b.mp4").uris == {"b.mp4": "s3://odd/w/d//b.mp4"}
    with (
        pytest.raises(DecodeError, match="there is no object s3://odd/w//none.mp4"),
        Fetcher().fetch("s3://odd/w//none.mp4"),
    ):
        raise AssertionError("it is not there")


@pytest.mark.parametrize("count", [10, 10_000])  # of which the store's own answer fits, or does not
def test_an_object_that_is_removed_while_it_is_read_is_not_there(s3, count):
    store = Store("s3://bucket/removed")
    store.write("a", bytes(100_000))
    with store.open("a") as file:
        assert len(file.read(10)) == 10
        store.remove("a")
        with pytest.raises(FileNotFoundError, match="an object of it is gone: 's3://bucket/removed"):
            file.read(count)
