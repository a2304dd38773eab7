"""The commands that need no cluster, struck at random."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from places import ROOT


@pytest.mark.slow
def test_whatever_strikes_them_they_end_as_undisturbed_and_nobody_reads_what_is_half_done(tmp_path):
    """In a process of its own, as it forks and other tests have threads."""
    out = tmp_path / "strikes.json"
    command = [sys.executable, "-m", "ndvr.benchmarks.chaos.offline", "--strikes", "7", "--seed", "4", "--out", out]
    struck = ("import", "gc", "fold")
    command += [word for name in struck for word in ("--command", name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(out.read_text())["results"]
    assert results["wrong"] == []
    hits = [name.split(", ") for name, count in results["strikes"].items() if count]
    assert sum(results["strikes"].values()) >= 7
    assert len({name for name, _ in hits}) >= 2 and len({how for _, how in hits}) >= 2
