"""The package as pip would install it, in a folder of its own: what a wheel holds, and a place to add a file to."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from places import ROOT


def build_package(folder: Path) -> Path:
    """Gather the package with setuptools; return the folder that holds `ndvr`."""
    source, built = folder / "source", folder / "built"
    for name in ("benchmarks", "models", "operators", "pipeline"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("results", "__pycache__"))
    for name in ("README.md", "pyproject.toml", "setup.cfg"):
        shutil.copy(ROOT / name, source)
    setup = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q"]
    done = subprocess.run([*setup, "build_py", "--build-lib", str(built)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return built
