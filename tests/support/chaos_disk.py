"""A disk that fills up or turns read-only under a library, as real ones do, and comes back."""

from __future__ import annotations

import contextlib
import errno
import resource
import subprocess
import time
from pathlib import Path
from typing import Protocol

from ndvr.benchmarks.chaos.processes import Run

_BYTES = 64 << 20


class Disk(Protocol):
    """Where a library may lie, and what can go wrong with it. `run` is the command that is at work."""

    folder: Path

    def fill(self, run: Run) -> None: ...

    def free(self) -> None: ...

    def lock(self, library: Path) -> None: ...

    def unlock(self, library: Path) -> None: ...


@contextlib.contextmanager
def disk(folder: Path):
    """A file system of its own where we may mount one, else what comes next to it."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_BYTES}", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        yield Limits(folder)
        return
    try:
        yield Mount(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Mount:
    """A file system in memory: writing ends with "No space left on device", or "Read-only file system"."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, run: Run) -> None:
        with open(self._filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC, error

    def free(self) -> None:
        self._filler.unlink()

    def lock(self, library: Path) -> None:
        self._remount("ro")

    def unlock(self, library: Path) -> None:
        self._remount("rw")

    def _remount(self, how: str) -> None:
        command = ["mount", "-o", f"remount,{how}", str(self.folder)]
        end = time.monotonic() + 20
        # Refused while a file is open for writing, which is most of the time.
        while subprocess.run(command, capture_output=True, check=False).returncode:
            assert time.monotonic() < end, f"{' '.join(command)} is refused"


class Limits:
    """Without the right to mount: the writer may not write files of more than a few bytes, or not into folders."""

    def __init__(self, folder: Path):
        self.folder = folder

    def fill(self, run: Run) -> None:
        for process in run.with_role("write"):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (256, 256))

    def free(self) -> None:
        """The writer is gone, and its limit with it."""

    def lock(self, library: Path) -> None:
        for name in ("commits", "locks"):
            (library / name).chmod(0o555)

    def unlock(self, library: Path) -> None:
        for name in ("commits", "locks"):
            (library / name).chmod(0o755)
