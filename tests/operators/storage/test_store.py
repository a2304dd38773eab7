"""Files in a local folder are whole or not there: killed writers, readers meanwhile, full and read-only disks."""

import contextlib
import errno
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ndvr.operators.storage.store import TEMPORARY, Store, write_whole

WRITER = """
import sys, time
from pathlib import Path
from ndvr.operators.storage.store import write_whole

def write(name):
    with open(name, "wb") as file:
        file.write(b"half")
        file.flush()
        print("half", flush=True)
        time.sleep(600)

write_whole(Path(sys.argv[1]), write)
"""


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "library")


def test_a_file_is_read_as_it_was_written(store):
    store.write("commits/a.bin", b"")
    store.write("commits/b.bin", b"123")
    store.write_json("runs/r.json", {"ä": [1, None]})
    store.write_parquet("shards/c/d.parquet", pa.table({"n": [1, 2]}))
    assert (store.read("commits/a.bin"), store.read("commits/b.bin")) == (b"", b"123")
    assert store.read_json("runs/r.json") == {"ä": [1, None]}
    assert pq.ParquetFile(store.open("shards/c/d.parquet")).read()["n"].to_pylist() == [1, 2]
    assert store.sizes("commits") == {"a.bin": 0, "b.bin": 3} and store.names("commits", "b") == ["b.bin"]
    assert 0 <= store.age_s("commits")["a.bin"] < 600


def test_nothing_lies_in_a_folder_that_does_not_exist(store):
    assert (store.names("runs"), store.sizes("runs"), store.age_s("runs"), store.unfinished("runs")) == ([], {}, {}, [])
    assert store.empty() and not store.exists("runs") and not store.exists("runs/a")
    store.remove("runs/a")
    with pytest.raises(FileNotFoundError):
        store.read("runs/a")
    store.write("runs/a", b"1")
    assert not store.empty() and store.exists("runs/a") and not store.exists("runs")
    store.remove("runs/a", "runs/b")
    assert store.names("runs") == []


@pytest.mark.parametrize("name", ["2026:11", "s3:x", "a b'\"%2e#?", "line\nbreak"])
def test_a_folder_may_be_called_anything(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    store = Store(name)
    store.write_parquet("t/a.parquet", pa.table({"n": [1]}))
    store.write_json("a.json", 1)
    assert pq.read_table(store.open("t/a.parquet"))["n"].to_pylist() == [1]
    assert (tmp_path / name / "t" / "a.parquet").exists() and store.read_json("a.json") == 1


def test_what_a_writer_that_was_killed_left_does_not_fill_a_folder(tmp_path):
    (tmp_path / ".library.json.0123abcd.tmp").write_bytes(b"half")
    assert Store(tmp_path).empty()
    (tmp_path / "thesis.tmp").write_bytes(b"whole")
    assert not Store(tmp_path).empty()


def test_a_writer_that_is_killed_leaves_the_old_file_and_a_temporary_one_that_is_found(store):
    store.write("commits/a.bin", b"old")
    path = store.folder / "commits" / "a.bin"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"half\n"
    writer.kill()
    writer.communicate()
    assert store.names("commits") == ["a.bin"] and store.read("commits/a.bin") == b"old"
    (left,) = store.unfinished("commits")
    assert left.endswith(TEMPORARY) and (store.folder / "commits" / left).read_bytes() == b"half"
    store.remove(f"commits/{left}")
    assert store.unfinished("commits") == []


def test_a_writer_that_raises_leaves_the_old_file_and_nothing_else(store):
    store.write("a.bin", b"old")

    def write(name):
        Path(name).write_bytes(b"half")
        raise KeyError("bad column")

    with pytest.raises(KeyError):
        write_whole(store.folder / "a.bin", write)
    assert store.read("a.bin") == b"old" and os.listdir(store.folder) == ["a.bin"]


@pytest.mark.slow
def test_readers_see_the_old_file_or_the_new_one_while_it_is_replaced(store):
    versions = [bytes([n]) * 200_000 for n in range(2)]
    store.write("a.bin", versions[0])
    over, seen = threading.Event(), set()

    def read():
        while not over.is_set():
            seen.add(store.read("a.bin"))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(60):
        store.write("a.bin", versions[number % 2])
        assert store.names("") == ["a.bin"]
    over.set()
    for reader in readers:
        reader.join()
    assert seen <= set(versions)


FULL = """
import resource, sys
import pyarrow as pa
from ndvr.operators.storage.store import Store
store = Store(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for write in (
    lambda: store.write("a.bin", b"x" * 5000),
    lambda: store.write_parquet("a.bin", pa.table({"n": range(5000)})),
):
    try:
        write()
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_an_os_error_and_leaves_the_old_file(store):
    store.write("a.bin", b"old")
    # A limit on the size of files fails as a full disk does: in the middle of a write.
    said = subprocess.run([sys.executable, "-c", FULL, str(store)], capture_output=True, text=True)
    assert said.stdout == f"{errno.EFBIG}\n{errno.EFBIG}\n", said.stderr
    assert store.read("a.bin") == b"old" and os.listdir(store.folder) == ["a.bin"]


def test_a_folder_that_may_not_be_written_to_is_an_os_error_and_leaves_the_old_file():
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as after:
        store = Store(folder)
        store.write("a.bin", b"old")
        os.chmod(folder, 0o555)
        after.callback(os.chmod, folder, 0o755)
        if os.geteuid() == 0:  # root may write everywhere, nobody may not
            os.seteuid(65534)
            after.callback(os.seteuid, 0)
        for write in (
            lambda: store.write("a.bin", b"new"),
            lambda: store.write_parquet("a.bin", pa.table({"n": [1]})),
            lambda: store.write("below/b.bin", b"new"),
            lambda: store.remove("a.bin"),
        ):
            with pytest.raises(PermissionError):
                write()
        assert store.read("a.bin") == b"old" and os.listdir(folder) == ["a.bin"]


def test_a_store_is_the_same_one_after_a_journey(store):
    assert pickle.loads(pickle.dumps(store)) == store != Store("elsewhere")
    assert store.folder == Path(str(store))
    with pytest.raises(ValueError, match="s3://bucket/library is not a local folder"):
        _ = Store("s3://bucket/library").folder


def test_what_was_written_is_flushed_and_then_its_name_and_those_of_new_folders(store, monkeypatch):
    flushed, flush = [], os.fsync

    def fsync(handle):
        flush(handle)
        flushed.append(os.readlink(f"/proc/self/fd/{handle}"))

    monkeypatch.setattr(os, "fsync", fsync)
    root = str(store.folder)
    store.write("commits/a.parquet", b"x")
    above, top, data, folder = flushed
    assert (above, top, folder) == (os.path.dirname(root), root, f"{root}/commits")
    assert data.startswith(f"{root}/commits/.a.parquet.")  # under its temporary name, so before it can be read
    flushed.clear()
    store.write("commits/b.parquet", b"x")
    assert len(flushed) == 2 and flushed[1] == f"{root}/commits"


@pytest.mark.slow
def test_a_full_disk_names_the_file_that_did_not_fit(store):
    said = subprocess.run(
        [sys.executable, "-c", FULL + "        print(error)", str(store)], capture_output=True, text=True
    )
    assert said.stdout.count(f"{os.strerror(errno.EFBIG)}: '{store}/a.bin'") == 2, said.stdout + said.stderr
