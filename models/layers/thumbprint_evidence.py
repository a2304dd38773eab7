"""How sure are we? Evidence, in nats, that two series of compared pictures agree beyond chance."""

from __future__ import annotations

import math

import torch

from ndvr.models.layers import thumbprint_verify as verify

N_BEST = 8  # frames that speak for a match in any order
SPEEDS = (1.0, -1.0, 0.8, 1.25, 0.67, 1.5, 0.5, 2.0)  # frames of b per frame of a, played forward or backward
MAX_LINED = 160  # frames: longer videos are matched in any order only


def evidence(
    fa: torch.Tensor, fb: torch.Tensor, wa: torch.Tensor, wb: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of one placement: nats, and the (Ta, Tb) correlations. Pictures (T, n, n) by local contrast, weights (T,)."""
    matrix = verify.agreement(fa, fb) * wa[:, None] * wb
    j, i = matrix.argmax(1), matrix.argmax(0)
    rows = _any_order(fa, fb[j], wa * wb[j], len(fb))
    columns = _any_order(fb, fa[i], wb * wa[i], len(fa))
    nats = torch.minimum(rows, columns)
    if max(matrix.shape) <= MAX_LINED:
        nats = torch.maximum(nats, _in_order(fa, fb, matrix))
    return nats, matrix


def _any_order(own: torch.Tensor, other: torch.Tensor, weight: torch.Tensor, n_tried: int) -> torch.Tensor:
    """The best frames of a video against their best partners: a scalar.

    A correlation r of two pictures with n degrees of freedom is worth -n / 2 log(1 - r^2), less log(n_tried)
    for the choice of the partner; frames that look alike count once.
    """
    plain, best = verify.agreement_of_pairs(own, other)
    n = verify.freedom(own, other)
    # The best 12 of 16 independent normal numbers average 0.42 standard deviations above all.
    best = best - 0.42 * torch.sqrt(16 / n.clamp(min=16))
    nats = torch.maximum(_information(plain * weight, n), _information(best * weight, 0.75 * n))
    top = (nats - math.log(n_tried)).topk(min(N_BEST, len(nats)))
    frames = own[top.indices]
    alike = verify.agreement(frames, frames).square()
    alike.fill_diagonal_(1.0)
    return top.values.clamp(min=0).mean() * (len(frames) ** 2 / alike.sum())


def _information(r: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    r = r.clamp(0, 0.97)
    return -0.5 * n * torch.log1p(-r * r)


def _in_order(fa: torch.Tensor, fb: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """The best run of frames along a line of constant speed: a scalar. Weak agreement adds up over a run.

    By chance a frame pair is worth half a nat, which is taken off; the choice of the line costs its logarithm.
    """
    nats = _information(matrix, verify.freedom_matrix(fa, fb)) - 0.5
    nats = nats * torch.sqrt(_novelty(fa)[:, None] * _novelty(fb))
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


def _novelty(f: torch.Tensor) -> torch.Tensor:
    """One over the number of frames that look like this one: (T, n, n) -> (T,) in (0, 1]."""
    alike = verify.agreement(f, f).square()
    alike = torch.where(alike > 0.09, alike, 0.0)  # below is chance
    alike.fill_diagonal_(1.0)
    return 1 / alike.sum(1)
