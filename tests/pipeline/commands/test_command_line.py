"""What the command line says and refuses, on real libraries; see test_completion.py for what the shell completes."""

import json
import re
import subprocess
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner
from published_features import hdf5
from score_libraries import library, scores_in

from ndvr import models
from ndvr.operators.library.library import Library
from ndvr.operators.storage.manifest import read_manifest
from ndvr.operators.storage.text_files import read_ids
from ndvr.operators.video.decoders import DECODERS
from ndvr.pipeline.cli import COMMANDS, main
from ndvr.pipeline.commands.option_types import OneOf

NAMES = [name for group in COMMANDS.values() for name in group]
LENGTHS = {"v1": 3, "v2": 4, "my clip 3": 5}


def run(*arguments, code=0, **settings):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], **settings)
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


def command(name: str) -> click.Command:
    return main.get_command(click.Context(main), name)


@pytest.fixture
def lib(tmp_path):
    return library(tmp_path / "lib", LENGTHS)


# --- help ----------------------------------------------------------------------------------------------------------


def test_help_describes_every_command_whole_on_one_line_of_80_columns():
    lines = run("--help", terminal_width=80).splitlines()
    for name in NAMES:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith(".") and not line.endswith("...") and len(line) <= 80


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_a_command_is_explained(name):
    options = [each for each in command(name).params if isinstance(each, click.Option) and not each.hidden]
    assert [each.name for each in options if not each.help] == []


def test_one_name_of_an_option_takes_the_same_kind_of_value_in_every_command():
    kinds: dict[str, dict[str, list[str]]] = {}
    for name in NAMES:
        for each in command(name).params:
            if isinstance(each, click.Option) and not each.hidden:
                kind = "flag" if each.is_flag else each.type.name
                kinds.setdefault(each.opts[0], {}).setdefault(kind, []).append(name)
    assert {option: found for option, found in kinds.items() if len(found) > 1} == {}


def test_choices_on_the_command_line_are_those_there_are():
    choices = {
        (name, each.opts[0]): tuple(each.type.names)
        for name in NAMES
        for each in command(name).params
        if isinstance(each.type, OneOf)
    }
    assert choices["extract", "--method"] == models.names()
    assert set(choices["extract", "--decoder"]) == {"auto", *DECODERS}


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("extrat VIDEOS LIB", "No such command 'extrat'. Did you mean 'extract'?"),
        ("extract VIDEOS LIB --method s2v", "choose one of ausil, .*; did you mean s2vs\\?"),
        ("extract VIDEOS LIB --metod s2vs", "No such option '?--metod"),
        (
            "extract VIDEOS LIB --method s2vs --option backbon=x",
            "unknown option 'backbon' of s2vs; .* mean backbone\\?",
        ),
        ("extract VIDEOS LIB --method s2vs --option sampler=opencw", "option sampler='opencw': choose one of ffmpeg"),
        ("extract VIDEOS LIB --decoder pyva", "unknown decoder 'pyva'; .* did you mean pyav\\?"),
        ("extract VIDEOS LIB --retry timeot", "unknown error class 'timeot'; .* did you mean timeout\\?"),
        ("extract VIDEOS LIB --weights s2v=random", "unknown method 's2v'; .* did you mean s2vs\\?"),
        ("plan VIDEOS --method thumbprnt", "did you mean thumbprint\\?"),
        ("similarity LIB LIB OUT --format jsn", "unknown format 'jsn'; choose one of parquet, json; did you mean json"),
        ("similarity LIB LIB OUT --propose tcaa:similarity=cosine", "unknown method 'tcaa'; .* did you mean tca\\?"),
        ("dedupe LIB OUT --method dns --option studnt=coarse", "did you mean student\\?"),
        ("compare A B --method visl", "did you mean visil\\?"),
        ("import FILES LIB --method s2v", "did you mean s2vs\\?"),
        ("evaluate SCORES --dataset fivr5k", "unknown dataset 'fivr5k'; .* did you mean fivr-5k\\?"),
        ("methods s2v", "did you mean s2vs\\?"),
    ],
)
def test_a_typo_is_told_with_the_nearest_spelling_before_anything_heavy_is_imported(line, sentence, tmp_path):
    code = (
        "import sys\nfrom ndvr.pipeline.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    assert not {'torch', 'ray', 'pyarrow'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *line.split()], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(sentence, done.stderr), done.stderr


@pytest.mark.parametrize(
    ("line", "new"),
    [("extract VIDEOS LIB --memory-gb 3", "--decode-memory-gb 3"), ("remove LIB --from ids.txt", "--ids ids.txt")],
)
def test_the_old_name_of_an_option_is_refused_with_the_new_one(line, new):
    assert f"give {new}" in run(*line.split(), code=2)


def test_weights_belong_to_a_method_by_name_or_to_the_only_one(lib, tmp_path):
    same = ["--method", "csl3d", "--workers", 0, "--quiet"]
    run("similarity", lib, lib, tmp_path / "one", *same, "--weights", "random:5")
    run("similarity", lib, lib, tmp_path / "two", *same, "--weights", "csl3d=random:5")
    assert scores_in(tmp_path / "one") == scores_in(tmp_path / "two")
    said = run("similarity", lib, lib, tmp_path / "two", *same, "--weights", "s2vs=random:5", code=2)
    assert "weights given for s2vs, which is not among --method csl3d" in said
    said = run("extract", tmp_path, lib, "--method", "csl3d", "--method", "s2vs", "--weights", "random:5", code=2)
    assert "--weights random:5: say of which method, --weights csl3d=random:5" in said


def test_traceback_is_accepted_anywhere_but_behind_two_dashes(tmp_path):
    for line in (["--traceback", "show", tmp_path], ["show", tmp_path, "--traceback"]):
        done = CliRunner().invoke(main, [str(part) for part in line])
        assert isinstance(done.exception, FileNotFoundError)
    assert "extra argument" in run("show", tmp_path, "--", "--traceback", code=2)


# --- ids -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_closed_streams_do_no_harm(tmp_path):
    """A file that took the place of stderr would hold what a library prints there."""
    np.save(tmp_path / "a.npy", np.zeros((4, 512), np.uint8))
    command = [sys.executable, "-m", "ndvr.pipeline.cli", "import", "a.npy", "lib", "--method", "thumbprint"]
    closed = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command]
    assert subprocess.run(closed, cwd=tmp_path, timeout=300).returncode == 0
    assert CliRunner().invoke(main, ["fsck", str(tmp_path / "lib"), "--quiet"]).exit_code == 0
    listed = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *command[:3], "remove", "lib", "--ids", "-"],
        cwd=tmp_path,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert listed.returncode == 2 and "Traceback" not in listed.stderr, listed.stderr


def test_an_id_that_begins_with_a_dash_is_given_behind_two_dashes(tmp_path):
    dashed = library(tmp_path / "lib", {"-abc1": 3})
    assert run("explain", dashed, "--", "-abc1").startswith("-abc1 in ")
    assert "If it begins an id or a path, put -- before it." in run("explain", dashed, "-abc1", code=2)


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("lines", ["v1\nv2\n", "v1 some/folder/a b.mp4\r\nv2 c.mp4\r\n"], ids=["ids", "ids and paths"])
def test_a_list_of_ids_is_read_alike_by_every_command(lib, tmp_path, lines, mark):
    listed = tmp_path / "ids.txt"
    listed.write_bytes((mark + lines).encode())
    given = ["--method", "csl3d", "--weights", "random:5", "--workers", 0, "--quiet"]
    run("similarity", lib, lib, tmp_path / "scores", *given, "--query-ids", listed)
    assert {query for query, _ in scores_in(tmp_path / "scores")} == {"v1", "v2"}

    (tmp_path / "truth.csv").write_text("query_id,video_id,relation\nv1,v2,near_dup\nv2,v1,near_dup\n")
    judged = ["evaluate", tmp_path / "scores", "--truth", tmp_path / "truth.csv", "--ids", listed, "--json"]
    assert json.loads(run(*judged, "--tie-order", listed))["database"]["size"] == 2

    run("remove", lib, "--ids", listed)
    (config,) = Library(lib).configs
    removed = {video_id for video_id, entry in Library(lib).entries(config).items() if entry.removed}
    assert removed == {"v1", "v2"}


def test_an_id_with_spaces_is_a_whole_line(lib, tmp_path):
    (tmp_path / "ids.txt").write_text("my clip 3\n")
    assert run("remove", lib, "--ids", tmp_path / "ids.txt").startswith("1 videos removed")
    assert "no video 'my clip 9'" in run("remove", lib, "--ids", "-", input="my clip 9\n", code=2)


def test_ids_come_from_standard_input_as_well(lib):
    assert run("remove", lib, "--ids", "-", input="v1\n\nv2 x.mp4\n").startswith("2 videos removed")


def test_what_show_lists_is_accepted_as_ids(tmp_path):
    lib = library(tmp_path / "lib", {"v1": 3, "v2": 4})
    assert run("remove", lib, "--ids", "-", input=run("show", lib, "--list")).startswith("2 videos removed")


def test_ids_with_spaces_are_listed_in_quotes_and_read_back_everywhere(tmp_path):
    names = ["my video", 'the "best" one', "b"]
    arrays = {name: np.full((3, 512), number, np.uint8) for number, name in enumerate(names)}
    lib = tmp_path / "lib"
    run("import", hdf5(tmp_path / "f.hdf5", arrays), lib, "--method", "thumbprint", "--quiet")
    listed = run("show", lib, "--list")
    (tmp_path / "list.txt").write_text(listed)
    assert listed.splitlines()[1].startswith('"my video" ')
    assert sorted(read_manifest(tmp_path / "list.txt").uris) == sorted(read_ids(tmp_path / "list.txt")) == sorted(names)
    assert run("remove", lib, "--ids", tmp_path / "list.txt").startswith("3 videos removed")


def test_an_id_that_fits_no_line_is_named_and_the_others_are_listed(tmp_path):
    for name in ("one\nline", "b"):
        np.save(tmp_path / f"{name}.npy", np.zeros((4, 512), np.uint8))
    run("import", tmp_path, tmp_path / "lib", "--method", "thumbprint", "--quiet")
    done = CliRunner().invoke(main, ["show", str(tmp_path / "lib"), "--list"])
    assert done.exit_code == 0 and [line.split()[0] for line in done.stdout.splitlines()] == ["b"]
    assert "1 videos are left out, such as 'one\\nline'" in done.stderr


def test_an_id_cannot_steer_the_terminal(tmp_path):
    name = "a\x1b]0;owned\x07\u202emp4"
    arrays = {name: np.zeros((3, 100), np.uint8), "b": np.zeros((3, 512), np.uint8)}
    path = hdf5(tmp_path / "f.hdf5", arrays)
    run("import", path, tmp_path / "lib", "--method", "thumbprint", "--quiet", code=1)
    for command in (["show", tmp_path / "lib", "--failures"], ["explain", tmp_path / "lib", "--", name]):
        text = run(*command)
        assert r"a\x1b]0;owned\x07\u202emp4" in text and "\x1b" not in text


def test_methods_are_listed_for_people_and_for_programs():
    assert [each["name"] for each in json.loads(run("methods", "--json"))] == list(models.names())
    assert json.loads(run("methods", "s2vs", "--json"))["name"] == "s2vs"
    assert run("methods", "s2vs").startswith("s2vs: ") and run("methods").startswith("method ")
