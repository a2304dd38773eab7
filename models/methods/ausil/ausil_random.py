"""Seeded noise for AuSiL that gives varied scores: random networks alone hear much the same in every sound."""

from __future__ import annotations

import numpy as np
import torch

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.methods.ausil.ausil_head import SoundHead
from ndvr.models.methods.ausil.network import N_FEATURES, SoundNetwork


def embed_state(seed: int) -> files.State:
    with torch.device("meta"):
        network = SoundNetwork()
    return random_weights.seeded(network, seed)


@torch.inference_mode()
def similarity_state(seed: int) -> files.State:
    """Noise; but features of drifting noise are centred around zero and their cells spread over [-1, 1]."""
    with torch.device("meta"):
        cnn, head = SoundNetwork(), SoundHead(N_FEATURES)
    files.load_into(cnn, embed_state(seed), source="random")
    features = cnn.eval()(_sounds(seed))
    state = random_weights.seeded(head, seed)
    state["pca.mean"] = torch.nn.functional.normalize(features, dim=1).mean(0)
    files.load_into(head, state, source="random")
    cells = head.visil_head(head.matrix(head.signature(features), head.signature(features))[None, None])
    spread = 0.3 / cells.std()
    state["visil_head.fconv.weight"] *= spread
    state["visil_head.fconv.bias"] = (state["visil_head.fconv.bias"] - cells.mean()) * spread
    return state


def _sounds(seed: int, *, count: int = 6) -> torch.Tensor:
    """Hiss and two coarser textures that drift: (3 count, 174, 128) decibels around -30."""
    windows = []
    for number, size in enumerate((1, 8, 8)):
        noise = random_weights.stream(seed, f"sound {number}").standard_normal((count + 174 // size, 128 // size))
        texture = noise.repeat(size, axis=0).repeat(size, axis=1)
        windows += [texture[size * k : size * k + 174] for k in range(count)]
    return torch.from_numpy(np.stack(windows).astype(np.float32)) * 15 - 30
