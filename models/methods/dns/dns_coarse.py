"""DnS's coarse student: a video as one vector of length one, compared by dot product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ndvr.models.layers.attention import Attention
from ndvr.models.methods.dns.transformer import EncoderLayer

FRAMES_AT_A_TIME = 1024  # through the attention, which makes three copies of its 18 KiB a frame


class Encoder(nn.Module):
    """One layer and a last normalisation: (T, D) -> (T, D)."""

    def __init__(self, dims: int):
        super().__init__()
        self.layers = nn.ModuleList([EncoderLayer(dims)])
        self.norm = nn.LayerNorm(dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layers[0](x))


class NetVLAD(nn.Module):
    """What frames differ in from 64 learnt centres, as one vector: (T, D) -> (out,), normalised by its LayerNorm.

    Arandjelovic et al., CVPR 2016: V_k = sum over t of a_k(x_t) (x_t - c_k), a = softmax of a linear map; each V_k
    and then all together are brought to length one.
    """

    def __init__(self, dims: int, *, clusters: int = 64, out: int = 1024):
        super().__init__()
        self.centroids = nn.Parameter(torch.empty(clusters, dims))
        self.conv = nn.Conv2d(dims, clusters, 1, bias=False)  # in the files a 1 x 1 convolution
        self.reduction_layer = nn.Linear(clusters * dims, out, bias=False)
        self.norm = nn.LayerNorm(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = functional.linear(x, self.conv.weight.flatten(1)).softmax(-1)  # (T, K)
        residuals = share.t() @ x - share.sum(0)[:, None] * self.centroids  # (K, D)
        vector = functional.normalize(functional.normalize(residuals, dim=-1).flatten(), dim=0)
        return self.norm(self.reduction_layer(vector))


class CoarseStudent(nn.Module):
    """Signatures (1, 1024) of region features (T, 9, 512); parameter names are the authors'.

    The order of frames plays no part, nor does repeating all of them, so short videos need none. Without one of its
    blocks it is a variant of the paper's ablation; without NetVLAD the vector is the mean over time, (1, 512).
    """

    def __init__(self, dims: int = 512, *, attention: bool = True, transformer: bool = True, netvlad: bool = True):
        super().__init__()
        self.attention = Attention(dims) if attention else nn.Identity()
        self.transformer = Encoder(dims) if transformer else nn.Identity()
        self.netvlad = NetVLAD(dims) if netvlad else None

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """(T, R, D) -> (T, D): the sum of the weighted regions, of length one."""
        parts = features.split(FRAMES_AT_A_TIME)
        return functional.normalize(torch.cat([self.attention(part).sum(1) for part in parts]), dim=-1)

    def signature(self, features: torch.Tensor) -> torch.Tensor:
        """(T, R, D) -> (1, 1024) of length one."""
        frames = self.transformer(self.frames(features))
        vector = frames.mean(0) if self.netvlad is None else self.netvlad(frames)
        return functional.normalize(vector, dim=0)[None]

    def similarities(self, query: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """(V,) in [-1, 1]."""
        return self.score_matrix([query], targets)[0]

    def score_matrix(self, queries: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """(Q, V) in [-1, 1]."""
        return (torch.cat(list(queries)) @ torch.cat(list(targets)).t()).clamp_(-1, 1)

    def matrix(self, query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise ValueError("the coarse student keeps one vector of a video: there are no windows to compare")
