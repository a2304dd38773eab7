"""Move an affine window until what it shows fits a template: Gauss-Newton on local contrast."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ndvr.models.methods.thumbprint.thumbprint_verify import NOISE, blur, see

_DAMPING = 0.02


def slopes(images: torch.Tensor) -> torch.Tensor:
    """Picture, horizontal and vertical slope per unit of [-1, 1] coordinates: (..., S, S) -> (..., 3, S, S)."""
    half = images.shape[-1] / 4
    padded = F.pad(images.flatten(0, -3), (1, 1, 1, 1), mode="replicate").unflatten(0, images.shape[:-2])
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * half
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * half
    return torch.stack([images, dx, dy], -3)


def _detail(x: torch.Tensor, radius: int) -> torch.Tensor:
    """Channels (P, K, C, n, n) less their surroundings, over the local strength of the first."""
    if radius > 2:
        x = blur(x, radius // 2)
    x = x - blur(x, radius)
    return x * torch.rsqrt(blur(x[:, :, :1].square(), radius) + NOISE**2)


def refine(
    channels: torch.Tensor,
    template: torch.Tensor,
    theta: torch.Tensor,
    radii: tuple[int, ...],
) -> torch.Tensor:
    """Better windows (P, 2, 3) on (P, K, 3, S, S) of `slopes`, for (P, K, n, n); a window is shared by its K pairs.

    One step per radius, of the neighbourhood that detail stands out from. Pixels count by how well their
    surroundings agree, so that a logo or another picture on top does not pull.
    """
    n = template.shape[-1]
    at = F.affine_grid(torch.eye(2, 3, device=theta.device)[None], [1, 1, n, n], align_corners=False)
    at = torch.cat([at.flatten(0, 2), torch.ones(n * n, 1, device=theta.device)], 1).T  # (3, n * n)
    for radius in radii:
        goal = _detail(template[:, :, None], radius)  # (P, K, 1, n, n)
        seen = _detail(
            see(channels.flatten(1, 2), theta, n)[0].unflatten(1, channels.shape[1:3]),
            radius,
        )
        weight = blur(seen[:, :, 0] * goal[:, :, 0], radius).clamp(min=0.05)  # about the local correlation
        error = (goal - seen)[:, :, 0].flatten(-2)
        slope = seen[:, :, 1:].flatten(-2)  # (P, K, 2, n * n)
        jacobian = (slope[:, :, :, None] * at).flatten(2, 3)  # (P, K, 6, n * n), rows of theta
        pulled = jacobian * weight.flatten(-2)[:, :, None]
        jacobian, pulled = (x.transpose(1, 2).flatten(2) for x in (jacobian, pulled))  # (P, 6, K * n * n)
        normal = pulled @ jacobian.transpose(1, 2)
        push = pulled @ error.flatten(1)[..., None]
        ridge = normal.diagonal(dim1=1, dim2=2) * _DAMPING + 1e-3
        move = torch.linalg.solve(normal + torch.diag_embed(ridge), push)[..., 0]
        reach = theta[:, :2, :2].abs().amax((1, 2))[:, None] * 0.15
        theta = theta + torch.maximum(torch.minimum(move, reach), -reach).unflatten(1, (2, 3))
    return theta
