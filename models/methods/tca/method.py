"""TCA: vectors of frames put into the context of their video by self-attention; compared by frame or as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ndvr.models.card import BACKBONE, CACHE, RESNET50, Card, File, Frames, Option
from ndvr.models.layers.regions import LITE0, on_lite0
from ndvr.models.method import Method, Network, Options, Part
from ndvr.models.methods.tca._build import build_comparison, build_frames, channels, whole
from ndvr.models.methods.tca._compare import cosine_matrix

CARD = Card(
    title="TCA",
    paper="Shao et al., Temporal Context Aggregation for Video Retrieval with Contrastive Learning, WACV 2021 "
    "(arXiv 2008.01334)",
    view=Frames(fps=1, rule="tca", resize=256, crop=224, kernel="cubic"),
    feature_shape=(1024,),
    symmetric_if=({"similarity": "symmetric"}, {"similarity": "cosine"}),
    # The authors released no weights, no PCA file and no features: give files of your own.
    weights={
        "not_released": File(
            name="tca.pth",
            url="https://github.com/xwen99/temporal_context_aggregation",
            licence="Apache-2.0 (code)",
        ),
    },
    requires={
        "resnet50": RESNET50,
    },
    options={
        "pca": Option(
            default=None,
            help="PCA file (.npz) of `ndvr fit-pca` or in its format, none was released; none: raw features of 3840, "
            "with backbone=lite0 of 768",
            part="embed",
        ),
        "dims": Option(
            default=None, help="numbers kept by the PCA; default: what the weights compare, at most 1024", part="embed"
        ),
        "whitening": Option(
            default="on",
            choices=("on", "off"),
            help="off projects without making all directions equally strong",
            part="embed",
        ),
        "pooling": Option(
            default="imac",
            choices=("imac", "rmac"),
            help="how a frame becomes one vector: its largest activations (paper), or the sum of regions",
            part="embed",
        ),
        "backbone": BACKBONE,
        "encoder": Option(
            default="transformer",
            choices=("transformer", "netvlad", "nextvlad", "lstm", "gru", "none"),
            help="what aggregates frames; four are the paper's comparisons, none compares features as they are",
        ),
        "heads": Option(default=8, help="attention heads of the transformer; its other sizes are read off the weights"),
        "similarity": Option(
            default="chamfer",
            choices=("chamfer", "symmetric", "cosine"),
            help="TCA_f looks for the query's frames in the target; TCA_sym both ways; TCA_c keeps one vector a video",
        ),
        "comparator": Option(
            default=None,
            help="file of the CNN on the matrix of frames; on, off; default: on where the weights hold one",
        ),
        "cache": CACHE,
    },
)


class TCA(Method):
    """Frame vectors of ResNet-50, whitened; encoded by a transformer; Chamfer similarity or cosine.

    Weights hold one or several of: the authors' `transformer_encoder.layers.*`; their comparator's `conv1.*`,
    `conv2.*`, `conv3.*`, `fconv.*`, bare or below `comparator.`; torchvision's ResNet-50, bare or below `cnn.`;
    `pca.U`, `pca.lams`, `pca.mu`.
    """

    def feature_shape(self, options: Options) -> tuple[int, ...]:
        if options["pca"] == "none":
            return (channels(options),)
        dims = whole(options, "dims")
        return (dims or min(*self.card.feature_shape, channels(options)),)

    def compact(self, options: Options) -> bool:
        return options["similarity"] == "cosine"

    def published(self, options: Options) -> str:
        return LITE0 if on_lite0(options) else "resnet50"  # of the features; the rest has to be given

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> nn.Module:
        if part == "embed":
            return build_frames(weights, options, self.card, fetch=fetch)
        return build_comparison(weights, options, self.card)

    def score_matrix(
        self, network: Network, queries: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        if network.similarity == "cosine":
            return cosine_matrix(torch.stack(list(queries)), torch.stack(list(targets)))
        return super().score_matrix(network, queries, targets)


METHOD = TCA(CARD)
