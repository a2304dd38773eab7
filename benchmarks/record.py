"""Write what a benchmark measured, with the commit, machine and versions it was measured on: record(name, results)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from ndvr.operators.storage.store import write_text

_PACKAGES = ("torch", "torchvision", "numpy", "ray", "pyarrow", "av", "decord", "opencv-python-headless", "faiss-cpu")
_FOLDER = Path(__file__).parent / "results"


def record(name: str, results: dict[str, Any], out: Path | None = None) -> Path:
    """Write `out`, else benchmarks/results/NAME.json, in place of an older one; return its path."""
    path = Path(out) if out else _FOLDER / f"{name}.json"
    document = {
        "name": name,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "results": results,
    }
    write_text(path, json.dumps(document, indent=2, default=_plain) + "\n")
    return path


def commit() -> str | None:
    """Return the commit of this source, with "+" when files differ from it; None outside a repository."""
    try:
        head = _git("rev-parse", "HEAD")
        # Results themselves are written into the tree and change no number.
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_FOLDER.parent), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def machine() -> dict[str, Any]:
    """Describe the processor, cores this process may use, memory, accelerators and the load."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": _gpus(),
        "system": platform.platform(),
        "load_1min": round(os.getloadavg()[0], 2),  # a busy machine explains a slow result
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that decide about speed."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed


def _plain(value: Any) -> Any:
    """Turn numpy numbers and arrays, and paths, into what JSON can hold."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a benchmark result of type {type(value).__name__} cannot be written as JSON")


class PlainCommand(click.Command):
    """A command of `python -m ndvr.benchmarks...`: exit code 2 and a line on stderr for input that cannot be used."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (ValueError, FileNotFoundError) as error:
            click.echo(f"Error: {error}", err=True)
            return context.exit(2)
