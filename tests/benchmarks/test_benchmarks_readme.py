"""What benchmarks/README.md says: its dataset is added and evaluated, its commands and datasets are there."""

import json
import os
import re
import runpy
import subprocess
import sys

import pytest
from installed_copy import build_package
from places import ROOT, python_path

from ndvr.benchmarks.evaluation.protocol import datasets

README = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
MODULES = sorted(set(re.findall(r"^python -m (ndvr\.benchmarks\.[\w.]+)", README, re.MULTILINE)))


@pytest.mark.slow
def test_the_dataset_of_the_page_is_added_by_its_file_alone(tmp_path):
    built = build_package(tmp_path)
    example = re.search(r"```python\n# benchmarks/(datasets/\w+\.py)\n(.*?)```", README, re.DOTALL)
    (built / "ndvr" / "benchmarks" / example[1]).write_text(example[2], encoding="utf-8")
    (tmp_path / "labels.txt").write_text("t1 a same\nt1 c same\nt2 b same\nt2 a event\n")
    (tmp_path / "videos.txt").write_text("a\nb\nc\n")
    scores = {"t1": {"a": 0.9, "b": 0.8, "c": 0.7}, "t2": {"a": 0.2, "b": 0.9, "c": 0.3}}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    command = [sys.executable, "-m", "ndvr.pipeline.cli", "evaluate", "scores.json"]
    done = subprocess.run(
        [*command, "--dataset", "trailers", "--annotations", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": python_path(built)},
    )
    assert done.returncode == 0, done.stderr
    printed = re.search(r"^task .*?(?=```)", README, re.DOTALL | re.MULTILINE)[0]
    assert printed in done.stdout + "\n"


@pytest.mark.parametrize("module", MODULES)
def test_a_command_of_the_page_starts(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 0
    assert "Usage:" in capsys.readouterr().out


def test_every_measurement_is_on_the_page():
    files = [path for room in ("speed", "chaos") for path in (ROOT / "benchmarks" / room).glob("*.py")]
    commands = [path for path in files if re.search(r"@click\.(command|group)", path.read_text(encoding="utf-8"))]
    assert {f"ndvr.benchmarks.{path.parent.name}.{path.stem}" for path in commands} <= set(MODULES)


def test_every_dataset_is_on_the_page():
    table = README[README.index("### Datasets and conventions") : README.index("## Add a dataset")]
    assert set(datasets()) <= set(re.findall(r"`([\w-]+)`", table))
