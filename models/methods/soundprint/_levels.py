"""Levels of sound as bytes, and their local contrast: what rises and falls, whatever its volume and equaliser.

A window is a quarter of a second: four frames of 30 mel bands, a byte each. Byte 0 stands for no sound at all, as after
the end of a file; others are half decibels.
"""

from __future__ import annotations

from functools import cache

import torch

FRAMES = 4  # of a window
BANDS = 30
FPS = 16
_LOWEST_DB = -70.0
_GATE_DB = 72.0  # below the loudest cell: left out, as coders do
_AROUND_S = 0.5  # standard deviation of the surroundings, in time
_AROUND_BANDS = 3.0
_LASTING_S = 3.0
_NOISE_DB = 3.0  # contrast that is taken for none


def encode(windows: torch.Tensor) -> torch.Tensor:
    """Encode (N, 16, 30) decibels -> (N, 120) uint8: the mean power of four rows each."""
    rows = windows.unflatten(1, (FRAMES, -1))  # (N, 4, 4, 30)
    # Rows of zeros in every band were appended; in decibels they are loud.
    there = (rows != 0).any(3, keepdim=True)
    power = torch.where(there, torch.pow(10.0, rows / 10), 0).sum(2)  # (N, 4, 30)
    count = there.sum(2)
    level = 10 * torch.log10(power / count.clamp(min=1) + 1e-12)
    codes = ((level - _LOWEST_DB) * 2).round().clamp(0, 254) + 1
    return torch.where(count > 0, codes, 0).to(torch.uint8).flatten(1)


def contrast(codes: torch.Tensor) -> torch.Tensor:
    """Decode (T, 120) uint8 -> (4 T, 30) in (-1, 1):
    how much each cell is above its surroundings, in units of their spread.

    Means over half a second and three bands around take off what an equaliser or a volume knob adds.
    """
    codes = codes.unflatten(1, (FRAMES, BANDS)).flatten(0, 1)
    there = (codes > 0).any(1, keepdim=True).float()
    level = codes.float() / 2
    level = torch.maximum(level, level.max() - _GATE_DB) * there
    count = _around(there.expand(-1, BANDS)).clamp(min=1e-6)
    raised = (level - _around(level) / count) * there
    # What stands out all the time is a tone or a hum.
    raised = (
        raised - _before_and_after(raised, _LASTING_S) / _before_and_after(there, _LASTING_S).clamp(min=1e-6)
    ) * there
    spread = (_around(raised.square()) / count + _NOISE_DB**2).sqrt()
    return torch.tanh(raised / spread)


def effective_count(energy: torch.Tensor) -> torch.Tensor:
    """Tell how many frames share the energy (..., F): F if all have as much, 1 if one has all, 0 without any."""
    return energy.sum(-1).square() / energy.square().sum(-1).clamp(min=1e-9)


@cache
def _over_time(around_s: float) -> torch.Tensor:
    """Weigh the frames around, (n,)."""
    width = round(3 * around_s * FPS)
    weights = torch.exp(-0.5 * (torch.arange(-width, width + 1) / (around_s * FPS)) ** 2)
    return weights / weights.sum()


def _around(cells: torch.Tensor) -> torch.Tensor:
    """Sum the cells (F, 30) around each, weighted, in time and bands."""
    apart = torch.arange(BANDS)[:, None] - torch.arange(BANDS)
    bands = torch.exp(-0.5 * (apart / _AROUND_BANDS) ** 2)
    return _before_and_after(cells @ (bands / bands.sum(0)), _AROUND_S)


def _before_and_after(cells: torch.Tensor, around_s: float) -> torch.Tensor:
    """Sum the cells (F, 30) before and after each, weighted."""
    weights = _over_time(around_s)
    return torch.nn.functional.conv1d(cells.T[:, None], weights[None, None], padding=len(weights) // 2)[:, 0].T
