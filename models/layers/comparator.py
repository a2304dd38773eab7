"""The small CNN that looks for diagonal stripes in a frame-to-frame similarity matrix (ViSiL, ICCV 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

CELL = 4  # matrix rows (columns) per output row (column): two poolings by 2
HALO = 8  # the output at k sees inputs 4k - 7 .. 4k + 10; this, rounded up to whole cells, makes a tile exact


class Comparator(nn.Module):
    """(B, 1, T, U) similarities -> (B, 1, T // 4, U // 4), before clipping to [-1, 1]. T, U >= 4.

    padding     zeros in S2VS and DnS, replicate in ViSiL
    pooling     False keeps full resolution and replicates at borders (S2VS's visualisation mode)
    batch_norm  S2VS's untrained variant; its convolutions pad by one more
    """

    def __init__(
        self,
        *,
        padding: Literal["zeros", "replicate"] = "zeros",
        pooling: bool = True,
        batch_norm: bool = False,
    ):
        super().__init__()
        self.mode = "constant" if padding == "zeros" and pooling else "replicate"
        self.pooling = pooling
        # The plain form, which `strips` computes for many videos at once.
        self.packs = self.mode == "constant" and not batch_norm
        self.conv1 = _conv(1, 32, batch_norm)
        self.conv2 = _conv(32, 64, batch_norm)
        self.conv3 = _conv(64, 128, batch_norm)
        self.fconv = nn.Conv2d(128, 1, 1)

    def forward(self, matrix: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.conv1(functional.pad(matrix, (1, 1, 1, 1), self.mode)))
        x = functional.max_pool2d(x, 2, 2) if self.pooling else x
        x = functional.relu(self.conv2(functional.pad(x, (1, 1, 1, 1), self.mode)))
        x = functional.max_pool2d(x, 2, 2) if self.pooling else x
        x = functional.relu(self.conv3(functional.pad(x, (1, 1, 1, 1), self.mode)))
        return self.fconv(x)


def _conv(n_in: int, n_out: int, batch_norm: bool) -> nn.Module:
    if batch_norm:
        return nn.Sequential(nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out))
    return nn.Conv2d(n_in, n_out, 3)
