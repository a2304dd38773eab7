"""DnS: students of ViSiL, fine ones for scores, a coarse one for speed, a selector that says where to doubt it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ndvr.models.card import BACKBONE, CACHE, PCA, PCA_VCDB, RESNET50, SAMPLERS, Card, File, Option, Selector, View
from ndvr.models.layers.regions import LITE0, build_extractor, on_lite0, refuse_published, region_shape
from ndvr.models.method import Method, Network, Options, Part
from ndvr.models.methods.dns import _networks as networks
from ndvr.models.methods.dns._networks import CoarseStudent
from ndvr.models.methods.dns._selector import SelectorMethod

CARD = Card(
    title="DnS",
    paper="Kordopatis-Zilos et al., DnS: Distill-and-Select for Efficient and Accurate Video Indexing and Retrieval, "
    "IJCV 2022 (arXiv 2106.13266)",
    view=SAMPLERS["opencv"],
    feature_shape=(9, 512),
    min_windows=4,  # the comparator halves twice; shorter videos are repeated
    symmetric_if=({"student": "coarse"},),
    weights={
        "dns_fg_att_student": File(
            name="dns_fg_att_student.pth",
            url="https://mever.iti.gr/distill-and-select/models/dns_fg_att_student.pth",
            licence="Apache-2.0 (code)",
        ),
        "dns_fg_bin_student": File(
            name="dns_fg_bin_student.pth",
            url="https://mever.iti.gr/distill-and-select/models/dns_fg_bin_student.pth",
            licence="Apache-2.0 (code)",
        ),
        "dns_cg_student": File(
            name="dns_cg_student.pth",
            url="https://mever.iti.gr/distill-and-select/models/dns_cg_student.pth",
            licence="Apache-2.0 (code)",
        ),
        "dns_selector_cg-fg_att": File(
            name="dns_selector_cg-fg_att.pth",
            url="https://mever.iti.gr/distill-and-select/models/dns_selector_cg-fg_att.pth",
            licence="Apache-2.0 (code)",
        ),
        "dns_selector_cg-fg_bin": File(
            name="dns_selector_cg-fg_bin.pth",
            url="https://mever.iti.gr/distill-and-select/models/dns_selector_cg-fg_bin.pth",
            licence="Apache-2.0 (code)",
        ),
    },
    requires={
        "resnet50": RESNET50,
        "pca": PCA_VCDB,
    },
    options={
        "student": Option(
            default="auto",
            choices=("auto", "fine_attention", "fine_binary", "fine_plain", "coarse"),
            help="fine_attention compares regions, fine_binary 64-byte codes of them, coarse one vector a video; "
            "auto: the one that the weights are of (published or random: fine_attention); fine_plain, without "
            "attention, is unpublished",
        ),
        "sampler": Option(
            default="opencv",
            choices=tuple(SAMPLERS),
            help="how frames are picked and resized: as DnS's loader, or as S2VS's",
            part="embed",
        ),
        "backbone": BACKBONE,
        "pca": PCA,
        "cache": CACHE,
    },
    selector=Selector(proposer={"student": "coarse"}),
)

_PUBLISHED = {"fine_binary": "dns_fg_bin_student", "coarse": "dns_cg_student"}  # of others: the card's first


class DnS(Method):
    """One of three students, over the same features as S2VS; the fine attention student is S2VS's network.

    Weights may hold either part or both, with the authors' names: those of one student; `normalizer.*`, `cnn.*`,
    `pca.*`. The published files hold a student, or a selector, which is for `ndvr.models.methods.dns.search`.
    """

    def view(self, options: Options) -> View:
        return SAMPLERS[options["sampler"]]

    def compact(self, options: Options) -> bool:
        return options["student"] == "coarse"

    def feature_shape(self, options: Options) -> tuple[int, ...]:
        return region_shape(options, dims=512)

    def published(self, options: Options) -> str:
        if on_lite0(options):
            return LITE0
        return _PUBLISHED.get(options["student"], "dns_fg_att_student")

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> nn.Module:
        if part == "embed":
            return build_extractor(weights, options, self.card, dims=512, fetch=fetch)
        refuse_published(weights, options, self.card)
        weights = self.published(options) if weights is None else weights
        student, network = networks.load(weights, options["student"], self.card, cache=options["cache"])
        options["student"] = student  # so that what the card says of it holds
        return network

    def selector(self) -> Method:
        return SelectorMethod(self.card)

    def to_proposer_scale(self, scores: torch.Tensor) -> torch.Tensor:
        return self.selector().to_proposer_scale(scores)

    def score_matrix(
        self, network: Network, queries: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        if isinstance(network, CoarseStudent):
            return network.score_matrix(queries, targets)
        return super().score_matrix(network, queries, targets)


METHOD = DnS(CARD)
