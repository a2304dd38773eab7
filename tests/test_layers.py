"""The architecture, checked: which room may import which, who owns a heavy library, and how large a room may grow.

A folder of the project is a layer, a folder inside a layer is a room, and a file beside the rooms counts as one.
"""

import ast
import configparser
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from places import ROOT

LAYERS = ("models", "operators", "pipeline", "benchmarks")  # each may import those before it

# Within a layer a room may import what stands to the right of it, at any distance, in any of these chains.
# Rooms that are not there yet have their place: operators/index, pipeline/search, review and training.
RULES = """
models:      methods, training -> layers -> method, random_weights -> weights -> _torchscript, _unreadable, card
models:      methods -> models -> method, _discovery -> card;  method -> keys
operators:   metrics -> scores -> library -> storage -> rows, errors, connected;  index -> metrics
operators:   media -> video -> sandbox, storage;  sandbox -> errors;  features -> storage
pipeline:    cli -> commands -> upkeep, estimate -> extraction -> cluster, runs -> settings, progress, notebook
pipeline:    commands -> review -> search -> comparison -> cluster;  search -> extraction
pipeline:    commands -> training -> cluster, runs
benchmarks:  commands -> demo -> evaluate -> report -> evaluation -> record;  datasets -> evaluation
benchmarks:  chaos -> evaluate;  speed -> demo
"""
FACE = ROOT / "pipeline" / "face"  # installed as `ndvr` itself: it stands above all layers and names what lies in them
ENTRY_POINTS = "ndvr.methods"  # the group under which other packages bring methods: no module

OWNERS = {
    "torch": {"models", "pipeline", "benchmarks"},  # pipeline asks for threads and devices, benchmarks restate others
    "torchvision": {"models"},
    "av": {"operators"},
    "decord": {"operators"},
    "cv2": {"operators"},
    "ray": {"pipeline"},
    "click": {"pipeline", "benchmarks"},
    "faiss": {"models", "operators"},
}
# Benchmarks that make what others only use: a cluster whose nodes die, files with other headers, a peer's index.
MAKERS = {
    ("benchmarks/chaos/setting.py", "ray"),
    ("benchmarks/speed/plan_accuracy.py", "av"),
    ("benchmarks/speed/search/__main__.py", "faiss"),
    ("benchmarks/speed/search/votes.py", "faiss"),
}

MOST_FILES = 15  # of a room
SHORT_LINES, MOST_SHORT = 60, 11  # a file of fewer lines is rarely an idea of its own

FILES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
CODE = [path for path in FILES if path.name != "__init__.py"]


def local(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


every_file = pytest.mark.parametrize("path", FILES, ids=local)


@cache
def imports_of(path: Path) -> set[tuple[str, str]]:
    """What a file imports, at any depth of nesting: (a, b) of `from a import b`, (a, "") of `import a`."""
    pairs = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            pairs |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            pairs |= {(node.module or "", alias.name) for alias in node.names}
    return pairs


def module_of(path: Path) -> str:
    return ".".join(["ndvr", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def modules_imported(path: Path) -> set[str]:
    """Those of our modules that a file imports, itself left out."""
    names = {f"{module}.{name}" if f"{module}.{name}" in MODULES else module for module, name in imports_of(path)}
    return names & MODULES.keys() - {module_of(path)}


def layer_and_room(module: str) -> tuple[str, str]:
    """ndvr.models.methods.dns.method -> models, methods; ndvr.operators.rows -> operators, rows."""
    parts = module.split(".")
    return parts[1], parts[2] if len(parts) > 2 else parts[1]


def allowed() -> dict[tuple[str, str], set[str]]:
    """What each room of a layer may import of its own layer, from RULES."""
    right_of: dict[tuple[str, str], set[str]] = {}
    for line in RULES.strip().splitlines():
        layer, chains = line.split(":")
        for chain in chains.split(";"):
            links = [[name.strip() for name in link.split(",")] for link in chain.split("->")]
            for place, names in enumerate(links):
                for name in names:
                    right_of.setdefault((layer, name), set()).update(*links[place + 1 :])
    while True:
        wider = {
            (layer, name): rooms | {far for room in rooms for far in right_of[layer, room]}
            for (layer, name), rooms in right_of.items()
        }
        if wider == right_of:
            return right_of
        right_of = wider


@every_file
def test_imports_point_down_and_heavy_libraries_stay_with_their_owner(path):
    layer = path.relative_to(ROOT).parts[0]
    for module, name in imports_of(path):
        parts = [*module.split("."), name]
        if parts[0] == "ndvr" and parts[1] in LAYERS and path.parent != FACE:
            assert LAYERS.index(parts[1]) <= LAYERS.index(layer), f"{local(path)} imports {module}, which is above it"
        if parts[0] in OWNERS and (local(path), parts[0]) not in MAKERS:
            assert layer in OWNERS[parts[0]], f"{local(path)} imports {parts[0]}, which belongs to {OWNERS[parts[0]]}"


@every_file
def test_a_room_imports_only_rooms_below_it(path):
    if path.parent == FACE:
        return
    layer, room = layer_and_room(module_of(path))
    for module in modules_imported(path):
        other_layer, other = layer_and_room(module)
        if other_layer == layer and other != room:
            assert other in allowed()[layer, room], f"{local(path)} imports {module}; {room} may not import {other}"


def test_every_room_has_its_place_in_the_rules_and_no_room_is_below_itself():
    rooms = {layer_and_room(module_of(path)) for path in CODE if path.parent != FACE}
    assert rooms <= allowed().keys()
    assert not [room for (layer, room), below in allowed().items() if room in below]


def test_no_method_imports_another():
    methods = ROOT / "models" / "methods"
    for path in methods.rglob("*.py"):
        own = path.relative_to(methods).with_suffix("").parts[0]
        for module in modules_imported(path):
            if module.startswith("ndvr.models.methods."):
                assert module.split(".")[3] == own, f"{local(path)} imports {module}"


def test_no_import_is_circular():
    imports = {module: modules_imported(path) for module, path in MODULES.items()}
    while ready := [module for module, names in imports.items() if not names & imports.keys()]:
        imports = {module: names for module, names in imports.items() if module not in ready}
    in_circles_or_above = {module: sorted(names & imports.keys()) for module, names in imports.items()}
    assert not in_circles_or_above


@every_file
def test_a_module_named_in_a_string_exists(path):
    """Commands that are started, names that are imported late, entries of tables."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and re.fullmatch(r"ndvr(\.\w+)+(:\w+)?", str(node.value)):
            module = node.value.split(":")[0]
            assert module in MODULES or module == ENTRY_POINTS, f"{local(path)} names {node.value}"


@every_file
def test_a_module_with_a_leading_underscore_is_imported_in_its_room_only(path):
    for module in modules_imported(path):
        *room, name = module.split(".")
        if name.startswith("_") and name != "__main__":
            own = module_of(path).split(".")
            assert own[: len(room)] == room, f"{local(path)} imports {module}, which is private to {'.'.join(room)}"


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=local)
def test_an_init_file_says_what_its_room_is_and_imports_nothing(path):
    """A decoder's child must not load a room because it needs one module of it; `ndvr --help` answers at once."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{local(path)} does not say what the room is"
    if path.parent not in (ROOT / "models", FACE):
        assert len(tree.body) == 1, f"{local(path)} holds more than a docstring"


def test_no_room_has_more_files_than_a_reader_takes_in_at_once():
    sizes: dict[str, int] = {}
    for path in CODE:
        sizes[local(path.parent)] = sizes.get(local(path.parent), 0) + 1
    assert {folder: count for folder, count in sizes.items() if count > MOST_FILES} == {}


def test_few_files_are_short():
    short = [local(path) for path in CODE if len(path.read_text(encoding="utf-8").splitlines()) < SHORT_LINES]
    assert len(short) <= MOST_SHORT, f"merge some of {short} into the file that uses them"


@pytest.mark.parametrize("arguments", [["--help"], ["methods"], ["extract", "--help"], ["evaluate", "--help"]])
def test_help_and_methods_import_neither_torch_nor_ray(arguments):
    code = (
        "import sys, json\n"
        "from ndvr.pipeline.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
        "print(json.dumps([m for m in ('torch', 'ray', 'av', 'cv2', 'pyarrow') if m in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_every_folder_with_code_is_packaged():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = {name.strip() for name in setup["options"]["packages"].split()}
    folders = {path.parent.relative_to(ROOT) for path in FILES}
    folders = {() if ROOT / folder == FACE else folder.parts for folder in folders}
    assert packages == {".".join(["ndvr", *parts]) for parts in folders}
