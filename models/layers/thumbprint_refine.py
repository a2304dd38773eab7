"""Move an affine window until what it shows fits a template: Gauss-Newton on normalised correlation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ndvr.models.layers.thumbprint_verify import GRID, blur

_STEPS = 5
_DAMPING = 0.02


def _unit(x: torch.Tensor) -> torch.Tensor:
    """Detail of length one: (..., n, n) -> (..., n * n)."""
    detail = (x - blur(x, 5)).flatten(-2)
    return detail / (detail.norm(dim=-1, keepdim=True) + 1.0)


def _slopes(images: torch.Tensor) -> torch.Tensor:
    """Picture, horizontal and vertical slope per unit of [-1, 1] coordinates: (..., S, S) -> (..., 3, S, S)."""
    half = images.shape[-1] / 4
    padded = F.pad(images.flatten(0, -3)[:, None], (1, 1, 1, 1), mode="replicate")[:, 0].unflatten(0, images.shape[:-2])
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * half
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * half
    return torch.stack([images, dx, dy], -3)


def refine(source: torch.Tensor, template: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Better windows: (P, K, S, S), (P, K, GRID, GRID), (P, 2, 3) -> windows and the fit in [-1, 1] they reach (P,).

    A window of P is shared by its K pairs. The start is kept where the search gains nothing.
    """
    p, k = source.shape[:2]
    channels = _slopes(source).flatten(1, 2)  # (P, K*3, S, S)
    goal = _unit(template)  # (P, K, n*n)
    at = F.affine_grid(torch.eye(2, 3, device=theta.device)[None], [1, 1, GRID, GRID], align_corners=False)
    at = torch.cat([at.flatten(0, 2), torch.ones(GRID * GRID, 1, device=theta.device)], 1)  # (n*n, 3)
    best, best_fit = theta, torch.full((p,), -1.0, device=theta.device)
    eye = torch.eye(6, device=theta.device)
    for step in range(_STEPS + 1):
        grid = F.affine_grid(theta, [p, 1, GRID, GRID], align_corners=False)
        seen = F.grid_sample(channels, grid, align_corners=False, padding_mode="border")
        seen = seen.unflatten(1, (k, 3))  # (P, K, 3, n, n)
        detail = (seen - blur(seen, 5)).flatten(-2)
        size = detail[:, :, :1].norm(dim=-1, keepdim=True) + 1.0
        unit = detail / size
        fit = (unit[:, :, 0] * goal).sum(-1).mean(1)
        better = fit > best_fit
        best = torch.where(better[:, None, None], theta, best)
        best_fit = torch.where(better, fit, best_fit)
        if step == _STEPS:
            break
        slope = unit[:, :, 1:]  # (P, K, 2, n*n)
        jacobian = (slope[:, :, :, None] * at.T).flatten(2, 3)  # (P, K, 6, n*n), row-major theta
        residual = goal * fit.clamp(min=0.1)[:, None, None] - unit[:, :, 0] * fit.clamp(min=0.1)[:, None, None]
        normal = torch.einsum("pkin,pkjn->pij", jacobian, jacobian)
        push = torch.einsum("pkin,pkn->pi", jacobian, residual)
        scale = normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-6
        move = torch.linalg.solve(normal + scale * _DAMPING * eye, push[..., None])[..., 0]
        reach = theta[:, :2, :2].abs().amax((1, 2))[:, None] * 0.15
        theta = theta + torch.maximum(torch.minimum(move, reach), -reach).unflatten(1, (2, 3))
    return best, best_fit
