"""Tensors of a TorchScript archive, read without its program.

`torch.jit.save` writes a zip: the program as text, the numbers one file a storage, and `data.pkl`, a pickle that says
which attribute of which module has which numbers. That pickle is read with six harmless names; every class of the
program becomes an empty shell with attributes.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
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
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError,
    RuntimeError, ValueError, TypeError, LookupError, AttributeError, MemoryError,
)  # fmt: skip

# The codes of pickles that torch writes. Some others make Python ask for any amount of memory.
_CODES = {
    "PROTO", "STOP", "MARK", "GLOBAL", "NEWOBJ", "REDUCE", "BUILD", "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET",
    "LONG_BINGET", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "SETITEM",
    "SETITEMS", "APPEND", "APPENDS", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT", "BINUNICODE",
}  # fmt: skip


class ArchiveError(Exception):
    """Nothing can be read of an archive. The message goes on after its name."""


def is_torchscript(path: Path) -> bool:
    """Say whether a file is an archive of `torch.jit.save`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(re.fullmatch(r"[^/]+/constants\.pkl", name) for name in archive.namelist())
    except _DAMAGED:
        return False


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
    if archive.getinfo(name).file_size > n_bytes:
        raise ValueError("data.pkl is packed")
    pickled = archive.read(name)
    _check_codes(pickled)
    return _tensors_of(_Unpickler(io.BytesIO(pickled), archive, folder, n_bytes=n_bytes).load())


def _check_codes(pickled: bytes) -> None:
    """Raise ValueError where the pickle has codes that torch does not write."""
    for code, argument, _ in pickletools.genops(pickled):
        if code.name not in _CODES or (code.name.endswith("BINPUT") and int(argument or 0) > len(pickled)):
            raise ValueError(f"data.pkl has a {code.name} that torch does not write")


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
            values = np.frombuffer(self._archive.read(entry), np.uint8)
            self._storages[key] = torch.from_numpy(values.copy()).view(dtype)
        if len(self._storages[key]) != count:
            raise ValueError(f"its file data/{key} has {len(self._storages[key])} numbers, not {count}")
        return self._storages[key]


def _tensor(storage: torch.Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
    return torch.as_strided(storage, size, stride, offset)


def _first(value: Any, *_: Any) -> Any:
    return value
