"""What README says can be typed, typed."""

import os
import re
import subprocess
import sys

import pytest
from clips import numbered_clip
from places import ROOT

README = (ROOT / "README.md").read_text()


def test_the_python_example_runs(tmp_path, ray_cluster):
    (tmp_path / "videos").mkdir()
    numbered_clip(tmp_path / "videos" / "a.mp4", n_frames=60, fps=25)
    numbered_clip(tmp_path / "videos" / "b.mp4", n_frames=60, fps=25, numbers=range(500, 560))
    numbered_clip(tmp_path / "videos" / "a_again.mkv", n_frames=60, fps=25)
    (tmp_path / "truth.csv").write_text("query_id,video_id,relation,edit\na_again.mkv,a.mp4,near_dup,remux\n")
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, env=os.environ, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 {} ")
    assert "remux" in done.stdout and "1.0000" in done.stdout


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^ndvr ([\w-]+)", README, re.MULTILINE))))
def test_every_command_in_readme_exists(command):
    done = subprocess.run(
        [sys.executable, "-m", "ndvr.pipeline.cli", command, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


OF_RAY = {"--tmux", "--no-wait"}  # options of the commands that run ours on a cluster


@pytest.mark.parametrize("option", sorted(set(re.findall(r"(--[a-z][a-z-]+)", README)) - OF_RAY - {"--help"}))
def test_every_option_in_readme_exists(option):
    sources = [path.read_text() for layer in ("pipeline", "benchmarks") for path in (ROOT / layer).glob("*.py")]
    assert any(f'"{option}"' in source for source in sources), f"no command has {option}"


def test_every_file_in_the_tree_of_readme_exists():
    tree = re.search(r"## What lies where\n+```\n(.*?)```", README, re.DOTALL).group(1)
    folder = None
    for line in tree.splitlines():
        if match := re.match(r"(\w+)/ ", line):
            folder = match.group(1)
        for name in re.findall(r"\b(\w+\.py)\b", line):
            found = list((ROOT / folder).rglob(name)) or list(ROOT.glob(f"*/{name}"))
            assert found, f"README names {folder}/{name}"
