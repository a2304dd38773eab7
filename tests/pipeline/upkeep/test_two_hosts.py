"""Two hosts, clocks a day apart, write to one library: one stops in the middle, and wakes up after it lost it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import host
import pytest
from places import SUPPORT, python_path

from ndvr.operators.library.fencing import ignored_files
from ndvr.operators.library.library import Library
from ndvr.pipeline.upkeep.maintenance import fsck, gc

pytestmark = pytest.mark.slow

DAY_S = 86400


@pytest.fixture
def library(tmp_path):
    made = Library.create(tmp_path / "lib")
    made.add_config(host.CONFIG)
    return made


@pytest.fixture
def start(library):
    """Start a writer on another host; every line that it says can be waited for."""
    started = []

    def start(name, clock_s, *arguments):
        command = [sys.executable, str(SUPPORT / "host.py"), name, str(clock_s), str(library), *arguments]
        env = {**os.environ, "PYTHONPATH": python_path()}
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lines_until(process, word):
    said = []
    for line in process.stdout:
        said.append(line.strip())
        if line.startswith(word):
            return said
    raise AssertionError(f"{said} {process.stderr.read()}")


def wake(process):
    """Let a writer go on that has stopped itself, or is about to."""
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.05)
    process.send_signal(signal.SIGCONT)


def held(library):
    opened = Library(str(library))
    return {video_id: found for video_id, _, found in opened.read(opened.entries("s2vs-0").values())}


@pytest.mark.parametrize("clocks", [(DAY_S, 0), (-DAY_S, DAY_S)])
@pytest.mark.parametrize("where", ["shard", "look", "commit", "second look"])
def test_nothing_counts_that_a_writer_wrote_after_it_was_taken_over(library, start, where, clocks):
    sleeper = start("host A", clocks[0], "write", where, "a", "b")
    assert lines_until(sleeper, "paused") == ["held", "committed a", "paused"]
    other = start("host B", clocks[1], "write", "never", "c")
    assert lines_until(other, "ended") == ["held", "committed c", "ended"], "it took over"
    wake(sleeper)
    (last,) = lines_until(sleeper, "stopped")
    assert "'ndvr extract' on" in last and "has taken over" in last and "had not been heard of for" in last
    # What was said to be committed is there. The last one was visible before it was taken over, or never was.
    expected = {"a", "b", "c"} if where == "second look" else {"a", "c"}
    found = held(library)
    assert set(found) == expected
    assert all((found[video_id] == host.features(video_id)).all() for video_id in expected)
    audit = fsck(str(library), progress=False)
    assert audit.sound, audit.problems
    late = ignored_files(library.store)
    assert len(late) == (where == "commit") and all(any(name in each for each in audit.leftovers) for name in late)
    gc(str(library))
    assert set(held(library)) == expected and ignored_files(library.store) == []
    after = fsck(str(library), progress=False)
    assert (after.problems, after.leftovers, after.digest) == ([], [], audit.digest)


def test_a_writer_that_lives_is_not_taken_over_whatever_the_clocks_say(library, start):
    writer = start("host A", DAY_S, "write", "commit", "a")
    lines_until(writer, "paused")
    wake(writer)
    other = start("host B", -DAY_S, "gc")
    assert lines_until(writer, "ended")[-2:] == ["committed a", "ended"]
    lines_until(other, "ended")  # or it waited until the first had ended
    assert set(held(library)) == {"a"}
