"""Frames to region features: normalise, ResNet-50, nine regions, PCA whitening; shared by S2VS, ViSiL and DnS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import Card
from ndvr.models.layers.head import exact_convolutions
from ndvr.models.layers.limac import IMAGENET_MEAN, IMAGENET_STD, LiMAC, Normaliser
from ndvr.models.layers.whitening import Whitening, projection

# Windows at a time: ResNet-50's widest maps take 10 MB each, and a CPU gains nothing from more.
CHUNK_WINDOWS = {"cpu": 8, "cuda": 256}

# The same three parts under other names -> S2VS's: those of a whole ViSiL model, then those of DnS's extractor.
_PREFIXES = {
    "cnn.normalizer.": "0.",
    "cnn.cnn.": "1.0.cnn.",
    "cnn.pca.": "1.1.",
    "normalizer.": "0.",
    "cnn.": "1.0.cnn.",
    "pca.": "1.1.",
}
PARTS = ("0.", "1.0.cnn.", "1.1.")


class Extractor(nn.Sequential):
    """(N, H, W, 3) uint8 -> (N, R, dims), length one; R is 9 at 224 x 224. Parameter names are S2VS's."""

    def __init__(self, dims: int = 512):
        super().__init__(Normaliser(), nn.Sequential(LiMAC(), Whitening(dims)))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        chunk = CHUNK_WINDOWS.get(frames.device.type, CHUNK_WINDOWS["cuda"])
        with exact_convolutions():
            return torch.cat([self[1](self[0](part)) for part in frames.split(chunk)])


def build_extractor(weights: Any, options: Mapping[str, Any], card: Card, *, dims: int, fetch: bool) -> Extractor:
    """The extractor with the tensors `weights` has of it; what it has none of comes from the files named in options
    "backbone" and "pca", else from `card.requires`: the published files leave both out.
    """
    with torch.device("meta"):  # no point in initialising what is loaded next
        network = Extractor(dims)
    seed = random_weights.seed_of(weights)
    if seed is not None:
        state, source = random_weights.seeded(network, seed) | constants_state(), str(weights)
    else:
        state, source = _extractor_state(weights, options, card, dims, fetch)
    files.load_into(network, state, source=source)
    for module in list(network.modules()):
        if isinstance(module, LiMAC):
            module.fold()
    return network


def _extractor_state(
    weights: Any, options: Mapping[str, Any], card: Card, dims: int, fetch: bool
) -> tuple[files.State, str]:
    given: files.State = {}
    source = "the ResNet-50 or PCA file"
    if not (weights is None or (isinstance(weights, str) and weights in card.weights)):
        everything, name = files.resolve(weights, card.weights, cache=options["cache"])
        given, _ = split_state(everything)
        source = name if given else source
    state = {**constants_state(), **given}
    if not any(key.startswith("1.0.cnn.") for key in given):
        path = options["backbone"] or files.fetch(card.requires["resnet50"], cache=options["cache"], download=fetch)
        state |= backbone_state(files.state_of(files.read(path)))
    if not any(key.startswith("1.1.") for key in given):
        path = options["pca"] or files.fetch(card.requires["pca"], cache=options["cache"], download=fetch)
        pca = projection(files.state_of(files.read(path)), dims, source=str(path))
        state |= {"1.1." + key: value for key, value in pca.items()}
    return state, source


def head_state(weights: Any, options: Mapping[str, Any], card: Card) -> tuple[files.State, str]:
    """The similarity network's tensors in `weights` and a name for error texts; Absent when there are none."""
    everything, source = files.resolve(weights, card.weights, cache=options["cache"])
    _, state = split_state(everything)
    if not state:
        raise files.Absent(f"{source} holds no similarity network")
    return state, source


def split_state(state: Mapping[str, torch.Tensor]) -> tuple[files.State, files.State]:
    """(the extractor's tensors under S2VS's names, the rest). The unused classifier of ResNet-50 is dropped.

    "module.", which data-parallel training puts before every name, is taken off.
    """
    extractor, rest = {}, {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        if name.startswith(PARTS):
            extractor[name] = value
        elif theirs := next((start for start in _PREFIXES if name.startswith(start)), None):
            extractor[_PREFIXES[theirs] + name.removeprefix(theirs)] = value
        else:
            rest[name] = value
    return {key: value for key, value in extractor.items() if not key.startswith("1.0.cnn.fc.")}, rest


def backbone_state(resnet50: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """torchvision's names -> the extractor's."""
    return {"1.0.cnn." + key: value for key, value in resnet50.items() if not key.startswith("fc.")}


def constants_state() -> dict[str, torch.Tensor]:
    """ImageNet's statistics, which no file needs to hold."""
    return {
        "0.scale": torch.tensor([255.0]),
        "0.mean": torch.tensor(IMAGENET_MEAN),
        "0.std": torch.tensor(IMAGENET_STD),
    }
