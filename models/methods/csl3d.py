"""3D-CSL: one vector per clip of eight pictures, compared by Chamfer similarity; trained without labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import CACHE, Card, Clips, File, Option
from ndvr.models.layers.vector_chamfer import chamfer
from ndvr.models.method import Method, Network, Options, Part
from ndvr.models.methods.timesformer import TimeSformer

CARD = Card(
    title="3D-CSL",
    paper="Deng et al., 3D-CSL: self-supervised 3D context similarity learning for near-duplicate video retrieval, "
    "ICIP 2023 (arXiv 2211.05352)",
    view=Clips(fps=1, rule="opencv", resize=224, crop=224, kernel="linear", long_side="floor", length=8),
    feature_shape=(768,),
    weights={
        # A folder of Google Drive, which plain HTTP cannot fetch from: the error says where to put the file.
        "csl3d_base": File(
            name="best_model_base_224_16x16_rgb.pth",
            url="https://drive.google.com/drive/folders/1Zd01H2dwewE3FzjF46Kc80icHEbcArCI",
            licence="Apache-2.0 (code)",
        ),
    },
    options={
        "size": Option(
            default="base",
            choices=("base", "small"),
            help="the network: 768 numbers a clip, or 384 at a quarter of the work (needs weights of your own)",
            part="embed",
        ),
        "similarity": Option(
            default="chamfer",
            choices=("chamfer", "topk", "symmetric"),
            help="chamfer looks for the whole query in the target, topk for its three best clips, as published both; "
            "symmetric averages both directions",
        ),
        "cache": CACHE,
    },
)

WIDTHS = {"base": 768, "small": 384}
TOP_CLIPS = 3  # of the authors' --topk-cs
PREFIX = "feature_extractor.model."


class CSL3D(Method):
    """Class tokens of clips, made unit vectors and compared as sets.

    Weights have the authors' names, `feature_extractor.model.*`; comparing needs none.
    """

    def feature_shape(self, options: Options) -> tuple[int, ...]:
        return (WIDTHS[options["size"]],)

    def symmetric(self, options: Options) -> bool:
        return options["similarity"] == "symmetric"

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> nn.Module:
        if part == "similarity":
            return Comparison(options["similarity"])
        size = options["size"]
        with torch.device("meta"):  # no point in initialising what is loaded next
            network = ClipNetwork(WIDTHS[size])
        if (seed := random_weights.seed_of(weights)) is not None:
            files.load_into(network, _untrained(network, seed), source=str(weights))
            return network
        published = weights is None or (isinstance(weights, str) and weights in self.card.weights)
        if published and size != "base":
            raise files.WeightsError(f"the authors name no file of size={size!r}; give one of your own as weights")
        state, source = files.resolve(weights, self.card.weights, cache=options["cache"])
        found = files.divide(state, {"embed": (PREFIX,)}, source=source)["embed"]
        _check_size(found, size, source)
        files.load_into(network, found, source=source)
        return network

    def embed(self, network: Network, windows: torch.Tensor) -> torch.Tensor:
        """(N, T, H, W, 3) uint8 -> (N, 768 or 384) float32, not normalised; made for T = 8 and 224 x 224."""
        return network(windows)

    def signature(self, network: Network, features: torch.Tensor) -> torch.Tensor:
        """(T, D) -> (T, D), L2-normalised. A zero vector stays zero and is like nothing; the authors' gives NaN."""
        return functional.normalize(features, dim=-1)

    def similarities(self, network: Network, query: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
        """(V,) in [-1, 1]."""
        return network(query, targets)

    def matrix(self, network: Network, query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(Tq, Tt) cosines of clips."""
        return query @ target.t()


class ClipNetwork(nn.Module):
    """The network under the authors' names."""

    def __init__(self, dims: int):
        super().__init__()
        self.feature_extractor = nn.ModuleDict({"model": TimeSformer(dims)})

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.feature_extractor["model"](clips)


class Comparison(nn.Module):
    """Chamfer similarity in one of its three forms; it has no weights."""

    def __init__(self, kind: str):
        super().__init__()
        self.symmetric = kind == "symmetric"
        self.top_k = TOP_CLIPS if kind == "topk" else None

    def forward(self, query: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
        return chamfer(query, targets, symmetric=self.symmetric, top_k=self.top_k)


def _untrained(network: nn.Module, seed: int) -> files.State:
    """Seeded noise, larger where pictures are read and smaller in what all share (1 x ... x C): else all look alike."""
    gains = {2: 2.0, 3: 0.5, 4: 2.0}
    return {key: value * gains.get(value.ndim, 1.0) for key, value in random_weights.seeded(network, seed).items()}


def _check_size(state: files.State, size: str, source: str) -> None:
    token = state.get(PREFIX + "cls_token")
    width = None if token is None else token.shape[-1]
    for other, dims in WIDTHS.items():
        if width == dims != WIDTHS[size]:
            raise files.WeightsError(
                f"{source} holds the {other} network ({dims} numbers a clip), but size={size!r} "
                f"({WIDTHS[size]}) was asked for; pass size={other!r}"
            )


METHOD = CSL3D(CARD)
