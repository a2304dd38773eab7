"""Binary codes of videos: a learned layer whose signs are packed eight to a byte, compared by counting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import nn


class HashLayer(nn.Module):
    """(N, dims) -> (N, bits) activations in (-1, 1); parameter names are C3DHash's, below `hash_layer.`"""

    def __init__(self, dims: int, bits: int):
        super().__init__()
        self.bits = bits
        self.hashcoder = nn.Sequential(nn.Linear(dims, bits), nn.Tanh())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.hashcoder(features)

    def codes(self, features: torch.Tensor) -> np.ndarray:
        """(N, dims) -> (N, ceil(bits / 8)) uint8: bit k is set where activation k is above zero.

        The authors keep the sign, which has a third value for an activation of exactly 0. Here that is no bit, as
        for a negative one. Two zeros are alike either way; a zero and a negative one, which they count, are alike.
        """
        return np.packbits((self(features) > 0).cpu().numpy(), axis=1)


def distances(query: np.ndarray, targets: Sequence[np.ndarray]) -> np.ndarray:
    """Hamming distances (V,) int32 between one code, (bytes,) uint8, and V codes: the number of bits that differ."""
    import faiss  # here, so that it starts its threads only where codes are compared

    # Codes of a few bytes: comparing a million takes 10 ms, torch.stack of as many tensors 270, this join 80.
    # (The cast: arrays are buffers, but numpy's types say so only from Python 3.12 on.)
    joined = b"".join(cast(Sequence[memoryview], targets))
    rows = np.frombuffer(joined, np.uint8).reshape(len(targets), len(query))
    index = faiss.IndexBinaryFlat(8 * len(query))
    index.add(rows)
    _, found, numbers = index.range_search(query[None], 8 * len(query) + 1)  # below the radius: all of them
    counts = np.empty(len(targets), np.int32)
    counts[numbers] = found
    return counts


def distance_matrix(queries: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> np.ndarray:
    """Hamming distances (Q, V) int32 between all codes of one side and all of the other."""
    import faiss

    ours, theirs = (_padded(codes) for codes in (queries, targets))
    counts = np.empty((len(ours), len(theirs)), np.int32)
    pointers = [faiss.swig_ptr(array) for array in (ours, theirs, counts)]
    faiss.hammings(*pointers[:2], *counts.shape, ours.shape[1], pointers[2])  # type: ignore[attr-defined]  # C++
    return counts


def _padded(codes: Sequence[np.ndarray]) -> np.ndarray:
    """(N, bytes) uint8, filled up with zeros to whole words of eight bytes: bits that never differ."""
    rows = np.frombuffer(b"".join(cast(Sequence[memoryview], codes)), np.uint8).reshape(len(codes), -1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8)))
