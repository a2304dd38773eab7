"""Frames to region features: normalise, ResNet-50, nine regions, PCA whitening; shared by S2VS, ViSiL and DnS."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ndvr.models.layers.head import exact_convolutions
from ndvr.models.layers.limac import IMAGENET_MEAN, IMAGENET_STD, LiMAC, Normaliser
from ndvr.models.layers.whitening import Whitening

# Windows at a time: ResNet-50's widest maps take 10 MB each, and a CPU gains nothing from more.
CHUNK_WINDOWS = {"cpu": 8, "cuda": 256}

# The same three parts under other names: DnS's and ViSiL's, then S2VS's.
_PREFIXES = {"normalizer.": "0.", "cnn.": "1.0.cnn.", "pca.": "1.1."}
PARTS = tuple(_PREFIXES.values())


class Extractor(nn.Sequential):
    """(N, H, W, 3) uint8 -> (N, R, dims), length one; R is 9 at 224 x 224. Parameter names are S2VS's."""

    def __init__(self, dims: int = 512):
        super().__init__(Normaliser(), nn.Sequential(LiMAC(), Whitening(dims)))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        chunk = CHUNK_WINDOWS.get(frames.device.type, CHUNK_WINDOWS["cuda"])
        with exact_convolutions():
            return torch.cat([self[1](self[0](part)) for part in frames.split(chunk)])


def split_state(state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(the extractor's tensors under S2VS's names, the rest). The unused classifier of ResNet-50 is dropped."""
    extractor, rest = {}, {}
    for key, value in state.items():
        for theirs, ours in _PREFIXES.items():
            if key.startswith(theirs):
                extractor[ours + key.removeprefix(theirs)] = value
                break
            if key.startswith(ours):
                extractor[key] = value
                break
        else:
            rest[key] = value
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
