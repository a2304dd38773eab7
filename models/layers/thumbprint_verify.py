"""How well do two series of pictures agree, frame against frame, once one is seen through an affine window?"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

GRID = 24  # pixels per side at which cut pictures are compared
_BLOCKS = 4  # per side
_KEEP = 12  # of 16 blocks: the rest may be covered by a logo, a caption, another picture
_NOISE = 4.0  # grey levels of detail that count as nothing


@cache
def _smoother(n: int, radius: int) -> torch.Tensor:
    """A moving average of 2 * radius + 1 pixels with repeated edges: (n, n)."""
    at = (torch.arange(n)[:, None] + torch.arange(-radius, radius + 1)).clamp(0, n - 1)
    return torch.zeros(n, n).scatter_add_(1, at, torch.full(at.shape, 1 / (2 * radius + 1)))


def blur(x: torch.Tensor, radius: int = 3) -> torch.Tensor:
    """(..., n, n) -> (..., n, n)."""
    smoother = _smoother(x.shape[-1], radius).to(x.device)
    return smoother @ x @ smoother.T


def sample(images: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures seen through affine windows: (T, S, S), (P, 2, 3) -> (P, T, GRID, GRID), inside (P, GRID, GRID)."""
    n = len(theta)
    grid = F.affine_grid(theta, [n, 1, GRID, GRID], align_corners=False)
    seen = F.grid_sample(images.expand(n, -1, -1, -1), grid, align_corners=False, padding_mode="border")
    return seen, (grid.abs().amax(-1) < 1.02).float()


def local_contrast(x: torch.Tensor, inside: torch.Tensor | None = None) -> torch.Tensor:
    """Detail over its local strength, in blocks of unit length: (..., n, n) -> (..., 16, n * n / 16)."""
    detail = x - blur(x)
    detail = detail / torch.sqrt(blur(detail * detail) + _NOISE**2)
    if inside is not None:
        detail = detail * inside
    n = x.shape[-1] // _BLOCKS
    blocks = detail.unflatten(-1, (_BLOCKS, n)).unflatten(-3, (_BLOCKS, n)).transpose(-3, -2)
    blocks = blocks.flatten(-2).flatten(-3, -2)
    size = blocks.square().sum(-1, keepdim=True)
    return blocks / torch.sqrt(size + 0.1 * n * n)


def agreement(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean correlation over all blocks: (..., Ta, 16, p), (..., Tb, 16, p) -> (..., Ta, Tb)."""
    return a.flatten(-2) @ b.flatten(-2).transpose(-1, -2) / a.shape[-2]


def robust_agreement(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean correlation over the best blocks of pairs: (..., 16, p) twice -> (...)."""
    return (a * b).sum(-1).topk(_KEEP, dim=-1).values.mean(-1)
