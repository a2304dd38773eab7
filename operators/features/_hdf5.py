"""What lies in an HDF5 file that strangers wrote: found by its links, without ever leaving the file.

Links may lead to other files, datasets may keep their numbers in other files, and groups may hold each other.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Callable, Iterator

import h5py

from ndvr.operators.errors import DecodeError

_SOFT_LINKS = 16  # that may lead on to each other
_DEEPEST = 100  # groups in groups
_CHUNK_BYTES = 1 << 30


def dataset_in(file: h5py.File, name: str) -> h5py.Dataset:
    """Open a dataset whose numbers lie in this file. DecodeError says why there is none."""
    node = _object(file, name)
    if node is None:
        raise DecodeError("io", "there is no such dataset in the file")
    if not isinstance(node, h5py.Dataset) or node.shape is None:
        raise DecodeError("corrupt", f"it is no array but a {type(node).__name__}")
    if node.external:
        raise DecodeError("unsupported", f"its numbers lie in another file, {node.external[0][0]!r}")
    if node.is_virtual:
        raise DecodeError("unsupported", "it is a virtual dataset, made of others that may lie in other files")
    if node.chunks and node.dtype.itemsize * math.prod(node.chunks) > _CHUNK_BYTES:
        raise DecodeError("unsupported", f"its chunks of {node.chunks} numbers take more than 1 GiB each")
    return node


def names_in(file: h5py.File, known: Callable[[str], bool], grow: Callable[[int], object]) -> Iterator[str]:
    """Yield the name of everything in the file that is no group; `grow` is told how many names a group adds.

    Names that are `known` are taken for datasets without being looked at. ValueError names a group that is met twice.
    """
    seen = {_address(file): ""}
    left: list[tuple[str, Iterator[str]]] = [("", iter(file))]
    while left:
        prefix, names = left[-1]
        name = next(names, None)
        if name is None:
            left.pop()
            continue
        path = prefix + name
        group = None if known(path) else _group(file, path)
        if group is None:
            yield path
            continue
        _refuse_again(file, path, group, seen, [each for each, _ in left])
        grow(len(group) - 1)
        left.append((f"{path}/", iter(group)))


def _refuse_again(file: h5py.File, path: str, group: h5py.Group, seen: dict[int, str], above: list[str]) -> None:
    address = _address(group)
    if address in seen:
        first = seen[address]
        what = "contains itself" if first in above else f"is group {first.rstrip('/')!r} by another name"
        raise ValueError(f"{file.filename}: group {path!r} {what}; remove that link")
    if len(above) > _DEEPEST:
        raise ValueError(f"{file.filename}: groups lie more than {_DEEPEST} deep in each other, at {path[:60]!r} ...")
    seen[address] = f"{path}/"


def _group(file: h5py.File, path: str) -> h5py.Group | None:
    try:
        node = _object(file, path)
    except (DecodeError, KeyError, OSError, RuntimeError):  # opening it as a dataset will say so
        return None
    return node if isinstance(node, h5py.Group) else None


def _address(group: h5py.Group) -> int:
    return h5py.h5o.get_info(group.id).addr


def _object(file: h5py.File, name: str) -> h5py.Group | h5py.Dataset | None:
    """Follow links inside the file; None where one leads nowhere."""
    left, node, at, soft = _parts(name), file, "", 0
    while left:
        part = left.pop()
        link = _link(node, part)
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise DecodeError("unsupported", f"it is a link to another file, {link.filename!r}")
        if isinstance(link, h5py.SoftLink):
            soft += 1
            if soft > _SOFT_LINKS:
                raise DecodeError("corrupt", "its links lead to each other without an end")
            left += _parts(posixpath.join("/", at, link.path))
            node, at = file, ""
        else:
            node, at = node[part], posixpath.join(at, part)
    return node


def _parts(path: str) -> list[str]:
    """Split a path into its names, the first last."""
    return [part for part in path.split("/") if part not in ("", ".")][::-1]


def _link(node: h5py.Group | h5py.Dataset, part: str) -> h5py.HardLink | h5py.SoftLink | h5py.ExternalLink | None:
    if not isinstance(node, h5py.Group):
        return None
    try:
        return node.get(part, getlink=True)
    except TypeError:  # of a kind that a program has made up
        raise DecodeError("unsupported", "it is a link of an unknown kind") from None
