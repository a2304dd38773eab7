"""How the child of a sandbox answers: plain bytes of a checked layout, for a decoder may have been taken over.

    write(connection, value);  value = read(connection, records=(Piece,), most_bytes=1 << 30)

A message is the length of its head (4 bytes), the head as JSON, and the bytes of its arrays one after the other. The
head holds None, booleans, numbers and text as they are; everything else is {kind: ...}. Reading makes nothing but
these, tuples, lists, dicts with text as keys, bytes, arrays of plain numbers, and the records that the reader names.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import types
import typing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

_HEAD_BYTES = 1 << 22
_NUMBERS = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64")


class Malformed(ValueError):
    """A message that no honest child writes."""


def write(connection: Connection, value: Any) -> None:
    """Send one value."""
    buffers: list[bytes | memoryview] = []
    head = json.dumps(_plain(value, buffers)).encode()
    connection.send_bytes(b"".join([struct.pack("<I", len(head)), head, *buffers]))


def read(connection: Connection, *, records: Sequence[type], most_bytes: int) -> Any:
    """Receive one value; Malformed for anything that is not laid out as above."""
    message = connection.recv_bytes(most_bytes)
    try:
        (length,) = struct.unpack_from("<I", message)
        if length > _HEAD_BYTES:
            raise Malformed(f"a head of {length:,} bytes")
        rest = _Rest(memoryview(message)[4 + length :])
        value = _made(json.loads(message[4 : 4 + length]), rest, {record.__name__: record for record in records})
    except (ValueError, TypeError, KeyError, struct.error, RecursionError) as error:
        raise Malformed(f"the decoder's answer has no valid layout: {error}") from None
    if len(rest.bytes):
        raise Malformed("the decoder's answer is longer than it says")
    return value


def _plain(value: Any, buffers: list[bytes | memoryview]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes | bytearray):
        buffers.append(bytes(value))
        return {"bytes": len(value)}
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        buffers.append(array.data.cast("B") if array.size else b"")
        return {"array": [array.dtype.name, list(array.shape)]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {"record": [type(value).__name__, [_plain(each, buffers) for each in value]]}
    if dataclasses.is_dataclass(value):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return {"record": [type(value).__name__, [_plain(each, buffers) for each in fields]]}
    if isinstance(value, tuple):
        return {"tuple": [_plain(each, buffers) for each in value]}
    if isinstance(value, list):
        return {"list": [_plain(each, buffers) for each in value]}
    if isinstance(value, dict):
        return {"dict": {str(key): _plain(each, buffers) for key, each in value.items()}}
    raise TypeError(f"no layout for {type(value).__name__}")


class _Rest:
    """The bytes of a message that no array has taken yet."""

    def __init__(self, data: memoryview):
        self.bytes = data

    def take(self, count: int) -> memoryview:
        if not 0 <= count <= len(self.bytes):
            raise Malformed(f"{count:,} bytes of an array where {len(self.bytes):,} are left")
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken


def _made(plain: Any, rest: _Rest, records: dict[str, type]) -> Any:
    if not isinstance(plain, dict):
        if isinstance(plain, list):
            raise Malformed("a bare list")
        return plain
    ((kind, inside),) = plain.items()
    if kind == "bytes":
        return bytes(rest.take(inside))
    if kind == "array":
        name, shape = inside
        return _array(name, shape, rest)
    if kind == "record":
        name, values = inside
        return _record(records[name], [_made(each, rest, records) for each in values])
    if kind == "dict":
        return {key: _made(each, rest, records) for key, each in inside.items()}
    if kind in ("tuple", "list"):
        values = [_made(each, rest, records) for each in inside]
        return tuple(values) if kind == "tuple" else values
    raise Malformed(f"no such kind: {kind!r}")


def _array(name: str, shape: list[int], rest: _Rest) -> np.ndarray:
    if name not in _NUMBERS or not all(isinstance(side, int) and side >= 0 for side in shape) or len(shape) > 8:
        raise Malformed(f"no such array: {name} {shape}")
    dtype = np.dtype(name)
    count = 1
    for side in shape:
        count *= side
    return np.frombuffer(rest.take(count * dtype.itemsize), dtype).reshape(shape)


def _record(record: type, values: list[Any]) -> Any:
    hints = typing.get_type_hints(record)
    if len(hints) != len(values):
        raise Malformed(f"{record.__name__} of {len(values)} fields")
    for (name, hint), value in zip(hints.items(), values):
        if not _fits(value, hint):
            raise Malformed(f"{record.__name__}.{name} is a {type(value).__name__}")
    return record(**dict(zip(hints, values)))


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(_fits(value, each) for each in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return any(value is each or (type(value) is type(each) and value == each) for each in typing.get_args(hint))
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)
