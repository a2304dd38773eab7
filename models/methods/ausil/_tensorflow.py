"""Read a TensorFlow checkpoint (V2, "bundle") without TensorFlow: read_bundle("ckpt/model") -> {name: array}.

Two kinds of files. `PREFIX.index` is a table as LevelDB's: sorted keys in blocks, a block of block addresses, and a
footer with the address of that. Its values are protocol buffers: under the empty key how many data files there are,
under each tensor's name its type, shape, data file, offset, size and checksum. `PREFIX.data-I-of-N` are the bare
tensors. Formats: leveldb/doc/table_format.md; tensorflow/core/protobuf/tensor_bundle.proto. Every checksum is tested.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.models.weights import WeightsError

# --- CRC-32C of long byte strings in numpy, as TensorFlow and LevelDB keep it


_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
_MAX_LANES = 1 << 15


def masked_crc32c(data: bytes) -> int:
    """Compute the checksum as it is stored: turned and shifted, so that it can itself be part of checksummed data."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Compute the CRC-32C of bytes, 0.2 s for 27 MB.

    A CRC that starts at zero is linear, and zeros in front do not change it. So the data is cut into as many equal
    lanes as pay, which advance together, a byte at a step; then neighbours are joined,
    crc(a b) = zeros(crc(a), as many as b has bytes) ^ crc(b), where `zeros` is linear too: a matrix of bits.
    The real CRC starts at 0xffffffff, which is the same as turning over the first 32 bits of the data.
    """
    if len(data) < 4:
        return _by_byte(data)
    lanes = 1 << min(_MAX_LANES.bit_length() - 1, max(0, (len(data) // 64).bit_length() - 1))
    width = -(-len(data) // lanes)
    padded = np.zeros(lanes * width, np.uint8)
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    start = len(padded) - len(data)
    padded[start : start + 4] ^= 0xFF
    crc = np.zeros(lanes, np.uint32)
    for byte in np.ascontiguousarray(padded.reshape(lanes, width).T):
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    zeros = _power(_ZERO_BYTE, width)
    while len(crc) > 1:
        crc = _apply(zeros, crc[0::2]) ^ crc[1::2]
        zeros = _apply(zeros, zeros)
    return int(crc[0]) ^ 0xFFFFFFFF


def _by_byte(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = int(_TABLE[(crc ^ byte) & 0xFF]) ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _apply(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Multiply matrix (32,) uint32, column i being the image of bit i, with each of x (n,) uint32."""
    bits = (x[:, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    return np.bitwise_xor.reduce(bits * matrix, axis=1)


def _power(matrix: np.ndarray, exponent: int) -> np.ndarray:
    """Multiply a matrix by itself `exponent` times."""
    result = np.uint32(1) << np.arange(32, dtype=np.uint32)
    while exponent:
        if exponent & 1:
            result = _apply(matrix, result)
        matrix = _apply(matrix, matrix)
        exponent >>= 1
    return result


def _crc_table() -> np.ndarray:
    """Compute what each byte makes of the register, eight shifts later."""
    crc: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = (crc >> 1) ^ np.where(crc & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return crc


_TABLE = _crc_table()
_BITS = np.uint32(1) << np.arange(32, dtype=np.uint32)
_ZERO_BYTE = _TABLE[_BITS & 0xFF] ^ (_BITS >> 8)


_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_STRING = 7  # notes for humans and Keras; no tensor
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "<u1", 5: "<i2", 6: "<i1", 9: "<i8", 10: "?", 17: "<u2", 19: "<f2"}


def read_bundle(prefix: str | Path) -> dict[str, np.ndarray]:
    """Read all tensors of a checkpoint by the names of their variables; `prefix` is what its files have in common."""
    index = Path(f"{prefix}.index")
    try:
        entries = dict(_table(index))
    except (IndexError, ValueError, struct.error) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{index} is damaged ({error}); fetch it again") from error
    header = _fields(entries.pop(b"", b""))
    n_files = _one(header, 1)
    if _one(header, 2):
        raise WeightsError(f"{index} is of a big-endian machine, which is not supported")
    tensors = {}
    for key, value in entries.items():
        name, fields = key.decode(), _fields(value)
        if _one(fields, 1) == _STRING:
            continue
        if _one(fields, 1) not in _DTYPES or 7 in fields:
            raise WeightsError(f"{index}: {name} is of type {_one(fields, 1)} or in slices, which is not supported")
        tensors[name] = _tensor(Path(f"{prefix}.data-{_one(fields, 3):05d}-of-{n_files:05d}"), name, fields)
    return tensors


def _tensor(path: Path, name: str, fields: dict[int, list[Any]]) -> np.ndarray:
    shape = tuple(_one(_fields(dim), 1) for dim in _fields(_one(fields, 2, b"")).get(2, []))
    dtype, offset, size = np.dtype(_DTYPES[_one(fields, 1)]), _one(fields, 4), _one(fields, 5)
    if not path.is_file():
        raise WeightsError(f"no such file: {path}; a checkpoint is its .index and all of its .data files")
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size or int(np.prod(shape)) * dtype.itemsize != size:
        raise WeightsError(
            f"{path} is cut short: {name} {shape} should be {size} bytes at {offset}, there are {len(data)}"
        )
    if masked_crc32c(data) != _one(fields, 6):
        raise WeightsError(f"{path} is damaged: the checksum of {name} is {masked_crc32c(data):#010x}; fetch it again")
    return np.frombuffer(data, dtype).reshape(shape).copy()  # writable, as torch wants it


def _table(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Read the keys and values of a table file."""
    if not path.is_file():
        raise WeightsError(f"no such file: {path}")
    data = path.read_bytes()
    if len(data) < _FOOTER_BYTES or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise WeightsError(f"{path} is no index of a TensorFlow checkpoint, or it is cut short; fetch it again")
    _, _, at = _handle(data, len(data) - _FOOTER_BYTES)  # of the block of block statistics, always empty
    offset, size, _ = _handle(data, at)
    for _, value in _block(data, offset, size, path):
        offset, size, _ = _handle(value, 0)
        yield from _block(data, offset, size, path)


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Read the (offset, size) of a block, and where the next begins."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _block(data: bytes, offset: int, size: int, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Read the keys and values of one block. Each key is written as what it does not share with the one before."""
    kind, checksum = struct.unpack_from("<BI", data, offset + size)
    if masked_crc32c(data[offset : offset + size + 1]) != checksum:
        raise WeightsError(f"{path} is damaged: the checksum of its block at {offset} is wrong; fetch it again")
    if kind:
        raise WeightsError(f"{path} is compressed, as no checkpoint of TensorFlow is")
    (n_restarts,) = struct.unpack_from("<I", data, offset + size - 4)
    key, at, end = b"", offset, offset + size - 4 - 4 * n_restarts
    while at < end:
        n_shared, at = _varint(data, at)
        n_new, at = _varint(data, at)
        n_value, at = _varint(data, at)
        key = key[:n_shared] + data[at : at + n_new]
        at += n_new
        yield key, data[at : at + n_value]
        at += n_value


def _fields(message: bytes) -> dict[int, list[Any]]:
    """Read the fields of a protocol buffer by number: integers as they are, everything else as bytes."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        value: Any
        if kind == 0:
            value, at = _varint(message, at)
        elif kind == 2:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        elif kind == 5:
            (value,), at = struct.unpack_from("<I", message, at), at + 4
        elif kind == 1:
            (value,), at = struct.unpack_from("<Q", message, at), at + 8
        else:
            raise ValueError(f"field {number} has the unknown wire type {kind}")
        fields.setdefault(number, []).append(value)
    return fields


def _one(fields: dict[int, list[Any]], number: int, default: Any = 0) -> Any:
    """Return a field that occurs once; protocol buffers leave out what is zero."""
    return fields.get(number, [default])[-1]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, lowest first, the eighth says that more follow; and where the next begins."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
