"""What this machine has of what ndvr needs: versions, processors, space, and walls around decoders."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

from ndvr.operators.sandbox.walls import missing_text, on_this_machine

_PACKAGES = ("ray", "torch", "torchaudio", "av", "decord", "cv2", "numpy", "pyarrow", "h5py", "faiss")
_OPTIONAL = {"decord"}  # a second decoder, where there is one for the platform
LEAST_FREE_GB = 1.0  # of TMPDIR: videos from object stores, and Ray


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What was looked at, and what is wrong: sentences."""

    python: str
    packages: dict[str, str]  # name -> version, or "cannot be imported: WHY"
    cpus: int
    memory_gb: float
    gpus: tuple[str, ...]
    tmpdir: str
    tmpdir_free_gb: float
    walls: tuple[str, ...]
    wrong: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Make one object for programs."""
        return asdict(self)

    def text(self) -> str:
        """Write a line for each thing, what is wrong last."""
        return "\n".join(
            [
                f"Python {self.python}",
                *(f"{name} {version}" for name, version in self.packages.items()),
                f"{self.cpus} CPUs, {self.memory_gb:.1f} GB of memory, GPUs: {', '.join(self.gpus) or 'none'}",
                f"{self.tmpdir_free_gb:.1f} GB free in {self.tmpdir} (TMPDIR names another folder)",
                f"walls around decoders: {', '.join(self.walls) or 'none'}",
                *(f"WRONG: {each}" for each in self.wrong or ()),
                *(() if self.wrong else ("all is well",)),
            ]
        )


def examine() -> Examination:
    """Look at this machine; nothing is started or changed."""
    packages = {name: _version(name) for name in _PACKAGES}
    folder = tempfile.gettempdir()
    free_gb = shutil.disk_usage(folder).free / 1e9
    walls = on_this_machine()
    wrong = [f"{name} {version}" for name, version in packages.items() if " " in version and name not in _OPTIONAL]
    if ray := _untested_ray():
        wrong.append(ray)
    if free_gb < LEAST_FREE_GB:
        wrong.append(f"{free_gb:.1f} GB are free in {folder}: set TMPDIR to a folder with more room")
    if text := missing_text(walls):
        wrong.append(text)
    return Examination(
        python=platform.python_version(),
        packages=packages,
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        gpus=_gpus(),
        tmpdir=folder,
        tmpdir_free_gb=round(free_gb, 1),
        walls=walls,
        wrong=tuple(wrong),
    )


def _version(name: str) -> str:
    """Import a package, as only that shows whether its libraries fit."""
    try:
        module = importlib.import_module(name)
    except Exception as error:  # libraries that do not fit raise OSError and others
        return f"cannot be imported: {' '.join(str(error).split()) or type(error).__name__}"
    return str(getattr(module, "__version__", "unknown"))


def _untested_ray() -> str:
    try:
        from ndvr.pipeline.cluster import cluster

        cluster.check_version()
    except ImportError:  # told already
        return ""
    except ValueError as error:
        return str(error)
    return ""


def _gpus() -> tuple[str, ...]:
    """Name the GPUs that the driver knows; none without a driver."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
