"""The architecture, checked: imports point down, heavy libraries stay with their owner, one file is one method."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from places import ROOT

LAYERS = ("models", "operators", "pipeline", "benchmarks")  # each may import those before it
OWNERS = {
    "torch": {"models", "pipeline", "benchmarks"},  # pipeline asks for threads and devices, benchmarks restate others
    "torchvision": {"models"},
    "av": {"operators"},
    "decord": {"operators"},
    "cv2": {"operators"},
    "ray": {"pipeline"},
    "faiss": {"models", "operators"},
}


def imports_of(path: Path) -> set[str]:
    """All modules a file imports, at any depth of nesting."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import")
    return found


# Benchmarks that make what others only use: a cluster whose nodes die, files with other headers.
MAKERS = {("benchmarks/chaos/setting.py", "ray"), ("benchmarks/speed/plan_accuracy.py", "av")}

FILES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
FACE = ROOT / "pipeline" / "face"  # installed as `ndvr` itself: it stands above all layers and names what lies in them


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down_and_heavy_libraries_stay_with_their_owner(path):
    layer = path.relative_to(ROOT).parts[0]
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "ndvr" and len(parts) > 1 and parts[1] in LAYERS and path.parent != FACE:
            assert LAYERS.index(parts[1]) <= LAYERS.index(layer), f"{path} imports {name}, which is above it"
        if parts[0] in OWNERS and (str(path.relative_to(ROOT)), parts[0]) not in MAKERS:
            assert layer in OWNERS[parts[0]], f"{path} imports {parts[0]}, which belongs to {OWNERS[parts[0]]}"


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


def test_cluster_yaml_is_what_ray_accepts():
    import jsonschema
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    jsonschema.validate(config, schema)
    assert config["head_node_type"] in config["available_node_types"]
    resources = [kind["resources"] for kind in config["available_node_types"].values()]
    assert any(each.get("GPU") for each in resources), "no node type has a GPU"
    assert any(each.get("CPU") and not each.get("GPU") for each in resources), "no node type is for decoding"


def test_every_folder_with_code_is_packaged():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = {name.strip() for name in setup["options"]["packages"].split()}
    folders = {path.parent.relative_to(ROOT) for path in FILES}
    folders = {() if ROOT / folder == FACE else folder.parts for folder in folders}
    assert packages == {".".join(["ndvr", *parts]) for parts in folders}
