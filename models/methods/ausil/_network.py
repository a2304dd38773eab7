"""The sound network of AuSiL: one log-mel window -> the strongest responses of its twelve convolutions.

Kumar, Khadkevich and Fuegen, Knowledge transfer from weakly labeled audio using convolutional neural network for
sound events and scenes, ICASSP 2018 (arXiv 1711.01369), trained on AudioSet; its classifier is not used here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ndvr.models.layers.comparator import Comparator
from ndvr.models.layers.head import NormalisedAttention, SimilarityHead, exact_convolutions

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
        strongest_of_layers = []
        for layer in self.children():
            x = layer(x)
            if isinstance(layer, nn.Sequential):
                # functional.normalize over channels takes as long as all the convolutions.
                unit = x * x.square().sum(1, keepdim=True).clamp_min(1e-24).rsqrt()
                strongest = unit.amax((2, 3))
                strongest_of_layers.append(functional.normalize(strongest, dim=1, eps=1e-12))
        return torch.cat(strongest_of_layers, dim=1)


# --- The similarity network: whiten features, weigh them, compare them, look for diagonals


# Windows that a video is repeated to: the authors repeat targets, to ten; queries need the four that make a cell.
MIN_QUERY, MIN_TARGET = 4, 10


class Whitening(nn.Module):
    """(T, D) -> (T, D), length one: length one first, then less the mean, times W (in, out)."""

    def __init__(self, dims: int):
        super().__init__()
        self.mean = nn.Parameter(torch.empty(dims))
        self.W = nn.Parameter(torch.empty(dims, dims))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return _unit((_unit(features) - self.mean) @ self.W)


def _unit(x: torch.Tensor) -> torch.Tensor:
    # As TensorFlow's l2_normalize, with the bound the authors give it.
    return x * x.square().sum(-1, keepdim=True).clamp_min(1e-15).rsqrt()


class SoundHead(SimilarityHead):
    """Signatures (T, 1, D) and scores of features (T, D).

    A signature serves as query and as target; only when two meet is each repeated to the length its role needs.
    """

    def __init__(self, dims: int, *, whole: bool = True):
        super().__init__(dims, attention=None, comparator=Comparator(padding="replicate"), whole=whole)
        self.pca = Whitening(dims)
        self.attention = NormalisedAttention(dims, unit=False)

    def signature(self, features: torch.Tensor) -> torch.Tensor:
        return self.attention(self.pca(features))[:, None]

    def similarities(self, query: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        query = repeated(query, MIN_QUERY)
        return super().similarities(query, [repeated(target, MIN_TARGET) for target in targets])


def repeated(signature: torch.Tensor, least: int) -> torch.Tensor:
    """Repeat a signature, doubling it until it has `least` windows: 2 -> 16 and 6 -> 12 of 10."""
    while len(signature) < least:
        signature = torch.cat([signature, signature])
    return signature
