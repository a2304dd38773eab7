"""Start Ray on this machine, however slow the machine is.

Ray gives its own processes 30 seconds to come up, a number in its code, and a busy machine may take longer. Here they
get a minute, and when that is too little are started again with more.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_default_system_temp_dir
from ray._private import parameter, services

from ndvr.operators.errors import RunStopped
from ndvr.pipeline.progress import Line, Ticker

WAITS_S = (60.0, 120.0, 240.0)  # of each try
LEAST_FILES, LEAST_BYTES = 128, 20 << 20  # with fewer, Ray ends this process without a word, or waits for itself
_TOO_SLOW = re.compile(r"timed? ?out|may not have started|failed to (start|connect to) gcs|overloaded", re.IGNORECASE)


def start_patiently(start: Callable[[], Any], *, show: bool = True) -> None:
    """Call `start`, which starts Ray, again while it takes too long.

    RunStopped in one sentence when Ray does not come up; passing when it was only slow.
    """
    _check_room()
    line, began = Line(show=show), time.monotonic()
    before = _children()
    with Ticker(lambda: line.show(lambda width: f"starting Ray ... {time.monotonic() - began:.0f} s")):
        for number, wait_s in enumerate(WAITS_S, start=1):
            try:
                with _waiting(wait_s), _in_sessions_of_their_own(), _only_what_is_used():
                    start()
                break
            except ValueError:  # a wrong setting in Ray's environment
                raise
            except Exception as error:  # Ray raises nothing more special
                _clear_away(before)
                reason = " ".join(str(error).split())
                if not _TOO_SLOW.search(reason):
                    raise RunStopped(f"Ray cannot be started on this machine: {reason}") from error
                if number == len(WAITS_S):
                    raise RunStopped(
                        f"Ray did not start within {wait_s:.0f} s, tried {number} times: this machine is too busy; run "
                        "the same command again later",
                        passing=True,
                    ) from error
                Line().show(_always(f"Ray did not start within {wait_s:.0f} s, trying again"), last=True)
    line.clear()


def _check_room() -> None:
    """Raise RunStopped where Ray finds no room for its files, or may open too few."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files != resource.RLIM_INFINITY and files < LEAST_FILES:
        raise RunStopped(
            f"Ray cannot be started here: a process may open {files} files (ulimit -n), and Ray needs {LEAST_FILES} or "
            "more"
        )
    folder = get_default_system_temp_dir()
    free = shutil.disk_usage(folder).free if os.path.isdir(folder) else LEAST_BYTES
    if free < LEAST_BYTES:
        raise RunStopped(
            f"Ray cannot be started on this machine: {free / 1e6:.1f} MB are free in {folder}, where it writes; "
            "TMPDIR names another folder"
        )


def _always(text: str) -> Callable[[int | None], str]:
    return lambda width: text


@contextlib.contextmanager
def _waiting(wait_s: float) -> Iterator[None]:
    """Let Ray wait so long for its own processes."""
    once, variable = services.get_node, "RAY_gcs_server_port_wait_time_s"
    given = os.environ.get(variable)

    def get_node(*arguments: Any) -> Any:
        # Ray looks at its clock after a failure only: until ours has run down, there is none.
        until = time.monotonic() + wait_s
        while True:
            try:
                return once(*arguments)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    services.get_node = get_node
    os.environ.setdefault(variable, str(int(wait_s)))
    try:
        yield
    finally:
        services.get_node = once
        if given is None:
            os.environ.pop(variable, None)


@contextlib.contextmanager
def _in_sessions_of_their_own() -> Iterator[None]:
    """Start Ray's processes out of the reach of signals to our group, as a shell or a scheduler sends them.

    They end with this process as it is. Ended before it, they would end it without a word.
    """
    once = services.ConsolePopen
    services.ConsolePopen = partial(once, start_new_session=True)  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        services.ConsolePopen = once  # type: ignore[misc]


@contextlib.contextmanager
def _only_what_is_used() -> Iterator[None]:
    """Start neither Ray's autoscaler, as one machine is all there is, nor what sends the output of workers to us, nor
    the server behind Ray's dashboard, which runs without a dashboard too.

    Each takes more than half a second of a core to start, and some of it as long as it runs.
    """
    once: Any = parameter.RayParams
    start_server: Any = services.start_api_server
    parameter.RayParams = partial(once, no_monitor=True, include_log_monitor=False)  # type: ignore[assignment,misc]
    services.start_api_server = lambda *_, **__: (None, None)  # as where it cannot be started: Ray goes on
    try:
        yield
    finally:
        parameter.RayParams = once  # type: ignore[misc]
        services.start_api_server = start_server


def _clear_away(before: set[int]) -> None:
    """End what a start that failed has left of Ray's processes."""
    with contextlib.suppress(Exception):
        ray.shutdown()
    for process in _children() - before:
        if b"/ray/" in _command(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _children() -> set[int]:
    """List the processes that this one has started and that still run."""
    # /proc/PID/task/TID/children is shorter, but leaves some out while others end.
    listed, own = set(), str(os.getpid())
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()  # the name before it may hold anything
            if fields[1] == own:
                listed.add(int(path.parent.name))
    return listed


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
