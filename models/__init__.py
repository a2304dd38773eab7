"""Methods by name: `names()`, `card(name)`, `get(name)`, `load(name)`, `load_selector(name)`.

One file of `methods/` that assigns `CARD` and `METHOD` is one method; its file name is its name. Other packages bring
methods through the entry-point group `ndvr.methods`: a name, and a module that assigns `CARD` and `METHOD`.
Only `get` and what loads import torch.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndvr.models import _discovery
from ndvr.models.card import Card

if TYPE_CHECKING:
    from ndvr.models.method import Method, Model, Part

BOTH: tuple[Part, ...] = ("embed", "similarity")


def names() -> tuple[str, ...]:
    """List all methods that can be used, sorted: ours, and those of other packages."""
    others = [name for name, offer in _discovery.offers().items() if offer.card]
    return tuple(sorted([*_discovery.own_modules(), *others]))


def problems() -> tuple[str, ...]:
    """Say what keeps methods of other packages from being used, in a sentence each."""
    return tuple(offer.problem for offer in _discovery.offers().values() if offer.problem)


@cache
def card(name: str) -> Card:
    """Read a method's data from its source, without importing it (so without torch)."""
    if name in _discovery.own_modules():
        return _discovery.read_card(_discovery.source_of(_discovery.own_modules()[name]))
    offer = _discovery.offers().get(name)
    if offer is None:
        raise ValueError(f"unknown method {name!r}; choose one of {', '.join(names())}")
    if offer.card is None:
        raise ValueError(offer.problem)
    return offer.card


def get(name: str) -> Method:
    """Import the method itself. ValueError when the module of another package does not work."""
    card(name)
    if name in _discovery.own_modules():
        return importlib.import_module(_discovery.own_modules()[name]).METHOD
    from ndvr.models.method import Method

    try:
        method = importlib.import_module(_discovery.offers()[name].module).METHOD
    except Exception as error:  # a stranger's module may fail in any way: said in a sentence, by name
        raise ValueError(_discovery.problem_of(name, error)) from error
    if not isinstance(method, Method):
        raise ValueError(_discovery.problem_of(name, TypeError(f"its METHOD is {method!r}, not a Method")))
    return method


def load(
    name: str,
    weights: Any = None,
    device: str = "cpu",
    *,
    parts: tuple[Part, ...] | None = None,
    **options,
) -> Model:
    """Load a model that is ready for use.

    weights  None for the published default; a published name; a path to the authors' file, or to a folder that
             `ndvr train` made (`Model.training` says on what); a mapping of their state_dict keys to arrays; or
             "random" / "random:SEED" for tests, which marks all output as untrained.
    parts    what will be asked of it: "embed", "similarity" or both; files for the rest are not needed. None: both,
             but where `weights` is a file or mapping with nothing of one part, as the authors' similarity networks
             come without the backbone, only using that part is an error.
    options  as listed by `ndvr methods NAME`.
    """
    from ndvr.models.method import Model
    from ndvr.models.weights import Absent, check_trained, trained_on

    method = get(name)
    resolved = method.card.resolve(options)
    if training := trained_on(weights):
        check_trained(training, name, resolved, source=str(weights))
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
    return Model(name, method, networks, options=resolved, device=device, weights=label, training=training)


def load_selector(name: str, weights: Any = None, device: str = "cpu", **options) -> Model:
    """Load a method's selector: a model whose `urgency` says which scores of the method's fast form to doubt.

    Its signatures are its own, made of the method's features. `weights` as for `load`; `options` are the method's.
    """
    from ndvr.models.method import Model
    from ndvr.models.weights import check_trained, trained_on

    method = get(name)
    if method.card.selector is None:
        offering = ", ".join(each for each in names() if card(each).selector)
        raise ValueError(f"{name} has no selector; methods that have one: {offering}")
    selector, resolved = method.selector(), method.card.resolve(options)
    if training := trained_on(weights):
        check_trained(training, name, resolved, source=str(weights))
    network = selector.build(weights, resolved, part="similarity", fetch=True)
    label = str(selector.published(resolved) if weights is None else weights)
    networks: dict[Part, Any] = {"similarity": network}
    named = f"{name}_selector"
    return Model(named, selector, networks, options=resolved, device=device, weights=label, training=training)
