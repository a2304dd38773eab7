"""DnS's networks by name, recognised by the names of their tensors: three students and the selector.

Their authors can leave out blocks of a student, for ablations; so does a state dict without any tensor of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import Card
from ndvr.models.layers.comparator import CELL, Comparator
from ndvr.models.layers.head import Attention, SimilarityHead, exact_convolutions
from ndvr.models.layers.packed_comparator import Layers, spans
from ndvr.models.layers.regions import head_state
from ndvr.models.methods.dns._binary import BinaryHead

# --- The selector: which pairs the coarse student gets wrong


# The first convolution of a tile of this side stays in a CPU's cache (128 bytes a cell), and 14 % is computed twice.
TILE_FRAMES = 256


class Selector(SimilarityHead):
    """A number of each video, then a score of each pair; parameter names are the authors'."""

    def __init__(self, dims: int = 512, hidden: int = 100):
        super().__init__(dims, comparator=Comparator())
        self.mlp = nn.ModuleDict({"model": _mlp(3, hidden)})

    def own_matrix(self, features: torch.Tensor) -> torch.Tensor:
        """Compare a video's frames with each other, (T', T'): the mean over all pairs of their weighted regions.

        mean over o, p of q_o . t_p = (mean of q_o) . (mean of t_p), so a mean vector a frame is all it takes.
        """
        frames = super().signature(features).mean(1)
        return frames @ frames.t()

    def signature(self, features: torch.Tensor) -> torch.Tensor:
        """Compare a video with itself, (T, R, D) -> (1,): the mean of the comparator's output, unclipped.

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
        """Rate where the fine student should decide, (V,) in (0, 1); signatures (1,) and (V,), coarse scores (V,)."""
        return self.mlp["model"](torch.stack([query.expand_as(targets), targets, coarse], -1))[:, 0]


def _mlp(n_in: int, hidden: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in (n_in, hidden):
        layers += [nn.Linear(size, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(hidden, 1), nn.Sigmoid())


# --- A Transformer layer over one video of any length; parameter names are torch.nn's


class SelfAttention(nn.Module):
    """Each of (T, D) as a mixture of all, in 8 heads; parameter names are torch's MultiheadAttention's.

    Written out because torch's own keeps all T x T weights: 3.7 GB for a video of three hours.
    """

    dropout = 0.0  # in training, which sets it

    def __init__(self, dims: int, heads: int = 8):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dims, dims))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * dims))
        self.out_proj = nn.Linear(dims, dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = mixed.view(len(x), 3, 1, self.heads, -1).permute(1, 2, 3, 0, 4)  # (1, heads, T, D / heads)
        dropout = self.dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)[0]
        return self.out_proj(attended.transpose(0, 1).flatten(1))


class EncoderLayer(nn.Module):
    """A Transformer layer that normalises after adding: (T, D) -> (T, D). No position is encoded."""

    dropout = 0.0  # in training, which sets it

    def __init__(self, dims: int, hidden: int = 2048):
        super().__init__()
        self.self_attn = SelfAttention(dims)
        self.linear1, self.linear2 = nn.Linear(dims, hidden), nn.Linear(hidden, dims)
        self.norm1, self.norm2 = nn.LayerNorm(dims), nn.LayerNorm(dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self._dropped(self.self_attn(x)))
        return self.norm2(x + self._dropped(self.linear2(self._dropped(functional.relu(self.linear1(x))))))

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, self.dropout, self.training)


# --- The coarse student: a video as one vector of length one, compared by dot product


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
        return self.reduced(self.residuals(x))

    def residuals(self, x: torch.Tensor) -> torch.Tensor:
        """Sum residuals, (T, dims) -> (clusters * dims,) of length one."""
        share = functional.linear(x, self.conv.weight.flatten(1)).softmax(-1)  # (T, K)
        residuals = share.t() @ x - share.sum(0)[:, None] * self.centroids  # (K, D)
        return functional.normalize(functional.normalize(residuals, dim=-1).flatten(), dim=0)

    def reduced(self, vectors: torch.Tensor) -> torch.Tensor:
        """Reduce (..., clusters * dims) -> (..., out)."""
        return self.norm(self.reduction_layer(vectors))


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
        """Sum the weighted regions of every frame to length one: (T, R, D) -> (T, D)."""
        parts = features.split(FRAMES_AT_A_TIME)
        return functional.normalize(torch.cat([self.attention(part).sum(1) for part in parts]), dim=-1)

    def signature(self, features: torch.Tensor) -> torch.Tensor:
        """Make one vector of a video: (T, R, D) -> (1, 1024) of length one."""
        frames = self.transformer(self.frames(features))
        vector = frames.mean(0) if self.netvlad is None else self.netvlad(frames)
        return functional.normalize(vector, dim=0)[None]

    def vectors(self, videos: Sequence[torch.Tensor]) -> torch.Tensor:
        """Make what `signature` makes of each of N videos, (N, 1024), with NetVLAD's large product once for all."""
        frames = [self.transformer(self.frames(features)) for features in videos]
        if self.netvlad is None:
            vectors = torch.stack([each.mean(0) for each in frames])
        else:
            vectors = self.netvlad.reduced(torch.stack([self.netvlad.residuals(each) for each in frames]))
        return functional.normalize(vectors, dim=-1)

    def similarities(self, query: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """Score one query against V targets -> (V,) in [-1, 1]."""
        return self.score_matrix([query], targets)[0]

    def score_matrix(self, queries: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """Score all queries against all targets -> (Q, V) in [-1, 1]."""
        return (torch.cat(list(queries)) @ torch.cat(list(targets)).t()).clamp_(-1, 1)

    def matrix(self, query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise ValueError("the coarse student keeps one vector of a video: there are no windows to compare")


# --- Which network a state dict is of, and loading it

_BLOCKS = ("attention", "transformer", "netvlad")  # of the coarse student
_WORDS = {
    "fine_attention": "the fine attention student",
    "fine_binary": "the fine binary student",
    "fine_plain": "a fine student without attention",
    "coarse": "the coarse student",
    "selector": "the selector",
}


def student_of(keys: Iterable[str]) -> str | None:
    """Name the network that a state dict is of, or None where its keys fit several: attention alone may be of any."""
    blocks = _blocks(keys)
    if "mlp" in blocks:
        return "selector"
    if blocks & {"transformer", "netvlad"}:
        return "coarse"
    if "binarization" in blocks:
        return "fine_binary"
    if "visil_head" in blocks:
        return "fine_attention" if "attention" in blocks else "fine_plain"
    return None


def load(weights: Any, student: str, card: Card, *, cache: Any) -> tuple[str, nn.Module]:
    """Load a network, and say which: the one asked for, or for "auto" the one that the weights are of."""
    seed = random_weights.seed_of(weights)
    if seed is not None:
        name = "fine_attention" if student == "auto" else student
        network = _new(name, set(_BLOCKS))
        state, source = random_weights.seeded(network, seed), str(weights)
    else:
        state, source = head_state(weights, {"cache": cache}, card)
        name = _agreed(student, state, source=source)
        network = _new(name, _blocks(state))
    files.load_into(network, state, source=source)
    return name, network


def _agreed(wanted: str, state: files.State, *, source: str) -> str:
    """Decide which network to build: `wanted`, or for "auto" what the tensors are of, if these agree."""
    student = student_of(state)
    if student == "selector" != wanted:
        where = "give it to ndvr.models.methods.dns.search.Search"
        raise files.WeightsError(f"{source} holds {_WORDS[student]}, which picks pairs and scores none; {where}")
    if wanted == "auto":
        return student or "fine_attention"
    if student not in (wanted, None):
        raise files.WeightsError(f"{source} holds {_WORDS[student]}, not {_WORDS[wanted]} that was asked for")
    return wanted


def _blocks(keys: Iterable[str]) -> set[str]:
    return {key.split(".", 1)[0] for key in keys}


def _new(student: str, blocks: set[str]) -> nn.Module:
    with torch.device("meta"):  # no point in initialising what is loaded next
        if student == "coarse":
            return CoarseStudent(**{block: block in blocks for block in _BLOCKS})
        if student == "selector":
            return Selector()
        if student == "fine_binary":
            return BinaryHead()
        return SimilarityHead(attention=None if student == "fine_plain" else "mlp", comparator=Comparator())
