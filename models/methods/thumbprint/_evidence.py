"""How sure are we? Evidence, in nats, that two series of compared pictures agree beyond chance."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F

# --- Agreement of two series of pictures, frame against frame, one seen through an affine window


GRID = 32  # pixels per side at which cut pictures are compared
_BLOCKS = 4  # per side
_KEEP = 12  # of 16 blocks: the rest may be covered by a logo, a caption, another picture
NOISE = 3.0  # grey levels of detail that count as nothing


@cache
def _smoother(n: int, radius: int) -> torch.Tensor:
    """Make a moving average of 2 * radius + 1 pixels with repeated edges: (n, n)."""
    at = (torch.arange(n)[:, None] + torch.arange(-radius, radius + 1)).clamp(0, n - 1)
    return torch.zeros(n, n).scatter_add_(1, at, torch.full(at.shape, 1 / (2 * radius + 1)))


def blur(x: torch.Tensor, radius: int) -> torch.Tensor:
    """Smooth pictures: (..., n, n) -> (..., n, n)."""
    smoother = _smoother(x.shape[-1], radius).to(x.device)
    return smoother @ x @ smoother.T


def see(images: torch.Tensor, theta: torch.Tensor, n: int = GRID) -> tuple[torch.Tensor, torch.Tensor]:
    """Look at pictures through affine windows: (P, C, S, S), (P, 2, 3) -> (P, C, n, n), and where they are inside (P,
    n, n).
    """
    grid = F.affine_grid(theta, [len(theta), 1, n, n], align_corners=False)
    seen = F.grid_sample(images, grid, align_corners=False, padding_mode="border")
    return seen, (grid.abs().amax(-1) < 1.02).float()


def see_whole(images: torch.Tensor) -> torch.Tensor:
    """Look at whole pictures: (T, S, S) -> (T, n, n)."""
    return see(images[None], torch.eye(2, 3)[None])[0][0]


def _per_block(x: torch.Tensor) -> torch.Tensor:
    """Sum over blocks: (..., n, n) -> (..., 4, 4)."""
    n = x.shape[-1] // _BLOCKS
    return x.unflatten(-1, (_BLOCKS, n)).unflatten(-3, (_BLOCKS, n)).sum((-1, -3))


SCALES = (
    (0, 2),
    (1, 5),
)  # smoothing before, and radius that detail stands out from: fine, coarse


def local_contrast(x: torch.Tensor, scale: int, inside: torch.Tensor | None = None) -> torch.Tensor:
    """Divide detail by its local strength, of unit length in each block: (..., n, n) -> the same."""
    before, radius = SCALES[scale]
    x = blur(x, before) if before else x
    detail = x - blur(x, radius)
    detail /= blur(detail * detail, radius).add_(NOISE**2).sqrt_()
    if inside is not None:
        detail *= inside
    n = x.shape[-1] // _BLOCKS
    strength = torch.rsqrt(_per_block(detail * detail) + 0.1 * n * n)
    blocks = detail.unflatten(-1, (_BLOCKS, n)).unflatten(-3, (_BLOCKS, n))
    blocks *= strength[..., :, None, :, None]
    return detail


def agreement(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Correlate every frame with every frame, the mean over all blocks: (Ta, n, n), (Tb, n, n) -> (Ta, Tb)."""
    return a.flatten(1) @ b.flatten(1).T / _BLOCKS**2


def agreement_of_pairs(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlate pairs, the mean over all blocks and over the best ones: (..., n, n) twice -> (...), (...)."""
    blocks = _per_block(a * b).flatten(-2)
    return blocks.mean(-1), blocks.topk(_KEEP, dim=-1).values.mean(-1)


def freedom_matrix(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Count how many independent numbers the correlation of two pictures rests on: (Ta, n, n), (Tb, n, n) -> (Ta, Tb).

    Unrelated stationary fields of power spectra P and Q correlate by chance with variance
    sum(P Q) / (sum(P) sum(Q)); where their energy sits in the same few places, more so by that share.
    Stripes and lone edges have few, and match anything; foliage has many.
    """
    p, e = profiles(a)
    q, f = profiles(b)
    return _freedom(p @ q.T, e @ f.T)


def _freedom(spectral: torch.Tensor, spatial: torch.Tensor) -> torch.Tensor:
    # Half of the spectrum stands for all of it: shares are twice as large, and half as many are summed.
    return 2 / (spectral + 1e-9) / (spatial * _BLOCKS**2 + 1e-9).clamp(min=1.0)


def profiles(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Share out power by frequency and energy by block: (..., n, n) -> (..., F), (..., 16)."""
    parts = torch.view_as_real(torch.fft.rfft2(x)).square()
    spectrum = (parts[..., 0] + parts[..., 1]).flatten(-2)
    energy = _per_block(x * x).flatten(-2)
    return spectrum / (spectrum.sum(-1, keepdim=True) + 1e-9), energy / (energy.sum(-1, keepdim=True) + 1e-9)


N_BEST = 8  # frames that speak for a match in any order
# Frames of b per frame of a, played forward or backward.
SPEEDS = (1.0, -1.0, 0.8, 1.25, 0.67, 1.5, 0.5, 2.0)
FITTED = 5.0  # degrees of freedom that the fitted window takes away
MAX_LINED = 160  # frames: longer videos are matched in any order only


def evidence(
    fa: torch.Tensor,
    fb: torch.Tensor,
    *,
    wa: torch.Tensor,
    wb: torch.Tensor,
    fitted: float,
    least: float = -math.inf,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weigh one placement: nats, and the (Ta, Tb) correlations. Pictures (T, n, n) by local contrast, weights (T,).

    `fitted`: degrees of freedom that the search for the window took, 0 for pictures compared as they are.
    `least`: nats that the caller asks for; where there are not more, what is returned is not more either, but may be
    more than there are.
    """
    matrix = agreement(fa, fb) * wa[:, None] * wb
    freedom = freedom_matrix(fa, fb) + (FITTED - fitted)
    lined = max(matrix.shape) <= MAX_LINED
    in_order = torch.tensor(-math.inf)
    if lined:
        alike = [_alike(f) for f in (fa, fb)]
        in_order = _in_order(matrix, freedom, alike)
    nats = torch.tensor(math.inf)
    for n, (frames, others) in enumerate(((fa, fb), (fb, fa))):
        each = (matrix.T, freedom.T) if n else (matrix, freedom)
        values, places = _best_partners(frames, others, *each)
        # No more than if none of the frames looked like another.
        nats = torch.minimum(nats, values.sum() * 1.001)
        if nats > least:
            every = alike[n] if lined else _alike(frames)
            own = every[places][:, places]
            nats = torch.minimum(nats, values.mean() * (len(own) ** 2 / own.sum()))
        if nats <= least:
            break
    return torch.maximum(nats, in_order), matrix


def _alike(frames: torch.Tensor) -> torch.Tensor:
    """Measure how much frames look like each other, as the square of their agreement, (T, T)."""
    return agreement(frames, frames).square().fill_diagonal_(1.0)


def _best_partners(
    frames: torch.Tensor, others: torch.Tensor, matrix: torch.Tensor, freedom: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the frames of a video that agree best with their best partners: nats of each, at least 0, and their places.

    Every frame picks its partner, which costs the logarithm of their number.
    """
    r, partner = matrix.max(1)
    n = freedom.gather(1, partner[:, None])[:, 0]
    _, best = agreement_of_pairs(frames, others[partner])
    nats = information(r, best, n) - math.log(len(others))
    top = nats.topk(min(N_BEST, len(nats)))
    return top.values.clamp(min=0), top.indices


def information(r: torch.Tensor, best: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    """Convert correlations of pictures with n degrees of freedom to nats: -n / 2 log(1 - r^2).

    r over all blocks, or over the best 12 of 16, whichever says more; the mean of the best 12 of 16 independent
    normal numbers lies 0.42 standard deviations above that of all, which is taken off.
    """
    best = best - 0.42 * torch.sqrt(16 / n.clamp(min=16))
    return torch.maximum(_information(r, n), _information(best, 0.75 * n))


def information_of_pairs(seen: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
    """Compute `information` of pictures by local contrast,
    each with a goal: (N * P, K, n, n), (P, K, n, n) -> (N * P, K).
    """
    times = len(seen) // len(goals)
    r, best = agreement_of_pairs(seen, goals.repeat(times, 1, 1, 1))
    p, e = profiles(seen)
    q, f = (each.repeat(times, 1, 1) for each in profiles(goals))
    return information(r, best, _freedom((p * q).sum(-1), (e * f).sum(-1)))


def _information(r: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    r = r.clamp(0, 0.97)
    return -0.5 * (n - FITTED).clamp(min=0) * torch.log1p(-r * r)


def _in_order(matrix: torch.Tensor, freedom: torch.Tensor, alike: list[torch.Tensor]) -> torch.Tensor:
    """Find the best run of frames along a line of constant speed: a scalar. Weak agreement adds up over a run.

    By chance a frame pair is worth half a nat, which is taken off; the choice of the line costs its logarithm.
    """
    # One over the number of frames that look like this one; below 0.3 is chance.
    novelty = [1 / torch.where(x > 0.09, x, 0.0).sum(1) for x in alike]
    nats = _information(matrix, freedom)
    # What all frames share with all frames of the other says nothing about when.
    nats = (nats - nats.mean().clamp(min=0.5)) * torch.sqrt(novelty[0][:, None] * novelty[1])
    ta, tb = nats.shape
    i = torch.arange(ta, device=nats.device)
    lines = []
    for speed in SPEEDS:
        start = torch.arange(-int(max(speed * ta, 0)), tb - int(min(speed * ta, 0)), device=nats.device)
        j = torch.round(start[:, None] + speed * i).long()  # (L, Ta)
        valid = (j >= 0) & (j < tb)
        lines.append(torch.where(valid, nats[i, j.clamp(0, tb - 1)], 0.0))
    total = torch.cat(lines).cumsum(1)  # (L, Ta)
    before = torch.cat([torch.zeros_like(total[:, :1]), total[:, :-1]], 1).cummin(1).values
    return ((total - before).max() - math.log(len(total))).clamp(min=0)
