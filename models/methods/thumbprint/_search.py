"""Where does one picture appear inside another? A grid of boxes and turns, tried on key frames with matrix products."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from ndvr.models.methods.thumbprint import _evidence as evidence
from ndvr.models.methods.thumbprint._codes import SIDE, decode

COARSE = 8  # frequencies per axis compared while searching
_LENGTHS = (1.0, 0.82, 0.67, 0.55, 0.45, 0.37, 0.3)
_STEP = 0.15  # of the box: neighbouring boxes differ by this
N_TURNS = 8  # the symmetries of a square: bit 0 left-right, bit 1 upside-down, bit 2 transposed
_NOISE = 1.5  # grey levels of whitened detail that quantisation and re-encoding may add


def turn(images: torch.Tensor, g: int) -> torch.Tensor:
    """Turn pictures by turn g: (..., S, S) -> (..., S, S)."""
    if g & 4:
        images = images.transpose(-1, -2)
    flips = [axis for bit, axis in ((1, -1), (2, -2)) if g & bit]
    return images.flip(flips) if flips else images


@cache
def intervals(lengths: tuple[float, ...] = _LENGTHS, step: float = _STEP) -> torch.Tensor:
    """List the intervals of a side that boxes are made of: (I, 3) start, length, index of length.

    step: between neighbours, in parts of their length.
    """
    rows = []
    for k, length in enumerate(lengths):
        n = 1 + math.ceil((1 - length) / (length * step)) if length < 1 else 1
        rows += [(i * (1 - length) / max(n - 1, 1), length, k) for i in range(n)]
    return torch.tensor(rows)


@cache
def boxes() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """List indices (B,), (B,) of the vertical and horizontal interval of each box, and (B,) its group by size.

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
    """Make DCT rows over the part [start, start + length) of SIDE pixels,
    fractions covered: (I,), (I,) -> (I, n, SIDE).
    """
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
    """Weigh (C, C): amplitudes of natural pictures fall with 1 / frequency; times this they count alike."""
    f = torch.arange(COARSE).float()
    radius = torch.sqrt(f[:, None] ** 2 + f[None] ** 2)
    return radius * (radius < COARSE)


def _evened(spectra: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Even spectra (..., C, C) by the root of each whitened amplitude; one over their lengths (...) as well.

    Without the root, a smooth patch is two or three numbers and matches any other. The length is bounded
    below, for patches with next to no detail.
    """
    x = spectra * _weights().to(spectra.device)
    size = x.abs()
    strength = torch.rsqrt(size.sum((-1, -2)) + COARSE**2 * _NOISE)
    return x.mul_(size.add_(1e-6).rsqrt_()), strength


def crop_spectra(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Transform every box of every picture: (K, S, S) -> (K, B, D) and its strength (K, B)."""
    basis = _search_basis().to(images.device)
    spectra = basis @ images @ basis.T  # (K, I*C, I*C)
    n = len(intervals())
    spectra = spectra.unflatten(2, (n, COARSE)).unflatten(1, (n, COARSE)).transpose(2, 3)  # (K, I, I, C, C)
    v, h, _ = boxes()
    spectra, strength = _evened(spectra[:, v, h])
    return spectra.flatten(2), strength


def full_spectra(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Transform whole pictures: (T, S, S) -> as boxes (T, D), and under each turn (8, T, D), whitened,
    of unit length.
    """
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
    """Find boxes that take most of the picture; the others are not tried upside-down or sideways."""
    v, h, _ = boxes()
    length = intervals()[:, 1]
    return torch.nonzero((length[v] > 0.6) & (length[h] > 0.6))[:, 0]


def windows(box: torch.Tensor) -> torch.Tensor:
    """Make affine windows (P, 2, 3) of boxes (P,), in the coordinates of `grid_sample`."""
    v, h, _ = boxes()
    table = intervals()
    (top, height), (left, width) = table[v[box], :2].T, table[h[box], :2].T
    zero = torch.zeros_like(top)
    rows = [width, zero, 2 * left + width - 1, zero, height, 2 * top + height - 1]
    return torch.stack(rows, 1).unflatten(1, (2, 3))


# --- A video made ready for comparing: thumbnails in the box of their shot, key frames and their crops


MAX_FRAMES = 600  # longer videos are compared in parts, which bounds memory
FLAT = 2.0  # grey levels of contrast at which a frame counts half
N_KEYS = 6  # key frames that propose placements, one in 40 frames if that is more
MAX_KEYS = 24
NEAR = 4  # frames before and after that share a box


@dataclass(frozen=True)
class Prepared:
    """What a comparison needs of one video. T frames, K key frames, B boxes, D coarse numbers."""

    images: torch.Tensor  # (T, S, S)
    smooth: torch.Tensor  # (T, S, S), for sampling at half the resolution
    grid: torch.Tensor  # (T, n, n): whole pictures as they are compared
    weight: torch.Tensor  # (T,) in [0, 1): 0 is a flat frame
    keys: torch.Tensor  # (K,) frames that propose
    spectra: torch.Tensor  # (T, D)
    probes: torch.Tensor  # (8, T, D)
    crops: torch.Tensor  # (K, B, D)
    strength: torch.Tensor  # (K, B)
    rank: tuple[int, float]  # orders the two videos of a pair, so that the score does not depend on it


def thumbnails(codes: torch.Tensor) -> torch.Tensor:
    """Make thumbnails, (T, 512) uint8 -> (T, 1 + S * S):
    the weight of a frame, then its picture in the box its shot shares.
    """
    images, box, contrast = decode(codes)
    weight = contrast**2 / (contrast**2 + FLAT**2)
    images = _rebox(images, box, _shot_boxes(box, weight > 0.5))
    return torch.cat([weight[:, None], images.flatten(1)], 1)


def headers_around(codes: torch.Tensor, frames: list[int]) -> torch.Tensor:
    """Take what says where the pictures are, of some frames and those around each: (T, 512) -> (N, 2 * NEAR + 1, 5)."""
    near = (torch.tensor(frames)[:, None] + torch.arange(-NEAR, NEAR + 1)).clamp(0, len(codes) - 1)
    return codes[:, :5][near]


def shown(codes: torch.Tensor, around: torch.Tensor) -> torch.Tensor:
    """Decode frames (N, 512), and show them in the boxes that their shots share: (N, S, S); see `headers_around`."""
    box, contrast = around[..., :4].float(), torch.exp2((around[..., 4].float() - 64) / 16)
    own = box[:, NEAR]
    images, shared = decode(codes)[0], _shared_box(own, box, contrast > FLAT)
    moved = (own != shared).any(1)
    images[moved] = _rebox(images[moved], own[moved], shared[moved])
    return images


def _shot_boxes(box: torch.Tensor, busy: torch.Tensor) -> torch.Tensor:
    """Find the box that holds the pictures of the frames around each: (T, 4), (T,) bool -> (T, 4).

    A dark moment must not look like a border; a clip inside a longer video has borders of its own.
    """
    near = torch.arange(len(box))[:, None] + torch.arange(-NEAR, NEAR + 1)
    near = near.clamp(0, len(box) - 1)
    return _shared_box(box, box[near], busy[near])


def _shared_box(box: torch.Tensor, around: torch.Tensor, busy: torch.Tensor) -> torch.Tensor:
    """Find the box of frames (T, 4) from those of the frames around each, (T, K, 4) and whether they count, (T, K)."""
    around = torch.where(busy[..., None], around, torch.nan)
    low = around[..., [0, 2]].nanquantile(0.15, dim=1, interpolation="nearest")
    high = around[..., [1, 3]].nanquantile(0.85, dim=1, interpolation="nearest")
    shared = torch.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], 1)
    return torch.where(shared.isnan(), box, shared)


def _rebox(images: torch.Tensor, box: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """Cut or extend pictures from their own boxes (T, 4) to those to show (T, 4)."""

    def matrix(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor, stop: torch.Tensor) -> torch.Tensor:
        centre = (torch.arange(SIDE)[None] + 0.5) / SIDE
        at = start[:, None] + centre * (stop - start)[:, None]  # window pixels
        at = ((at - a[:, None]) / (b - a)[:, None] * SIDE - 0.5).clamp(0, SIDE - 1)
        return (1 - (at[:, :, None] - torch.arange(SIDE)).abs()).clamp(min=0)

    # Most frames of a video have the same boxes.
    each, which = torch.unique(torch.cat([box, shared], 1), dim=0, return_inverse=True)
    rows = matrix(each[:, 0], each[:, 1], each[:, 4], each[:, 5])[which]
    columns = matrix(each[:, 2], each[:, 3], each[:, 6], each[:, 7])[which]
    return rows @ images @ columns.transpose(1, 2)


class Parts(Sequence[Prepared]):
    """What `prepare` gives of a long video, each part made when it is asked for; the last ones are kept.

    codes    the video, (T, 512) uint8
    n_bytes  of parts that are kept, at least one
    """

    def __init__(self, codes: torch.Tensor, n_bytes: int):
        self.codes, self.n_bytes = codes, n_bytes
        self.at_once = 1  # parts that fit; known when the first is made
        self._kept: OrderedDict[int, Prepared] = OrderedDict()

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.n_bytes

    def __len__(self) -> int:
        return -(-len(self.codes) // MAX_FRAMES)

    def __getitem__(self, number):
        if not 0 <= number < len(self):
            raise IndexError(number)
        if number not in self._kept:
            while len(self._kept) >= self.at_once:
                self._kept.popitem(last=False)
            self._kept[number] = part = self._made(number)
            self.at_once = max(1, self.n_bytes // sum(each.nbytes for each in _tensors(part)))
        self._kept.move_to_end(number)
        return self._kept[number]

    def _made(self, number: int) -> Prepared:
        start, stop = number * MAX_FRAMES, min((number + 1) * MAX_FRAMES, len(self.codes))
        first = max(0, start - NEAR)  # the box of a frame is that of those around it
        around = thumbnails(self.codes[first : stop + NEAR])
        return _prepare(around[start - first : stop - first])


def n_frames(video: Sequence[Prepared]) -> int:
    """Count the frames of a video that is prepared in parts."""
    return len(video.codes) if isinstance(video, Parts) else sum(len(part.images) for part in video)


def _tensors(part: Prepared) -> list[torch.Tensor]:
    return [value for value in vars(part).values() if isinstance(value, torch.Tensor)]


def prepare(signature: torch.Tensor) -> list[Prepared]:
    """Prepare everything of one video that does not depend on the other, in parts of MAX_FRAMES."""
    return [_prepare(part) for part in signature.split(MAX_FRAMES)]


def _prepare(signature: torch.Tensor) -> Prepared:
    weight, images = signature[:, 0], signature[:, 1:].unflatten(1, (SIDE, SIDE))
    t = len(weight)
    k = min(max(N_KEYS, t // 40), MAX_KEYS, t)
    keys = ((torch.arange(k) + 0.5) * t / k).long()
    smooth = evidence.blur(images, 1)
    spectra, probes = full_spectra(images)
    crops, strength = crop_spectra(images[keys])
    return Prepared(
        images=images,
        smooth=smooth,
        grid=evidence.see_whole(smooth),
        weight=weight,
        keys=keys,
        spectra=spectra * weight[:, None],
        probes=probes * weight[:, None],
        crops=crops,
        strength=strength * weight[keys, None],
        rank=(t, float(images.double().abs().sum())),
    )
