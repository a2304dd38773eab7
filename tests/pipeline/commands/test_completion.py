"""What the shell completes, asked as bash asks: the command itself, with the line in the environment."""

import os
import subprocess
import sys

import pytest
from score_libraries import library

from ndvr import models


def completions(*words, folder) -> list[str]:
    """What is offered for the last word; folders and files are left to the shell as "dir" and "file"."""
    asked = {"_NDVR_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "ndvr"], env=os.environ | asked, cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    offers = (line.partition(",") for line in done.stdout.splitlines() if line)
    return [value if kind == "plain" else kind for kind, _, value in offers]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("work")
    library(made / "films" / "lib", {"v1": 3, "v2": 4, "w3": 3})
    (made / "videos").mkdir()
    return made


@pytest.mark.slow
def test_commands_and_options(folder):
    assert completions("ndvr", "si", folder=folder) == ["similarity"]
    assert completions("ndvr", "extract", "videos", "lib", "--decode-w", folder=folder) == ["--decode-workers"]


@pytest.mark.parametrize(
    "line", [("extract", "videos", "lib"), ("plan", "videos"), ("similarity", "a", "b", "c"), ("demo",)]
)
def test_methods(folder, line):
    assert completions("ndvr", *line, "--method", "", folder=folder) == list(models.names())


@pytest.mark.slow
def test_methods_as_an_argument_and_as_a_proposer(folder):
    assert completions("ndvr", "methods", "s2", folder=folder) == ["s2vs"]
    assert completions("ndvr", "similarity", "a", "b", "c", "--propose", "tc", folder=folder) == ["tca"]


@pytest.mark.slow
def test_options_and_weights_of_the_chosen_method(folder):
    line = ("ndvr", "extract", "videos", "lib", "--method", "s2vs")
    assert completions(*line, "--option", "sam", folder=folder) == ["sampler=ffmpeg", "sampler=opencv"]
    assert completions(*line, "--weights", "s2vs=", folder=folder) == [
        f"s2vs={name}" for name in models.card("s2vs").weights
    ]


@pytest.mark.slow
def test_choices_and_lists_of_choices(folder):
    assert completions("ndvr", "extract", "a", "b", "--decoder", "", folder=folder) == ["auto", "pyav", "decord"]
    assert completions("ndvr", "extract", "a", "b", "--retry", "io,t", folder=folder) == ["io,timeout"]
    assert completions("ndvr", "evaluate", "s", "--dataset", "fivr", folder=folder) == ["fivr-200k", "fivr-5k"]


@pytest.mark.slow
def test_libraries_where_there_are_some_else_folders_that_may_lead_to_one(folder):
    assert completions("ndvr", "show", "films/", folder=folder) == ["films/lib"]
    assert completions("ndvr", "similarity", "films/lib", "films/l", folder=folder) == ["films/lib"]
    assert completions("ndvr", "show", "", folder=folder) == ["dir"]


@pytest.mark.slow
def test_paths(folder):
    assert completions("ndvr", "extract", "v", folder=folder) == ["file"]
    assert completions("ndvr", "similarity", "a", "b", "c", "--query-ids", "", folder=folder) == ["file"]


@pytest.mark.slow
def test_ids_of_a_library(folder):
    assert completions("ndvr", "explain", "films/lib", "v", folder=folder) == ["v1", "v2"]
    assert completions("ndvr", "remove", "films/lib", "v1", "w", folder=folder) == ["w3"]
    assert completions("ndvr", "explain", "no/library", "v", folder=folder) == []
