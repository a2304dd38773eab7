"""PCA whitening of region vectors, read from the authors' dictionary of mean, eigenvalues and eigenvectors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional


class Whitening(nn.Module):
    """(..., 3840) -> (..., dims), length one: the `dims` strongest directions, each scaled to unit variance."""

    def __init__(self, dims: int = 512, *, n_in: int = 3840):
        super().__init__()
        self.mean = nn.Parameter(torch.empty(n_in))
        self.DVt = nn.Parameter(torch.empty(n_in, dims))

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        return functional.normalize((regions - self.mean) @ self.DVt, dim=-1)


def projection(pca: Mapping[str, torch.Tensor], dims: int, *, source: str) -> dict[str, torch.Tensor]:
    """State of `Whitening` out of {"mean" (C,), "d" (C,) eigenvalues, "V" (C, C) eigenvectors in columns}."""
    shapes = {key: tuple(pca[key].shape) for key in ("mean", "d", "V") if key in pca}
    size = pca["d"].numel() if "d" in pca else 0
    if shapes != {"mean": (size,), "d": (size,), "V": (size, size)} or size < dims:
        wanted = f"mean (C,), d (C,) and V (C, C) with C >= {dims}"
        raise ValueError(f"{source} is not a PCA file: it should hold {wanted}, got {shapes or 'none of them'}")
    strongest = torch.argsort(pca["d"], descending=True)[:dims]
    scale = 1 / torch.sqrt(pca["d"][strongest] + 1e-7)
    return {"mean": pca["mean"], "DVt": pca["V"][:, strongest] * scale}
