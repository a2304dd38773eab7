"""How well do two series of pictures agree, frame against frame, once one is cut to a box?"""

from __future__ import annotations

import torch
import torch.nn.functional as F

GRID = 24  # pixels per side at which cut pictures are compared
_BLOCKS = 4
_KEEP = 12  # of 16 blocks: the rest may be covered by a logo, a caption, another picture
_NOISE = 4.0  # grey levels


def sample(images: torch.Tensor, theta: torch.Tensor, n: int = GRID) -> torch.Tensor:
    """Pictures seen through an affine window: (T, S, S), (2, 3) in [-1, 1] coordinates -> (T, n, n)."""
    grid = F.affine_grid(theta[None], [1, 1, n, n], align_corners=False)
    return F.grid_sample(images[None], grid, align_corners=False, padding_mode="border")[0]


def box_theta(top: float, height: float, left: float, width: float) -> torch.Tensor:
    """The affine window of a box in fractions of the picture."""
    return torch.tensor([[width, 0.0, 2 * left + width - 1], [0.0, height, 2 * top + height - 1]])


def _blur(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(F.pad(x[:, None], (3, 3, 3, 3), mode="replicate"), 7, 1)[:, 0]


def local_contrast(x: torch.Tensor) -> torch.Tensor:
    """Detail over its local strength, in blocks of unit length: (T, n, n) -> (T, 16, n * n / 16)."""
    detail = x - _blur(x)
    detail = detail / torch.sqrt(_blur(detail * detail) + _NOISE**2)
    n = x.shape[-1] // _BLOCKS
    blocks = detail.unflatten(2, (_BLOCKS, n)).unflatten(1, (_BLOCKS, n)).transpose(2, 3).flatten(3).flatten(1, 2)
    size = blocks.square().sum(-1, keepdim=True)
    return blocks / torch.sqrt(size + 0.1 * n * n)


def agreement(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(Ta, 16, p), (Tb, 16, p) -> (Ta, Tb): mean correlation over the best blocks."""
    per_block = torch.einsum("tkp,ukp->tuk", a, b)
    return per_block.topk(_KEEP, dim=2).values.mean(2)
