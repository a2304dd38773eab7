"""S2VS: region vectors of frames, compared by Chamfer similarity and a small CNN; trained without labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import BACKBONE, CACHE, PCA, PCA_VCDB, RESNET50, SAMPLERS, Card, File, Option, View
from ndvr.models.layers.comparator import Comparator
from ndvr.models.layers.head import SimilarityHead
from ndvr.models.layers.regions import LITE0, build_extractor, head_state, on_lite0, region_shape
from ndvr.models.method import Method, Options, Part

CARD = Card(
    title="S2VS",
    paper="Kordopatis-Zilos et al., Self-Supervised Video Similarity Learning, CVPRW 2023 (arXiv 2304.03378)",
    view=SAMPLERS["ffmpeg"],
    feature_shape=(9, 512),
    min_windows=4,  # the comparator halves twice; shorter videos are repeated
    # Not with the CNN: its kernels tell a matrix from its transpose.
    symmetric_if=({"similarity": "symmetric", "comparator": "off"},),
    weights={
        "s2vs_dns": File(
            name="s2vs_dns.pth", url="https://mever.iti.gr/s2vs/weights/s2vs_dns.pth", licence="MIT (code)"
        ),
        "s2vs_vcdb": File(
            name="s2vs_vcdb.pth", url="https://mever.iti.gr/s2vs/weights/s2vs_vcdb.pth", licence="MIT (code)"
        ),
    },
    requires={
        "resnet50": RESNET50,
        "pca": PCA_VCDB,
    },
    options={
        "sampler": Option(
            default="ffmpeg",
            choices=tuple(SAMPLERS),
            help="which of the authors' two loaders to follow; they show different frames of the same second",
            part="embed",
        ),
        "backbone": BACKBONE,
        "pca": PCA,
        "similarity": Option(
            default="chamfer",
            choices=("chamfer", "symmetric"),
            help="published models look for the query in the target; symmetric averages both directions",
        ),
        "variant": Option(
            default="auto",
            choices=("auto", "attention", "normalised", "binary", "plain"),
            help="what becomes of regions before they are compared: the published attention, attention by one unit "
            "vector, signs, or nothing; auto is what the weights hold (random ones: attention)",
        ),
        "comparator": Option(
            default="on",
            choices=("on", "off", "dense"),
            help="off compares frame similarities without the CNN, as the paper's baseline; "
            "dense uses the CNN without its pooling, slowly",
        ),
        "picture": Option(
            default="frames",
            choices=("frames", "dense"),
            help="what the matrix of a pair shows: frame similarities, or what the CNN without pooling makes of them",
        ),
        "cache": CACHE,
    },
)


# Variant -> how its head is built.
_HEADS: dict[str, dict[str, Any]] = {
    "attention": {"attention": "mlp"},
    "normalised": {"attention": "normalised"},
    "binary": {"attention": None, "binary": True},
    "plain": {"attention": None},
}


class S2VS(Method):
    """Regions of frames, compared by attention, Chamfer similarity and the CNN.

    Weights may hold either part or both, with the authors' names: `attention.*` or `binarization.W`, `visil_head.*`;
    `0.*`, `1.0.cnn.*`, `1.1.*` (S2VS) or `normalizer.*`, `cnn.*`, `pca.*` (DnS, ViSiL). The published files hold the
    similarity network. With
    backbone=lite0 and no weights, regions are compared by Chamfer similarity alone.
    """

    def view(self, options: Options) -> View:
        return SAMPLERS[options["sampler"]]

    def feature_shape(self, options: Options) -> tuple[int, ...]:
        return region_shape(options, dims=512)

    def published(self, options: Options) -> str:
        return LITE0 if on_lite0(options) else super().published(options)

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> nn.Module:
        if part == "embed":
            return build_extractor(weights, options, self.card, dims=512, fetch=fetch)
        if weights is None and on_lite0(options):  # without training: Chamfer similarity of regions as they are
            return SimilarityHead(attention=None, symmetric=options["similarity"] == "symmetric")
        seed = random_weights.seed_of(weights)
        state, source = ({}, str(weights)) if seed is not None else head_state(weights, options, self.card)
        variant = options["variant"]
        if variant == "auto":
            variant = _variant(state) if state else "attention"
        with torch.device("meta"):
            network = SimilarityHead(
                comparator=Comparator(batch_norm="visil_head.conv1.0.weight" in state),
                symmetric=options["similarity"] == "symmetric",
                whole=options["comparator"] != "off",
                dense=options["comparator"] == "dense",
                picture=options["picture"],
                **_HEADS[variant],
            )
        files.load_into(network, state if seed is None else random_weights.seeded(network, seed), source=source)
        return network


def _variant(state: files.State) -> str:
    """Tell the variant of a similarity network from its tensors."""
    if "binarization.W" in state:
        return "binary"
    if "attention.transform.weight" in state:
        return "attention"
    return "normalised" if "attention.context_vector.weight" in state else "plain"


METHOD = S2VS(CARD)
