"""How sure are we? Evidence, in nats, that two series of compared pictures agree beyond chance."""

from __future__ import annotations

import math

import torch

from ndvr.models.methods.thumbprint import thumbprint_verify as verify

N_BEST = 8  # frames that speak for a match in any order
# Frames of b per frame of a, played forward or backward.
SPEEDS = (1.0, -1.0, 0.8, 1.25, 0.67, 1.5, 0.5, 2.0)
FITTED = 5.0  # degrees of freedom that the fitted window takes away
MAX_LINED = 160  # frames: longer videos are matched in any order only


def evidence(
    fa: torch.Tensor, fb: torch.Tensor, *, wa: torch.Tensor, wb: torch.Tensor, fitted: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of one placement: nats, and the (Ta, Tb) correlations. Pictures (T, n, n) by local contrast, weights (T,).

    `fitted`: degrees of freedom that the search for the window took, 0 for pictures compared as they are.
    """
    matrix = verify.agreement(fa, fb) * wa[:, None] * wb
    freedom = verify.freedom_matrix(fa, fb) + (FITTED - fitted)
    alike = [verify.agreement(f, f).square().fill_diagonal_(1.0) for f in (fa, fb)]
    rows = _any_order(fa, fb, matrix=matrix, freedom=freedom, alike=alike[0])
    columns = _any_order(fb, fa, matrix=matrix.T, freedom=freedom.T, alike=alike[1])
    nats = torch.minimum(rows, columns)
    if max(matrix.shape) <= MAX_LINED:
        nats = torch.maximum(nats, _in_order(matrix, freedom, alike))
    return nats, matrix


def _any_order(
    own: torch.Tensor,
    other: torch.Tensor,
    *,
    matrix: torch.Tensor,
    freedom: torch.Tensor,
    alike: torch.Tensor,
) -> torch.Tensor:
    """The best frames of a video against their best partners: a scalar.

    Every frame picks its partner, which costs the logarithm of their number; frames that look alike count once.
    """
    r, partner = matrix.max(1)
    n = freedom.gather(1, partner[:, None])[:, 0]
    _, best = verify.agreement_of_pairs(own, other[partner])
    nats = information(r, best, n) - math.log(len(other))
    top = nats.topk(min(N_BEST, len(nats)))
    alike = alike[top.indices][:, top.indices]
    return top.values.clamp(min=0).mean() * (len(alike) ** 2 / alike.sum())


def information(r: torch.Tensor, best: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    """Nats of correlations of pictures with n degrees of freedom: -n / 2 log(1 - r^2).

    r over all blocks, or over the best 12 of 16, whichever says more; the mean of the best 12 of 16 independent
    normal numbers lies 0.42 standard deviations above that of all, which is taken off.
    """
    best = best - 0.42 * torch.sqrt(16 / n.clamp(min=16))
    return torch.maximum(_information(r, n), _information(best, 0.75 * n))


def _information(r: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    r = r.clamp(0, 0.97)
    return -0.5 * (n - FITTED).clamp(min=0) * torch.log1p(-r * r)


def _in_order(matrix: torch.Tensor, freedom: torch.Tensor, alike: list[torch.Tensor]) -> torch.Tensor:
    """The best run of frames along a line of constant speed: a scalar. Weak agreement adds up over a run.

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
