"""Real kills of `ndvr index`: nothing is lost, doubled or torn, and the bytes are those of an undisturbed build."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from places import ROOT


@pytest.mark.slow
def test_an_index_whose_writers_are_killed_ends_as_an_undisturbed_one(tmp_path):
    """In a process of its own, as it forks and other tests have threads."""
    command = [sys.executable, "-m", "ndvr.benchmarks.chaos.indexing", "--kills", "4", "--out", tmp_path / "kills.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "kills.json").read_text())["results"]
    assert (results["kills"], results["torn"], results["different"], results["leftover"]) == (4, 0, 0, 0)
