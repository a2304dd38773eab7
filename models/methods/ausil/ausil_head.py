"""The similarity network of AuSiL: whiten features, weigh them, compare them, look for diagonals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ndvr.models.layers.attention import NormalisedAttention
from ndvr.models.layers.comparator import Comparator
from ndvr.models.layers.head import SimilarityHead

# Windows that a video is repeated to: the authors repeat targets, to ten; queries need the four that make a cell.
MIN_QUERY, MIN_TARGET = 4, 10


class Whitening(nn.Module):
    """(T, D) -> (T, D), length one: length one first, then less the mean, times W (in, out)."""

    def __init__(self, dims: int):
        super().__init__()
        self.mean = nn.Parameter(torch.empty(dims))
        self.W = nn.Parameter(torch.empty(dims, dims))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return _unit((_unit(features) - self.mean) @ self.W)


def _unit(x: torch.Tensor) -> torch.Tensor:
    # As TensorFlow's l2_normalize, with the bound the authors give it.
    return x * x.square().sum(-1, keepdim=True).clamp_min(1e-15).rsqrt()


class SoundHead(SimilarityHead):
    """Signatures (T, 1, D) and scores of features (T, D).

    A signature serves as query and as target; only when two meet is each repeated to the length its role needs.
    """

    def __init__(self, dims: int, *, whole: bool = True):
        super().__init__(dims, attention=None, comparator=Comparator(padding="replicate"), whole=whole)
        self.pca = Whitening(dims)
        self.attention = NormalisedAttention(dims, unit=False)

    def signature(self, features: torch.Tensor) -> torch.Tensor:
        return self.attention(self.pca(features))[:, None]

    def similarities(self, query: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        query = repeated(query, MIN_QUERY)
        return super().similarities(query, [repeated(target, MIN_TARGET) for target in targets])


def repeated(signature: torch.Tensor, least: int) -> torch.Tensor:
    """The signature after itself, and that after itself, until it has `least` windows: 2 -> 16 and 6 -> 12 of 10."""
    while len(signature) < least:
        signature = torch.cat([signature, signature])
    return signature
