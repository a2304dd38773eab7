"""The inputs of 3D-CSL's reference numbers, and what its network holds on the way to its features."""

from __future__ import annotations

import numpy as np
import torch
from golden_recipe import blocks_u8, seeded_state
from places import GOLDEN_FOLDER

from ndvr.models.method import Model

GOLDEN = np.load(GOLDEN_FOLDER / "csl3d.npz")

SEEDS = {"small": 1001, "base": 1002}
GAIN = 2.0

# Clips of coloured squares: seed, (clips, pictures), height, width.
CLIPS = {
    "one_clip": (11, (1, 8), 224, 224),
    "five_clips": (12, (5, 8), 224, 224),
    "t4": (13, (2, 4), 224, 224),
    "t16": (14, (1, 16), 224, 224),
    "hw160": (15, (2, 8), 160, 160),
    "h160w224": (16, (2, 8), 160, 224),
    "two_clips": (21, (2, 8), 224, 224),
}


def clips(name: str) -> np.ndarray:
    """(N, T, H, W, 3) uint8."""
    return blocks_u8(*CLIPS[name])


def weights(size: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The authors' state dict of the network of this size, with seeded numbers."""
    return seeded_state(shapes, SEEDS[size], GAIN)


def features(model: Model, windows: np.ndarray) -> np.ndarray:
    """As `model.embed`, of pictures of any number and size."""
    with torch.inference_mode():
        return model.method.embed(model.network("embed"), torch.from_numpy(windows)).numpy()


def traced(model: Model, windows: np.ndarray) -> dict[str, np.ndarray]:
    """What `features` gives, and what passes through the network meanwhile, cut as in the reference.

    Tokens there are ordered class token, then patch by patch, of each patch all times.
    """
    network = model.network("embed").feature_extractor["model"]
    seen: dict[str, list[torch.Tensor]] = {"patch_tokens": [], "block0_in_tokens": [], "block0_out_tokens": []}
    seen |= {f"cls_{k}": [] for k in range(12)}

    def ordered(tokens: torch.Tensor) -> torch.Tensor:
        patches = tokens[:, :, 1:4, :32].transpose(1, 2).flatten(1, 2)
        return torch.cat([tokens[:, 0, :1, :32], patches], 1)[:, :24]

    hooks = [
        network.patch_embed.register_forward_hook(
            lambda _, __, patches: seen["patch_tokens"].append(patches[:, :, :4, :32].flatten(0, 1))
        ),
        network.blocks[0].register_forward_pre_hook(lambda _, args: seen["block0_in_tokens"].append(ordered(args[0]))),
        network.blocks[0].register_forward_hook(lambda _, __, out: seen["block0_out_tokens"].append(ordered(out))),
        network.norm.register_forward_pre_hook(lambda _, args: seen["cls_11"].append(args[0])),
    ]
    for k, block in enumerate(network.blocks[:-1]):
        hooks.append(block.register_forward_hook(lambda _, __, out, k=k: seen[f"cls_{k}"].append(out[:, 0, 0].clone())))
    try:
        found = {"features": features(model, windows)}
    finally:
        for hook in hooks:
            hook.remove()
    joined = {name: torch.cat(parts).numpy() for name, parts in seen.items()}
    found["cls_after_block"] = np.stack([joined.pop(f"cls_{k}") for k in range(12)])
    return found | joined
