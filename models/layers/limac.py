"""Region vectors of frames: max-pooled activations of ResNet-50's four stages (L3-iMAC, Kordopatis-Zilos 2017/2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torchvision.models import ResNet, resnet50

from ndvr.models.layers.folded import folded

STAGE_KERNELS = (28, 14, 6, 3)  # the third ignores two rows and columns at 224 pixels; kept for parity
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normaliser(nn.Module):
    """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32, ImageNet statistics."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([255.0]))
        self.mean = nn.Parameter(torch.tensor(IMAGENET_MEAN))
        self.std = nn.Parameter(torch.tensor(IMAGENET_STD))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        if frames.dtype != torch.uint8:
            raise TypeError(f"frames are uint8 in [0, 255], got {frames.dtype}")
        return ((frames.float() / self.scale - self.mean) / self.std).permute(0, 3, 1, 2)


class LiMAC(nn.Module):
    """Regions of pictures: (N, 3, H, W) -> (N, R, 3840), by ResNet-50 without its classifier.

    `fold`, once its weights are there, makes it a tenth faster on a CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cnn = resnet50(weights=None)
        del self.cnn.fc, self.cnn.avgpool
        self.folded: ResNet | None = None

    def fold(self) -> None:
        self.folded = folded(self.cnn)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return region_vectors(stage_maps(self.folded or self.cnn, pictures))


def stage_maps(cnn: ResNet, pictures: torch.Tensor) -> list[torch.Tensor]:
    """What ResNet-50's four stages make of (N, 3, H, W): (N, C_i, H_i, W_i), C = 256, 512, 1024, 2048."""
    x = cnn.maxpool(cnn.relu(cnn.bn1(cnn.conv1(pictures))))
    maps = []
    for stage in (cnn.layer1, cnn.layer2, cnn.layer3, cnn.layer4):
        maps.append(x := stage(x))
    return maps


def region_vectors(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """(N, C_i, H_i, W_i) of the four stages -> (N, R, sum C_i), length one, regions row by row.

    R is 9 for 224 x 224 pixels; for other sizes it is the grid of the last stage, to which the others are max-pooled.
    """
    pooled = [
        functional.normalize(functional.max_pool2d(stage, kernel, (kernel + 1) // 2), dim=1)
        for stage, kernel in zip(maps, STAGE_KERNELS)
    ]
    grid = pooled[-1].shape[2:]
    aligned = [functional.normalize(functional.adaptive_max_pool2d(stage, grid), dim=1) for stage in pooled]
    return functional.normalize(torch.cat(aligned, dim=1).flatten(2).transpose(1, 2), dim=-1)
