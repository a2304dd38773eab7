"""Weights and sounds of AuSiL's reference numbers, drawn again from their seeds instead of being stored."""

from __future__ import annotations

import numpy as np

WIDTHS = {1: 16, 2: 16, 4: 32, 5: 32, 7: 64, 8: 64, 10: 128, 11: 128, 13: 256, 14: 256, 16: 512, 18: 1024}


def cnn_shapes() -> dict[str, tuple[int, ...]]:
    """Every key of the authors' state_dict, their classifier (layer19) included."""
    shapes: dict[str, tuple[int, ...]] = {"layer19.0.weight": (527, 1024, 1, 1), "layer19.0.bias": (527,)}
    n_in = 1
    for number, width in WIDTHS.items():
        size = 2 if number == 18 else 3
        shapes[f"layer{number}.0.weight"] = (width, n_in, size, size)
        shapes[f"layer{number}.1.num_batches_tracked"] = ()
        for leaf in ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
            shapes[f"layer{number}.{leaf}"] = (width,)
        n_in = width
    return shapes


def cnn_weights() -> dict[str, np.ndarray]:
    rng, drawn = np.random.default_rng(20201008), {}
    for key, shape in sorted(cnn_shapes().items()):
        if key.endswith("num_batches_tracked"):
            drawn[key] = np.zeros((), np.int64)
            continue
        z = rng.standard_normal(shape)
        if len(shape) == 4:
            z = z * np.sqrt(2 / np.prod(shape[1:]))
        elif key.endswith("running_var"):
            z = 0.5 + 0.5 * np.abs(z)
        else:
            z = 1 + 0.1 * z if key.endswith(".1.weight") else 0.1 * z
        drawn[key] = z.astype(np.float32)
    return drawn


TF_SHAPES = {
    "PCA/mean_sift": (2528,),
    "PCA/weights": (2528, 2528),
    "attention_layer/context_vector": (2528, 1),
    "video_comparator/conv2d/bias": (32,),
    "video_comparator/conv2d/kernel": (3, 3, 1, 32),
    "video_comparator/conv2d_1/bias": (64,),
    "video_comparator/conv2d_1/kernel": (3, 3, 32, 64),
    "video_comparator/conv2d_2/bias": (128,),
    "video_comparator/conv2d_2/kernel": (3, 3, 64, 128),
    "video_comparator/conv2d_3/bias": (1,),
    "video_comparator/conv2d_3/kernel": (1, 1, 128, 1),
}


def tf_weights() -> dict[str, np.ndarray]:
    """The eleven variables of the authors' TensorFlow graph."""
    rng, drawn = np.random.default_rng(20201009), {}
    for name, shape in sorted(TF_SHAPES.items()):
        z = rng.standard_normal(shape)
        if name == "PCA/mean_sift":
            z = 0.02 * np.abs(z)
        elif name == "PCA/weights":
            z = z / np.sqrt(2528)
        elif name == "attention_layer/context_vector":
            z = 0.2 * z
        elif name == "video_comparator/conv2d_3/bias":
            z = 3.0 + 0.1 * z
        elif name.endswith("kernel") and not name.endswith("_3/kernel"):
            z = z * np.sqrt(2 / np.prod(shape[:3]))
        elif name.endswith("bias"):
            z = 0.1 * z
        drawn[name] = z.astype(np.float32)
    return drawn
