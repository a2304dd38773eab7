"""S2VS: region vectors of frames, compared by Chamfer similarity and a small CNN; trained without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import Card, File, Frames, Option, View
from ndvr.models.layers.comparator import Comparator
from ndvr.models.layers.extractor import Extractor, backbone_state, constants_state, split_state
from ndvr.models.layers.head import SimilarityHead
from ndvr.models.layers.whitening import projection
from ndvr.models.method import Method, Options

CARD = Card(
    title="S2VS",
    paper="Kordopatis-Zilos et al., Self-Supervised Video Similarity Learning, CVPRW 2023 (arXiv 2304.03378)",
    view=Frames(),
    feature_shape=(9, 512),
    min_windows=4,  # the comparator halves twice; shorter videos are repeated
    weights={
        "s2vs_dns": File(
            name="s2vs_dns.pth", url="https://mever.iti.gr/s2vs/weights/s2vs_dns.pth", licence="MIT (code)"
        ),
        "s2vs_vcdb": File(
            name="s2vs_vcdb.pth", url="https://mever.iti.gr/s2vs/weights/s2vs_vcdb.pth", licence="MIT (code)"
        ),
    },
    requires={
        "resnet50": File(
            name="resnet50-0676ba61.pth",  # torchvision's IMAGENET1K_V1
            url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
            sha256="0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
            licence="BSD-3-Clause (code)",
        ),
        "pca": File(
            name="pca_resnet50_vcdb_1M.pth",
            url="http://ndd.iti.gr/visil/pca_resnet50_vcdb_1M.pth",
            licence="Apache-2.0 (code)",
        ),
    },
    options={
        "sampler": Option(
            default="ffmpeg",
            choices=("ffmpeg", "opencv"),
            help="which of the authors' two loaders to follow; they show different frames of the same second",
            part="embed",
        ),
        "backbone": Option(default=None, help="torchvision's ResNet-50 file, if not in the cache", part="embed"),
        "pca": Option(default=None, help="the authors' PCA file, if not in the cache", part="embed"),
        "similarity": Option(
            default="chamfer",
            choices=("chamfer", "symmetric"),
            help="published models look for the query in the target; symmetric averages both directions",
        ),
        "comparator": Option(
            default="on",
            choices=("on", "off"),
            help="off compares frame similarities without the CNN, as the paper's baseline",
        ),
        "cache": Option(default=None, help="folder of downloaded weight files (default ~/.cache/ndvr)"),
    },
)


class S2VS(Method):
    """Two networks, "embed" and "similarity", built only as far as asked."""

    def view(self, options: Options) -> View:
        if options["sampler"] == "opencv":
            return Frames(rule="opencv", kernel="cubic")
        return Frames(rule="ffmpeg", resize=256, crop=224, kernel="swscale")

    def build(self, weights: Any, options: Options, *, parts: Sequence[str]) -> nn.ModuleDict:
        """Published names hold the similarity network only; the extractor then comes from `requires`.

        A mapping or a file may hold either or both, with the authors' names: `attention.*`, `visil_head.*`;
        `0.*`, `1.0.cnn.*`, `1.1.*` (S2VS) or `normalizer.*`, `cnn.*`, `pca.*` (DnS, ViSiL).
        """
        network = nn.ModuleDict()
        with torch.device("meta"):  # no point in initialising what is loaded next
            if "embed" in parts:
                network["embed"] = Extractor()
            if "similarity" in parts:
                network["similarity"] = SimilarityHead(
                    comparator=Comparator(),
                    symmetric=options["similarity"] == "symmetric",
                    whole=options["comparator"] == "on",
                )
        seed = random_weights.seed_of(weights)
        if seed is not None:
            for name, part in network.items():
                state = random_weights.seeded(part, seed) | (constants_state() if name == "embed" else {})
                files.load_into(part, state, source=weights)
            return network
        given: dict[str, torch.Tensor] = {}
        head: dict[str, torch.Tensor] = {}
        source = ""
        # The published files lack the extractor: for features alone they need not even be there.
        published = weights is None or (isinstance(weights, str) and weights in self.card.weights)
        if "similarity" in parts or not published:
            state, source = files.resolve(weights, self.card.weights, cache=options["cache"])
            given, head = split_state(state)
        if "embed" in parts:
            state = self._extractor_state(given, options)
            files.load_into(network["embed"], state, source=source if given else "the ResNet-50 or PCA file")
        if "similarity" in parts:
            files.load_into(network["similarity"], head, source=source)
        return network

    def _extractor_state(self, given: Mapping[str, torch.Tensor], options: Options) -> dict[str, torch.Tensor]:
        """`given` completed: what it has nothing of comes from the files named in options, else from `requires`."""
        state = {**constants_state(), **given}
        if not any(key.startswith("1.0.cnn.") for key in given):
            path = options["backbone"] or files.fetch(self.card.requires["resnet50"], cache=options["cache"])
            state |= backbone_state(files.state_of(files.read(path)))
        if not any(key.startswith("1.1.") for key in given):
            path = options["pca"] or files.fetch(self.card.requires["pca"], cache=options["cache"])
            pca = projection(files.state_of(files.read(path)), 512, source=str(path))
            state |= {"1.1." + key: value for key, value in pca.items()}
        return state

    def embed(self, network: nn.Module, windows: torch.Tensor) -> torch.Tensor:
        """(N, 224, 224, 3) uint8 -> (N, 9, 512) float32; other sizes give other numbers of regions."""
        return network.get_submodule("embed")(windows)

    def signature(self, network: nn.Module, features: torch.Tensor) -> torch.Tensor:
        """(T, 9, 512) -> (max(T, 4..6), 9, 512) weighted by attention."""
        return _head(network).signature(features)

    def similarities(self, network: nn.Module, query: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
        """(V,) in [-1, 1]. Videos of any length are compared as a whole, where the authors average chunks of 2048."""
        return _head(network).similarities(query, targets)

    def matrix(self, network: nn.Module, query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(Tq, Tt) frame similarities before the CNN."""
        return _head(network).matrix(query, target)


def _head(network: nn.Module) -> SimilarityHead:
    head = network.get_submodule("similarity")
    assert isinstance(head, SimilarityHead)
    return head


METHOD = S2VS(CARD)
