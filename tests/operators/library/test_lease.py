"""One writer at a time, by name; nobody holds a library from beyond the grave."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from ndvr.operators.errors import RunStopped
from ndvr.operators.library import lease as lease_module
from ndvr.operators.library.fencing import LOCKS, check, damaged_seals, revoke
from ndvr.operators.library.lease import Lease, Locked
from ndvr.operators.storage.store import Store

pytestmark = pytest.mark.slow  # it waits for locks to grow old

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
    assert f"{store}/{LOCKS}/" in str(error.value), "where its lock lies"
    assert len(store.names(LOCKS)) == 1, "the one who withdrew has left nothing"


def test_a_killed_writer_holds_nothing(store, other):
    other.kill()
    other.wait()
    with Lease(store, "ndvr import"):
        assert len(store.names(LOCKS)) == 1
    assert store.names(LOCKS) == []


ELSEWHERE = {"host": "far", "space": "another machine", "pid": 1, "born": "1", "what": "ndvr extract", "since": 0.0}
DAY_S = 86400.0


@pytest.fixture
def quick(monkeypatch):
    """What takes minutes takes a second."""
    monkeypatch.setattr("ndvr.operators.library.lease.BEAT_S", 0.3)
    monkeypatch.setattr("ndvr.operators.library.lease.SILENT_S", 1.5)


@pytest.mark.parametrize("ahead_s", [0.0, DAY_S, -DAY_S])
def test_a_writer_elsewhere_holds_it_as_long_as_it_touches_its_lock_whatever_its_clock_says(
    store, monkeypatch, ahead_s
):
    monkeypatch.setattr(lease_module, "BEAT_S", 15.0)  # it beats far more often: the machine may be busy
    over, place = threading.Event(), store.folder / LOCKS / "far.json"

    def beat() -> None:
        store.write_json(f"{LOCKS}/far.json", ELSEWHERE | {"beat": time.time() + ahead_s})
        os.utime(place, (time.time() + ahead_s,) * 2)  # a file system may take the time from its clients

    def beats() -> None:
        while not over.wait(0.3):
            beat()

    beat()
    thread = threading.Thread(target=beats)
    thread.start()
    try:
        with pytest.raises(Locked, match="on far"), Lease(store, "ndvr gc"):
            raise AssertionError("two have it")
    finally:
        over.set()
        thread.join()


LOCK = json.dumps(ELSEWHERE | {"beat": 0.0}).encode()
AHEAD = json.dumps(ELSEWHERE | {"beat": 1e300, "since": 1e300}).encode()


@pytest.mark.parametrize("data", [LOCK, AHEAD, b"", b"{}", b"[]", b"\xff", b'{"space": 1, "pid": "x"}'])
@pytest.mark.parametrize("ahead_s", [0.0, DAY_S, -DAY_S])
def test_a_lock_that_nobody_touches_is_waited_for_and_then_holds_nothing(store, quick, capsys, data, ahead_s):
    store.write(f"{LOCKS}/far.json", data)
    os.utime(store.folder / LOCKS / "far.json", (time.time() + ahead_s,) * 2)
    began = time.monotonic()
    with Lease(store, "ndvr gc") as lease:
        assert store.names(LOCKS) == [lease.name.removeprefix(f"{LOCKS}/")]
    waited_s = time.monotonic() - began
    assert waited_s >= (0.4 if ahead_s < 0 else 1.5), "longer than a beat, were it a day old by the store's clock"
    said = capsys.readouterr().err
    assert "waiting for " in said and f"{store}/{LOCKS}/far.json" in said and "after 2 s" in said


@pytest.mark.parametrize("name", ["far.json", "far.again.json", "readme.txt"])
def test_what_somebody_else_put_there_is_cleared_too_and_damages_nothing(store, quick, name):
    store.write(f"{LOCKS}/{name}", b"[" * 100_000)
    with Lease(store, "ndvr gc"):
        assert name not in store.names(LOCKS)
        assert damaged_seals(store) == []


def test_a_lock_of_a_process_that_is_there_is_named_with_its_path(store, quick):
    with Lease(store, "ndvr extract") as lease:
        mine = store.read_json(lease.name)
    store.write_json(f"{LOCKS}/init.json", mine | {"pid": 1, "born": lease_module._born(1)})
    with pytest.raises(Locked, match=r"process 1, since .*its lock is .*/locks/init\.json"), Lease(store, "ndvr gc"):
        raise AssertionError("two have it")


def test_a_process_of_the_same_number_as_a_dead_writer_is_not_taken_for_it(store):
    with Lease(store, "ndvr extract") as lease:
        mine = store.read_json(lease.name)
    store.write_json(f"{LOCKS}/old.json", mine | {"born": "12"})
    assert mine["pid"] == os.getpid()
    with Lease(store, "ndvr gc"):
        assert not store.exists(f"{LOCKS}/old.json")


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


def test_who_was_taken_over_stops_and_touches_its_lock_no_more(store, quick):
    with Lease(store, "ndvr extract") as lease:
        check(store)
        revoke(store, lease.id, by="'ndvr gc' on far (process 9)", because="had not been heard of for 130 s")
        store.remove(lease.name)
        with pytest.raises(RunStopped, match=r"'ndvr gc' on far \(process 9\) has taken over .* 130 s"):
            check(store)
        time.sleep(0.7)  # two beats
        assert store.names(LOCKS) == []
    check(store)  # it writes under no lease any more


@pytest.mark.parametrize("error", [FileNotFoundError("a shard"), ValueError("lib: a ledger file is missing")])
def test_what_is_missing_because_somebody_has_taken_over_is_told_as_that(store, quick, error):
    with pytest.raises(RunStopped, match="has taken over"), Lease(store, "ndvr gc") as lease:
        revoke(store, lease.id, by="'ndvr gc' on far (process 9)", because="had not been heard of for 130 s")
        raise error
    with pytest.raises(type(error), match=str(error)), Lease(store, "ndvr gc"):
        raise error


def test_whose_lock_was_removed_by_hand_stops(store):
    with Lease(store, "ndvr extract") as lease:
        store.remove(lease.name)
        with pytest.raises(RunStopped, match="was removed"):
            check(store)


def test_what_is_held_is_json_that_a_person_can_read(store):
    with Lease(store, "ndvr extract") as lease:
        found = json.loads((store.folder / lease.name).read_text())
    assert {"host", "pid", "what", "since", "beat"} <= set(found)
