"""CRC-32C of long byte strings in numpy, as TensorFlow and LevelDB keep it: masked_crc32c(data)."""

from __future__ import annotations

import numpy as np

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
_MAX_LANES = 1 << 15


def masked_crc32c(data: bytes) -> int:
    """The checksum as it is stored: turned and shifted, so that it can itself be part of checksummed data."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C, 0.2 s for 27 MB.

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
    """Matrix (32,) uint32, column i being the image of bit i, times each of x (n,) uint32."""
    bits = (x[:, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    return np.bitwise_xor.reduce(bits * matrix, axis=1)


def _power(matrix: np.ndarray, exponent: int) -> np.ndarray:
    """The matrix applied `exponent` times."""
    result = np.uint32(1) << np.arange(32, dtype=np.uint32)
    while exponent:
        if exponent & 1:
            result = _apply(matrix, result)
        matrix = _apply(matrix, matrix)
        exponent >>= 1
    return result


def _table() -> np.ndarray:
    """What the register becomes of each byte, eight shifts later."""
    crc: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = (crc >> 1) ^ np.where(crc & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return crc


_TABLE = _table()
_BITS = np.uint32(1) << np.arange(32, dtype=np.uint32)
_ZERO_BYTE = _TABLE[_BITS & 0xFF] ^ (_BITS >> 8)
