"""Tensors of a TorchScript archive, read without its program.

`torch.jit.save` writes a zip: the program as text, the numbers one file a storage, and `data.pkl`, a pickle that says
which attribute of which module has which numbers. That pickle is read with six harmless names; every class of the
program becomes an empty shell with attributes.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


# What reading noise may raise, of pickle, zipfile and torch.
_DAMAGED = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, OSError)


class ArchiveError(Exception):
    """Nothing can be read of an archive. The message goes on after its name."""


def is_torchscript(path: Path) -> bool:
    """Say whether a file is an archive of `torch.jit.save`."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(re.fullmatch(r"[^/]+/constants\.pkl", name) for name in archive.namelist())


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors below the names of their modules, as a state_dict has them: "backbone.conv1.weight".

    A module that is in two places is listed under the first. ArchiveError when the file is damaged, or names something
    that no tensor and no module needs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, n_bytes=path.stat().st_size)
    except (pickle.UnpicklingError, *_DAMAGED) as error:
        raise ArchiveError(f"is a damaged TorchScript archive ({error}); fetch it again") from error


def _read(archive: zipfile.ZipFile, *, n_bytes: int) -> dict[str, torch.Tensor]:
    (name,) = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/data\.pkl", name)]
    folder = name.removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("its bytes are in another order")
    with archive.open(name) as source:
        return _tensors_of(_Unpickler(source, archive, folder, n_bytes=n_bytes).load())


class _Shell:
    """An object of the archive: its attributes, without its class."""

    attributes: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def _tensors_of(module: Any) -> dict[str, torch.Tensor]:
    tensors, waiting, seen = {}, [("", module)], set()
    while waiting:
        prefix, each = waiting.pop(0)
        if id(each) in seen or not isinstance(each, _Shell):
            continue
        seen.add(id(each))
        for name, value in getattr(each, "attributes", {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{prefix}{name}"] = value
            else:
                waiting.append((f"{prefix}{name}.", value))
    return tensors


class _Unpickler(pickle.Unpickler):
    """Knows how a tensor is described, and nothing else that could be called."""

    def __init__(self, source: Any, archive: zipfile.ZipFile, folder: str, *, n_bytes: int):
        super().__init__(source)
        self._archive, self._folder = archive, folder
        self._left = n_bytes  # files in a zip may overlap: what is read is never more than the archive has
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Shell
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch.jit._pickle" and name in ("build_intlist", "build_doublelist", "build_boollist"):
            return list
        if (module, name) == ("torch.jit._pickle", "restore_type_tag"):
            return _first
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise ArchiveError(
            f"wants to run code when loaded ({module}.{name}); refused, as weight files hold tensors only"
        )

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """Read the numbers that ("storage", type, file, device, count) stands for, as one row."""
        _, dtype, key, _, count = pid
        if key not in self._storages:
            entry = self._archive.getinfo(f"{self._folder}data/{key}")
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > self._left:
                raise ValueError(f"its file data/{key} is packed, or too large")
            self._left -= entry.file_size
            values = bytearray(self._archive.read(entry))
            self._storages[key] = torch.frombuffer(values, dtype=dtype) if values else torch.empty(0, dtype=dtype)
        if len(self._storages[key]) != count:
            raise ValueError(f"its file data/{key} has {len(self._storages[key])} numbers, not {count}")
        return self._storages[key]


def _tensor(storage: torch.Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
    return torch.as_strided(storage, size, stride, offset)


def _first(value: Any, *_: Any) -> Any:
    return value
