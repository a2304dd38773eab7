"""One vector per frame from ResNet-50's four stages (L4-iMAC and RMAC, as TCA takes them), and its PCA whitening."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet50

from ndvr.models.layers import lite0
from ndvr.models.layers.head import exact_convolutions
from ndvr.models.layers.regions import CHUNK_WINDOWS, IMAGENET_MEAN, IMAGENET_STD, Normaliser, stage_maps
from ndvr.models.layers.whitening import Whitening

CHANNELS = 256 + 512 + 1024 + 2048  # of the four stages

Pooling = Callable[[Sequence[torch.Tensor]], torch.Tensor]


def imac(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Pool maps (N, C_i, H_i, W_i) of the stages -> (N, sum C_i): the largest value of each channel over unit pixels.

    Each stage has length one, so the whole has length 2 with four of them; it is not normalised again.
    """
    return torch.cat([functional.normalize(functional.normalize(x, dim=1).amax((2, 3)), dim=1) for x in maps], 1)


def rmac(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Pool as `imac`, but sum the unit vectors of 3 x 3 overlapping regions (Tolias et al. 2016) of each stage."""
    return torch.cat([functional.normalize(_regions(x).sum((2, 3)), dim=1) for x in maps], 1)


def _regions(x: torch.Tensor) -> torch.Tensor:
    """Pool (N, C, H, W) -> (N, C, 3, 3) for H = W of 7, 14, 28 or 56."""
    stride = int(min(x.shape[2:]) * 2 / 7)
    pooled = functional.max_pool2d(functional.normalize(x, dim=1), int(1.5 * stride), stride)
    return functional.normalize(pooled, dim=1)


POOLINGS: dict[str, Pooling] = {"imac": imac, "rmac": rmac}


class FrameVectors(nn.Module):
    """(N, 224, 224, 3) uint8 -> (N, dims) of length one, or (N, 3840) of length 2 with dims None.

    The backbone has torchvision's names below `cnn.`; `grid` is the pooling as a number, so that it, too, decides
    the digest of the weights.
    """

    def __init__(self, pooling: str = "imac", dims: int | None = 1024):
        super().__init__()
        self.pool = POOLINGS[pooling]
        self.normalise, self.cnn = Normaliser(), resnet50(weights=None)
        del self.cnn.fc, self.cnn.avgpool
        self.register_buffer("grid", torch.empty(1))
        if dims is not None:
            self.pca = Whitening(dims, n_in=CHANNELS)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        chunk = CHUNK_WINDOWS.get(frames.device.type, CHUNK_WINDOWS["cuda"])
        with exact_convolutions():
            vectors = torch.cat([self.pool(stage_maps(self.cnn, self.normalise(part))) for part in frames.split(chunk)])
        return self.pca(vectors) if hasattr(self, "pca") else vectors


class LiteVectors(nn.Module):
    """The same of EfficientNet-Lite0's six stages: (N, 224, 224, 3) uint8 -> (N, dims), or (N, 768) with dims None."""

    def __init__(self, pooling: str = "imac", dims: int | None = None):
        super().__init__()
        self.pool, self.lite0 = POOLINGS[pooling], lite0.Lite0()
        self.register_buffer("grid", torch.empty(1))
        if dims is not None:
            self.pca = Whitening(dims, n_in=sum(lite0.CHANNELS))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        chunk = lite0.CHUNK_FRAMES.get(frames.device.type, lite0.CHUNK_FRAMES["cuda"])
        with exact_convolutions():
            vectors = torch.cat([self.pool(self.lite0.stages(part)) for part in frames.split(chunk)])
        return self.pca(vectors) if hasattr(self, "pca") else vectors


def constants_state(pooling: str) -> dict[str, torch.Tensor]:
    """Return what no weight file needs to hold: ImageNet's statistics, and the regions per side of the pooling."""
    return {
        "normalise.scale": torch.tensor([255.0]),
        "normalise.mean": torch.tensor(IMAGENET_MEAN),
        "normalise.std": torch.tensor(IMAGENET_STD),
        "grid": torch.tensor([{"imac": 1.0, "rmac": 3.0}[pooling]]),
    }
