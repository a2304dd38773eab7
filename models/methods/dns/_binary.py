"""Regions as binary codes of 64 bytes, compared by counting the bits in which they differ (DnS's fine binary student).

With b, c in {-1, +1}^D the dot product is D - 2 * (number of places that differ): XOR and popcount of packed codes
give what the authors' float codes give, to the last bit, from a 32nd of the memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np
import torch

from ndvr.models.layers.comparator import Comparator
from ndvr.models.layers.head import SimilarityHead

# Bytes of region-to-region counts (int32; half floats on a GPU) alive at a time. On a CPU they stay in its cache
# between being counted and being reduced.
BLOCK_BYTES = {"cpu": 1 << 20, "cuda": 256 << 20}


def pack(positive: torch.Tensor) -> torch.Tensor:
    """Pack bits (..., D) bool -> codes (..., D // 8) uint8; the first of eight is the lowest."""
    places = torch.arange(8, dtype=torch.uint8, device=positive.device)
    return (positive.unflatten(-1, (-1, 8)).to(torch.uint8) << places).sum(-1, dtype=torch.uint8)


def unpack(codes: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Unpack codes (..., B) uint8 -> (..., 8 * B) in {-1, +1}."""
    places = torch.arange(8, dtype=torch.uint8, device=codes.device)
    return ((codes[..., None] >> places) & 1).flatten(-2).to(dtype) * 2 - 1


def frame_rows(query: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
    """Compare codes of frames, target-major: (Tq, R, B), (T_v, R, B) -> (sum T_v, Tq) in [-1, 1], Chamfer over regions.

    Row u, column t is mean over the regions o of query frame t of max over the regions p of target frame u of the
    dot product of their signs, divided by the number of bits. Every step before the two divisions is in whole numbers.
    """
    n_query, n_regions, n_bytes = query.shape
    frames = torch.cat(list(targets))
    columns = query.transpose(0, 1).reshape(n_regions * n_query, n_bytes)  # as in `chamfer`: (region, frame)
    dots = dots_by_popcount if query.device.type == "cpu" else dots_by_product
    block_bytes = BLOCK_BYTES.get(query.device.type, BLOCK_BYTES["cuda"])
    block_frames = max(1, block_bytes // (n_regions**2 * n_query * 4))
    sums = [dots(block, columns, n_query) for block in frames.split(block_frames)]
    return torch.cat(sums) / n_regions / (8 * n_bytes)


def dots_by_popcount(block: torch.Tensor, columns: torch.Tensor, n_query: int) -> torch.Tensor:
    """Sum over o of max over p of dot products: (frames, R, B), (R * Tq, B) -> (frames, Tq) float32.

    One core of a recent x86 needs 1.4 ns for a pair of codes; its float32 product takes 12 ns, its int8 product 3 ns.
    """
    n_frames, n_regions, n_bytes = block.shape
    rows, codes_of_query = (codes.reshape(-1, n_bytes).contiguous().numpy() for codes in (block, columns))
    counts = np.empty((len(rows), len(codes_of_query)), np.int32)
    faiss.hammings(  # type: ignore[attr-defined]  # C++, known at run time only
        faiss.swig_ptr(rows), faiss.swig_ptr(codes_of_query), *counts.shape, n_bytes, faiss.swig_ptr(counts)
    )
    nearest = torch.from_numpy(counts).view(n_frames, n_regions, n_regions, n_query).amin(1).sum(1, dtype=torch.int32)
    return (8 * n_bytes * n_regions - 2 * nearest).float()


def dots_by_product(block: torch.Tensor, columns: torch.Tensor, n_query: int) -> torch.Tensor:
    """Compute the same by matrix products of half floats, which are exact up to 2048: what a GPU is fastest at."""
    n_frames, n_regions, _ = block.shape
    products = unpack(block.flatten(0, 1), torch.float16) @ unpack(columns, torch.float16).t()
    return products.view(n_frames, n_regions, n_regions, n_query).amax(1).sum(1, dtype=torch.float32)


class BinaryHead(SimilarityHead):
    """The fine student whose signatures are packed signs of rotated regions."""

    def __init__(self, dims: int = 512):
        super().__init__(dims, attention=None, binary=True, comparator=Comparator())

    def signature(self, features: torch.Tensor) -> torch.Tensor:
        """Binarise regions, (T, R, D) -> (T', R, D // 8) uint8, repeated until there are 4.
        The sign of an exact 0 is +1.

        The authors' is 0, a third value. In float32 one of some thirty million projections is exactly 0; it moves a
        frame similarity by 1 / D at most.
        """
        return pack(super().signature(features) >= 0)

    def rows(self, query: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        return frame_rows(query, targets)
