"""Glance: finds copies and alike scenes by vectors of frames; its network comes with a package and fits any machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import CACHE, LITE0, Card, Frames
from ndvr.models.keys import Keys, whole_windows
from ndvr.models.layers import lite0
from ndvr.models.method import Method, Network, Options, Part

CARD = Card(
    title="Glance",
    paper="ours: EfficientNet-Lite0 (Tan and Le, ICML 2019) trained on ImageNet, generalised mean, whitened",
    view=Frames(fps=1.0, rule="ffmpeg", resize=(192, 192), crop=192, kernel="area"),
    feature_shape=(257,),  # a byte a number of 256, and one for how much there is to see
    feature_dtype="uint8",
    symmetric=True,
    range=(0.0, 1.0),
    weights={"imagenet": LITE0},
    options={"cache": CACHE},
)
DIMS = 256
_BEST = 3  # frames of a video that make its score
_LEAST_CONTENT = 0.3  # of a frame with a key
_LEVELS = 127
_SPAN = 0.6  # the largest number of a vector that a byte holds


class Glance(nn.Module):
    """(N, S, S, 3) uint8 -> (N, 256) of length one, and how much there is to see in each frame, (N,) in [0, 1]."""

    mean: torch.Tensor
    whitening: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lite0 = lite0.Lite0()
        self.register_buffer("mean", torch.zeros(lite0.POOLED))
        self.register_buffer("whitening", torch.zeros(lite0.POOLED, DIMS))

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chunk = lite0.CHUNK_FRAMES.get(frames.device.type, lite0.CHUNK_FRAMES["cuda"])
        # On a GPU in half floats, at twice the speed: what is stored has seven bits.
        with torch.autocast(frames.device.type, torch.float16, enabled=frames.is_cuda):
            pooled = torch.cat([self.lite0(part) for part in frames.split(chunk)])
        vectors = (functional.normalize(pooled, dim=1) - self.mean) @ self.whitening
        return functional.normalize(vectors, dim=1), content(frames)


def content(frames: torch.Tensor) -> torch.Tensor:
    """Tell how much there is to see: 1 where detail fills a fifth of the frame,
    0 where it is flat; (N, S, S, 3) -> (N,).
    """
    red, green, blue = frames.float().unbind(3)
    grey = ((red + green + blue) / 3)[:, None]
    mean = functional.avg_pool2d(grey, 8)
    spread = (functional.avg_pool2d(grey.square(), 8) - mean.square()).clamp(min=0).sqrt()
    return ((spread > 4).float().mean((1, 2, 3)) * 5).clamp(max=1.0)


class GlanceMethod(Method):
    """Vectors of frames, compared by the three frames of each video that agree best with any of the other.

    Weights are the published tensors of the whole network, or those of ours: `lite0.*`, `mean`, `whitening`.
    """

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> torch.nn.Module:
        if part == "similarity":
            return torch.nn.Identity()
        network = Glance()
        seed = random_weights.seed_of(weights)
        if seed is not None:
            state, source = random_weights.seeded(network, seed), str(weights)
        else:
            state, source = _state(weights, self.card, options)
        files.load_into(network, state, source=source)
        return network.to(memory_format=torch.channels_last)

    def embed(self, network: Network, windows: torch.Tensor) -> torch.Tensor:
        """Encode frames: (N, 192, 192, 3) uint8 -> (N, 257) uint8."""
        vectors, content = network(windows)
        codes = (vectors / _SPAN * _LEVELS).round().clamp(-_LEVELS, _LEVELS) + 128
        return torch.cat([codes, (content * 255).round()[:, None]], 1).to(torch.uint8)

    def signature(self, network: Network, features: torch.Tensor) -> torch.Tensor:
        """Decode vectors, weighed by how much there is to see: (T, 257) uint8 -> (T, 256), of length one or less."""
        vectors, content = _decoded(features)
        return vectors * content[:, None].sqrt()

    def similarities(self, network: Network, query: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
        """Score each pair by the mean of the best frames of both: (V,) in [0, 1]."""
        return torch.stack([_score(query @ target.T) for target in targets])

    def matrix(self, network: Network, query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compare every frame with every frame: (Tq, Tt) in [0, 1]."""
        return (query @ target.T).clamp(0, 1)

    def keys(self, network: Network, features: torch.Tensor) -> Keys:
        """Make keys of (T, 257) uint8: the vectors of frames that show something and do not repeat the one before."""
        vectors, content = _decoded(features.cpu())
        shown = torch.nonzero(content > _LEAST_CONTENT)[:, 0].numpy()
        return _of_windows(vectors.numpy()[shown], shown)


def _decoded(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode vectors (T, 256) of length one, and how much there is to see, (T,) in [0, 1]."""
    vectors = (features[:, :DIMS].float() - 128) / _LEVELS * _SPAN
    return torch.nn.functional.normalize(vectors, dim=1), features[:, DIMS].float() / 255


def _score(alike: torch.Tensor) -> torch.Tensor:
    """Average the best rows and the best columns of (Tq, Tt)."""
    means = [alike.amax(dim).topk(min(_BEST, alike.shape[1 - dim])).values.mean() for dim in (0, 1)]
    return ((means[0] + means[1]) / 2).clamp(0, 1)


def _of_windows(vectors: np.ndarray, windows: np.ndarray) -> Keys:
    """Make keys of vectors (K, D) of windows (K,)."""
    keys = whole_windows(vectors)
    return replace(keys, windows=windows[keys.windows].astype(np.int32))


# --- Where the network comes from: a package of the index, a file in the cache, or what the user names

WHITENING = Path(__file__).with_name("whitening.npz")


def _state(weights: Any, card: Card, options: Options) -> tuple[files.State, str]:
    """Find the tensors of `Glance`, and a name for error texts. WeightsError says what to install."""
    if weights is None or (isinstance(weights, str) and weights in card.weights):
        weights = lite0.published_file(options["cache"])
    state, source = files.resolve(weights, card.weights, cache=options["cache"])
    if "whitening" in state:
        return state, source
    ready = {f"lite0.{key}": value for key, value in lite0.read_state(state, source=source).items()}
    with np.load(WHITENING) as fitted:
        return ready | {key: torch.from_numpy(fitted[key]).float() for key in ("mean", "whitening")}, source


METHOD = GlanceMethod(CARD)
