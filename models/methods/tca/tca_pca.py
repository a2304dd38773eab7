"""TCA's PCA files: a .npz of `U` (C, K), `lams` (K,), `mu` (C, 1) and `Utmu` (K, 1), all float32."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ndvr.models.weights import WeightsError

LEAST_VARIANCE = 1e-9  # smaller eigenvalues are raised to it, as the authors do when they fit
MOST_DIMS = 1024  # what the authors keep of a file

_WANTED = ("U", "lams", "mu")  # `Utmu` is U' mu: the authors compute it anew on loading, we have no use for it


def read_pca(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file; nothing in it is run."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"no PCA file at {path}; `ndvr fit-pca` makes one")
    try:
        with np.load(path, allow_pickle=False) as content:
            if isinstance(content, np.ndarray):
                raise ValueError("a single array")
            return {key: content[key] for key in (*_WANTED, "Utmu") if key in content.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"{path} is not a PCA file of `ndvr fit-pca` or TCA's authors: {error}") from error


def projection(
    pca: Mapping[str, np.ndarray], dims: int | None, *, whiten: bool = True, source: str
) -> dict[str, torch.Tensor]:
    """State of `Whitening` that projects on the `dims` strongest directions, in the file's order; None: up to 1024.

    y = diag(lams^-1/2) U' (x - mu), without the scaling when not `whiten`. The authors' own fit stores eigenvalues
    in ascending order when it was asked for all, and they then load the weakest; the strongest are taken here.
    """
    found = {key: np.asarray(pca[key], np.float64) for key in _WANTED if key in pca}
    shapes = {key: value.shape for key, value in found.items()}
    size, count = found["U"].shape if "U" in found and found["U"].ndim == 2 else (0, 0)
    if not count or shapes["mu"] not in ((size, 1), (size,)) or shapes.get("lams") != (count,):
        raise WeightsError(f"{source} is not a PCA file: it needs U (C, K), lams (K,), mu (C, 1), got {shapes}")
    if (dims or 1) > count:
        raise WeightsError(f"{source} has {count} directions, fewer than the {dims} asked for; fit one with more")
    strongest = np.sort(np.argsort(-found["lams"], kind="stable")[: dims or min(count, MOST_DIMS)])
    basis = found["U"][:, strongest]
    if whiten:
        basis = basis / np.sqrt(np.maximum(found["lams"][strongest], LEAST_VARIANCE))
    return {
        "mean": torch.from_numpy(found["mu"].reshape(size).astype(np.float32)),
        "DVt": torch.from_numpy(basis.astype(np.float32)),
    }
