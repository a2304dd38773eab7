"""Weights of AuSiL wherever they lie: a TensorFlow checkpoint, a torch file of the sound network, or a mapping."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import Card, File
from ndvr.models.methods.ausil._network import N_FEATURES, SoundHead, SoundNetwork
from ndvr.models.methods.ausil._tensorflow import read_bundle

# TensorFlow's variables -> our names. Kernels are (height, width, in, out) there, (out, in, height, width) here.
_NAMES = {
    "PCA/mean_sift": "pca.mean",
    "PCA/weights": "pca.W",
    "attention_layer/context_vector": "attention.context_vector.weight",
    "video_comparator/conv2d/kernel": "visil_head.conv1.weight",
    "video_comparator/conv2d/bias": "visil_head.conv1.bias",
    "video_comparator/conv2d_1/kernel": "visil_head.conv2.weight",
    "video_comparator/conv2d_1/bias": "visil_head.conv2.bias",
    "video_comparator/conv2d_2/kernel": "visil_head.conv3.weight",
    "video_comparator/conv2d_2/bias": "visil_head.conv3.bias",
    "video_comparator/conv2d_3/kernel": "visil_head.fconv.weight",
    "video_comparator/conv2d_3/bias": "visil_head.fconv.bias",
}
_PREFIXES = {
    "embed": tuple(f"layer{number}." for number in range(1, 20)),
    "similarity": ("pca.", "attention.", "visil_head."),
}

# What git calls the published files: the sha1 of "blob SIZE\0" and the content. Their authors give no sha256.
_GIT_BLOBS = {
    "model.data-00000-of-00001": "d7abe97198b8bc17a5f821d63a268a27c6ee719a",
    "mx-h64-1024_0d3-1.17.pkl": "18f7764281ba48a5f0d5eff8dfd3792f44911839",
}


def embed_state(weights: Any, options: Mapping[str, Any], card: Card, *, fetch: bool) -> tuple[files.State, str]:
    """Find the sound network's tensors and where they are from:
    option "cnn", `weights`, the folder it is in, the cache.
    """
    path = Path(options["cnn"]).expanduser() if options["cnn"] else None
    if path is None and isinstance(weights, Mapping):
        state = divided(_given(weights), "the given mapping")["embed"]
        if state:
            return state, "the given mapping"
    elif path is None and not (weights is None or weights in card.weights):
        path = _torch_file(weights) or _beside(_prefix(weights), Path(card.requires["cnn"].name).name)
    if path is not None:
        state = divided(files.state_of(files.read(path)), str(path))["embed"]
        if state:
            return state, str(path)
    path = _published(card.requires["cnn"], options, download=fetch)
    return divided(files.state_of(files.read(path)), str(path))["embed"], str(path)


def similarity_state(weights: Any, options: Mapping[str, Any], card: Card) -> tuple[files.State, str]:
    """Find the similarity network's tensors, and say where they are from."""
    if isinstance(weights, Mapping):
        state, source = _given(weights), "the given mapping"
    elif weights is None or weights in card.weights:
        _published(card.requires["index"], options)
        path = _published(next(iter(card.weights.values())), options)
        state, source = files.state_of(read_bundle(path.with_suffix(""))), str(path)
    elif file := _torch_file(weights):
        state, source = files.state_of(files.read(file)), str(file)
    else:
        prefix = _prefix(weights)
        if not Path(f"{prefix}.index").is_file():
            raise files.Absent(f"{weights} holds no similarity network: there is no {prefix.name}.index")
        state, source = files.state_of(read_bundle(prefix)), f"{prefix}.index"
    tensors = divided(state, source)["similarity"]
    if not tensors:
        raise files.Absent(f"{source} holds no similarity network")
    return tensors, source


def _given(weights: Mapping[str, Any]) -> files.State:
    # TensorFlow's reader gives numbers for what has no dimensions.
    return files.state_of({key: np.asarray(value) if np.isscalar(value) else value for key, value in weights.items()})


def divided(state: Mapping[str, torch.Tensor], source: str) -> dict[str, files.State]:
    """Divide tensors among the parts, under our names, without what only training and the classifier need."""
    renamed = {}
    for key, value in state.items():
        name = key.removesuffix(":0")
        if name.endswith(("/Adam", "/Adam_1")) or name in ("beta1_power", "beta2_power", "global_step"):
            continue
        if name in _NAMES and value.ndim == 4:
            value = value.permute(3, 2, 0, 1)
        elif name == "attention_layer/context_vector" and value.ndim == 2:
            value = value.t()
        renamed[_NAMES.get(name, key)] = value
    parts = files.divide(renamed, _PREFIXES, source=source)
    parts["embed"] = {key: value for key, value in parts["embed"].items() if not key.startswith("layer19.")}
    return parts


def _torch_file(weights: str | Path) -> Path | None:
    """Return the path of a torch file; None where it is a folder or one of a checkpoint's files."""
    path = Path(weights).expanduser()
    return path if path.is_file() and path.suffix != ".index" and ".data-" not in path.name else None


def _prefix(weights: str | Path) -> Path:
    """Find the common beginning of a checkpoint's files, given that, one of the files or their folder."""
    path = Path(weights).expanduser()
    if path.is_dir():
        indexes = sorted([*path.glob("*.index"), *path.glob("ckpt/*.index")])
        if len(indexes) > 1:
            raise files.WeightsError(f"{path} holds several checkpoints ({', '.join(map(str, indexes))}): name one")
        return indexes[0].with_suffix("") if indexes else path / "model"
    if path.suffix == ".index" or path.suffix.startswith(".data-"):
        path = path.with_suffix("")
    if not Path(f"{path}.index").is_file():
        raise files.WeightsError(
            f"weights {str(weights)!r}: neither a torch file, nor a folder or the common beginning of a TensorFlow "
            "checkpoint's files (model.index, model.data-00000-of-00001), nor one of ausil, random, random:SEED"
        )
    return path


def _beside(prefix: Path, name: str) -> Path | None:
    """Find the sound network's file next to a checkpoint, or where the authors' repository has it."""
    places = (prefix.parent, prefix.parent / "feature_extraction", prefix.parent.parent / "feature_extraction")
    return next((place / name for place in places if (place / name).is_file()), None)


def _published(file: File, options: Mapping[str, Any], *, download: bool = True) -> Path:
    path = files.fetch(file, cache=options["cache"], download=download)
    expected = _GIT_BLOBS.get(path.name)
    if expected:
        content = path.read_bytes()
        git_name = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        if git_name != expected:
            raise files.WeightsError(
                f"{path} is not the published file: git would call it {git_name}, not {expected}; "
                f"delete it to have it fetched again from {file.url}"
            )
    return path


# --- Seeded noise that gives varied scores: random networks alone hear much the same in every sound


def seeded_embed_state(seed: int) -> files.State:
    with torch.device("meta"):
        network = SoundNetwork()
    return random_weights.seeded(network, seed)


@torch.inference_mode()
def seeded_similarity_state(seed: int) -> files.State:
    """Draw noise of which features of drifting sounds are centred around zero and their cells spread over [-1, 1]."""
    with torch.device("meta"):
        cnn, head = SoundNetwork(), SoundHead(N_FEATURES)
    files.load_into(cnn, seeded_embed_state(seed), source="random")
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
    """Make hiss and two coarser textures that drift: (3 count, 174, 128) decibels around -30."""
    windows = []
    for number, size in enumerate((1, 8, 8)):
        noise = random_weights.stream(seed, f"sound {number}").standard_normal((count + 174 // size, 128 // size))
        texture = noise.repeat(size, axis=0).repeat(size, axis=1)
        windows += [texture[size * k : size * k + 174] for k in range(count)]
    return torch.from_numpy(np.stack(windows).astype(np.float32)) * 15 - 30
