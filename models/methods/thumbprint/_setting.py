"""Do two videos show the same, or only in the same place? What changes in each says so, as what stays does not.

A studio, a slide template, a desktop, a frame around the picture: all that stays agrees at all times, whatever goes on
before it. So what a scene always shows is taken off, and what is left of both is compared along lines of constant
speed. In a copy it agrees; where both change and nothing of that agrees, the rest is a setting. A video in which
hardly anything changes, such as a photograph with a caption, cannot be told in this way, and is left as it is.
"""

from __future__ import annotations

import torch

from ndvr.models.methods.thumbprint._evidence import SPEEDS, agreement

LEFT = 5.0  # nats that a setting alone is worth, at most
_SCENE = 0.3  # agreement of two frames of one video, from which on they show one scene
_MATCHED = 0.6  # of the best agreement: frames that have a partner
_ON_LINE = 0.5  # of it: frames of a line that count
_LEAST_FRAMES = 3  # of a line
# How much of a frame changes, as a share of its detail: below the first it is still, from the second on it moves.
_STILL, _MOVING = 0.02, 0.027
# The share of it that is left when three frames are smoothed: below the first it is noise, or so quick that a copy
# whose frames lie elsewhere shows nothing of it.
_QUICK, _STEADY = 0.29, 0.33
_FEW, _ENOUGH = 5, 10  # frames that the videos share: of fewer their changes say nothing
# Correlation of the changes, and the same as a share of how well whole pictures agree. Below the first of both lie
# nearly all pairs that share a setting and nothing else, above the second of one nearly all copies, also under
# captions, stickers and insets.
_OTHER, _SAME = (0.28, 0.42), (0.34, 0.5)
_ANY_ORDER = 0.5  # of the correlation of best partners, who are chosen one by one, is as much as that along a line
_OTHER_SPEED = 0.75  # and so much of that of a line at another speed than 1


def without_setting(
    nats: torch.Tensor, fa: torch.Tensor, fb: torch.Tensor, *, wa: torch.Tensor, wb: torch.Tensor
) -> torch.Tensor:
    """Take off the nats that rest on a setting alone: a scalar.

    Pictures (T, n, n) by local contrast at the fine scale, weights (T,), as `evidence` has them.
    """
    matrix = agreement(fa, fb) * wa[:, None] * wb
    strength, partner = matrix.max(1)
    matched = matrix >= _MATCHED * strength.max()
    shared = matched.any(1), matched.any(0)
    n_shared = torch.minimum(shared[0].sum(), shared[1].sum())
    doubt = ((n_shared - _FEW) / (_ENOUGH - _FEW)).clamp(0, 1)
    if not doubt:
        return nats
    changes = [_changes(each) for each in (fa, fb)]
    smoothed = [_smoothed(each) for each in changes]
    doubt = doubt * _both_move(changes, smoothed, shared)
    if not doubt:
        return nats
    rows = torch.nonzero(shared[0])[:, 0]
    return nats - doubt * _differ(smoothed, matrix, (rows, partner[rows])) * (nats - LEFT).clamp(min=0)


def _both_move(
    changes: list[torch.Tensor], smoothed: list[torch.Tensor], frames: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Say whether a copy would show by what moves in these frames of both, a mask each: in [0, 1]."""
    whole, left = (torch.stack([_energy(x)[i].mean() for x, i in zip(each, frames)]) for each in (changes, smoothed))
    moves = ((left.min() - _STILL) / (_MOVING - _STILL)).clamp(0, 1)
    return moves * (((left / (whole + 1e-6)).min() - _QUICK) / (_STEADY - _QUICK)).clamp(0, 1)


def _differ(changes: list[torch.Tensor], matrix: torch.Tensor, at: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Say how surely what changes in one video is not what changes in the other, in [0, 1];
    frames `at` are partners.
    """
    energies = [_energy(each) for each in changes]
    n_blocks = energies[0].shape[1]
    products = changes[0].flatten(1) @ changes[1].flatten(1).T / n_blocks
    # By blocks, so that what covers a part of one video does not count.
    possible = energies[0].sqrt() @ energies[1].sqrt().T / n_blocks + 1e-6
    best = _ANY_ORDER * products[at].sum() / possible[at].sum()
    level = matrix[at].mean()
    counts = matrix >= _ON_LINE * matrix.max()
    products, possible = torch.where(counts, products, 0.0), torch.where(counts, possible, 0.0)
    other = torch.ones(())
    for speed in SPEEDS:  # 1, which is the most likely, first
        best = torch.maximum(best, _along(products, possible, counts, speed, len(at[0])))
        other = _is_other(best, best / level)
        if not other:
            break
    return other


def _is_other(*correlations: torch.Tensor) -> torch.Tensor:
    """Say how surely the changes are not the same, in [0, 1]:
    0 as soon as one of the correlations says that they are.
    """
    each = zip(correlations, _OTHER, _SAME)
    return torch.stack([((same - value) / (same - other)).clamp(0, 1) for value, other, same in each]).min()


def _changes(frames: torch.Tensor) -> torch.Tensor:
    """Subtract what all frames of their scene show from frames (T, n, n)."""
    alike = (agreement(frames, frames) - _SCENE).clamp(min=0)
    alike.fill_diagonal_(1 - _SCENE)
    setting = (alike / alike.sum(1, keepdim=True)) @ frames.flatten(1)
    return frames - setting.view_as(frames)


def _smoothed(changes: torch.Tensor) -> torch.Tensor:
    """Average over three frames each, (T, n, n):
    noise fades, and a frame of a copy may lie between two of the other.
    """
    padded = torch.cat([changes[:1], changes, changes[-1:]])
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def _energy(changes: torch.Tensor) -> torch.Tensor:
    """Sum the energy of (T, n, n) by blocks: (T, 16)."""
    n = changes.shape[-1] // 4
    return changes.square().unflatten(-1, (4, n)).unflatten(-3, (4, n)).sum((-1, -3)).flatten(1)


def _along(
    products: torch.Tensor, possible: torch.Tensor, counts: torch.Tensor, speed: float, n_matched: int
) -> torch.Tensor:
    """Find the highest correlation along a line at this speed that is long enough, a scalar; -1 where none is."""
    ta, tb = products.shape
    i = torch.arange(ta, device=products.device)
    start = torch.arange(-int(max(speed * ta, 0)), tb - int(min(speed * ta, 0)), device=products.device)
    j = torch.round(start[:, None] + speed * i).long()
    inside = (j >= 0) & (j < tb)
    j = j.clamp(0, tb - 1)
    product, most, n = (torch.where(inside, each[i, j], 0).sum(1) for each in (products, possible, counts))
    enough = n >= max(_LEAST_FRAMES, 0.5 * min(n_matched, tb / abs(speed)))
    correlation = torch.where(enough, product / (most + 1e-6), -1.0).max()
    return correlation if speed == 1.0 else _OTHER_SPEED * correlation
