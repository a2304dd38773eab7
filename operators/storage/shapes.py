"""Check what JSON from a file says against what its reader needs, before anything is made of it.

values = shaped(values, {"library": str, "top": int | None}, "matches/search.json")      # as it was, or Damaged
values = shaped(values, Snapshot, "snapshots/00000002.json", optional={"before": str})

A shape is what Python calls a type: str, int, float, bool, None, Any, unions of these, list[str], dict[str, int]; a
dict of shapes by key, or a dataclass, whose fields without a default must be there. Numbers are finite and no larger
than what 64 bits hold. Keys that are not named are let through: a later version may have written them.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
_LARGEST = {int: 2.0**63, float: 1e300}


class Damaged(ValueError):
    """A file is not as it was written. `name` is that of the file."""

    def __init__(self, name: object, why: str, remedy: str = ""):
        super().__init__(f"{name} is damaged ({why})" + (f"; {remedy}" if remedy else ""))
        self.name, self.why, self.remedy = str(name), why, remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.why, self.remedy)


def shaped(
    value: Any, shape: Any, name: object, *, optional: Mapping[str, Any] | None = None, remedy: str = ""
) -> dict[str, Any]:
    """Return a JSON object that has this shape. Damaged, naming its file, the key and what stands there, for others.

    optional  shapes of keys that may be missing
    """
    if misfit := _misfit_of_object(value, *_keys(shape), optional or {}):
        raise Damaged(name, misfit, remedy)
    return value


def _keys(shape: Any) -> tuple[Mapping[str, Any], Collection[str]]:
    """Return the shapes of an object by key, and which of the keys may be missing."""
    return (shape, ()) if isinstance(shape, Mapping) else _fields(shape)


@functools.cache  # a list may hold thousands of one kind
def _fields(shape: Any) -> tuple[Mapping[str, Any], Collection[str]]:
    named = {each.name: each for each in dataclasses.fields(shape)}
    nothing = dataclasses.MISSING
    missing = {name for name, each in named.items() if (each.default, each.default_factory) != (nothing, nothing)}
    return {name: hint for name, hint in typing.get_type_hints(shape).items() if name in named}, missing


def _misfit_of_object(
    value: Any, shapes: Mapping[str, Any], may_miss: Collection[str], optional: Mapping[str, Any]
) -> str:
    """Say what is wrong with an object; "" when nothing is."""
    if not isinstance(value, dict):
        return f"it is {_named(value)}, not an object"
    if lost := [key for key in shapes if key not in value and key not in may_miss]:
        return f"it does not say its {lost[0]!r}"
    for key, shape in {**shapes, **optional}.items():
        if key in value and (misfit := _misfit(value[key], shape)):
            return f"its {key!r}: {misfit}"
    return ""


def _misfit(value: Any, shape: Any) -> str:
    """Say what is wrong with a value; "" when nothing is."""
    if shape is Any:
        return ""
    if isinstance(shape, Mapping) or dataclasses.is_dataclass(shape):
        return _misfit_of_object(value, *_keys(shape), {})
    origin, inside = typing.get_origin(shape), typing.get_args(shape)
    if origin in (typing.Union, types.UnionType):
        return min((_misfit(value, each) for each in inside), key=len)
    if origin in (list, tuple) and isinstance(value, list):
        return next((misfit for each in value if (misfit := _misfit(each, inside[0]))), "")
    if origin is dict and isinstance(value, dict):
        return next((misfit for each in value.values() if (misfit := _misfit(each, inside[1]))), "")
    if origin is None and _is(value, type(None) if shape is None else shape):
        return ""
    return f"{_named(value)}, not {_WORDS.get(shape) or ('a list' if origin in (list, tuple) else 'an object')}"


def _is(value: Any, kind: type) -> bool:
    if kind in _LARGEST:
        fits = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        return fits and abs(value) < _LARGEST[kind]  # which NaN is not
    return isinstance(value, kind)


def _named(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]} ..."
