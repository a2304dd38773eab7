"""Two bits a number: what an index keeps of a key's vector.

A vector is spread over all its numbers by a fixed turn (signs, then a Hadamard matrix), after which each is nearly
normal whatever the method; two bits with the levels that suit a normal number (Max 1960) lose 12 % of the energy. A
factor a vector makes products with probes right on average, with a spread of some .37 / sqrt(numbers).
"""

from __future__ import annotations

from functools import cache

import numpy as np

_INNER, _OUTER, _EDGE = 0.4528, 1.5104, 0.9816  # levels, and the edge between them, of a normal number of spread 1
_MOST = 1.6  # of the factor, in units of one over the root of the numbers
_SCALE = 255


def width(n_numbers: int) -> int:
    """Tell how many numbers a vector of D has when it is turned: the next power of two, 8 at least."""
    return max(8, 1 << (n_numbers - 1).bit_length())


def turned(vectors: np.ndarray) -> np.ndarray:
    """Turn vectors (K, D): (K, W) float32 of the same lengths and products."""
    n, w = len(vectors), width(vectors.shape[1])
    x = np.zeros((w, n), np.float32)  # a number of all vectors after the other
    np.multiply(vectors.T, _signs(vectors.shape[1])[:, None], out=x[: vectors.shape[1]])
    half = 1
    while half < w:
        first, second = x.reshape(w // (2 * half), 2, half, n).transpose(1, 0, 2, 3)
        total = first + second
        np.subtract(first, second, out=second)
        first[:] = total
        half *= 2
    return np.ascontiguousarray(x.T) * np.float32(1 / np.sqrt(w))


@cache
def _signs(n: int) -> np.ndarray:
    """Draw (n,) float32 of 1 and -1, the same forever."""
    mixed = (np.arange(n, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return np.where(mixed >> np.uint64(63), np.float32(-1), np.float32(1))


def encode(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encode turned vectors (K, W) -> codes (K, W / 4) uint8 and their factors (K,) uint8."""
    w = vectors.shape[1]
    squared = np.einsum("kw,kw->k", vectors, vectors)
    spread = np.sqrt(np.maximum(squared / w, 1e-20))[:, None]
    levels = np.where(vectors < 0, 0, 2) + ((vectors < 0) == (np.abs(vectors) < _EDGE * spread))
    fours = levels.reshape(len(vectors), w // 4, 4).astype(np.uint8)
    codes = np.bitwise_or.reduce(fours << np.arange(0, 8, 2).astype(np.uint8), 2)
    product = np.einsum("kw,kw->k", vectors, _table()[codes].reshape(len(vectors), w))
    factor = squared / np.maximum(product, 1e-20) * np.sqrt(w)
    return codes, np.clip(np.rint(factor * (_SCALE / _MOST)), 0, _SCALE).astype(np.uint8)


def decode(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Decode codes (K, W / 4) and factors (K,) -> vectors (K, W) float32."""
    x = np.take(_table(), codes, axis=0).reshape(len(codes), 4 * codes.shape[1])
    x *= factor_of(factors, x.shape[1])[:, None]
    return x


def factor_of(kept: np.ndarray, width: int) -> np.ndarray:
    """Return what products of letters are multiplied with, as kept (K,) uint8 of vectors of W numbers: (K,) float32."""
    return kept * np.float32(_MOST / _SCALE / np.sqrt(width))


def letters() -> np.ndarray:
    """List (16, 2) float32: the two numbers of four bits, lower half of a byte first."""
    return _table()[:16, :2]


@cache
def _table() -> np.ndarray:
    """List (256, 4) float32: the four numbers of a byte."""
    level = np.array([-_OUTER, -_INNER, _INNER, _OUTER], np.float32)
    return level[(np.arange(256)[:, None] >> np.arange(0, 8, 2)) & 3]
