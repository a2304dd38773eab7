"""TCA's encoders by name, and those its paper compares it with: NetVLAD, NeXtVLAD, LSTM, GRU, as in the authors' code.

Names of parameters are the authors'. The rows of zeros with which they fill up a batch take no part in any of these,
so a video is encoded by itself, without any. T frames of C numbers, K clusters, D numbers of the result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from ndvr.models.weights import WeightsError

# --- The transformer: self-attention over the frames of one video, without positions


class Unchanged(nn.Module):
    """Features as they are, without any temporal context."""

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (T, C), rows of length one."""
        return functional.normalize(features, dim=-1)

    def video(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (C,) of length one."""
        return functional.normalize(features.mean(0), dim=-1)


class TransformerEncoder(nn.Module):
    """Standard encoder layers, normalised after each step; parameter names are the authors' (and torch's)."""

    def __init__(self, width: int = 1024, *, n_layers: int = 1, heads: int = 8, hidden: int = 2048):
        super().__init__()
        self.transformer_encoder = _Layers(width, n_layers, heads, hidden)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Encode (T, C) -> (T, C), or a batch (N, T, C) with a mask (N, T): True for frames, False for padding."""
        return self.transformer_encoder(features, mask)

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (T, C), rows of length one; the authors' `encode`."""
        return functional.normalize(self(features), dim=-1)

    def video(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (C,) of length one; the authors' `forward`."""
        return functional.normalize(self(features).mean(0), dim=-1)

    def videos(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Encode a padded batch (N, T, C) with its mask (N, T) -> (N, C): what `video` makes of each, for training."""
        frames = self(features, mask).masked_fill(~mask[..., None], 0)
        return functional.normalize(frames.sum(1) / mask.sum(1, keepdim=True), dim=-1)


class _Layers(nn.Module):
    """(..., T, C) -> (..., T, C), one layer after the other."""

    def __init__(self, width: int, n_layers: int, heads: int, hidden: int):
        super().__init__()
        self.layers = nn.ModuleList(_Layer(width, heads, hidden) for _ in range(n_layers))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return x


class _Layer(nn.Module):
    """(..., T, C) -> (..., T, C)."""

    dropout = 0.0  # in training, which sets it

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.self_attn = _Attention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = self.norm1(x + self._dropped(self.self_attn(x, mask)))
        hidden = self._dropped(functional.relu(self.linear1(x)))
        return self.norm2(x + self._dropped(self.linear2(hidden)))

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, self.dropout, self.training)


class _Attention(nn.Module):
    """Attention of all frames of a video to each other; the (T, T) weights are never held as a whole."""

    dropout = 0.0  # in training, which sets it

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))  # of queries, keys, values
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        projected = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        # (N, T, 3 C) -> (3, N, heads, T, C / heads); with a batch axis, torch has a kernel that works in blocks.
        projected = projected if x.ndim == 3 else projected[None]
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else mask[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        joined = attended.transpose(1, 2).flatten(2)
        return self.out_proj(joined if x.ndim == 3 else joined[0])


GROUPS = 8  # of NeXtVLAD

State = Mapping[str, torch.Tensor]


class Recurrent(nn.Module):
    """Two layers of LSTM or GRU over normalised features."""

    def __init__(self, kind: Literal["LSTM", "GRU"], width: int = 1024, hidden: int = 1024):
        super().__init__()
        self.kind, self.bn1 = kind, nn.BatchNorm1d(width)
        self.add_module(kind, {"LSTM": nn.LSTM, "GRU": nn.GRU}[kind](width, hidden, num_layers=2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (T, D)."""
        return self.get_submodule(self.kind)(self.bn1(features))[0]

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (T, D), rows of length one."""
        return functional.normalize(self(features), dim=-1)

    def video(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (D,) of length one."""
        return functional.normalize(self(features).mean(0), dim=-1)


class NetVLAD(nn.Module):
    """Residuals of frames to K centroids, softly assigned (Arandjelovic et al., CVPR 2016), gated."""

    def __init__(self, width: int = 1024, clusters: int = 256, dims: int = 1024):
        super().__init__()
        self.bn1, self.conv = nn.BatchNorm1d(width), nn.Conv1d(width, clusters, 1)
        self.centroids = nn.Parameter(torch.empty(clusters, width))
        _add_gate(self, clusters * width, dims)

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (K, C): the residual of each cluster, of length one."""
        x = functional.normalize(self.bn1(features), dim=-1)
        shares = functional.softmax(self.conv(x.t()), dim=0)  # (K, T)
        return functional.normalize(shares @ x - shares.sum(1, keepdim=True) * self.centroids, dim=-1)

    def video(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (D,) of length one."""
        return _gated(self, self.frames(features))


class NeXtVLAD(nn.Module):
    """NetVLAD on eight parts of wider features (Lin et al., ECCV 2018 workshops), each part with its own attention.

    Part g is every eighth channel from the g-th on, as the authors' reshapes have it.
    """

    def __init__(self, width: int = 1024, clusters: int = 64, dims: int = 1024):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(width, 2 * width, 1), nn.Conv1d(2 * width, GROUPS, 1)
        self.conv3 = nn.Conv1d(2 * width, GROUPS * clusters, 1, bias=False)
        self.bn1 = nn.BatchNorm1d(GROUPS * clusters)
        self.centroids = nn.Parameter(torch.empty(clusters, 2 * width // GROUPS))
        _add_gate(self, clusters * 2 * width // GROUPS, dims)

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (K, C / 4): the residual of each cluster, of length one."""
        x = self.conv1(functional.normalize(features, dim=-1).t())  # (2 C, T)
        attention = torch.sigmoid(self.conv2(x)).reshape(1, -1)  # (1, 8 T)
        shares = self.bn1(self.conv3(x).t()).t().reshape(len(self.centroids), -1)  # (K, 8 T)
        shares = functional.softmax(shares, dim=0) * attention
        x = x.reshape(self.centroids.shape[1], -1)  # (C / 4, 8 T)
        return functional.normalize(shares @ x.t() - shares.sum(1, keepdim=True) * self.centroids, dim=-1)

    def video(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (D,) of length one."""
        return _gated(self, self.frames(features))


def _add_gate(module: nn.Module, size: int, dims: int) -> None:
    """Add what both VLADs have behind their residuals, under the authors' names."""
    hidden = dims // 8
    module.bn2, module.fc1, module.bn3 = nn.BatchNorm1d(size), nn.Linear(size, dims), nn.BatchNorm1d(dims)
    module.fc2, module.bn4, module.fc3 = nn.Linear(dims, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, dims)


def _gated(module: nn.Module, residuals: torch.Tensor) -> torch.Tensor:
    """Project (K, E) -> (D,), then weigh every number by a gate made of all."""
    layer = module.get_submodule
    x = layer("bn3")(layer("fc1")(layer("bn2")(residuals.flatten()[None])))
    gate = torch.sigmoid(layer("fc3")(functional.relu(layer("bn4")(layer("fc2")(x)))))
    return functional.normalize(x * gate, dim=1)[0]


Encoder = Unchanged | TransformerEncoder | Recurrent | NetVLAD | NeXtVLAD


def make_encoder(kind: str, state: State, *, width: int, heads: int, source: str) -> Encoder:
    """Return an encoder as large as `state` says (its values are not read), or of the authors' size where it does
    not.
    """
    if kind in ("lstm", "gru"):
        name: Literal["LSTM", "GRU"] = "LSTM" if kind == "lstm" else "GRU"
        return Recurrent(name, width, _size(state, f"{name}.weight_hh_l0", 1, width))
    dims = _size(state, "bn3.weight", 0, width)
    if kind == "netvlad":
        return NetVLAD(width, _size(state, "centroids", 0, 256), dims)
    if kind == "nextvlad":
        return NeXtVLAD(width, _size(state, "centroids", 0, 64), dims)
    if kind == "none":
        return Unchanged()
    if width % heads:
        raise WeightsError(f"{source} is of width {width}, which {heads} heads cannot share; give option heads")
    numbers = [int(layer[1]) for key in state if (layer := re.match(r"transformer_encoder\.layers\.(\d+)\.", key))]
    hidden = _size(state, "transformer_encoder.layers.0.linear1.weight", 0, 2048)
    return TransformerEncoder(width, n_layers=max(numbers, default=0) + 1, heads=heads, hidden=hidden)


def width_of(kind: str, state: State) -> int | None:
    """Tell how many numbers a feature has for the encoder in `state`; None where there is none."""
    if kind == "nextvlad":
        return _size(state, "conv1.weight", 1, None)
    return _size(state, "transformer_encoder.layers.0.norm1.weight" if kind == "transformer" else "bn1.weight", 0, None)


def _size(state: State, key: str, axis: int, default: Any) -> Any:
    """Return the length of one axis; what does not fit in other ways is found, and named, when `state` is loaded."""
    return state[key].shape[axis] if key in state and state[key].ndim > axis else default
