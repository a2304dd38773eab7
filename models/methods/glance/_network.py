"""EfficientNet-Lite0 up to its last stage, pooled and whitened: frames -> vectors of 256.

Tan and Le, EfficientNet, ICML 2019 (arXiv 1905.11946); the Lite form leaves out squeeze-and-excitation and uses ReLU6.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

CHUNK_FRAMES = {"cpu": 16, "cuda": 512}
POOLED = 320
DIMS = 256
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

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = frames.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        x = functional.relu6(self._conv_stem((x.float() - 127) / 128))
        for block in self._blocks:
            x = block(x)
        return x.clamp(min=1e-6).pow(POWER).mean((2, 3)).pow(1 / POWER)


class Glance(nn.Module):
    """(N, S, S, 3) uint8 -> (N, 256) of length one, and how much there is to see in each frame, (N,) in [0, 1]."""

    mean: torch.Tensor
    whitening: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lite0 = Lite0()
        self.register_buffer("mean", torch.zeros(POOLED))
        self.register_buffer("whitening", torch.zeros(POOLED, DIMS))

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chunk = CHUNK_FRAMES.get(frames.device.type, CHUNK_FRAMES["cuda"])
        pooled = torch.cat([self.lite0(part) for part in frames.split(chunk)])
        vectors = (functional.normalize(pooled, dim=1) - self.mean) @ self.whitening
        return functional.normalize(vectors, dim=1), content(frames)


def content(frames: torch.Tensor) -> torch.Tensor:
    """How much there is to see: 1 where detail fills a fifth of the frame, 0 where it is flat; (N, S, S, 3) -> (N,)."""
    grey = frames.float().mean(3)[:, None]
    mean = functional.avg_pool2d(grey, 8)
    spread = (functional.avg_pool2d(grey.square(), 8) - mean.square()).clamp(min=0).sqrt()
    return ((spread > 4).float().mean((1, 2, 3)) * 5).clamp(max=1.0)


# --- Batch norms folded into the convolution before them

_NORMS = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2", "_conv_stem": "_bn0"}
_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")


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
