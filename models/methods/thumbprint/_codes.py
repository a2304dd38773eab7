"""The stored code of a frame: its flat border, its contrast and 1200 quantised DCT coefficients in 512 bytes."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F

SIDE = 40  # frequencies per axis that are kept, and pixels per side of a decoded thumbnail
N_BYTES = 512
_HEADER = 8  # box (top, bottom, left, right in pixels of the window), contrast, 3 spare
_N_FINE = 56  # lowest frequencies, one byte each
_N_MIDDLE = 400  # 15 levels, two to a byte
_N_COARSE = 744  # 5 levels, three to a byte
_FLAT_LEVELS = 6.0  # grey levels: a border row varies less than this, in mean absolute deviation
_MIN_SIDE = 0.12  # of the window: less than this is a speck on a flat frame, not a picture in a border


@cache
def _order() -> tuple[torch.Tensor, torch.Tensor]:
    """List the kept (row, column) frequencies, lowest first, without (0, 0)."""
    pairs = [(v, u) for v in range(SIDE) for u in range(SIDE) if v or u]
    pairs.sort(key=lambda p: (p[0] ** 2 + p[1] ** 2, p))
    kept = torch.tensor(pairs[: _N_FINE + _N_MIDDLE + _N_COARSE])
    return kept[:, 0], kept[:, 1]


def _weights() -> torch.Tensor:
    """Weigh amplitudes, which in natural pictures fall with 1 / frequency: times this they are alike."""
    rows, columns = _order()
    return torch.sqrt(rows.float() ** 2 + columns.float() ** 2)


def _run_length(flat: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Count the leading lines that are flat and of the first line's grey: (N, L) bool, (N, L) -> (N,)."""
    same = flat & ((level - level[:, :1]).abs() < _FLAT_LEVELS)
    return torch.cumprod(same.int(), dim=1).sum(1)


def _runs(deviation: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the first and one past the last line that is no border: (N, L) each -> (N,), (N,)."""
    flat = deviation < _FLAT_LEVELS
    first = _run_length(flat, level)
    last = level.shape[1] - _run_length(flat.flip(1), level.flip(1))
    return first, last


def picture_box(frames: torch.Tensor) -> torch.Tensor:
    """Find where the picture is inside a flat border: (N, R, R) float -> (N, 4) top, bottom, left, right.

    The whole window when nothing or next to nothing stands out.
    """
    n, side, _ = frames.shape
    level = frames.mean(2)
    top, bottom = _runs((frames - level[:, :, None]).abs().mean(2), level)
    lines = torch.arange(side, device=frames.device)
    inside = ((lines >= top[:, None]) & (lines < bottom[:, None])).float()  # (N, R)
    height = inside.sum(1).clamp(min=1)[:, None]
    level = (frames * inside[:, :, None]).sum(1) / height
    deviation = ((frames - level[:, None, :]).abs() * inside[:, :, None]).sum(1) / height
    left, right = _runs(deviation, level)
    box = torch.stack([top, bottom, left, right], 1)
    small = ((bottom - top) < _MIN_SIDE * side) | ((right - left) < _MIN_SIDE * side)
    whole = torch.tensor([0, side, 0, side], device=frames.device)
    return torch.where(small[:, None], whole, box)


def cosines(start: torch.Tensor, stop: torch.Tensor, side: int) -> torch.Tensor:
    """Make DCT-II rows over the pixels [start, stop) of `side`, orthonormal,
    zero elsewhere: (N,) -> (N, SIDE, side).
    """
    length = (stop - start).float()[:, None, None]
    pixels = torch.arange(side, device=start.device)[None, None] - start[:, None, None] + 0.5
    u = torch.arange(SIDE, device=start.device)[None, :, None]
    rows = torch.cos(math.pi * u * pixels / length) * torch.sqrt((1 + (u > 0)) / length)
    return rows * ((pixels > 0) & (pixels < length) & (u < length))


def _compand(x: torch.Tensor, levels: int, top: float) -> torch.Tensor:
    """Quantise [-top, top] to 2 * levels + 1 steps, finer near zero: -> int in [0, 2 * levels]."""
    y = x.sign() * (x.abs() / top).clamp(max=1).sqrt() * levels
    return (torch.round(y) + levels).long()


def _expand(q: torch.Tensor, levels: int, top: float) -> torch.Tensor:
    y = (q.float() - levels) / levels
    return y.sign() * y * y * top


def encode(windows: torch.Tensor) -> torch.Tensor:
    """Encode windows: (N, R, R) uint8 -> (N, 512) uint8."""
    frames = windows.float()
    side = frames.shape[1]
    box = picture_box(frames)
    vertical, horizontal = (
        cosines(box[:, 0], box[:, 1], side),
        cosines(box[:, 2], box[:, 3], side),
    )
    spectrum = vertical @ frames @ horizontal.transpose(1, 2)  # (N, SIDE, SIDE)
    area = ((box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])).float()
    rows, columns = _order()
    values = spectrum[:, rows, columns] / area.sqrt()[:, None] * _weights().to(frames.device)
    contrast = values[:, :100].square().mean(1).sqrt()  # grey levels
    contrast_code = (torch.log2(contrast.clamp(min=2**-4)) * 16 + 64).round().clamp(0, 255)
    values = values / torch.exp2((contrast_code - 64) / 16)[:, None]
    fine, middle, coarse = values.split([_N_FINE, _N_MIDDLE, _N_COARSE], 1)
    fine = _compand(fine, 127, 8.0)
    middle = _compand(middle, 7, 4.0).unflatten(1, (-1, 2))
    coarse = _compand(coarse, 2, 2.0).unflatten(1, (-1, 3))
    middle = middle[..., 0] * 15 + middle[..., 1]
    coarse = (coarse[..., 0] * 5 + coarse[..., 1]) * 5 + coarse[..., 2]
    header = torch.cat([box, contrast_code[:, None].long(), box.new_zeros(len(box), 3)], 1)
    return torch.cat([header, fine, middle, coarse], 1).to(torch.uint8)


@cache
def _expanded() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what each byte stands for: (256, 1) in the fine part, (256, 2) in the middle one,
    (256, 3) in the coarse one.
    """
    byte = torch.arange(256)
    fine = _expand(byte[:, None], 127, 8.0)
    middle = _expand(torch.stack([byte // 15, byte % 15], 1), 7, 4.0)
    coarse = _expand(torch.stack([byte // 25, byte // 5 % 5, byte % 5], 1), 2, 2.0)
    return fine, middle, coarse


def decode(codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Decode thumbnails (T, SIDE, SIDE) float of the boxed pictures in grey levels, mean 0;
    boxes (T, 4); contrast (T,).
    """
    box, contrast = codes[:, :4].float(), torch.exp2((codes[:, 4].float() - 64) / 16)
    parts = codes[:, _HEADER:N_BYTES].int().split([_N_FINE, _N_MIDDLE // 2, _N_COARSE // 3], 1)
    device = codes.device
    values = torch.cat(
        [F.embedding(part, table.to(device)).flatten(1) for part, table in zip(parts, _expanded(), strict=True)], 1
    )
    rows, columns = _order()
    values = values / _weights().to(device) * contrast[:, None] * SIDE
    spectrum = torch.zeros(len(codes), SIDE * SIDE, device=device)
    spectrum = spectrum.index_copy_(1, (rows * SIDE + columns).to(device), values).unflatten(1, (SIDE, SIDE))
    whole = torch.tensor([SIDE], device=device)
    basis = cosines(whole * 0, whole, SIDE)[0]
    return basis.T @ spectrum @ basis, box, contrast
