"""The sound network of AuSiL: one log-mel window -> the strongest responses of its twelve convolutions.

Kumar, Khadkevich and Fuegen, Knowledge transfer from weakly labeled audio using convolutional neural network for
sound events and scenes, ICASSP 2018 (arXiv 1711.01369), trained on AudioSet; its classifier is not used here.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ndvr.models.layers.head import exact_convolutions

# Windows at a time: the first maps of one take 1.4 MB each.
CHUNK_WINDOWS = {"cpu": 8, "cuda": 256}

# Output channels; None is a pooling by two. The n-th is called layer n.
LAYERS = (16, 16, None, 32, 32, None, 64, 64, None, 128, 128, None, 256, 256, None, 512, None, 1024)
N_FEATURES = sum(width for width in LAYERS if width)  # 2528


class SoundNetwork(nn.Module):
    """(N, 174, 128) dB, time by mel band -> (N, 2528); parameter names are the authors'.

    Of each convolution: vectors of all channels at one place made length one, their maximum over all places, made
    length one again. The twelve results follow one another; together they have length sqrt(12).
    """

    def __init__(self):
        super().__init__()
        n_in = 1
        for number, width in enumerate(LAYERS, start=1):
            if width is None:
                self.add_module(f"layer{number}", nn.MaxPool2d(2, 2))
                continue
            last = number == len(LAYERS)  # sees what is left, 2 x 2, at once
            conv = nn.Conv2d(n_in, width, 2) if last else nn.Conv2d(n_in, width, 3, padding=1)
            self.add_module(f"layer{number}", nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU()))
            n_in = width

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        chunk = CHUNK_WINDOWS.get(windows.device.type, CHUNK_WINDOWS["cuda"])
        with exact_convolutions():
            return torch.cat([self._features(part[:, None]) for part in windows.split(chunk)])

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        found = []
        for layer in self.children():
            x = layer(x)
            if isinstance(layer, nn.Sequential):
                # functional.normalize over channels takes as long as all the convolutions.
                unit = x * x.square().sum(1, keepdim=True).clamp_min(1e-24).rsqrt()
                strongest = unit.amax((2, 3))
                found.append(functional.normalize(strongest, dim=1, eps=1e-12))
        return torch.cat(found, dim=1)
