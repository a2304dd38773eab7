"""How well do two series of pictures agree, frame against frame, once one is seen through an affine window?"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

GRID = 32  # pixels per side at which cut pictures are compared
_BLOCKS = 4  # per side
_KEEP = 12  # of 16 blocks: the rest may be covered by a logo, a caption, another picture
NOISE = 3.0  # grey levels of detail that count as nothing


@cache
def _smoother(n: int, radius: int) -> torch.Tensor:
    """A moving average of 2 * radius + 1 pixels with repeated edges: (n, n)."""
    at = (torch.arange(n)[:, None] + torch.arange(-radius, radius + 1)).clamp(0, n - 1)
    return torch.zeros(n, n).scatter_add_(1, at, torch.full(at.shape, 1 / (2 * radius + 1)))


def blur(x: torch.Tensor, radius: int) -> torch.Tensor:
    """(..., n, n) -> (..., n, n)."""
    smoother = _smoother(x.shape[-1], radius).to(x.device)
    return smoother @ x @ smoother.T


def see(images: torch.Tensor, theta: torch.Tensor, n: int = GRID) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures through affine windows: (P, C, S, S), (P, 2, 3) -> (P, C, n, n), and where they are inside (P, n, n)."""
    grid = F.affine_grid(theta, [len(theta), 1, n, n], align_corners=False)
    seen = F.grid_sample(images, grid, align_corners=False, padding_mode="border")
    return seen, (grid.abs().amax(-1) < 1.02).float()


def _per_block(x: torch.Tensor) -> torch.Tensor:
    """Sums over blocks: (..., n, n) -> (..., 4, 4)."""
    n = x.shape[-1] // _BLOCKS
    return x.unflatten(-1, (_BLOCKS, n)).unflatten(-3, (_BLOCKS, n)).sum((-1, -3))


SCALES = (
    (0, 2),
    (1, 5),
)  # smoothing before, and radius that detail stands out from: fine, coarse


def local_contrast(x: torch.Tensor, scale: int, inside: torch.Tensor | None = None) -> torch.Tensor:
    """Detail over its local strength, of unit length in each block: (..., n, n) -> the same."""
    before, radius = SCALES[scale]
    x = blur(x, before) if before else x
    detail = x - blur(x, radius)
    detail = detail / torch.sqrt(blur(detail * detail, radius) + NOISE**2)
    if inside is not None:
        detail = detail * inside
    n = x.shape[-1] // _BLOCKS
    strength = torch.rsqrt(_per_block(detail * detail) + 0.1 * n * n)
    return detail * strength.repeat_interleave(n, -1).repeat_interleave(n, -2)


def agreement(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean correlation over all blocks, every frame with every frame: (Ta, n, n), (Tb, n, n) -> (Ta, Tb)."""
    return a.flatten(1) @ b.flatten(1).T / _BLOCKS**2


def agreement_of_pairs(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean correlation over all blocks and over the best ones: (..., n, n) twice -> (...), (...)."""
    blocks = _per_block(a * b).flatten(-2)
    return blocks.mean(-1), blocks.topk(_KEEP, dim=-1).values.mean(-1)


def freedom(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """How many independent numbers the correlation of two pictures rests on: (T, n, n) twice -> (T,).

    Unrelated stationary fields of power spectra P and Q correlate by chance with variance
    sum(P Q) / (sum(P) sum(Q)); where their energy sits in the same few places, more so by that share.
    Stripes and lone edges have few, and match anything; foliage has many.
    """
    p, e = profiles(a)
    q, f = profiles(b)
    return _freedom((p * q).sum(-1), (e * f).sum(-1))


def freedom_matrix(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`freedom` of every frame with every frame: (Ta, n, n), (Tb, n, n) -> (Ta, Tb)."""
    p, e = profiles(a)
    q, f = profiles(b)
    return _freedom(p @ q.T, e @ f.T)


def _freedom(spectral: torch.Tensor, spatial: torch.Tensor) -> torch.Tensor:
    # Half of the spectrum stands for all of it: shares are twice as large, and half as many are summed.
    return 2 / (spectral + 1e-9) / (spatial * _BLOCKS**2 + 1e-9).clamp(min=1.0)


def profiles(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of power by frequency and of energy by block: (..., n, n) -> (..., F), (..., 16)."""
    spectrum = torch.view_as_real(torch.fft.rfft2(x)).square().sum(-1).flatten(-2)
    energy = _per_block(x * x).flatten(-2)
    return spectrum / (spectrum.sum(-1, keepdim=True) + 1e-9), energy / (energy.sum(-1, keepdim=True) + 1e-9)
