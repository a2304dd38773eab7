"""One writer at a time, by name; nobody holds a library from beyond the grave."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from ndvr.operators.library.lease import LOCKS, Lease, Locked, holders
from ndvr.operators.storage.store import Store

HOLD = """
import sys, time
from ndvr.operators.library.lease import Lease
from ndvr.operators.storage.store import Store
with Lease(Store(sys.argv[1]), "ndvr extract"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def other(store):
    """Another process that has the lease."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(store)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_writer_is_told_who_has_it(store, other):
    with pytest.raises(Locked) as error, Lease(store, "ndvr import"):
        raise AssertionError("two have it")
    assert "'ndvr extract'" in str(error.value) and f"process {other.pid}" in str(error.value)
    assert len(holders(store)) == 1, "the one who withdrew has left nothing"


def test_a_killed_writer_holds_nothing(store, other):
    other.kill()
    other.wait()
    with Lease(store, "ndvr import"):
        assert len(holders(store)) == 1
    assert store.names(LOCKS) == []


def test_a_writer_elsewhere_holds_it_until_it_has_been_silent_for_two_minutes(store):
    elsewhere = {"host": "far", "space": "another machine", "pid": 1, "born": "1", "what": "ndvr extract", "since": 0.0}
    store.write_json(f"{LOCKS}/far.json", elsewhere | {"beat": time.time() - 60})
    with pytest.raises(Locked, match="on far"), Lease(store, "ndvr gc"):
        raise AssertionError("two have it")
    store.write_json(f"{LOCKS}/far.json", elsewhere | {"beat": time.time() - 180})
    with Lease(store, "ndvr gc"):
        assert len(holders(store)) == 1


def test_a_process_of_the_same_number_as_a_dead_writer_is_not_taken_for_it(store):
    with Lease(store, "ndvr extract") as lease:
        mine = store.read_json(lease.name)
    store.write_json(f"{LOCKS}/old.json", mine | {"born": "12"})
    assert mine["pid"] == os.getpid() and holders(store) == {}


def test_of_many_at_once_never_two_have_it(store):
    inside, most, had = 0, 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most, had
        for _ in range(5):
            try:
                with Lease(store, "ndvr extract"):
                    with lock:
                        inside += 1
                        most, had = max(most, inside), had + 1
                    time.sleep(0.01)
                    with lock:
                        inside -= 1
            except Locked:
                continue

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and had >= 1
    assert store.names(LOCKS) == []


def test_who_was_taken_for_dead_is_told(store, monkeypatch):
    monkeypatch.setattr("ndvr.operators.library.lease.BEAT_S", 0.05)
    with Lease(store, "ndvr extract") as lease:
        store.remove(lease.name)
        assert lease.lost.wait(5)


def test_what_is_held_is_json_that_a_person_can_read(store):
    with Lease(store, "ndvr extract") as lease:
        found = json.loads((store.folder / lease.name).read_text())
    assert {"host", "pid", "what", "since", "beat"} <= set(found)
