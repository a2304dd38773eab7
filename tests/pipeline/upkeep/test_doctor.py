"""`ndvr doctor` says what this machine has, and what is wrong with it in sentences."""

import json
import os
import subprocess
import sys

import pytest
from places import python_path

from ndvr.operators.sandbox.walls import missing_text, on_this_machine

pytestmark = pytest.mark.slow


def examined(*options: str, modules="") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ndvr.pipeline.cli", "doctor", *options]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(modules), python_path()]))}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)


def test_it_reports_versions_space_and_the_walls_that_stand_around_decoders():
    done = examined("--json")
    report = json.loads(done.stdout)
    assert report["walls"] == list(on_this_machine())
    assert report["packages"]["numpy"].count(".") == 2 and report["packages"]["torchaudio"].startswith("2.")
    assert report["cpus"] >= 1 and report["memory_gb"] > 0 and report["tmpdir_free_gb"] > 0
    assert done.returncode == (1 if report["wrong"] else 0)
    assert bool(missing_text(report["walls"])) == any("on this machine" in each for each in report["wrong"])


def test_a_package_whose_libraries_do_not_fit_is_named_and_counts(tmp_path):
    (tmp_path / "torchaudio.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    done = examined(modules=tmp_path)
    assert done.returncode == 1
    line = "WRONG: torchaudio cannot be imported: libcudart.so.13: cannot open shared object file"
    assert line in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (("no new privileges", "limits", "landlock 7", "seccomp"), ""),
        (("limits", "seccomp"), "no landlock on this machine: a file made to take over a decoder"),
        ((), "no landlock and no seccomp on this machine"),
    ],
)
def test_walls_that_are_missing_are_told(standing, said):
    assert missing_text(standing).startswith(said) and bool(missing_text(standing)) == bool(said)
