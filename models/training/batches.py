"""The similarity network of S2VS, ViSiL and DnS on batches, with gradients and with the authors' masks.

For training only. `SimilarityHead.similarities` is exact for any mixture of lengths; the authors train on videos padded
to one length, whose masks are pooled by their maximum. There a video of L frames keeps ceil(L / 4) rows where, alone,
it has floor(L / 4), so padded scores differ from those of the same videos alone, by up to 1.2 in our reference numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from ndvr.models.layers.comparator import CELL, Comparator
from ndvr.models.layers.head import SimilarityHead, exact_convolutions

SOFTNESS = 1e-6  # of the signs that binarisation is trained with: erf(x / sqrt(2 * SOFTNESS))


def prepare(head: SimilarityHead, features: torch.Tensor) -> torch.Tensor:
    """Weigh or softly binarise features (..., T, R, D), T >= 4 -> the same shape. Padding stays zero."""
    if hasattr(head, "attention"):
        features = head.attention(features)
    if hasattr(head, "binarization"):
        projected = functional.normalize(features, dim=-1) @ head.binarization.W
        features = torch.erf(projected / (2 * SOFTNESS) ** 0.5)
    return features


def frame_similarities(head: SimilarityHead, query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compare frames (..., T, R, D) with (..., U, R, D), both prepared -> (..., T, U). Leading axes broadcast.

    All pairs of a batch are `frame_similarities(head, x[:, None], x[None])`. Memory: R * R * 4 bytes a frame pair.
    """
    products = torch.einsum("...tod,...upd->...tuop", query, target)
    matrix = products.amax(-1).mean(-1)
    if head.symmetric:
        matrix = (matrix + products.amax(-2).mean(-1)) / 2
    return matrix * head.scale


def compare(
    head: SimilarityHead,
    query: torch.Tensor,
    target: torch.Tensor,
    *,
    query_mask: torch.Tensor | None = None,
    target_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare prepared batches: scores (...) in [-1, 1] and the CNN's cells (..., T // 4, U // 4) before clipping.

    Masks (..., T) and (..., U) hold 1 for frames and 0 for padding: both or none. Cells of padding are 0, so that
    `losses.out_of_range(cells)` does not count them. S2VS's training takes scores / 2 + 1 / 2, DnS's takes them as is.
    """
    matrix = frame_similarities(head, query, target)
    lead = matrix.shape[:-2]
    if query_mask is None or target_mask is None:
        if query_mask is not target_mask:
            raise ValueError("one of query_mask and target_mask is missing; give ones where nothing is padded")
        mask = torch.ones_like(matrix)
    else:
        mask = (query_mask[..., :, None] * target_mask[..., None, :]).to(matrix).expand_as(matrix)
    scores, cells = score(head, matrix.flatten(0, -3)[:, None], mask.flatten(0, -3)[:, None])
    return scores.reshape(lead), cells.reshape(*lead, *cells.shape[-2:])


def score(head: SimilarityHead, matrix: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Score frame similarities (B, 1, T, U) with their mask: (B,), and cells (B, 1, T // 4, U // 4)."""
    with exact_convolutions():
        cells, kept = masked_cells(head.visil_head, matrix, mask)
    cells = cells.float()  # what comes after the network is added up in float32, also where training is mixed
    scores = _chamfer(cells.clamp(-1, 1), kept)
    if head.symmetric:
        scores = (scores + _chamfer(cells.clamp(-1, 1).mT, kept.mT)) / 2
    return scores, cells


def padded(matrices: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad N matrices (T, U) with zeros at their ends, (N, 1, T, U); a mask of the same shape says where."""
    rows, columns = (max(matrix.shape[axis] for matrix in matrices) for axis in (0, 1))
    sides = [(0, columns - matrix.shape[1], 0, rows - matrix.shape[0]) for matrix in matrices]
    filled = [functional.pad(matrix, side) for matrix, side in zip(matrices, sides)]
    masks = [functional.pad(torch.ones_like(matrix), side) for matrix, side in zip(matrices, sides)]
    return torch.stack(filled)[:, None], torch.stack(masks)[:, None]


def long_enough(features: torch.Tensor) -> torch.Tensor:
    """Repeat features (T, ...) until there are the four frames that the CNN needs, as `signature` does."""
    while len(features) < CELL:
        features = torch.cat([features, features])
    return features


def masked_cells(comparator: Comparator, matrix: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Run `comparator(matrix)` with padding set to 0 before and after each convolution; mask its output.

    matrix, mask: (B, 1, T, U) -> both (B, 1, T // 4, U // 4). A cell is kept where any of its frame pairs is.
    """
    if not comparator.packs and not bool(mask.all()):
        raise ValueError("batch normalisation's larger outputs have no masks; give videos of one length, without masks")
    layers = (comparator.conv1, comparator.conv2, comparator.conv3)
    x = matrix * mask
    for number, convolution in enumerate(layers):
        x = convolution(functional.pad(x, (1, 1, 1, 1), comparator.mode))
        x = functional.relu(x * mask if comparator.packs else x)
        if number < 2:
            x, mask = functional.max_pool2d(x, 2, 2), functional.max_pool2d(mask, 2, 2)
    x = comparator.fconv(x)
    return (x * mask, mask) if comparator.packs else (x, torch.ones_like(x))


def _chamfer(cells: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average, (B, 1, T, U) -> (B,): the mean over rows that hold a kept cell of their largest kept cell."""
    best = cells.masked_fill(mask == 0, -torch.inf).amax(-1)
    rows = mask.amax(-1)
    return best.masked_fill(rows == 0, 0).sum((1, 2)) / rows.sum((1, 2)).clamp(min=1)
