"""Methods of other packages, really installed: found by name, and no broken one in anybody's way."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT, python_path

pytestmark = pytest.mark.slow  # processes, pip
README = (ROOT / "models" / "README.md").read_text()
METHOD, PYPROJECT = (
    re.search(rf"## Add a method in 40 lines.*?```{language}\n(.*?)```", README, re.DOTALL)[1]
    for language in ("python", "toml")
)
TABLE = [sys.executable, "-m", "ndvr.pipeline.cli", "methods"]


def run(*command: str, folder: Path | None = None) -> str:
    """Standard output of a process that also sees the packages of `folder`."""
    env = {**os.environ, "PYTHONPATH": python_path(*([folder] if folder else []))}
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def place(folder: Path, package: str, files: dict[str, str], **methods: str) -> None:
    """Put into `folder` what pip leaves of a package: its files, and what it says about itself."""
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir(parents=True)
    entries = "\n".join(f"{name} = {module}" for name, module in methods.items())
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[ndvr.methods]\n{entries}\n")
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder into which pip installed README's example, as a package of its own."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    (source / "colour_grid.py").write_text(METHOD)
    (source / "pyproject.toml").write_text(PYPROJECT)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--target"]
    run(*pip, str(target), str(source))
    return target


def test_readmes_method_is_no_longer_than_it_says():
    code = METHOD.partition("\n")[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 40


def test_readmes_method_in_a_package_of_its_own_is_listed_without_importing_it(installed):
    code = "import sys; from ndvr import models; print(models.card('colour_grid').title, models.names())\n"
    code += "print([name for name in ('torch', 'colour_grid') if name in sys.modules])"
    first, second = run(sys.executable, "-c", code, folder=installed).splitlines()
    assert first.startswith("Colour grid ('ausil', 'c3dhash', 'colour_grid',") and second == "[]"
    assert re.search(r"^colour_grid +Colour grid +Frames +1 a second", run(*TABLE, folder=installed), re.MULTILINE)
    assert "colour_grid" not in run(*TABLE)


def test_readmes_method_gives_features_and_scores(installed):
    code = """
import json
import numpy as np
from ndvr import models
model = models.load("colour_grid")
windows = np.random.default_rng(0).integers(0, 256, (9, *model.view.window_shape), np.uint8)
features = model.embed(windows)
part, whole = model.signature(features[2:6]), model.signature(features)
print(json.dumps([features.shape, model.similarity(part, part), model.similarity(part, whole), model.trained]))
"""
    shape, same, contained, trained = json.loads(run(sys.executable, "-c", code, folder=installed))
    assert shape == [9, 48] and trained
    assert same == pytest.approx(1, abs=1e-5) and contained < same


def test_readmes_method_keeps_the_contract(installed):
    contract = [sys.executable, "-m", "pytest", "tests/models/test_contract.py", "-k", "colour_grid", "-q"]
    done = run(*contract, "-p", "no:cacheprovider", "-p", "no:randomly", folder=installed)
    passed = re.search(r"(\d+) passed", done)
    assert passed and int(passed[1]) >= 18  # all tests that a method without weights has


BROKEN = {
    "no_module": ("nowhere.to_be_found", None, "there is no module nowhere.to_be_found"),
    "no_card": ("cardless", "METHOD = None\n", "cardless.py has no line CARD = Card(...)"),
    "bad_card": ("misspelt", "CARD = Card(titel='x')\n", "unexpected keyword argument 'titel'"),
    "bad_syntax": ("unclosed", "CARD = Card(\n", "was never closed"),
    "s2vs": ("colour_grid", METHOD, "but ndvr has one of that name: left out"),
    "No-Name": ("colour_grid", METHOD, "names are made of a to z, 0 to 9 and _"),
}


def test_packages_that_do_not_work_are_named_and_keep_nobody_from_using_the_others(tmp_path):
    for name, (module, text, _) in BROKEN.items():
        files = {} if text is None else {f"{module}.py": text}
        place(tmp_path, f"package_of_{name.lower().replace('-', '_')}", files, **{name: module})
    place(tmp_path, "working", {"colour_grid.py": METHOD}, colour_grid="colour_grid")
    table = run(*TABLE, folder=tmp_path).splitlines()
    assert any(line.startswith("colour_grid ") for line in table)
    assert any(line.startswith("s2vs ") and "S2VS" in line for line in table)
    for name, (*_, reason) in BROKEN.items():
        (line,) = [line for line in table if f"method {name!r}" in line]
        assert f"package_of_{name.lower().replace('-', '_')} 1.0" in line and reason in line
        assert not any(line.startswith(f"{name} ") for line in table) or name == "s2vs"
    assert run(sys.executable, "-c", "from ndvr import models; print(models.get('s2vs'))", folder=tmp_path)


def refusal(call: str, folder: Path) -> str:
    """The sentence of the ValueError that a call on `models` raises."""
    code = f"from ndvr import models\ntry: models.{call}\nexcept ValueError as error: print(error)"
    return run(sys.executable, "-c", code, folder=folder).strip()


def test_a_method_that_two_packages_bring_is_taken_from_neither(tmp_path):
    for package in ("first", "second"):
        place(tmp_path, package, {f"of_{package}.py": METHOD}, grid=f"of_{package}")
    expected = "first 1.0 and second 1.0 bring a method 'grid': left out; uninstall one of them"
    assert refusal("load('grid')", tmp_path) == expected


def test_a_module_that_cannot_be_imported_is_told_with_its_package(tmp_path):
    broken = METHOD.replace("import torch\n", "import torch\nimport absent_library\n")
    place(tmp_path, "needy", {"needy.py": broken}, needy="needy")
    place(tmp_path, "wrong", {"wrong.py": METHOD.replace("ColourGrid(CARD)", "ColourGrid")}, wrong="wrong")
    said = refusal("load('needy')", tmp_path)
    assert said == "method 'needy' of needy 1.0 cannot be used: No module named 'absent_library'"
    assert "method 'wrong' of wrong 1.0 cannot be used: its METHOD is <class" in refusal("load('wrong')", tmp_path)


def test_the_first_lines_of_readme_run():
    assert run(sys.executable, "-c", re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]) == "True (8, 8)\n"


def test_every_file_in_the_map_of_readme_exists_and_every_method_is_in_its_table():
    from ndvr import models

    tree = re.search(r"## Map\n+```\n(.*?)```", README, re.DOTALL)[1]
    named = [line.split()[0] for line in tree.splitlines()]
    public = [path.name for path in (ROOT / "models").glob("[a-z]*.py")]
    assert {*public, "methods/", "layers/", "training/"} == set(named)
    assert set(re.findall(r"^\| `(\w+)`", README, re.MULTILINE)) == set(models.names())
