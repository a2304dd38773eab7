"""Inputs of the reference numbers in `golden/`, drawn again from their seeds instead of being stored."""

from __future__ import annotations

import zlib

import numpy as np
import torch

LENGTHS = dict(zip("abcdefgh", (1, 2, 3, 4, 5, 7, 12, 17)))
OFFSETS = dict(zip("abcdefgh", (3, 2, 5, 0, 6, 4, 2, 1)))
PAIRS = tuple(["a-e", "e-a", "b-d", "c-f", "f-c", "d-d", "e-f", "g-h", "h-g", "h-d", "d-h", "a-a"])


def stream(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def region_features(seed: int = 900, dims: int = 512) -> dict[str, np.ndarray]:
    """Clips a..h, (T, 9, dims) unit vectors: windows of one long video, each with its own noise."""
    base = stream(seed, f"base{dims}").standard_normal((24, 9, dims))
    clips = {}
    for clip, length in LENGTHS.items():
        noise = stream(seed, f"noise{dims}/{clip}").standard_normal((length, 9, dims))
        x = base[OFFSETS[clip] : OFFSETS[clip] + length] + 0.35 * noise
        clips[clip] = (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)
    return clips


def pca() -> dict[str, torch.Tensor]:
    """The authors' PCA dictionary, with seeded numbers."""
    drawn = {
        "mean": 0.01 * stream(120, "mean").standard_normal(3840),
        "d": 0.05 + stream(120, "d").random(3840),
        "V": stream(120, "V").standard_normal((3840, 3840)) / np.sqrt(3840),
    }
    return {key: torch.from_numpy(value.astype(np.float32)) for key, value in drawn.items()}


def noise_frames() -> np.ndarray:
    return stream(140, "frames/noise224").integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)


# Height and width of the picture -> of the maps after ResNet-50's four stages.
STAGE_MAPS = {
    "224x224": [(56, 56), (28, 28), (14, 14), (7, 7)],
    "256x256": [(64, 64), (32, 32), (16, 16), (8, 8)],
    "240x320": [(60, 80), (30, 40), (15, 20), (8, 10)],
    "224x398": [(56, 100), (28, 50), (14, 25), (7, 13)],
    "128x128": [(32, 32), (16, 16), (8, 8), (4, 4)],
    "112x112": [(28, 28), (14, 14), (7, 7), (4, 4)],
}


def stage_maps(size: str) -> list[torch.Tensor]:
    """Four maps of two pictures, of 8, 16, 32 and 64 channels."""
    return [
        torch.from_numpy(
            np.maximum(stream(130, f"{size}/layer{k + 1}").standard_normal((2, 8 << k, *shape)), 0).astype(np.float32)
        )
        for k, shape in enumerate(STAGE_MAPS[size])
    ]
