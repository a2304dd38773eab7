"""Seeded weights and pictures of the reference numbers of 3D-CSL, TCA and C3DHash: drawn again, not stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def seeded_state(shapes: Mapping[str, Sequence[int]], seed: int, gain: float) -> dict[str, np.ndarray]:
    """Noise for every key of a state dict, float32 and of the given shape; one stream, in the order of the names."""
    rng = np.random.default_rng(seed)
    return {
        key: np.zeros((), np.int64) if key.endswith("num_batches_tracked") else _noise(rng, key, shapes[key], gain)
        for key in sorted(shapes)
    }


def _noise(rng: np.random.Generator, key: str, shape: Sequence[int], gain: float) -> np.ndarray:
    leaf = key.rpartition(".")[2]
    z = rng.standard_normal(tuple(shape))
    if leaf in ("cls_token", "pos_embed", "time_embed"):
        z = 0.5 * z
    elif leaf == "running_var":
        z = 1 + 0.2 * np.abs(z)
    elif leaf == "running_mean":
        z = 0.1 * z
    elif z.ndim >= 2:
        z = z * gain / np.sqrt(np.prod(z.shape[1:]))
    elif leaf == "weight":
        z = 1 + 0.1 * z
    else:
        z = 0.1 * z
    return z.astype(np.float32)


def blocks_u8(seed: int, lead: tuple[int, ...], h: int, w: int, block: int = 8) -> np.ndarray:
    """Pictures (*lead, h, w, 3) uint8 of random colours in squares of `block` pixels."""
    shape = (*lead, h // block, w // block, 3)
    colours = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return colours.repeat(block, axis=-3).repeat(block, axis=-2)
