"""Similarity networks of S2VS and ViSiL as their files hold them: the authors' keys and shapes, seeded numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from golden_inputs import stream

Shapes = dict[str, tuple[int, ...]]


def comparator_shapes(prefix: str) -> Shapes:
    widths = {"conv1": (32, 1, 3, 3), "conv2": (64, 32, 3, 3), "conv3": (128, 64, 3, 3), "fconv": (1, 128, 1, 1)}
    weights = {f"{prefix}{layer}.weight": shape for layer, shape in widths.items()}
    return weights | {f"{prefix}{layer}.bias": shape[:1] for layer, shape in widths.items()}


def batch_norm_shapes() -> Shapes:
    """S2VS's comparator with batch normalisation after each convolution but the last."""
    found: Shapes = {}
    for key, shape in comparator_shapes("visil_head.").items():
        layer, leaf = key.rsplit(".", 1)
        if layer.endswith("fconv"):
            found[key] = shape
        elif leaf == "weight":
            found[f"{layer}.0.weight"] = shape
            for name in ("weight", "bias", "running_mean", "running_var"):
                found[f"{layer}.1.{name}"] = shape[:1]
            found[f"{layer}.1.num_batches_tracked"] = ()
    return found


CONTEXT = "attention.context_vector.weight"
ATTENTION: Shapes = {CONTEXT: (1, 512), "attention.transform.weight": (512, 512), "attention.transform.bias": (512,)}
PLAIN = comparator_shapes("visil_head.")
S2VS: dict[str, Shapes] = {
    "attention": ATTENTION | PLAIN,
    "plain": PLAIN,
    "binary": {"binarization.W": (512, 512)} | PLAIN,
    "normalised": {CONTEXT: (1, 512)} | PLAIN,
    "batch_norm": ATTENTION | batch_norm_shapes(),
}
GAINS = {
    "fconv.weight": 6,
    "attention.transform.weight": 20,
    "visil_head.conv1.weight": 3,
    "visil_head.conv1.0.weight": 3,
    "video_comperator.conv1.weight": 3,
}


def visil_shapes(dims: int) -> Shapes:
    return {CONTEXT: (1, dims)} | comparator_shapes("video_comperator.")


def state(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """A state dict by the recipe of `golden/s2vs.md`."""
    return {key: _noise(key, shape, seed) for key, shape in shapes.items()}


def visil_state(dims: int, seed: int) -> dict[str, np.ndarray]:
    """The same for ViSiL, whose context vector has length one."""
    found = state(visil_shapes(dims), seed)
    return found | {CONTEXT: found[CONTEXT] / np.linalg.norm(found[CONTEXT])}


def _noise(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    z = stream(seed, key).standard_normal(shape)
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        z = 1 + 0.1 * np.abs(z)
    elif leaf in ("running_mean", "bias"):
        z = {"running_mean": 0.1, "bias": 0.05}[leaf] * z
    elif leaf == "W":
        z = z / np.sqrt(shape[0])
    elif len(shape) == 4:
        z = z * np.sqrt(2 / np.prod(shape[1:]))
    else:
        z = z * np.sqrt(1 / shape[1]) if len(shape) == 2 else 1 + 0.1 * z
    gain = next((gain for ending, gain in GAINS.items() if key.endswith(ending)), 1)
    return (gain * z).astype(np.float32)
