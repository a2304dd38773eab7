"""Do work in a fork of this process, on this machine or as on another one, strike it, and learn how it ended.

outcome = forked(lambda: ndvr("gc", "library"), folder / "answer", strike=lambda pid: os.kill(pid, signal.SIGKILL))
outcome.how                                        # "done", "told", "failed" or "killed"

A fork has imported everything, so that work is struck and not its start. It dies with whoever started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import itertools
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from ndvr.benchmarks.chaos.flaky_relay import FlakyRelay
from ndvr.operators.errors import RunStopped
from ndvr.operators.library import fencing, lease, runs
from ndvr.operators.storage import object_store
from ndvr.operators.storage.store import Store
from ndvr.pipeline import cli

HANGS_S = 300.0
_PDEATHSIG = 1  # linux/prctl.h
# Of leases between the hosts of this benchmark, which shall not wait for minutes.
_BEAT_S, _SILENT_S = 0.2, 1.5
_PAUSES_S = (0.05,) * 8  # before a busy store is asked again


class Told(Exception):
    """A command ended in a sentence, with an exit code that is not 0."""

    def __init__(self, code: int, sentence: str):
        super().__init__(sentence)
        self.code, self.sentence = code, sentence


@dataclass(frozen=True)
class Host:
    """Where work is done: on this machine, or on one whose process ids mean nothing here and whose clock is wrong.

    name       "": this machine
    clock_s    its clock less the right one
    store      the address of the object store that it uses
    failing    the share of requests to it that go wrong
    sleeps_at  it stops itself when it has found so many times that nobody has taken over its lease; None: never
    """

    name: str = ""
    clock_s: float = 0.0
    store: str = ""
    failing: float = 0.0
    sleeps_at: int | None = None


HERE = Host()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How work ended.

    how     done; told: in a sentence, with an exit code; failed: in any other way; killed
    answer  what it returned, or what it told
    faults  requests to the object store that went wrong meanwhile
    """

    how: Literal["done", "told", "failed", "killed"]
    answer: Any = None
    code: int = 0
    faults: int = 0


def ndvr(*arguments: str) -> None:
    """Run a command as a user types it. Told when its exit code is not 0."""
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            code = cli.main.main([*arguments], standalone_mode=False) or 0
        except SystemExit as end:
            code = int(end.code or 0)
    if code:
        lines = (errors.getvalue().strip() or output.getvalue().strip()).splitlines()
        raise Told(code, lines[-1] if lines else "")


# What commands import when they run.
_NEEDED = (
    *(f"pipeline.commands.{name}" for name in ("comparison", "extraction", "library", "search")),
    *(f"pipeline.comparison.{name}" for name in ("dedupe", "rerank", "similarity")),
    *(f"pipeline.{name}" for name in ("extraction.import_features", "search.search", "upkeep.fit_pca")),
    *(f"models.methods.{name}" for name in ("c3dhash", "tca", "thumbprint")),
    *("operators.scores.cells", "pipeline.upkeep.maintenance"),
)


def import_commands() -> None:
    """Import what commands need, before anything is forked."""
    for name in _NEEDED:
        importlib.import_module(f"ndvr.{name}")


def forked(
    work: Callable[[], Any], out: Path, *, host: Host = HERE, strike: Callable[[int], None] = lambda pid: None
) -> Outcome:
    """Do work in a fork of this process; `strike` may do something to it meanwhile. `out`: a file for its answer."""
    out.unlink(missing_ok=True)
    parent, pid = os.getpid(), os.fork()
    if not pid:
        try:
            _child(work, out, host, parent)
        finally:
            os._exit(1)  # whatever happens: what stands above is its parent's to do
    try:
        strike(pid)
        ended = _ended(pid)
    except BaseException:
        _end(pid)
        raise
    if not ended:
        return Outcome(how="failed", answer=f"it hung for {HANGS_S:g} s")
    return Outcome(**json.loads(out.read_text())) if out.exists() else Outcome(how="killed")


def _ended(pid: int) -> bool:
    """Wait for the end of a fork; tell whether it came in time."""
    deadline = time.monotonic() + HANGS_S
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            _end(pid)
            return False
        time.sleep(0.005)
    return True


def wait_until_asleep(pid: int) -> bool:
    """Wait until a fork has stopped itself; tell whether it has, and did not come to its end instead."""
    deadline = time.monotonic() + HANGS_S
    while time.monotonic() < deadline:
        changed = os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        if changed:
            return changed.si_code == os.CLD_STOPPED
        time.sleep(0.005)
    return False


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _child(work: Callable[[], Any], out: Path, host: Host, parent: int) -> None:
    """Work, write how it ended, and end."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    faults: Callable[[], int] = lambda: 0  # noqa: E731
    try:
        if host.name:
            _be(host)
        faults = _use_store(host)
        if host.sleeps_at is not None:
            _sleep_at(host.sleeps_at)
        outcome = Outcome(how="done", answer=work())
    except Told as told:
        outcome = Outcome(how="told", answer=told.sentence, code=told.code)
    except (ValueError, RunStopped, OSError) as error:
        outcome = Outcome(how="told", answer=str(error), code=1)
    except BaseException as error:
        outcome = Outcome(how="failed", answer=f"{type(error).__name__}: {error}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    part = out.with_suffix(".part")
    part.write_text(json.dumps(asdict(outcome) | {"faults": faults()}))
    os.replace(part, out)


def _use_store(host: Host) -> Callable[[], int]:
    """Set the environment for the object store of a host; returns what counts the requests to it that went wrong."""
    if not host.store:
        return lambda: 0
    address, count = host.store, lambda: 0
    if host.failing:
        relay = FlakyRelay(int(host.store.rpartition(":")[2]), rate=host.failing, seed=os.getpid(), silent_s=1.5)
        address, count = relay.url, lambda: sum(n for kind, n in relay.counts.items() if kind != "passed on")
        vars(object_store).update(PAUSES_S=_PAUSES_S, FIRST_PAUSES_S=_PAUSES_S)
        object_store.SILENT_S = 1.0
    os.environ["AWS_ENDPOINT_URL"] = address
    return count


def _be(host: Host) -> None:
    """Become another host: for leases, and for whatever asks for the time."""
    clock, shift = time.time, timedelta(seconds=host.clock_s)
    time.time = lambda: clock() + host.clock_s
    lease._space = lambda: host.name
    lease.BEAT_S, lease.SILENT_S, runs.LINGER_S = _BEAT_S, _SILENT_S, 0.5

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return super().now(tz) + shift

    _replace("datetime", datetime, Shifted)


def _sleep_at(look: int) -> None:
    """Stop this process at the worst moment: between a look at its lease that went well and what it does then."""
    check, looks = fencing.check, itertools.count()

    def check_and_sleep(store: Store) -> None:
        check(store)
        if store.lease is not None and next(looks) == look:
            os.kill(os.getpid(), signal.SIGSTOP)

    _replace("check", check, check_and_sleep)


def _replace(name: str, old: object, new: object) -> None:
    """Put something in the place of what modules of the project have imported under a name."""
    for each, module in list(sys.modules.items()):
        if each.startswith("ndvr.") and getattr(module, name, None) is old:
            setattr(module, name, new)
