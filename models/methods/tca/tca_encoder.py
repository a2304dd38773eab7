"""TCA's temporal encoder: self-attention over the frames of one video, without positions (Shao et al., WACV 2021)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Unchanged(nn.Module):
    """Features as they are, without any temporal context."""

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """(T, C) -> (T, C), rows of length one."""
        return functional.normalize(features, dim=-1)

    def video(self, features: torch.Tensor) -> torch.Tensor:
        """(T, C) -> (C,) of length one."""
        return functional.normalize(features.mean(0), dim=-1)


class TransformerEncoder(nn.Module):
    """Standard encoder layers, normalised after each step; parameter names are the authors' (and torch's)."""

    def __init__(self, width: int = 1024, *, n_layers: int = 1, heads: int = 8, hidden: int = 2048):
        super().__init__()
        self.transformer_encoder = _Layers(width, n_layers, heads, hidden)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(T, C) -> (T, C)."""
        return self.transformer_encoder(features)

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """(T, C) -> (T, C), rows of length one; the authors' `encode`."""
        return functional.normalize(self(features), dim=-1)

    def video(self, features: torch.Tensor) -> torch.Tensor:
        """(T, C) -> (C,) of length one; the authors' `forward`."""
        return functional.normalize(self(features).mean(0), dim=-1)


class _Layers(nn.Module):
    """(T, C) -> (T, C), one layer after the other."""

    def __init__(self, width: int, n_layers: int, heads: int, hidden: int):
        super().__init__()
        self.layers = nn.ModuleList(_Layer(width, heads, hidden) for _ in range(n_layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class _Layer(nn.Module):
    """(T, C) -> (T, C)."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.self_attn = _Attention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.self_attn(x))
        return self.norm2(x + self.linear2(functional.relu(self.linear1(x))))


class _Attention(nn.Module):
    """Attention of all frames of a video to each other; the (T, T) weights are never held as a whole."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))  # of queries, keys, values
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        projected = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        # (T, 3 C) -> (3, 1, heads, T, C / heads); with a batch axis, torch has a kernel that works in blocks.
        query, key, value = projected.view(len(x), 3, 1, self.heads, -1).permute(1, 2, 3, 0, 4)
        found = functional.scaled_dot_product_attention(query, key, value)
        return self.out_proj(found[0].transpose(0, 1).flatten(1))
