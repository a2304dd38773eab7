"""The small CNN that looks for diagonal stripes in a frame-to-frame similarity matrix (ViSiL, ICCV 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

CELL = 4  # matrix rows (columns) per output row (column): two poolings by 2
HALO = 8  # the output at k sees inputs 4k - 7 .. 4k + 10; this, rounded up to whole cells, makes a tile exact
DENSE_HALO = 3  # without pooling: one cell for each of three convolutions
DENSE_CELLS = 1 << 17  # at a time; the third convolution makes 512 bytes of each


class Comparator(nn.Module):
    """(B, 1, T, U) similarities -> (B, 1, T // 4, U // 4), before clipping to [-1, 1]. T, U >= 4.

    padding     zeros in S2VS and DnS, replicate in ViSiL
    batch_norm  S2VS's untrained variant; its convolutions pad by one more, so that outputs are larger
    """

    def __init__(self, *, padding: Literal["zeros", "replicate"] = "zeros", batch_norm: bool = False):
        super().__init__()
        self.mode = "constant" if padding == "zeros" else "replicate"
        self.packs = not batch_norm  # the form that `strips` computes for many videos at once
        self.conv1 = _conv(1, 32, batch_norm)
        self.conv2 = _conv(32, 64, batch_norm)
        self.conv3 = _conv(64, 128, batch_norm)
        self.fconv = nn.Conv2d(128, 1, 1)

    def forward(self, matrix: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.conv1(functional.pad(matrix, (1, 1, 1, 1), self.mode)))
        x = functional.max_pool2d(x, 2, 2)
        x = functional.relu(self.conv2(functional.pad(x, (1, 1, 1, 1), self.mode)))
        x = functional.max_pool2d(x, 2, 2)
        x = functional.relu(self.conv3(functional.pad(x, (1, 1, 1, 1), self.mode)))
        return self.fconv(x)

    def dense(self, matrix: torch.Tensor) -> torch.Tensor:
        """Look for diagonals, (T, U) -> (T, U), without pooling and with borders repeated: S2VS's visualisation."""
        n_rows, n_columns = matrix.shape
        step = max(1, DENSE_CELLS // n_columns)
        blocks = []
        for start in range(0, n_rows, step):
            first = max(0, start - DENSE_HALO)
            cells = self._unpooled(matrix[None, None, first : start + step + DENSE_HALO])[0, 0]
            blocks.append(cells[start - first : start - first + step])
        return torch.cat(blocks)[:n_rows]

    def _unpooled(self, x: torch.Tensor) -> torch.Tensor:
        n_rows, n_columns = x.shape[2:]
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = functional.relu(convolution(functional.pad(x, (1, 1, 1, 1), "replicate")))
        x = self.fconv(x)
        extra = (x.shape[2] - n_rows) // 2  # what batch normalisation's convolutions pad beyond the matrix
        return x[..., extra : extra + n_rows, extra : extra + n_columns]


def _conv(n_in: int, n_out: int, batch_norm: bool) -> nn.Module:
    if batch_norm:
        return nn.Sequential(nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out))
    return nn.Conv2d(n_in, n_out, 3)
