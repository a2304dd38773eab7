"""Inputs and weights of TCA's reference numbers in `golden/tca.npz`, drawn again from their seeds."""

from __future__ import annotations

import numpy as np
import torch
from golden_recipe import blocks_u8, seeded_state
from torch import nn
from torchvision.models import resnet50

from ndvr.models.layers.comparator import Comparator
from ndvr.models.methods.tca._encoders import NetVLAD, NeXtVLAD, Recurrent, TransformerEncoder

# Name -> how to make it, seed and gain of its weights, frames of each video (the last of 64x2 was cut to 20).
NETWORKS = {
    "tca_1024x1": (TransformerEncoder, {"width": 1024}, 2001, 2, (1, 5, 12, 20)),
    "tca_64x2": (TransformerEncoder, {"width": 64, "n_layers": 2}, 2002, 1.5, (1, 5, 12, 20, 20)),
    "tca_32x1_heads4": (TransformerEncoder, {"width": 32, "heads": 4}, 2003, 1.5, (3, 7, 2)),
    "netvlad_32x8": (NetVLAD, {"width": 32, "clusters": 8, "dims": 16}, 2004, 1, (1, 5, 12)),
    "nextvlad_32x8": (NeXtVLAD, {"width": 32, "clusters": 8, "dims": 16}, 2005, 1, (1, 5, 12)),
    "lstm_24": (Recurrent, {"kind": "LSTM", "width": 24, "hidden": 24}, 2006, 1, (1, 5, 12)),
    "gru_24": (Recurrent, {"kind": "GRU", "width": 24, "hidden": 24}, 2007, 1, (1, 5, 12)),
    "comparator": (Comparator, {"padding": "replicate"}, 2008, 1, ()),
    "resnet50": (resnet50, {}, 2101, 2**0.5, ()),
}
INPUT_SEED = 5


def network(name: str) -> nn.Module:
    """The network without its weights."""
    make, sizes, *_ = NETWORKS[name]
    with torch.device("meta"):
        return make(**sizes)


def state(name: str) -> dict[str, np.ndarray]:
    """The weights under the authors' names (torchvision's, of ResNet-50)."""
    _, _, seed, gain, _ = NETWORKS[name]
    return seeded_state({key: value.shape for key, value in network(name).state_dict().items()}, seed, gain)


def features(name: str) -> list[np.ndarray]:
    """Unit rows of each video, (T, width): noise around one direction a video."""
    _, sizes, _, _, lengths = NETWORKS[name]
    rng = np.random.default_rng(INPUT_SEED)
    return [_video(rng, length, sizes["width"]) for length in lengths]


def _video(rng: np.random.Generator, length: int, width: int) -> np.ndarray:
    rows = rng.standard_normal((1, width)) + 0.8 * rng.standard_normal((length, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def frames(seed: int, count: int) -> np.ndarray:
    """Pictures (count, 224, 224, 3) as TCA's view shows them: the centre of 256 x 256."""
    return blocks_u8(seed, (count,), 256, 256)[:, 16:240, 16:240]
