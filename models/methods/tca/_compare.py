"""How TCA compares videos: encoded frames by Chamfer similarity, with or without a CNN between, or one vector each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ndvr.models.layers import chamfer
from ndvr.models.layers.comparator import CELL, Comparator
from ndvr.models.layers.head import exact_convolutions
from ndvr.models.layers.packed_comparator import TILE_FRAMES, spans
from ndvr.models.methods.tca._encoders import Encoder


class Comparison(nn.Module):
    """Signatures and scores of features (T, C). D: what the encoder makes of C.

    encoder     has `frames`, (T, C) -> (T, D), and `video`, (T, C) -> (D,), both of length one
    comparator  the CNN on the matrix of frame similarities, or None; not used by "cosine"
    similarity  "chamfer" (TCA_f), "symmetric" (TCA_sym) or "cosine" (TCA_c)
    """

    def __init__(self, encoder: Encoder, *, comparator: Comparator | None = None, similarity: str = "chamfer"):
        super().__init__()
        self.encoder, self.similarity = encoder, similarity
        if comparator is not None:
            self.comparator = comparator

    def signature(self, features: torch.Tensor) -> torch.Tensor:
        """Encode (T, C) -> (T, D) frames, repeated until there are 4 where the CNN needs them; (D,) for "cosine"."""
        with exact_convolutions():  # of VLAD, and what is recurrent
            if self.similarity == "cosine":
                return self.encoder.video(features)
            frames = self.encoder.frames(features)
        while hasattr(self, "comparator") and len(frames) < CELL:
            frames = torch.cat([frames, frames])
        return frames

    def similarities(self, query: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """Score a video against others: (V,) in [-1, 1]; after the CNN in [0, 1]."""
        if self.similarity == "cosine":
            return cosine(query, torch.stack(list(targets)))
        symmetric = self.similarity == "symmetric"
        if not hasattr(self, "comparator"):
            return chamfer.chamfer(query, targets, symmetric=symmetric)
        with exact_convolutions():
            scores = torch.stack([compared(query, target, self.comparator) for target in targets])
            if symmetric:  # the CNN sees a matrix and its transpose differently: both are shown to it
                scores = (scores + torch.stack([compared(target, query, self.comparator) for target in targets])) / 2
        return scores / 2 + 0.5

    def matrix(self, query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compare every frame with every frame, (Tq, Tt), before the CNN."""
        if query.ndim == 1:
            raise ValueError("similarity=cosine keeps one vector a video; for a picture of frames choose chamfer")
        return query @ target.t()


def cosine(query: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Multiply (D,) with (V, D), all of length one or zero -> (V,). A zero vector scores 1, as in the authors' code."""
    return cosine_matrix(query[None], targets)[0]


def cosine_matrix(queries: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Score all queries (Q, D) against all targets (V, D) by cosine -> (Q, V)."""
    blank = (queries == 0).all(1)[:, None] | (targets == 0).all(1)
    return (queries @ targets.t()).masked_fill_(blank, 1.0)


def compared(
    query: torch.Tensor, target: torch.Tensor, comparator: Comparator, *, tile_frames: int = TILE_FRAMES
) -> torch.Tensor:
    """Compare query (Tq, D) and target (Tt, D) by Chamfer similarity of what the CNN makes of them, clipped to [-1, 1].

    Long videos are cut into tiles that overlap by the CNN's reach: what a tile pads inside a video counts nowhere.
    """
    total = query.new_zeros(())
    for row in spans(len(query), tile_frames):
        part = query[row.start : row.stop]
        best = query.new_full((row.keep,), -torch.inf)
        for column in spans(len(target), tile_frames):
            cells = comparator((part @ target[column.start : column.stop].t())[None, None])[0, 0].clamp(-1, 1)
            cells = cells[row.skip : row.skip + row.keep, column.skip : column.skip + column.keep]
            best = torch.maximum(best, cells.amax(1))
        total += best.sum()
    return total / (len(query) // CELL)
