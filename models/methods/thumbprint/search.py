"""Where does one picture appear inside another? A grid of boxes and turns, tried on key frames with matrix products."""

from __future__ import annotations

import math
from functools import cache

import torch

from ndvr.models.methods.thumbprint.codes import SIDE

COARSE = 8  # frequencies per axis compared while searching
_LENGTHS = (1.0, 0.82, 0.67, 0.55, 0.45, 0.37, 0.3)
_STEP = 0.15  # of the box: neighbouring boxes differ by this
N_TURNS = 8  # the symmetries of a square: bit 0 left-right, bit 1 upside-down, bit 2 transposed
_NOISE = 1.5  # grey levels of whitened detail that quantisation and re-encoding may add


def turn(images: torch.Tensor, g: int) -> torch.Tensor:
    """Pictures under turn g: (..., S, S) -> (..., S, S)."""
    if g & 4:
        images = images.transpose(-1, -2)
    flips = [axis for bit, axis in ((1, -1), (2, -2)) if g & bit]
    return images.flip(flips) if flips else images


@cache
def intervals() -> torch.Tensor:
    """(I, 3) start, length, index of length."""
    rows = []
    for k, length in enumerate(_LENGTHS):
        n = 1 + math.ceil((1 - length) / (length * _STEP)) if length < 1 else 1
        rows += [(i * (1 - length) / max(n - 1, 1), length, k) for i in range(n)]
    return torch.tensor(rows)


@cache
def boxes() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Indices (B,), (B,) of the vertical and horizontal interval of each box, and (B,) its group by size.

    Sides in any proportion up to 1.5, or one side whole (vertical cuts, stripes, stacks).
    """
    table = intervals()
    kind = table[:, 2].long()
    v, h = torch.meshgrid(torch.arange(len(table)), torch.arange(len(table)), indexing="ij")
    v, h = v.flatten(), h.flatten()
    near = (kind[v] - kind[h]).abs() <= 2
    wide = torch.minimum(kind[v], kind[h]) == 0
    keep = near | wide
    v, h = v[keep], h[keep]
    return v, h, kind[v] * len(_LENGTHS) + kind[h]


def box_basis(start: torch.Tensor, length: torch.Tensor, n: int) -> torch.Tensor:
    """DCT rows over the part [start, start + length) of SIDE pixels, fractions covered: (I,), (I,) -> (I, n, SIDE)."""
    edge = torch.arange(SIDE + 1, device=start.device)[None] / SIDE
    a = torch.maximum(edge[:, :-1], start[:, None])
    b = torch.minimum(edge[:, 1:], (start + length)[:, None])
    cover = (b - a).clamp(min=0)  # (I, SIDE)
    middle = ((a + b) / 2 - start[:, None]) / length[:, None]
    u = torch.arange(n, device=start.device)
    rows = torch.cos(math.pi * u[None, :, None] * middle[:, None]) * torch.sqrt(1.0 + (u > 0))[None, :, None]
    return rows * (cover / length[:, None])[:, None]


@cache
def _search_basis() -> torch.Tensor:
    table = intervals()
    return box_basis(table[:, 0], table[:, 1], COARSE).flatten(0, 1)  # (I * COARSE, SIDE)


@cache
def _weights() -> torch.Tensor:
    """(C, C): amplitudes of natural pictures fall with 1 / frequency; times this they count alike."""
    f = torch.arange(COARSE).float()
    radius = torch.sqrt(f[:, None] ** 2 + f[None] ** 2)
    return radius * (radius < COARSE)


def _evened(spectra: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Spectra (..., C, C) with the root of each whitened amplitude, and one over their lengths (...).

    Without the root, a smooth patch is two or three numbers and matches any other. The length is bounded
    below, for patches with next to no detail.
    """
    x = spectra * _weights().to(spectra.device)
    size = x.abs()
    strength = torch.rsqrt(size.sum((-1, -2)) + COARSE**2 * _NOISE)
    return x.mul_(size.add_(1e-6).rsqrt_()), strength


def crop_spectra(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Every box of every picture: (K, S, S) -> (K, B, D) and its strength (K, B)."""
    basis = _search_basis().to(images.device)
    spectra = basis @ images @ basis.T  # (K, I*C, I*C)
    n = len(intervals())
    spectra = spectra.unflatten(2, (n, COARSE)).unflatten(1, (n, COARSE)).transpose(2, 3)  # (K, I, I, C, C)
    v, h, _ = boxes()
    spectra, strength = _evened(spectra[:, v, h])
    return spectra.flatten(2), strength


def full_spectra(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole pictures: (T, S, S) -> as boxes (T, D), and under each turn (8, T, D), whitened, of unit length."""
    one = torch.ones(1, device=images.device)
    basis = box_basis(one * 0, one, COARSE)[0]
    spectra = basis @ images @ basis.T  # (T, C, C)
    spectra, strength = _evened(spectra)
    sign = torch.where(torch.arange(COARSE, device=images.device) % 2 == 1, -1.0, 1.0)
    turned = []
    for g in range(N_TURNS):
        x = spectra.transpose(1, 2) if g & 4 else spectra
        x = x * sign if g & 1 else x
        turned.append(x * sign[:, None] if g & 2 else x)
    probes = torch.stack(turned).flatten(2) * strength[:, None]
    return probes[0], probes


@cache
def large_boxes() -> torch.Tensor:
    """Boxes that take most of the picture; the others are not tried upside-down or sideways."""
    v, h, _ = boxes()
    length = intervals()[:, 1]
    return torch.nonzero((length[v] > 0.6) & (length[h] > 0.6))[:, 0]


def windows(box: torch.Tensor) -> torch.Tensor:
    """Affine windows (P, 2, 3) of boxes (P,), in the coordinates of `grid_sample`."""
    v, h, _ = boxes()
    table = intervals()
    (top, height), (left, width) = table[v[box], :2].T, table[h[box], :2].T
    zero = torch.zeros_like(top)
    rows = [width, zero, 2 * left + width - 1, zero, height, 2 * top + height - 1]
    return torch.stack(rows, 1).unflatten(1, (2, 3))
