"""Ray that takes longer to start than it gives itself: it is waited for, tried again, and told in one sentence."""

import inspect
import os
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from places import python_path
from ray._private import node, services
from score_libraries import library

from ndvr.operators.errors import RunStopped
from ndvr.pipeline.cli import main
from ndvr.pipeline.cluster import _start
from ndvr.pipeline.cluster._start import start_patiently

SLOW = "The current node timed out during startup. This could happen because the GCS has become overloaded."


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(_start, "WAITS_S", (0.3, 0.4, 0.5))
    monkeypatch.setattr("ray.shutdown", lambda: None)  # the Ray of the other tests is not ours to end


def test_the_wait_that_is_made_longer_is_still_in_ray():
    source = inspect.getsource(node.Node.__init__)
    assert "raylet_start_wait_time_s = 30" in source and "ray._private.services.get_node(" in source, (
        "Ray changed how it waits for its own start: see pipeline/cluster/_start.py"
    )


def test_a_node_that_registers_late_is_waited_for(short, monkeypatch):
    ready = time.monotonic() + 0.2

    def get_node(*_):
        if time.monotonic() < ready:
            raise RuntimeError("no such node")
        return {"labels": {}}

    monkeypatch.setattr(services, "get_node", get_node)
    start_patiently(lambda: services.get_node("address", "id"), show=False)
    assert time.monotonic() >= ready and services.get_node is get_node


def test_a_start_that_takes_too_long_is_tried_again_and_leaves_no_process(short, capfd):
    processes = []

    def start():
        processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "/ray/raylet"]))
        if len(processes) < 3:
            raise Exception(SLOW)  # as Ray does

    start_patiently(start, show=False)
    assert [process.poll() for process in processes[:2]] != [None, None]
    assert processes[2].poll() is None
    processes[2].kill()
    for process in processes:
        process.wait(timeout=10)
    said = capfd.readouterr().err.splitlines()
    assert said == ["Ray did not start within 0 s, trying again"] * 2


@pytest.mark.parametrize(("reason", "passing"), [(SLOW, True), ("no space left in /dev/shm", False)])
def test_what_never_comes_up_is_one_sentence(short, reason, passing):
    def start():
        raise Exception(reason)

    with pytest.raises(RunStopped) as stopped:
        start_patiently(start, show=False)
    assert stopped.value.passing is passing
    assert ("run the same command again later" if passing else reason) in str(stopped.value)


def test_a_command_ends_with_a_code_that_schedulers_repeat(short, monkeypatch, tmp_path):
    def init(**_):
        raise Exception(SLOW)

    path = library(tmp_path / "lib", {"v1": 3, "v2": 4})
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", init)
    settings = ["--method", "csl3d", "--weights", "random:5", "--threshold", "0.5", "--quiet"]
    done = CliRunner().invoke(main, ["dedupe", str(path), str(tmp_path / "p"), *settings])
    assert done.exit_code == 75
    assert done.stderr.splitlines()[-1].startswith("Error: Ray did not start within") and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))", "a process may open 64 files (ulimit -n)"),
        ("_start.LEAST_BYTES = 1 << 60", "MB are free in /"),
    ],
)
def test_where_there_is_no_room_for_ray_it_is_not_waited_for(before, said):
    script = f"""if True:
        import resource
        from ndvr.pipeline.cluster import _start, cluster
        {before}
        try:
            cluster.join()
        except _start.RunStopped as stopped:
            print(stopped)
    """
    environment = os.environ | {"PYTHONPATH": python_path()}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.startswith("Ray cannot be started") and said in done.stdout, done.stderr


@pytest.mark.slow
def test_that_ray_is_starting_is_seen_in_a_terminal(short):
    """Descriptor 2 leads nowhere while Ray starts; the line has its own."""
    script = """if True:
        import time
        from ndvr.pipeline.cluster import _start, cluster

        def start():
            with cluster._native_stderr_closed():
                time.sleep(1.2)

        _start.start_patiently(start)
    """
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", script], stderr=theirs, env=os.environ | {"PYTHONPATH": python_path()}
    ) as process:
        assert process.wait(timeout=120) == 0
    os.close(theirs)
    assert "starting Ray ... 0 s" in os.read(ours, 4096).decode()
