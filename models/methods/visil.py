"""ViSiL: region vectors of frames, compared by Chamfer similarity and a small CNN; trained with labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import BACKBONE, CACHE, PCA, PCA_VCDB, RESNET50, SAMPLERS, Card, File, Option, View
from ndvr.models.layers.comparator import Comparator
from ndvr.models.layers.head import SimilarityHead
from ndvr.models.layers.regions import LITE0, build_extractor, head_state, on_lite0, region_shape
from ndvr.models.method import Method, Options, Part

CARD = Card(
    title="ViSiL",
    paper="Kordopatis-Zilos et al., ViSiL: Fine-grained Spatio-Temporal Video Similarity Learning, ICCV 2019 "
    "(arXiv 1908.07410)",
    view=SAMPLERS["opencv"],
    feature_shape=(9, 3840),
    min_windows=4,  # the comparator halves twice; shorter videos are repeated
    weights={
        "visil": File(name="visil.pth", url="http://ndd.iti.gr/visil/visil.pth", licence="Apache-2.0 (code)"),
        "visil_symmetric": File(
            name="visil_symmetric.pth",
            url="http://ndd.iti.gr/visil/visil_symmetric.pth",
            licence="Apache-2.0 (code)",
        ),
    },
    requires={
        "resnet50": RESNET50,
        "pca": PCA_VCDB,
    },
    options={
        "variant": Option(
            default="v",
            choices=("v", "sym", "f", "f_att"),
            help="v: attention and CNN; sym: Chamfer in both directions, on 512 numbers a region; "
            "f: frame similarities only, no similarity weights; f_att: frame similarities after attention",
        ),
        "dims": Option(
            default="auto",
            choices=("auto", "3840", "512", 3840, 512),
            help="numbers a region after whitening; auto: 512 for sym and lite0, 3840 for all others",
            part="embed",
        ),
        "sampler": Option(
            default="opencv",
            choices=tuple(SAMPLERS),
            help="how frames are picked and resized: as the authors of ViSiL, or as those of S2VS",
            part="embed",
        ),
        "backbone": BACKBONE,
        "pca": PCA,
        "cache": CACHE,
    },
)

_COMPARATOR, _THEIR_COMPARATOR = "visil_head.", "video_comperator."  # their spelling
_CONTEXT = "attention.context_vector.weight"


class ViSiL(Method):
    """Regions of frames, compared by attention, Chamfer similarity and the CNN.

    Weights may hold either part or both, with the authors' names: `attention.*`, `video_comperator.*`, also behind
    `visil_head.`; `normalizer.*`, `cnn.*`, `pca.*`, also behind `cnn.`. The published files hold the former.
    """

    def view(self, options: Options) -> View:
        return SAMPLERS[options["sampler"]]

    def feature_shape(self, options: Options) -> tuple[int, ...]:
        return region_shape(options, _dims(options))

    def published(self, options: Options) -> str:
        if on_lite0(options):
            return LITE0
        return "visil_symmetric" if options["variant"] == "sym" else "visil"

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> nn.Module:
        if part == "embed":
            return build_extractor(weights, options, self.card, dims=_dims(options), fetch=fetch)
        variant = options["variant"]
        with torch.device("meta"):
            network = SimilarityHead(
                _dims(options),
                attention=None if variant == "f" else "linear",
                comparator=Comparator(padding="replicate") if variant in ("v", "sym") else None,
                symmetric=variant == "sym",
            )
        if variant == "f":
            return network  # it has no parameters
        seed = random_weights.seed_of(weights)
        if seed is not None:
            state, source = _seeded(network, seed), str(weights)
        else:
            weights = self.published(options) if weights is None and not on_lite0(options) else weights
            state, source = head_state(weights, options, self.card)
            state = _ours(state, options, source)
        files.load_into(network, state, source=source)
        return network


def _dims(options: Options) -> int:
    if options["dims"] == "auto":
        return 512 if options["variant"] == "sym" or on_lite0(options) else 3840
    return int(options["dims"])


def _ours(state: files.State, options: Options, source: str) -> files.State:
    """Pick the variant's tensors, under S2VS's names. WeightsError where their width is another variant's."""
    renamed = {}
    for key, value in state.items():
        inner = key.removeprefix("visil_head.")  # of a whole model
        name = inner if inner.startswith(("attention.", _THEIR_COMPARATOR)) else key
        if name.startswith(_THEIR_COMPARATOR):
            name = _COMPARATOR + name.removeprefix(_THEIR_COMPARATOR)
        if options["variant"] != "f_att" or not name.startswith(_COMPARATOR):
            renamed[name] = value
    width = renamed[_CONTEXT].shape[-1] if _CONTEXT in renamed else 0
    if width and width != _dims(options):
        raise files.WeightsError(
            f"{source} compares {width} numbers a region, these options make {_dims(options)}: visil.pth goes with "
            "variant v, visil_symmetric.pth with variant sym, which has 512; or ask for others with the option dims"
        )
    return renamed


def _seeded(network: nn.Module, seed: int) -> files.State:
    """Draw noise under the authors' names. Their context vector has length one, or weights would leave [0, 1]."""
    state = random_weights.seeded(network, seed, drawn_as={_COMPARATOR: _THEIR_COMPARATOR})
    return state | {_CONTEXT: functional.normalize(state[_CONTEXT], dim=1)}


METHOD = ViSiL(CARD)
