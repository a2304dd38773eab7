"""What happens to region vectors before they are compared: attention weights, or binary codes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    """Scale each region vector by its own weight in (0, 1): (..., D) -> (..., D), not normalised again.

    The weight of x is sigmoid(c . tanh(W x + b)).
    """

    def __init__(self, dims: int = 512):
        super().__init__()
        self.transform = nn.Linear(dims, dims)
        self.context_vector = nn.Linear(dims, 1, bias=False)

    def weights(self, regions: torch.Tensor) -> torch.Tensor:
        """(..., D) -> (..., 1)."""
        return torch.sigmoid(self.context_vector(torch.tanh(self.transform(regions))))

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        return regions * self.weights(regions)


class NormalisedAttention(nn.Module):
    """The weight of x is (c . x) / 2 + 1 / 2 with a context vector of length one.

    unit  S2VS divides by the length of c at run time; ViSiL and DnS take c as it is in the file, where it is one.
    """

    def __init__(self, dims: int = 512, *, unit: bool = True):
        super().__init__()
        self.context_vector = nn.Linear(dims, 1, bias=False)
        self.unit = unit

    def weights(self, regions: torch.Tensor) -> torch.Tensor:
        """(..., D) -> (..., 1)."""
        context = self.context_vector.weight
        context = functional.normalize(context, dim=1) if self.unit else context
        return functional.linear(regions, context) / 2 + 0.5

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        return regions * self.weights(regions)


class Binarisation(nn.Module):
    """Signs of rotated unit vectors: (..., D) -> (..., D) in {-1, 0, +1}; 0 only where a projection is exactly 0."""

    def __init__(self, dims: int = 512):
        super().__init__()
        self.W = nn.Parameter(torch.empty(dims, dims))

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        return torch.sign(functional.normalize(regions, dim=-1) @ self.W)
