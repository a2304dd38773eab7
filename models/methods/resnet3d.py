"""The 3D ResNet-18 of K. Hara et al.: clips to 512 numbers per moment, with either kind of shortcut.

Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?, CVPR 2018. Parameter names are
those of their Kinetics files. torchvision's r3d_18 is another network.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

Shortcut = Literal["A", "B"]
WIDTHS = (64, 128, 256, 512)


class ResNet18(nn.Module):
    """(N, 3, T, H, W) -> (N, 512, T'), the mean over each map; T' is T halved four times, rounded up: 32 -> 2.

    shortcut  how a block's input is brought to the shape of its output where layers 2, 3 and 4 begin:
              A  every second position, channels of zeros appended; no gradient passes, as in the authors' code
              B  a learned 1x1x1 convolution, as in newer Kinetics files
    """

    def __init__(self, shortcut: Shortcut = "A"):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        width_in = 64
        for number, width in enumerate(WIDTHS, 1):
            first = _Block(width_in, width, stride=1 if number == 1 else 2, shortcut=shortcut)
            setattr(self, f"layer{number}", nn.Sequential(first, _Block(width, width, stride=1, shortcut=shortcut)))
            width_in = width

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        maps = self.maxpool(F.relu(self.bn1(self.conv1(clips)), inplace=True))
        for number in range(1, len(WIDTHS) + 1):
            maps = getattr(self, f"layer{number}")(maps)
        return maps.mean((3, 4))


class _Block(nn.Module):
    """Two 3x3x3 convolutions beside a shortcut."""

    def __init__(self, width_in: int, width: int, *, stride: int, shortcut: Shortcut):
        super().__init__()
        self.conv1 = nn.Conv3d(width_in, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.stride, self.n_new = stride, width - width_in
        if stride > 1 and shortcut == "B":
            self.downsample = nn.Sequential(
                nn.Conv3d(width_in, width, 1, stride=stride, bias=False), nn.BatchNorm3d(width)
            )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        found = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        return self.bn2(self.conv2(found)).add_(self._shortcut(maps)).relu_()

    def _shortcut(self, maps: torch.Tensor) -> torch.Tensor:
        if self.stride == 1:
            return maps
        if hasattr(self, "downsample"):
            return self.downsample(maps)
        # Detached as published: earlier layers learn through the convolutions only.
        every = slice(None, None, self.stride)
        return F.pad(maps.detach()[:, :, every, every, every], (0, 0, 0, 0, 0, 0, 0, self.n_new))
