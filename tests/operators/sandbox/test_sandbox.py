"""The child that can be killed: hangs, crashes and memory bombs end as their class, and the next call finds another."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from places import python_path

from ndvr.operators.errors import DecodeError
from ndvr.operators.sandbox.sandbox import ChildDied, ChildKilled, Sandbox


# Generator functions for the sandbox; its child imports this module.
def good(beat, n):
    yield from range(n)


def hangs(beat):
    yield "before"
    time.sleep(600)


def slow_but_alive(beat):
    for _ in range(15):
        time.sleep(0.1)
        beat()
    yield "finished"


def aborts(beat):
    yield "before"
    os.abort()


def faults(beat):
    yield os.kill(os.getpid(), signal.SIGSEGV)


def leaves(beat):
    yield os._exit(3)


def is_told_to_go(beat, number):
    yield "before"
    if number != signal.SIGKILL:  # under nohup SIGHUP is ignored, and inherited so
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(600)


def stops_in_the_middle_of_a_message(beat):
    threading.Timer(0.03, os.kill, (os.getpid(), signal.SIGSTOP)).start()
    while True:
        yield bytes(32 << 20)


def writes_without_end(beat):
    import tempfile

    with tempfile.TemporaryFile() as file:
        while True:
            file.truncate(file.tell() + (1 << 30))  # takes no room
            yield file.seek(0, 2) and None


def fills_the_log(beat):
    print("x" * (1 << 20), flush=True)
    yield None


def leaks(beat, kept=[]):  # noqa: B006 (that is the leak)
    kept.append(bytearray(100 << 20))
    yield os.getpid()


def swallows_memory(beat):
    yield len(bytearray(4 << 30))


def never_ends(beat):
    while True:
        time.sleep(0.05)
        beat()
    yield


@pytest.fixture
def sandbox(monkeypatch):
    # The child imports `test_sandbox`: let it find this folder.
    monkeypatch.setenv("PYTHONPATH", python_path(Path(__file__).parent))

    def make(function, **limits) -> Sandbox:
        boxes.append(Sandbox(function, **limits))
        return boxes[-1]

    boxes: list[Sandbox] = []
    yield make
    for box in boxes:
        box.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (hangs, "timeout", "no progress for 1 s"),
        (aborts, "crash", "SIGABRT"),
        (swallows_memory, "oom", "more than 1 GB"),
        (never_ends, "timeout", "not finished after 2 s"),
        (faults, "crash", "SIGSEGV"),
        (leaves, "crash", "exit code 3"),
        (stops_in_the_middle_of_a_message, "timeout", "no progress for 1 s"),
        (writes_without_end, "oom", "temporary file of more than 1 GB"),
    ],
)
def test_a_hang_a_crash_and_a_memory_bomb_each_end_as_their_class(sandbox, function, kind, message):
    box = sandbox(function, stall_s=1, memory_gb=1, total_s=2)
    with pytest.raises(DecodeError, match=message) as error:
        list(box.stream())
    assert error.value.kind == kind


@pytest.mark.slow
def test_where_less_is_allowed_than_a_decoder_gets_it_gets_that_and_the_walls_stand(sandbox):
    code = """
import resource
from test_sandbox import good, Sandbox
from ndvr.operators.sandbox.walls import on_this_machine
for kind, most in ((resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_FSIZE, 1 << 20), (resource.RLIMIT_DATA, 2 << 30)):
    resource.setrlimit(kind, (most, most))
with Sandbox(good) as box:
    print(list(box.stream(3)), box.walls == on_this_machine())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[0, 1, 2] True\n", done.stderr


@pytest.mark.parametrize("function", [faults, aborts, leaves])
def test_a_child_that_goes_by_itself_died(sandbox, function):
    with pytest.raises(ChildDied):
        list(sandbox(function).stream())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_child_that_somebody_kills_did_not_die_by_itself(sandbox, number):
    with pytest.raises(ChildKilled, match=f"killed from outside with {signal.Signals(number).name}"):
        list(sandbox(is_told_to_go).stream(number))


@pytest.mark.slow
def test_a_stopped_child_is_a_hanging_one(sandbox):
    box = sandbox(hangs, stall_s=1)
    messages = box.stream()
    assert next(messages) == "before"
    os.kill(box.pid, signal.SIGSTOP)
    with pytest.raises(DecodeError, match="no progress") as error:
        next(messages)
    assert error.value.kind == "timeout" and box.pid is None


def test_a_child_that_cannot_start_was_not_brought_down_by_the_call(sandbox):
    def no_such_function(beat):
        yield

    with pytest.raises(ChildKilled, match="could not be started.*no_such_function"):
        list(sandbox(no_such_function).stream())


def test_a_key_pressed_for_the_parent_does_not_reach_the_child(sandbox):
    box = sandbox(good)
    list(box.stream(1))
    assert os.getpgid(box.pid) != os.getpgid(0)


@pytest.mark.slow
def test_a_child_that_grows_is_replaced_between_calls(sandbox):
    box = sandbox(leaks, memory_gb=1)
    children = [next(iter(list(box.stream()))) for _ in range(12)]  # 1.2 GB in all
    assert 1 < len(set(children)) < 12


def test_what_the_child_prints_takes_no_more_room_with_every_call(sandbox):
    box = sandbox(fills_the_log)
    for _ in range(3):
        list(box.stream())
    assert os.fstat(box._log.fileno()).st_size == 1 + (1 << 20)


@pytest.mark.slow
def test_the_child_is_replaced_after_it_died(sandbox):
    box = sandbox(good)
    assert list(box.stream(3)) == [0, 1, 2]
    box._child.kill()
    box._child.wait()
    assert list(box.stream(2)) == [0, 1]


@pytest.mark.slow
def test_signs_of_life_keep_a_slow_call_alive(sandbox):
    assert list(sandbox(slow_but_alive, stall_s=1).stream()) == ["finished"]


@pytest.mark.slow
def test_leaving_a_stream_early_does_not_leak_into_the_next(sandbox):
    box = sandbox(good)
    assert next(iter(box.stream(1000))) == 0
    assert list(box.stream(2)) == [0, 1]


@pytest.mark.slow
def test_a_killed_worker_leaves_no_temporary_file(tmp_path):
    # Sound is spooled: 12 minutes in memory, here 1 MB, more in a file that has no name.
    code = """
import os, signal
from sounds import frames, noise
from ndvr.models.card import Mel
from ndvr.operators.video import _sound as sound
sound.SPOOL_BYTES = 1 << 20
ears = sound.Sound(Mel())
for frame in frames(noise(44100 * 30), per_frame=44100):
    ears.push(frame)
assert ears._spool._rolled and ears._spool.tell() > 1 << 20
os.kill(os.getpid(), signal.SIGKILL)
"""
    here = Path(__file__).parent
    env = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": python_path()}
    done = subprocess.run([sys.executable, "-c", code], cwd=here, env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == []


def test_folders_of_killed_workers_are_removed_and_no_others(sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    an_hour_ago = time.time() - 3700
    folders = {
        "left": tmp_path / f"ndvr-decoder-{gone.pid}-a",
        "young": tmp_path / f"ndvr-decoder-{gone.pid}-b",
        "full": tmp_path / f"ndvr-decoder-{gone.pid}-c",
        "of a living process": tmp_path / f"ndvr-decoder-{os.getpid()}-d",
        "of others": tmp_path / "ndvr-decoder-e",
    }
    for folder in folders.values():
        folder.mkdir()
    (folders["full"] / "file").touch()
    for name in set(folders) - {"young"}:
        os.utime(folders[name], (an_hour_ago, an_hour_ago))
    assert list(sandbox(good).stream(2)) == [0, 1]
    assert [name for name, folder in folders.items() if not folder.is_dir()] == ["left"]
