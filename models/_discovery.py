"""Where methods are found: the files of `methods/`, and modules that other packages name in the group `ndvr.methods`.

Cards are read from the source of a module, without running it: a listing needs no torch, and a package that does not
work keeps nobody from using the others.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ndvr.models import card as card_module
from ndvr.models.card import Card

GROUP = "ndvr.methods"
_FOLDER = Path(__file__).parent / "methods"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A method of another package: its module and card, or the sentence that says why it cannot be used."""

    module: str
    card: Card | None = None
    problem: str = ""


@cache
def own_modules() -> dict[str, str]:
    """Find the methods of the folder `methods/`: {name: module} of every file or folder that assigns CARD."""
    paths = {path: path.stem for path in _FOLDER.glob("*.py")}
    paths |= {path: f"{path.parent.name}.method" for path in _FOLDER.glob("*/method.py")}
    with_card = {inner for path, inner in paths.items() if _card_expression(path) is not None}
    return {inner.partition(".")[0]: f"ndvr.models.methods.{inner}" for inner in sorted(with_card)}


@cache
def offers() -> dict[str, Offer]:
    """Find what other packages bring, by name, sorted, whether it can be used or not."""
    by_name: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        by_name.setdefault(entry.name, []).append(entry)
    return {name: _offer(name, entries) for name, entries in sorted(by_name.items())}


def _offer(name: str, entries: list[EntryPoint]) -> Offer:
    packages = sorted({_package(entry) for entry in entries})
    module, brought = entries[0].module, f"{' and '.join(packages)} bring{'s' * (len(packages) == 1)} a method {name!r}"
    if name in own_modules():
        return Offer(module=module, problem=f"{brought}, but ndvr has one of that name: left out")
    if len(packages) > 1:
        return Offer(module=module, problem=f"{brought}: left out; uninstall one of them")
    if not _NAME.fullmatch(name):
        return Offer(module=module, problem=f"{brought}: left out, as names are made of a to z, 0 to 9 and _")
    try:
        return Offer(module=module, card=read_card(source_of(module)))
    except Exception as error:  # a stranger's file may fail in any way, and must not take the others with it
        return Offer(module=module, problem=problem_of(name, error))


def problem_of(name: str, error: Exception) -> str:
    """Say in a sentence why the method `name` of another package cannot be used."""
    packages = sorted({_package(entry) for entry in entry_points(group=GROUP) if entry.name == name})
    reason = str(error) or type(error).__name__
    return f"method {name!r} of {', '.join(packages)} cannot be used: {reason}"


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.module


def source_of(module: str) -> Path:
    """Find the file of a module without running it or the packages that it lies in."""
    spec, places = None, None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:depth]), places)
        places = spec.submodule_search_locations if spec else None
    if spec is None or not (spec.origin or "").endswith(".py"):
        raise ValueError(f"there is no module {module}")
    return Path(spec.origin or "")


def _spec(module: str, places: Iterable[str] | None) -> ModuleSpec | None:
    specs = (finder.find_spec(module, list(places) if places else None) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def read_card(path: Path) -> Card:
    """Read the card that a method's file makes of literals and the names of `ndvr.models.card`."""
    expression = _card_expression(path)
    if expression is None:
        raise ValueError(f"{path} has no line CARD = Card(...)")
    card = eval(compile(ast.Expression(expression), f"{path}: CARD", "eval"), dict(vars(card_module)))
    if not isinstance(card, Card):
        raise ValueError(f"CARD in {path} is a {type(card).__name__}, not a Card")
    return card


def _card_expression(path: Path) -> ast.expr | None:
    """Find the expression after `CARD =` in a file."""
    for node in ast.parse(path.read_text(encoding="utf-8"), filename=str(path)).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CARD":
            return node.value
    return None
