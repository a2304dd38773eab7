"""A command as a process tree that can be watched, hurt and ended: with Run(command, folder) as run: ..."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ndvr.benchmarks.chaos.chaos_processes import Process, descendants

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
        said = self._said()
        return said[1] if len(said) > 1 else None

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
        """All that descend from the command and are alive, itself with them."""
        return descendants(self._keeper.pid)

    def with_role(self, role: str) -> list[Process]:
        """Those of one role (ndvr.benchmarks.chaos.chaos_processes); the command itself is the driver."""
        if role == "driver":
            return [process for process in self.processes() if process.pid == self.pid]
        return [process for process in self.processes() if process.role == role]

    def kill(self, role: str, chance: random.Random | None = None) -> Process | None:
        """SIGKILL one of a role: the first, or one by chance. None when there was none."""
        found = self.with_role(role)
        if not found:
            return None
        chosen = chance.choice(found) if chance else found[0]
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
        """The exit code, or None when it is still at work after that time."""
        self.until(lambda: self.code is not None, within_s=within_s)
        return self.code

    def gone(self, within_s: float) -> bool:
        """Whether every process of it is gone within that time."""
        try:
            return self._keeper.wait(within_s) is not None
        except subprocess.TimeoutExpired:
            return False

    def close(self) -> None:
        """Kill what is left of it."""
        self._keeper.terminate()
        self._keeper.wait(30)


def extract_command(videos: Path, library: Path, *options: str) -> list[str]:
    """`ndvr extract`, as a user types it; `--json` puts the summary into the log."""
    return [
        sys.executable, "-m", "ndvr.pipeline.cli", "extract", str(videos), str(library), "--quiet", "--json", *options,
    ]  # fmt: skip


def commits(library: Path) -> set[str]:
    """Names of the commits that lie in the library now."""
    folder = library / "commits"
    return {file.name for file in folder.iterdir() if file.suffix == ".parquet"} if folder.is_dir() else set()
