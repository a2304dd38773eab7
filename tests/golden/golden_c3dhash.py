"""Weights and windows behind the reference numbers of C3DHash, drawn again from their seeds."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from golden_recipe import blocks_u8, seeded_state

from ndvr.models.methods.c3dhash import HashLayer, ResNet18

# (bits, frames) of every case; two videos each, three where there are 5 frames.
CASES = ((16, 16), (48, 5), (48, 10), (48, 15), (48, 16), (48, 32), (64, 16))


def shapes(bits: int) -> dict[str, tuple[int, ...]]:
    """The authors' names and shapes: 102 of the backbone, 2 of the hash layer."""
    with torch.device("meta"):
        resnet, layer = ResNet18().state_dict(), HashLayer(512, bits).state_dict()
    return {f"resnet.{key}": tuple(value.shape) for key, value in resnet.items()} | {
        f"hash_layer.{key}": tuple(value.shape) for key, value in layer.items()
    }


@cache
def state(bits: int) -> dict[str, np.ndarray]:
    """The state dict of a model of that many bits, as its authors name it; not to be changed."""
    return seeded_state(shapes(bits), seed=3000 + bits, gain=1)


def windows(bits: int, frames: int) -> np.ndarray:
    """(2 or 3, frames, 112, 112, 3) uint8."""
    return blocks_u8(10 * bits + frames, (3 if frames == 5 else 2, frames), 112, 112)


def hash_layer(bits: int) -> dict[str, np.ndarray]:
    """A file that holds a hash layer only, whose activations are tanh of the first features."""
    return {"module.hash_layer.hashcoder.0.weight": np.eye(bits, 512, dtype=np.float32)} | {
        "module.hash_layer.hashcoder.0.bias": np.zeros(bits, np.float32)
    }


def backbone(**changes) -> dict[str, torch.Tensor]:
    """The same backbone as a Kinetics file has it: with a classifier, without counters of batches."""
    resnet = {key: value for key, value in state(48).items() if key.startswith("resnet.")}
    kept = {key.removeprefix("resnet."): value for key, value in resnet.items() if "num_batches" not in key}
    kept |= {"fc.weight": np.zeros((400, 512), np.float32), "fc.bias": np.zeros(400, np.float32)} | changes
    return {"module." + key: torch.from_numpy(value) for key, value in kept.items() if value is not None}
