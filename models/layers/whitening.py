"""Whitening of vectors: a projection on strong directions, out of the PCA files that there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ndvr.models import weights as files


class Whitening(nn.Module):
    """(..., 3840) -> (..., dims), length one: the `dims` strongest directions, each scaled to unit variance."""

    def __init__(self, dims: int = 512, *, n_in: int = 3840):
        super().__init__()
        self.mean = nn.Parameter(torch.empty(n_in))
        self.DVt = nn.Parameter(torch.empty(n_in, dims))

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        return functional.normalize((regions - self.mean) @ self.DVt, dim=-1)


# --- The authors' PCA of ViSiL's regions: {"mean" (C,), "d" (C,) eigenvalues, "V" (C, C) eigenvectors in columns}


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


# --- PCA files of `ndvr fit-pca` and TCA: a .npz of `U` (C, K), `lams` (K,), `mu` (C, 1) and `Utmu` (K, 1), all float32


LEAST_VARIANCE = 1e-9  # smaller eigenvalues are raised to it, as the authors do when they fit
MOST_DIMS = 1024  # what the authors keep of a file

_WANTED = ("U", "lams", "mu")  # `Utmu` is U' mu: the authors compute it anew on loading, we have no use for it


def read_pca(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of a PCA file; nothing in it is run."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise files.WeightsError(f"no PCA file at {path}; `ndvr fit-pca` makes one")
    try:
        files.refuse_bomb(path)
        with np.load(path, allow_pickle=False) as content:
            if isinstance(content, np.ndarray):
                raise ValueError("a single array")
            return {key: content[key] for key in (*_WANTED, "Utmu") if key in content.files}
    except files.UNREADABLE as error:
        raise files.WeightsError(f"{path} is not a PCA file of `ndvr fit-pca` or TCA's authors: {error}") from error


def fitted_projection(
    pca: Mapping[str, np.ndarray], dims: int | None, *, whiten: bool = True, smooth: bool = False, source: str
) -> dict[str, torch.Tensor]:
    """State of `Whitening` that projects on the `dims` strongest directions, in the file's order; None: up to 1024.

    y = diag(lams^-1/2) U' (x - mu), without the scaling when not `whiten`. The authors' own fit stores eigenvalues
    in ascending order when it was asked for all, and they then load the weakest; the strongest are taken here.

    smooth  add the mean of the eigenvalues to each, as few frames tell little of weak directions
    """
    arrays = {key: np.asarray(pca[key], np.float64) for key in _WANTED if key in pca}
    shapes = {key: value.shape for key, value in arrays.items()}
    size, count = arrays["U"].shape if "U" in arrays and arrays["U"].ndim == 2 else (0, 0)
    if not count or shapes["mu"] not in ((size, 1), (size,)) or shapes.get("lams") != (count,):
        raise files.WeightsError(f"{source} is not a PCA file: it needs U (C, K), lams (K,), mu (C, 1), got {shapes}")
    if (dims or 1) > count:
        raise files.WeightsError(f"{source} has {count} directions, fewer than the {dims} asked for; fit one with more")
    strongest = np.sort(np.argsort(-arrays["lams"], kind="stable")[: dims or min(count, MOST_DIMS)])
    basis, variances = arrays["U"][:, strongest], arrays["lams"][strongest]
    if whiten:
        basis = basis / np.sqrt(np.maximum(variances + variances.mean() * smooth, LEAST_VARIANCE))
    return {
        "mean": torch.from_numpy(arrays["mu"].reshape(size).astype(np.float32)),
        "DVt": torch.from_numpy(basis.astype(np.float32)),
    }
