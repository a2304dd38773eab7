"""Whatever happens to an extraction, running it again ends with the library of an undisturbed one, row for row.

`python -m ndvr.benchmarks.chaos.chaos` does the same at random and for longer. Here what is hit is chosen by what
has been committed, so that it is the same on every machine.
"""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from chaos_disk import disk
from clip_library import extract, videos_in

from ndvr.benchmarks.chaos.library_check import Key, Verdict, Watcher, contents, count_rows, differences
from ndvr.benchmarks.chaos.processes import Run, commits, extract_command
from ndvr.benchmarks.chaos.setting import make_collection

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]
ENOUGH_S = 120  # for anything; a step takes seconds


@pytest.fixture(scope="module")
def folder():
    """A short path: Ray's sockets lie below it, and their names may have 107 letters."""
    path = Path(tempfile.mkdtemp(prefix="chaos-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def collection(folder):
    return make_collection(folder / "videos", clips=32, long_s=300, size=(160, 120))


@pytest.fixture(scope="module")
def calm(collection) -> dict[Key, Verdict]:
    """What a library ought to hold: that of one process, without Ray."""
    found = contents(extract(collection.parent / "undisturbed", videos_in(collection)))
    assert sorted(map(str, found.values())) == ["done"] * 33 + ["failed(corrupt)"] * 3 + ["failed(empty)"]
    return found


class Story:
    """Runs of one command, one after the other, with a reader at the library all the time."""

    def __init__(self, collection: Path, library: Path, calm: dict[Key, Verdict]):
        self.collection, self.library, self.calm = collection, library, calm
        self.logs = collection.parent / "logs"
        self.watcher = Watcher(library, calm)

    def __enter__(self):
        self.watcher.__enter__()
        return self

    def __exit__(self, *error):
        self.watcher.__exit__()

    def run(self, *options: str) -> Run:
        environment = {"RAY_TMPDIR": str(self.collection.parent)}
        return Run(extract_command(self.collection, self.library, *options), self.logs, environment=environment)

    def after_commits(self, run: Run, count: int) -> None:
        """Wait for more of them than there are now."""
        before = commits(self.library)
        assert run.until(lambda: len(commits(self.library) - before) >= count, within_s=ENOUGH_S), run.text
        assert run.code is None, run.text

    def ends(self, run: Run, *, code: int) -> None:
        assert run.wait(ENOUGH_S) == code, run.text

    def is_whole(self) -> None:
        """Equal to the undisturbed library, each row there once, and never anything else to be seen."""
        assert not self.watcher.torn
        assert self.watcher.reads
        assert not differences(contents(self.library), self.calm)
        rows = count_rows(self.library, self.calm)
        assert (rows.lost, rows.duplicated) == (0, 0)
        assert rows.expected > 600


def test_actors_decoders_and_drivers_can_be_killed_at_any_moment(folder, collection, calm):
    with Story(collection, folder / "killed", calm) as story:
        with story.run() as run:
            assert run.until(lambda: run.kill("child"), within_s=ENOUGH_S), run.text
            for role in ("decode", "write", "embed", "driver"):
                story.after_commits(run, 1)
                assert run.kill(role), f"no {role} to kill: {run.text}"
            story.ends(run, code=-signal.SIGKILL)
            assert run.gone(ENOUGH_S), run.processes()
        with story.run() as run:
            assert run.until(lambda: run.with_role("worker"), within_s=ENOUGH_S)  # Ray starts
            assert run.kill("driver")
        with story.run() as run:
            story.ends(run, code=1)  # some of the files are broken
        story.is_whole()


def test_a_full_disk_and_a_read_only_one_stop_a_run_with_a_sentence_and_the_next_goes_on(folder, collection, calm):
    with disk(folder / "disk") as place, Story(collection, place.folder / "library", calm) as story:
        with story.run() as run:
            story.after_commits(run, 2)
            place.fill(run)
            story.ends(run, code=1)
            assert "cannot be written to: " in run.text and "Traceback" not in run.text
        place.free()
        with story.run() as run:
            story.after_commits(run, 2)
            place.lock(story.library)
            story.ends(run, code=1)
            assert "cannot be written to: " in run.text and "Traceback" not in run.text
        with story.run() as run:
            assert run.wait(ENOUGH_S) in (1, 2), run.text
            assert len(run.text.strip().splitlines()) == 1, run.text
        place.unlock(story.library)
        with story.run() as run:
            story.ends(run, code=1)
        story.is_whole()


def test_a_run_can_be_interrupted_and_a_second_writer_is_told_of_the_first(folder, collection, calm):
    with Story(collection, folder / "interrupted", calm) as story:
        for number in (signal.SIGTERM, signal.SIGINT):
            with story.run() as run:
                story.after_commits(run, 1)
                os.killpg(run.pid, number)  # as a terminal does
                story.ends(run, code=1)
                assert "What was committed is safe" in run.text and "Traceback" not in run.text
                assert run.gone(ENOUGH_S), run.processes()
        with story.run() as run:
            story.after_commits(run, 1)
            os.kill(run.pid, signal.SIGSTOP)  # so that it cannot come to its end too early
            with story.run() as other:
                assert other.wait(ENOUGH_S) == 2, other.text
                holder = f"'ndvr extract' on {os.uname().nodename} (process {run.pid}, since "
                assert f"is being written to by {holder}" in other.text
            os.kill(run.pid, signal.SIGCONT)
            story.ends(run, code=1)
        story.is_whole()
