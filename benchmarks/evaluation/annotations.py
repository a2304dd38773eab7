"""Read the official files of a benchmark: JSON, id lists, and pickles without running anything that is in them."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any, NoReturn

# What a broken pickle can raise, as Python's documentation has it, and what it raised here.
_BROKEN = (pickle.UnpicklingError, EOFError, AttributeError, LookupError, TypeError, ValueError, MemoryError)
_SETS = {("builtins", "set"), ("__builtin__", "set"), ("builtins", "frozenset"), ("__builtin__", "frozenset")}


def find_annotation(folder: Path, *names: str) -> Path | None:
    """Return the first of these files that is there."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_annotation(folder: Path, *names: str, source: str) -> Any:
    """Read the first of these JSON or pickle files that is there; FileNotFoundError says where they come from."""
    path = find_annotation(folder, *names)
    if path is None:
        others = f"{' or '.join(names[1:])} will do as well; " if names[1:] else ""
        raise FileNotFoundError(f"no {names[0]} in {folder}: {others}{source}")
    if path.suffix != ".json":
        return read_plain_pickle(path)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole JSON file: {error}") from None


def read_ids(path: Path) -> frozenset[str]:
    """Read the first word of every line of an id list."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}: the official id list is needed")
    return frozenset(line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


class _PlainUnpickler(pickle.Unpickler):
    """A pickle calls what it names; the only names answered are set and frozenset."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _SETS:
            return frozenset if name == "frozenset" else set
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to something outside itself")


def read_plain_pickle(path: Path) -> Any:
    """Read dicts, lists, tuples, sets, strings and numbers, from Python 2 as well; ValueError for anything else."""
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except _BROKEN as error:
        raise ValueError(
            f"{path} was not read, because {error or type(error).__name__}: an annotation holds only dicts, lists, "
            "sets, strings and numbers, and nothing else in a pickle is run"
        ) from None
