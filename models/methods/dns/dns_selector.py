"""DnS's selector: which pairs the coarse student gets wrong, so that the fine one should look at them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ndvr.models.layers.comparator import CELL, Comparator
from ndvr.models.layers.head import SimilarityHead, exact_convolutions
from ndvr.models.layers.packed_comparator import Layers, spans

# The first convolution of a tile of this side stays in a CPU's cache (128 bytes a cell), and 14 % is computed twice.
TILE_FRAMES = 256


class Selector(SimilarityHead):
    """A number of each video, then a score of each pair; parameter names are the authors'."""

    def __init__(self, dims: int = 512, hidden: int = 100):
        super().__init__(dims, comparator=Comparator())
        self.mlp = nn.ModuleDict({"model": _mlp(3, hidden)})

    def own_matrix(self, features: torch.Tensor) -> torch.Tensor:
        """How alike the frames of a video are, (T', T'): the mean over all pairs of their weighted regions.

        mean over o, p of q_o . t_p = (mean of q_o) . (mean of t_p), so a mean vector a frame is all it takes.
        """
        frames = super().signature(features).mean(1)
        return frames @ frames.t()

    def signature(self, features: torch.Tensor) -> torch.Tensor:
        """(T, R, D) -> (1,): the mean of the comparator's output, unclipped, for the video against itself.

        It is computed in tiles that overlap by the comparator's reach, as `strips` does, so that memory stays bounded.
        """
        matrix = self.own_matrix(features)
        layers, parts = Layers.of(self.visil_head), spans(len(matrix), TILE_FRAMES)
        total = matrix.new_zeros(())
        with exact_convolutions():
            for rows in parts:
                for columns in parts:
                    n_rows = rows.stop - rows.start
                    tile = matrix.new_zeros(n_rows // CELL * CELL + CELL, columns.stop - columns.start)
                    tile[:n_rows] = matrix[rows.start : rows.stop, columns.start : columns.stop]
                    cells = layers.compare(tile, starts=np.array([0]), lengths=np.array([n_rows]))
                    cells = cells[rows.skip : rows.skip + rows.keep, columns.skip : columns.skip + columns.keep]
                    total += cells.sum()
        return (total / sum(part.keep for part in parts) ** 2)[None]

    def forward(self, query: torch.Tensor, targets: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """(V,) in (0, 1), high where the fine student should decide; signatures (1,) and (V,), coarse scores (V,)."""
        return self.mlp["model"](torch.stack([query.expand_as(targets), targets, coarse], -1))[:, 0]


def _mlp(n_in: int, hidden: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in (n_in, hidden):
        layers += [nn.Linear(size, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(hidden, 1), nn.Sigmoid())
