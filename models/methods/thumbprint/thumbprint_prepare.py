"""From stored codes to what a comparison needs: thumbnails in the box of their shot, key frames and their crops."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ndvr.models.methods.thumbprint import search
from ndvr.models.methods.thumbprint import thumbprint_verify as verify
from ndvr.models.methods.thumbprint.codes import SIDE, decode

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
    """(T, 512) uint8 -> (T, 1 + S * S): the weight of a frame, then its picture in the box its shot shares."""
    images, box, contrast = decode(codes)
    weight = contrast**2 / (contrast**2 + FLAT**2)
    images = _rebox(images, box, _shot_boxes(box, weight > 0.5))
    return torch.cat([weight[:, None], images.flatten(1)], 1)


def _shot_boxes(box: torch.Tensor, busy: torch.Tensor) -> torch.Tensor:
    """The box that holds the pictures of the frames around each: (T, 4), (T,) bool -> (T, 4).

    A dark moment must not look like a border; a clip inside a longer video has borders of its own.
    """
    near = torch.arange(len(box))[:, None] + torch.arange(-NEAR, NEAR + 1)
    near = near.clamp(0, len(box) - 1)
    around = torch.where(busy[near][..., None], box[near], torch.nan)  # (T, 2 * NEAR + 1, 4)
    low = around[..., [0, 2]].nanquantile(0.15, dim=1, interpolation="nearest")
    high = around[..., [1, 3]].nanquantile(0.85, dim=1, interpolation="nearest")
    shared = torch.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], 1)
    return torch.where(shared.isnan(), box, shared)


def _rebox(images: torch.Tensor, box: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """Pictures cut or extended from their own boxes (T, 4) to those to show (T, 4)."""

    def matrix(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor, stop: torch.Tensor) -> torch.Tensor:
        centre = (torch.arange(SIDE)[None] + 0.5) / SIDE
        at = start[:, None] + centre * (stop - start)[:, None]  # window pixels
        at = ((at - a[:, None]) / (b - a)[:, None] * SIDE - 0.5).clamp(0, SIDE - 1)
        return (1 - (at[:, :, None] - torch.arange(SIDE)).abs()).clamp(min=0)

    rows = matrix(box[:, 0], box[:, 1], shared[:, 0], shared[:, 1])
    columns = matrix(box[:, 2], box[:, 3], shared[:, 2], shared[:, 3])
    return rows @ images @ columns.transpose(1, 2)


def prepare(signature: torch.Tensor) -> list[Prepared]:
    """Everything of one video that does not depend on the other, in parts of MAX_FRAMES."""
    return [_prepare(part) for part in signature.split(MAX_FRAMES)]


def _prepare(signature: torch.Tensor) -> Prepared:
    weight, images = signature[:, 0], signature[:, 1:].unflatten(1, (SIDE, SIDE))
    t = len(weight)
    k = min(max(N_KEYS, t // 40), MAX_KEYS, t)
    keys = ((torch.arange(k) + 0.5) * t / k).long()
    smooth = verify.blur(images, 1)
    spectra, probes = search.full_spectra(images)
    crops, strength = search.crop_spectra(images[keys])
    return Prepared(
        images=images,
        smooth=smooth,
        grid=verify.see(smooth[None], torch.eye(2, 3)[None])[0][0],
        weight=weight,
        keys=keys,
        spectra=spectra * weight[:, None],
        probes=probes * weight[:, None],
        crops=crops,
        strength=strength * weight[keys, None],
        rank=(t, float(images.double().abs().sum())),
    )
