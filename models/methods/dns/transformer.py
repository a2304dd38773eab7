"""A Transformer encoder layer over one video of any length; parameter names are those of torch.nn's."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Each of (T, D) as a mixture of all, in 8 heads; parameter names are torch's MultiheadAttention's.

    Written out because torch's own keeps all T x T weights: 3.7 GB for a video of three hours.
    """

    def __init__(self, dims: int, heads: int = 8):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dims, dims))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * dims))
        self.out_proj = nn.Linear(dims, dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = mixed.view(len(x), 3, 1, self.heads, -1).permute(1, 2, 3, 0, 4)  # (1, heads, T, D / heads)
        found = functional.scaled_dot_product_attention(query, key, value)[0]
        return self.out_proj(found.transpose(0, 1).flatten(1))


class EncoderLayer(nn.Module):
    """A Transformer layer that normalises after adding: (T, D) -> (T, D). No position is encoded."""

    def __init__(self, dims: int, hidden: int = 2048):
        super().__init__()
        self.self_attn = SelfAttention(dims)
        self.linear1, self.linear2 = nn.Linear(dims, hidden), nn.Linear(hidden, dims)
        self.norm1, self.norm2 = nn.LayerNorm(dims), nn.LayerNorm(dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.self_attn(x))
        return self.norm2(x + self.linear2(functional.relu(self.linear1(x))))
