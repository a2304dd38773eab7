"""Weights of DnS's reference numbers, drawn again from their seeds under the authors' names instead of being stored."""

from __future__ import annotations

from collections.abc import Mapping

import golden_inputs
import numpy as np

ATTENTION = {
    "attention.transform.weight": (512, 512),
    "attention.transform.bias": (512,),
    "attention.context_vector.weight": (1, 512),
}
COMPARATOR = {
    "visil_head.conv1.weight": (32, 1, 3, 3),
    "visil_head.conv1.bias": (32,),
    "visil_head.conv2.weight": (64, 32, 3, 3),
    "visil_head.conv2.bias": (64,),
    "visil_head.conv3.weight": (128, 64, 3, 3),
    "visil_head.conv3.bias": (128,),
    "visil_head.fconv.weight": (1, 128, 1, 1),
    "visil_head.fconv.bias": (1,),
}
TRANSFORMER = {
    "transformer.layers.0.self_attn.in_proj_weight": (1536, 512),
    "transformer.layers.0.self_attn.in_proj_bias": (1536,),
    "transformer.layers.0.self_attn.out_proj.weight": (512, 512),
    "transformer.layers.0.self_attn.out_proj.bias": (512,),
    "transformer.layers.0.linear1.weight": (2048, 512),
    "transformer.layers.0.linear1.bias": (2048,),
    "transformer.layers.0.linear2.weight": (512, 2048),
    "transformer.layers.0.linear2.bias": (512,),
    "transformer.layers.0.norm1.weight": (512,),
    "transformer.layers.0.norm1.bias": (512,),
    "transformer.layers.0.norm2.weight": (512,),
    "transformer.layers.0.norm2.bias": (512,),
    "transformer.norm.weight": (512,),
    "transformer.norm.bias": (512,),
}
NETVLAD = {
    "netvlad.centroids": (64, 512),
    "netvlad.conv.weight": (64, 512, 1, 1),
    "netvlad.reduction_layer.weight": (1024, 32768),
    "netvlad.norm.weight": (1024,),
    "netvlad.norm.bias": (1024,),
}
MLP = {
    "mlp.model.0.weight": (100, 3),
    "mlp.model.4.weight": (100, 100),
    "mlp.model.8.weight": (1, 100),
    "mlp.model.8.bias": (1,),
    **{f"mlp.model.{k}.{leaf}": (100,) for k in (1, 5) for leaf in ("weight", "bias", "running_mean", "running_var")},
    **{f"mlp.model.{k}.num_batches_tracked": () for k in (1, 5)},
}
# Name in the reference files -> seed, tensors.
NETWORKS: dict[str, tuple[int, Mapping[str, tuple[int, ...]]]] = {
    "fg_att": (101, ATTENTION | COMPARATOR),
    "fg_bin": (102, {"binarization.W": (512, 512)} | COMPARATOR),
    "fg_none": (101, COMPARATOR),
    "cg": (105, ATTENTION | TRANSFORMER | NETVLAD),
    "cg_noatt": (105, TRANSFORMER | NETVLAD),
    "cg_trf_novlad": (105, ATTENTION | TRANSFORMER),
    "cg_notrf_novlad": (105, ATTENTION),
    "selector": (106, ATTENTION | COMPARATOR | MLP),
}
_GAINS = {"fconv.weight": 6, "attention.transform.weight": 20, "visil_head.conv1.weight": 3}


def state(network: str) -> dict[str, np.ndarray]:
    """The state dict of one of NETWORKS."""
    seed, shapes = NETWORKS[network]
    return {key: _noise(key, shape, seed) for key, shape in shapes.items()}


def walk(length: int, seed: int = 0) -> np.ndarray:
    """Frames that resemble each other, (length, 9, 512) unit vectors."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((length, 9, 512)) + 2 * rng.standard_normal((9, 512))
    return (steps / np.linalg.norm(steps, axis=-1, keepdims=True)).astype(np.float32)


def _noise(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    z = golden_inputs.stream(seed, key).standard_normal(shape)
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        z = np.zeros(shape)
    elif leaf == "running_mean":
        z = 0.1 * z
    elif leaf == "running_var":
        z = 1 + 0.1 * np.abs(z)
    elif leaf in ("bias", "in_proj_bias"):
        z = 0.05 * z
    elif leaf == "W":
        z = z / np.sqrt(shape[0])
    elif leaf == "centroids":
        z = z / np.sqrt(shape[1])
    elif len(shape) == 1:
        z = 1 + 0.1 * z
    else:
        z = z * np.sqrt((2 if len(shape) == 4 else 1) / np.prod(shape[1:]))
    z = z * next((gain for ending, gain in _GAINS.items() if key.endswith(ending)), 1)
    return np.asarray(z, np.float32)
