"""A command as a process tree that can be watched, hurt and ended: with Run(command, folder) as run: ..."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndvr.operators.sandbox.sandbox import CHILD

# What a process does for a run, by words of its command line; the first that fits. Ray names its workers so.
_ROLES = (
    ("child", CHILD),
    ("head", "/raylet/raylet", " --head "),
    ("node", "/raylet/raylet"),
    ("decode", "ray::", "Decode"),
    ("embed", "ray::", "Embed"),
    ("write", "ray::", "MapBatches"),  # the third of the stages
    ("agent", "ray::", "Agent"),
    ("worker", "ray::"),  # idle, or a task or actor of Ray Data's own
)


@dataclass(frozen=True)
class Process:
    """One process. A pid is used again after a while, together with its start it is not."""

    pid: int
    parent: int
    started: int  # clock ticks since boot
    words: str  # the command line

    @property
    def role(self) -> str:
        """child, head, node, decode, embed, write, agent, worker or other."""
        return next((role for role, *words in _ROLES if all(word in self.words for word in words)), "other")

    @property
    def alive(self) -> bool:
        """Whether it is still there and not a corpse."""
        now = _read(self.pid)
        return now is not None and now.started == self.started

    def kill(self, number: int = signal.SIGKILL) -> bool:
        """Say whether the signal was sent."""
        if not self.alive:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def descendants(pid: int) -> list[Process]:
    """Return every living process that descends from `pid`, itself not among them, parents before children."""
    children: dict[int, list[Process]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (process := _read(int(folder.name))):
            children.setdefault(process.parent, []).append(process)
    below, todo = [], [pid]
    while todo:
        direct = children.get(todo.pop(0), [])
        below += direct
        todo += [process.pid for process in direct]
    return below


def _read(pid: int) -> Process | None:
    """Read a process; None when it is gone, or a corpse without living descendants of its own to speak of."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name before it may hold anything
    if fields[0] in "ZX":
        return None
    return Process(pid=pid, parent=int(fields[1]), started=int(fields[19]), words=words)


POLL_S = 0.02


class Run:
    """A command under a keeper (ndvr.benchmarks.chaos.keeper), so that whatever it starts is found to the last one.

    log   what it printed, in `folder`
    code  its exit code, minus the signal that ended it; None while it is at work
    """

    def __init__(self, command: list[str], folder: Path, *, environment: dict[str, str] | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.command = command
        self.began = time.monotonic()
        self.log = folder / f"{time.time_ns()}.log"
        self._status = self.log.with_suffix(".status")
        with open(self.log, "wb") as log, open(self._status, "wb") as status:
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", "ndvr.benchmarks.chaos.keeper", *command],
                stdin=subprocess.DEVNULL,
                stdout=status,
                stderr=log,
                env=os.environ | (environment or {}),
            )
        self.until(lambda: bool(self._said()) or self._keeper.poll() is not None, within_s=60)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _said(self) -> list[int]:
        return [int(line) for line in self._status.read_text().split("\n")[:-1]]

    @property
    def pid(self) -> int:
        return self._said()[0]

    @property
    def code(self) -> int | None:
        output = self._said()
        return output[1] if len(output) > 1 else None

    @property
    def text(self) -> str:
        """What the command printed so far, both streams."""
        return self.log.read_text(errors="replace")

    @property
    def summary(self) -> dict[str, Any] | None:
        """The JSON object it printed last; None when it did not come so far."""
        for line in reversed(self.text.splitlines()):
            if line.startswith("{"):
                return json.loads(line)
        return None

    def processes(self) -> list[Process]:
        """Return all that descend from the command and are alive, itself with them."""
        return descendants(self._keeper.pid)

    def with_role(self, role: str) -> list[Process]:
        """Return those of one role (ndvr.benchmarks.chaos.processes); the command itself is the driver."""
        if role == "driver":
            return [process for process in self.processes() if process.pid == self.pid]
        return [process for process in self.processes() if process.role == role]

    def kill(self, role: str, chance: random.Random | None = None) -> Process | None:
        """Kill one of a role (SIGKILL): the first, or one by chance. None when there was none."""
        candidates = self.with_role(role)
        if not candidates:
            return None
        chosen = chance.choice(candidates) if chance else candidates[0]
        return chosen if chosen.kill() else None

    def until(self, happened: Callable[[], Any], *, within_s: float) -> bool:
        """Wait for something while the command is at work. Whether it happened."""
        end = time.monotonic() + within_s
        while not happened():
            if time.monotonic() > end or (self._keeper.poll() is not None):
                return bool(happened())
            time.sleep(POLL_S)
        return True

    def wait(self, within_s: float) -> int | None:
        """Return the exit code, or None when it is still at work after that time."""
        self.until(lambda: self.code is not None, within_s=within_s)
        return self.code

    def gone(self, within_s: float) -> bool:
        """Say whether every process of it is gone within that time."""
        try:
            return self._keeper.wait(within_s) is not None
        except subprocess.TimeoutExpired:
            return False

    def close(self) -> None:
        """Kill what is left of it."""
        self._keeper.terminate()
        self._keeper.wait(30)


def extract_command(videos: Path, library: Path, *options: str) -> list[str]:
    """Write `ndvr extract` as a user types it; `--json` puts the summary into the log."""
    return [
        sys.executable, "-m", "ndvr.pipeline.cli", "extract", str(videos), str(library), "--quiet", "--json", *options,
    ]  # fmt: skip


def commits(library: Path) -> set[str]:
    """List the names of the commits that lie in the library now."""
    folder = library / "commits"
    return {file.name for file in folder.iterdir() if file.suffix == ".parquet"} if folder.is_dir() else set()
