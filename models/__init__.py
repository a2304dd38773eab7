"""Methods by name: `names()`, `card(name)`, `get(name)`, `load(name)`, `load_selector(name)`.

One file of this folder that assigns `CARD` and `METHOD` is one method; its file name is its name.
Only `get` and what loads import torch.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndvr.models import card as _card
from ndvr.models.card import Card

if TYPE_CHECKING:
    from ndvr.models.method import Method, Model, Part

_FOLDER = Path(__file__).parent / "methods"
BOTH: tuple[Part, ...] = ("embed", "similarity")


@cache
def _card_sources() -> dict[str, ast.expr]:
    """The expression after `CARD =` of every method file."""
    found = {}
    for path in sorted([*_FOLDER.glob("*.py"), *_FOLDER.glob("*/method.py")]):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CARD":
                found[path.parent.name if path.name == "method.py" else path.stem] = node.value
    return found


def names() -> tuple[str, ...]:
    """All methods, sorted."""
    return tuple(sorted(_card_sources()))


@cache
def card(name: str) -> Card:
    """The method's data, read from its source without importing it (so without torch)."""
    if name not in _card_sources():
        raise ValueError(f"unknown method {name!r}; choose one of {', '.join(names())}")
    expression = ast.Expression(_card_sources()[name])
    return eval(compile(expression, f"{name}.CARD", "eval"), dict(vars(_card)))


def get(name: str) -> Method:
    """The method itself."""
    card(name)
    own = ".method" if (_FOLDER / name).is_dir() else ""
    return importlib.import_module(f"ndvr.models.methods.{name}{own}").METHOD


def load(
    name: str,
    weights: Any = None,
    device: str = "cpu",
    *,
    parts: tuple[Part, ...] | None = None,
    **options,
) -> Model:
    """A ready model.

    weights  None for the published default; a published name; a path to the authors' file; a mapping of their
             state_dict keys to arrays; or "random" / "random:SEED" for tests, which marks all output as untrained.
    parts    what will be asked of it: "embed", "similarity" or both; files for the rest are not needed. None: both,
             but where `weights` is a file or mapping with nothing of one part, as the authors' similarity networks
             come without the backbone, only using that part is an error.
    options  as listed by `ndvr methods NAME`.
    """
    from ndvr.models.method import Model
    from ndvr.models.weights import Absent

    method = get(name)
    resolved = method.card.resolve(options)
    given = weights is not None and not (isinstance(weights, str) and weights in method.card.weights)
    networks: dict[Part, Any] = {}
    for part in parts or BOTH:
        try:
            networks[part] = method.build(weights, resolved, part=part, fetch=not given or parts is not None)
        except Absent as error:
            if parts is not None or not given:
                raise
            networks[part] = error
    if all(isinstance(network, Exception) for network in networks.values()):
        raise next(iter(networks.values()))
    if not method.card.weights:
        label = "none needed"
    elif weights is None:
        label = method.published(resolved)
    else:
        label = weights if isinstance(weights, str) else str(weights) if isinstance(weights, Path) else "mapping"
    if label == "random":
        label = "random:0"
    return Model(name, method, networks, options=resolved, device=device, weights=label)


def load_selector(name: str, weights: Any = None, device: str = "cpu", **options) -> Model:
    """A method's selector: a model whose `urgency` says which scores of the method's fast form to doubt.

    Its signatures are its own, made of the method's features. `weights` as for `load`; `options` are the method's.
    """
    from ndvr.models.method import Model

    method = get(name)
    if method.card.selector is None:
        offering = ", ".join(each for each in names() if card(each).selector)
        raise ValueError(f"{name} has no selector; methods that have one: {offering}")
    selector, resolved = method.selector(), method.card.resolve(options)
    network = selector.build(weights, resolved, part="similarity", fetch=True)
    label = str(selector.published(resolved) if weights is None else weights)
    return Model(f"{name}_selector", selector, {"similarity": network}, options=resolved, device=device, weights=label)
