"""The similarity network shared by S2VS, ViSiL and DnS: prepare regions, compare frames, compare videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.backends import cudnn
from torch.nn import functional

from ndvr.models.layers import chamfer
from ndvr.models.layers import packed_comparator as strips
from ndvr.models.layers.comparator import Comparator

# --- Before regions are compared: attention weights, or signs


class Attention(nn.Module):
    """Scale each region vector by its own weight in (0, 1): (..., D) -> (..., D), not normalised again.

    The weight of x is sigmoid(c . tanh(W x + b)).
    """

    def __init__(self, dims: int = 512):
        super().__init__()
        self.transform = nn.Linear(dims, dims)
        self.context_vector = nn.Linear(dims, 1, bias=False)

    def weights(self, regions: torch.Tensor) -> torch.Tensor:
        """Weigh region vectors: (..., D) -> (..., 1)."""
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
        """Weigh region vectors: (..., D) -> (..., 1)."""
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


FRAMES_AT_A_TIME = 1024  # through the attention, which makes three copies of their 18 KiB each


class SimilarityHead(nn.Module):
    """Signatures and scores of region features; parameter names are the authors'.

    attention   how region vectors are weighted: "mlp", "normalised" (by a context vector divided by its length),
                "linear" (by the context vector as it is), or not at all
    binary      compare signs instead of vectors
    symmetric   average both directions wherever Chamfer similarity is taken
    comparator  the CNN; None, or `whole` False, compares frame similarities as they are
    dense       take scores from the CNN without its pooling: a cell for every two frames; slow
    picture     what `matrix` shows: frame similarities, or the CNN's dense cells
    """

    def __init__(
        self,
        dims: int = 512,
        *,
        attention: Literal["mlp", "normalised", "linear"] | None = "mlp",
        binary: bool = False,
        symmetric: bool = False,
        comparator: Comparator | None = None,
        whole: bool = True,
        dense: bool = False,
        picture: Literal["frames", "dense"] = "frames",
    ):
        super().__init__()
        if attention == "mlp":
            self.attention: Attention | NormalisedAttention = Attention(dims)
        elif attention:
            self.attention = NormalisedAttention(dims, unit=attention == "normalised")
        if binary:
            self.binarization = Binarisation(dims)
        if comparator is not None:
            self.visil_head = comparator
        self.symmetric, self.whole, self.dense, self.picture = symmetric, whole, dense, picture
        self.scale = 1 / dims if binary else 1.0

    def signature(self, features: torch.Tensor) -> torch.Tensor:
        """Weigh or binarise regions, (T, R, D) -> (T', R, D), repeated until there are 4 frames (1 -> 4, 3 -> 6)."""
        while len(features) < 4:
            features = torch.cat([features, features])
        if len(features) <= FRAMES_AT_A_TIME:
            return self._prepared(features)
        prepared = [self._prepared(part) for part in features.split(FRAMES_AT_A_TIME)]
        return torch.cat(prepared)

    def _prepared(self, features: torch.Tensor) -> torch.Tensor:
        if hasattr(self, "attention"):
            features = self.attention(features)
        return self.binarization(features) if hasattr(self, "binarization") else features

    def similarities(self, query: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """Score a query signature against V target signatures of any lengths, each video as a whole -> (V,)."""
        with exact_convolutions():
            comparator = getattr(self, "visil_head", None) if self.whole else None
            if comparator is not None and (self.dense or not comparator.packs):
                return torch.stack([self.one_by_one(query, target) for target in targets])
            return strips.similarities(query, targets, comparator, rows=self.rows, symmetric=self.symmetric)

    def one_by_one(self, query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Score a pair as the papers write it, on the whole matrix at once."""
        frames = self.rows(query, [target]).t()
        cells = self.visil_head.dense(frames) if self.dense else self.visil_head(frames[None, None])[0, 0]
        return chamfer.of_matrix(cells.clamp(-1, 1), symmetric=self.symmetric)

    def matrix(self, query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compare every frame with every frame, (Tq, Tt), or show the dense output of the CNN in [-1, 1]."""
        frames = self.rows(query, [target]).t()
        if self.picture == "frames":
            return frames
        with exact_convolutions():
            return self.visil_head.dense(frames).clamp(-1, 1)

    def rows(self, query: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compare frames of signatures, (sum T_v, Tq); override it where `signature` gives something else."""
        return chamfer.frame_rows(query, targets, symmetric=self.symmetric, scale=self.scale)


def exact_convolutions():
    """Keep CUDA convolutions and recurrent layers in float32 inside `with`; else they drop to TF32's ten bits."""
    return cudnn.flags(enabled=True, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False)
