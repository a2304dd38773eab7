"""What the READMEs say can be typed, looked up and opened, checked: commands, options, paths, links, Python."""

import ast
import importlib.util
import re
import runpy
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from clips import numbered_clip
from places import ROOT

from ndvr.pipeline.cli import main

FOLDERS = ("pipeline", "operators", "models", "benchmarks", "tests")
READMES = [path for path in (ROOT / "README.md", *(ROOT / folder / "README.md" for folder in FOLDERS)) if path.exists()]
OF_OTHERS = {"--tmux", "--no-wait", "--help"}  # options of Ray's commands, and the one that all have


MADE = {"benchmarks/results/", "models/methods/colour_grid.py"}  # by measurements, and by those who follow an example


@dataclass(frozen=True)
class Block:
    """A fenced block of a README."""

    readme: Path
    heading: str
    language: str
    text: str


def local(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(readme: Path) -> list[Block]:
    result, heading = [], ""
    headings_and_fences = r"^#+ ([^\n]*)$|^```(\w*)\n(.*?)^```$"
    for match in re.finditer(headings_and_fences, readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        elif match[3]:
            result.append(Block(readme, heading, match[2], match[3]))
    return result


def prose(readme: Path) -> str:
    return re.sub(r"^```.*?^```$", "", readme.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def lines_to_type(readme: Path) -> list[str]:
    """Lines of shell blocks, with the comments that follow the command cut off."""
    shell = "\n".join(block.text for block in blocks(readme) if block.language in ("sh", "bash", "console"))
    return [re.sub(r"\s#.*", "", line).removeprefix("$ ").strip() for line in shell.replace("\\\n", " ").splitlines()]


def spans(readme: Path) -> list[str]:
    return [re.sub(r"\s+", " ", span) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(readme))]


def commands(pattern: str) -> list:
    """(README, command, whether it stands in a block, so that nothing may be missing) of commands found anywhere."""
    cases = {}
    for readme in READMES:
        for texts, whole in ((spans(readme), False), (lines_to_type(readme), True)):
            for text in texts:
                for match in re.finditer(rf"(?:^|-- |'|&& )({pattern}(?![\w.])[^'|>&;]*)", text):
                    cases[local(readme), match[1].strip(), whole] = None
    return [pytest.param(*case, id=f"{case[0]}: {case[1]}") for case in cases]


def words(line: str) -> list[str]:
    """Arguments of a command line; what is in square brackets may be left out, and dots stand for more."""
    return [word for word in shlex.split(re.sub(r"[\[\]](?!\w*,)", " ", line)) if word != "..."]


def parse(command: click.Command, name: str, arguments: list[str], *, whole: bool, **settings) -> None:
    try:
        command.make_context(name, arguments, **settings)
    except click.MissingParameter:
        if whole:
            raise
    except click.exceptions.Exit as stop:
        assert stop.exit_code == 0


@pytest.fixture
def paths_need_not_exist(monkeypatch):
    monkeypatch.setattr(click.Path, "convert", lambda self, value, parameter, context: value)
    monkeypatch.setattr(click.File, "convert", lambda self, value, parameter, context: value)


@pytest.mark.parametrize("readme, line, whole", commands("ndvr"))
def test_every_command_of_ndvr_is_accepted_by_its_parser(readme, line, whole, paths_need_not_exist):
    _, *arguments = words(line)
    if not arguments or arguments in (["--help"], ["--version"]):
        return
    with main.make_context("ndvr", arguments) as context:
        name, command, rest = main.resolve_command(context, context._protected_args + context.args)
        parse(command, name, rest, whole=whole, parent=context)


@pytest.mark.parametrize("readme, line, whole", commands(r"python -m ndvr[\w.]*"))
def test_every_module_that_is_run_exists_and_accepts_its_arguments(
    readme, line, whole, paths_need_not_exist, monkeypatch, capsys
):
    _, _, name, *arguments = words(line)
    if name.endswith(".NAME"):  # any of a folder
        assert importlib.util.find_spec(name.removesuffix(".NAME"))
        return
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert not stop.value.code and "Usage" in capsys.readouterr().out
    command = getattr(importlib.import_module(name), "main", None)
    if isinstance(command, click.Command):
        parse(command, name, arguments, whole=whole)


@pytest.mark.parametrize("readme, line, whole", commands("make"))
def test_every_target_of_make_exists(readme, line, whole):
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert set(re.findall(r"^make ([a-z-]+)", line)) <= set(targets)


OPTIONS = {option for readme in READMES for span in spans(readme) for option in re.findall(r"--[a-z][a-z-]+", span)}


@pytest.mark.parametrize("option", sorted(OPTIONS - OF_OTHERS))
def test_every_option_named_in_the_text_exists(option):
    sources = [path.read_text() for layer in FOLDERS[:-1] for path in (ROOT / layer).rglob("*.py")]
    sources += [(ROOT / "tests" / "conftest.py").read_text()]
    assert any(f'"{option}' in source for source in sources), f"no command has {option}"


@pytest.mark.parametrize("readme", READMES, ids=local)
def test_a_map_names_what_is_there(readme):
    """Folders end with a slash; what is further to the right lies in the folder above it."""
    for block in blocks(readme):
        if block.heading not in ("Map", "What lies where"):
            continue
        open_folders = [(-1, readme.parent)]
        for line in filter(str.strip, block.text.splitlines()):
            indent = len(line) - len(line.lstrip())
            names = re.split(r",? +", re.split(r"\s{2,}", line.strip())[0])
            if not all(re.fullmatch(r"[\w-]+(?:/|\.\w+)", name) for name in names):
                continue  # the text above goes on
            while open_folders[-1][0] >= indent:
                open_folders.pop()
            parent = open_folders[-1][1]
            for name in names:
                assert (parent / name).exists(), f"{local(readme)} names {local(parent / name)}"
                if name.endswith("/"):
                    open_folders.append((indent, parent / name))


@pytest.mark.parametrize("readme", READMES, ids=local)
def test_every_path_named_in_the_text_exists(readme):
    """From the top of the project, a Python file anywhere below the README, or a test."""
    paths = rf"(?:{'|'.join(FOLDERS)})/[\w./-]*|[\w/-]+\.py"
    named = {span for span in spans(readme) if re.fullmatch(paths, span) and "NAME" not in span} - MADE
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    below = [f"/{local(path)}" for path in files if path.is_relative_to(readme.parent) or path.name.startswith("test_")]
    missing = {path for path in named if not (ROOT / path).exists()}
    assert [path for path in sorted(missing) if not any(other.endswith(f"/{path}") for other in below)] == []


def anchors(page: Path) -> set[str]:
    """Headings of a page as GitHub names them in addresses."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("readme", READMES, ids=local)
def test_every_link_leads_somewhere(readme):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(readme)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        page = (readme.parent / path).resolve() if path else readme
        assert page.exists(), f"{local(readme)} links to {target}"
        assert not anchor or anchor in anchors(page), f"{local(readme)}: no heading #{anchor} in {local(page)}"


PYTHON = [block for readme in READMES for block in blocks(readme) if block.language == "python"]


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{local(block.readme)}: {block.heading}")
def test_python_examples_name_what_can_be_imported(block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")


def test_the_python_example_of_the_first_page_runs(tmp_path, monkeypatch, capsys, ray_cluster):
    (tmp_path / "videos").mkdir()
    numbered_clip(tmp_path / "videos" / "a.mp4", n_frames=60, fps=25)
    numbered_clip(tmp_path / "videos" / "b.mp4", n_frames=60, fps=25, numbers=range(500, 560))
    numbered_clip(tmp_path / "videos" / "a_again.mkv", n_frames=60, fps=25)
    (tmp_path / "truth.csv").write_text("query_id,video_id,relation,edit\na_again.mkv,a.mp4,near_dup,remux\n")
    (example,) = [block.text for block in PYTHON if block.readme == READMES[0]]
    monkeypatch.chdir(tmp_path)  # not the folder in which Ray was started
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith("3 {} ")
    assert "remux" in printed and "1.0000" in printed
