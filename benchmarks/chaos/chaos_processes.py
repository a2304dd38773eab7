"""The processes of a run on Ray, found by descent and told apart by what they are (Linux)."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

# What a process does for a run, by words of its command line; the first that fits. Ray names its workers so.
_ROLES = (
    ("child", "ndvr.operators.video.sandbox"),
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
        """Whether the signal was sent."""
        if not self.alive:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def descendants(pid: int) -> list[Process]:
    """Every living process that descends from `pid`, itself not among them, parents before children."""
    children: dict[int, list[Process]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (process := _read(int(folder.name))):
            children.setdefault(process.parent, []).append(process)
    found, todo = [], [pid]
    while todo:
        mine = children.get(todo.pop(0), [])
        found += mine
        todo += [process.pid for process in mine]
    return found


def _read(pid: int) -> Process | None:
    """None when it is gone, or a corpse without living descendants of its own to speak of."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name before it may hold anything
    if fields[0] in "ZX":
        return None
    return Process(pid=pid, parent=int(fields[1]), started=int(fields[19]), words=words)
