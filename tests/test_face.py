"""`import ndvr`: what it offers, that it is light, and that it is there however ndvr was installed."""

import ast
import importlib
import json
import shutil
import subprocess
import sys

import pytest
from places import ROOT

import ndvr

FACE = ROOT / "pipeline" / "face"


def run_python(*arguments, **settings):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_for_type_checkers() -> dict[str, str]:
    """The imports under `if TYPE_CHECKING`: name -> where it comes from."""
    block = next(node for node in ast.parse((FACE / "__init__.py").read_text()).body if isinstance(node, ast.If))
    return {alias.asname or alias.name: f"{node.module}:{alias.name}" for node in block.body for alias in node.names}


def test_import_ndvr_is_light():
    heavy = ("torch", "ray", "pyarrow", "numpy", "click", "av", "cv2")
    code = f"import sys, json, ndvr\ndir(ndvr)\nprint(json.dumps([m for m in {heavy} if m in sys.modules]))"
    assert json.loads(run_python("-c", code)) == []


@pytest.mark.parametrize("name", sorted(set(dir(ndvr)) - {"__version__"}))
def test_every_name_is_what_type_checkers_are_told(name):
    module, _, attribute = names_for_type_checkers()[name].partition(":")
    if module == "ndvr":
        assert getattr(ndvr, name) is importlib.import_module(f"ndvr.{name}")
    else:
        assert getattr(ndvr, name) is getattr(importlib.import_module(module), attribute)


def test_type_checkers_are_told_of_every_name_and_of_no_other():
    assert set(names_for_type_checkers()) | {"__version__"} == set(dir(ndvr))


def test_every_module_of_the_four_folders_is_still_found_below_the_face():
    code = "import ndvr; print(ndvr.models.names()[0], ndvr.operators.__name__, ndvr.pipeline.__name__)"
    assert run_python("-c", code).split()[1:] == ["ndvr.operators", "ndvr.pipeline"]


def test_a_name_that_is_not_there_is_an_error_that_tells_how_to_list_them():
    with pytest.raises(AttributeError, match=r"ndvr has no 'extrakt'; dir\(ndvr\)"):
        _ = ndvr.extrakt


def test_python_m_ndvr_is_the_command():
    assert run_python("-m", "ndvr", "--version") == f"ndvr, version {ndvr.__version__}\n"
    assert run_python("-m", "ndvr", "--help").startswith("Usage: ndvr [OPTIONS] COMMAND")


@pytest.mark.slow
def test_a_wheel_holds_the_face_its_version_and_the_mark_of_typed_packages(tmp_path):
    """From a copy, as a build leaves files in the folder it builds from."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("models", "operators", "pipeline", "benchmarks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    run_python(
        "-c", "import setuptools; setuptools.setup()", "-q", "build", "--build-lib", tmp_path / "lib", cwd=source
    )
    assert (tmp_path / "lib" / "ndvr" / "py.typed").is_file()
    code = "import ndvr; print(ndvr.__file__, ndvr.models.names(), ndvr.evaluate.__module__)"
    said = run_python("-c", code, cwd=tmp_path / "lib", env={"PYTHONPATH": str(tmp_path / "lib")})
    assert said.startswith(str(tmp_path / "lib")) and "s2vs" in said and "ndvr.benchmarks.evaluate" in said
