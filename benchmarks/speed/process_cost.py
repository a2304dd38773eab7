"""What a command costs with every process it starts, Ray's among them: measured(command) runs it and looks on.

Sampled from /proc (Linux): what a process uses in its last tenth of a second is missed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ndvr.benchmarks.speed.long_video import descendants, private_mb

INTERVAL_S = 0.1
_SHARED_MEMORY = "/dev/shm"  # of Ray's object store


@dataclass
class Cost:
    """Of a command and all it started."""

    wall_s: float = 0.0
    private_mb: float = 0.0  # memory that is not shared, summed over the processes, at its peak
    shared_mb: float = 0.0  # shared memory at its peak, beyond what the machine had in use before
    cpu_by_process: dict[int, float] = field(default_factory=dict, repr=False)  # seconds, user and system
    bytes_by_process: dict[int, int] = field(default_factory=dict, repr=False)  # read by calls; mapped files are not

    @property
    def cpu_s(self) -> float:
        return sum(self.cpu_by_process.values())

    @property
    def read_bytes(self) -> int:
        """Code and what processes tell each other included."""
        return sum(self.bytes_by_process.values())

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self) | {
            "cpu_s": self.cpu_s,
            "read_bytes": self.read_bytes,
            "processes": len(self.cpu_by_process),
        }
        return {key: value for key, value in fields.items() if not key.endswith("_by_process")}

    def look(self, root: int, *, shared_before: float) -> None:
        """Take one sample."""
        pids = descendants(root)
        self.private_mb = max(self.private_mb, private_mb(pids))
        self.shared_mb = max(self.shared_mb, _shared_mb() - shared_before)
        for pid in pids:
            try:
                times = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
                counts = Path(f"/proc/{pid}/io").read_text().split()
            except OSError:
                continue
            self.cpu_by_process[pid] = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
            self.bytes_by_process[pid] = int(counts[1])  # "rchar: N"


def measured(command: Sequence[str]) -> tuple[str, Cost]:
    """Run a command; return what it printed, and its cost. RuntimeError when it fails."""
    cost, done = Cost(), threading.Event()
    shared_before = _shared_mb()
    began = time.monotonic()
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def watch() -> None:
        while not done.is_set():
            cost.look(run.pid, shared_before=shared_before)
            done.wait(INTERVAL_S)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        printed, _ = run.communicate()
    finally:
        cost.wall_s = time.monotonic() - began
        done.set()
        watcher.join()
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {run.returncode}")
    return printed, cost


def _shared_mb() -> float:
    return shutil.disk_usage(_SHARED_MEMORY).used / 2**20
