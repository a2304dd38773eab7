"""Seeded noise instead of trained weights, for tests and benchmarks: weights="random" or "random:SEED"."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

# Without these, scores of random networks lie so close together that a wrong one would pass unnoticed.
_GAINS = {
    "fconv.weight": 6,
    "attention.transform.weight": 20,
    "visil_head.conv1.weight": 3,
    "visil_head.conv1.0.weight": 3,
    "video_comperator.conv1.weight": 3,
}
_OFFSETS = {"running_mean": 0.1, "mean": 0.01, "bias": 0.05, "in_proj_bias": 0.05}  # drawn around zero


def seed_of(weights: Any) -> int | None:
    """Read the seed off the name of weights: 7 of "random:7", 0 of "random", None of anything else."""
    if not isinstance(weights, str) or weights.split(":", 1)[0] != "random":
        return None
    _, colon, seed = weights.partition(":")
    if colon and not seed.isdecimal():
        raise ValueError(f"weights {weights!r}: write random or random:SEED with a whole number")
    return int(seed or 0)


def stream(seed: int, name: str) -> np.random.Generator:
    """Make a generator for each name, so that numbers depend neither on order nor on what else is drawn."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def seeded(module: torch.nn.Module, seed: int, *, drawn_as: Mapping[str, str] | None = None) -> dict[str, torch.Tensor]:
    """Draw reproducible noise for every tensor of a module, scaled so that signals neither vanish nor explode.

    Each key has its own stream, so a tensor does not depend on which others exist. Weights of a backbone below
    `cnn.` are drawn under that name wherever the backbone sits. Constants (zero-rank counters apart) are drawn too.
    `drawn_as` {our prefix: the authors'} says under which other names to draw.
    """
    noise = {}
    for key, value in module.state_dict().items():
        name = key
        for prefix, drawn_prefix in (drawn_as or {}).items():
            if key.startswith(prefix):
                name = drawn_prefix + key.removeprefix(prefix)
        noise[key] = _noise(name, tuple(value.shape), seed)
    return noise


def _noise(key: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    _, _, leaf = key.rpartition(".")
    name = key[key.index("cnn.") :] if "cnn." in key else key
    z = stream(seed, name).standard_normal(shape)  # changed in place: new memory costs as much as the draw
    if leaf == "num_batches_tracked":
        z = np.zeros(shape)
    elif leaf == "running_var":
        z = 1 + 0.1 * np.abs(z)
    elif leaf in _OFFSETS:
        z *= _OFFSETS[leaf]
    elif leaf == "W":
        z /= np.sqrt(shape[0])
    elif leaf == "centroids":
        z /= np.sqrt(shape[1])
    elif len(shape) in (4, 5):  # convolutions over pictures and clips
        z *= np.sqrt(2 / np.prod(shape[1:]))
    elif len(shape) == 2:
        z *= np.sqrt(1 / shape[1])
    elif len(shape) == 1:
        z = 1 + 0.1 * z
    for ending, gain in _GAINS.items():
        if key.endswith(ending):
            z *= gain
    return torch.from_numpy(np.asarray(z, np.float32))
