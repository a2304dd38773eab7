"""AuSiL: the sound of videos, compared by vectors of two seconds each and a small CNN."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import CACHE, Card, File, Mel, Option, View
from ndvr.models.method import Method, Options, Part
from ndvr.models.methods.ausil import _weights as ausil_weights
from ndvr.models.methods.ausil._network import N_FEATURES, SoundHead, SoundNetwork

CARD = Card(
    title="AuSiL",
    paper="Avgoustinakis et al., Audio-based Near-Duplicate Video Retrieval with Audio Similarity Learning, ICPR 2020 "
    "(arXiv 2010.08737)",
    view=Mel(),
    feature_shape=(2528,),
    min_windows=2,  # of any sound, as a spectrogram is filled up; videos of fewer than 10 windows are repeated
    weights={
        "ausil": File(
            name="ausil/model.data-00000-of-00001",
            url="https://raw.githubusercontent.com/mever-team/ausil/master/ckpt/model.data-00000-of-00001",
            licence="Apache-2.0",
        ),
    },
    requires={
        "index": File(
            name="ausil/model.index",
            url="https://raw.githubusercontent.com/mever-team/ausil/master/ckpt/model.index",
            licence="Apache-2.0",
        ),
        "cnn": File(
            name="ausil/mx-h64-1024_0d3-1.17.pkl",
            url="https://raw.githubusercontent.com/mever-team/ausil/master/feature_extraction/mx-h64-1024_0d3-1.17.pkl",
            licence="none given (anuragkr90/weak_feature_extractor)",
        ),
    },
    options={
        "step": Option(
            default="1s",
            choices=("1s", "125ms"),
            help="time from one window to the next; 125ms is the paper's finer step, eight times the features",
            part="embed",
        ),
        "tail": Option(
            default="keep",
            choices=("keep", "drop"),
            help="windows of nothing but padding at the end, the same in every video: the authors keep them",
            part="embed",
        ),
        "cnn": Option(default=None, help="the sound network's file, if neither in the cache nor beside", part="embed"),
        "comparator": Option(
            default="on",
            choices=("on", "off"),
            help="off compares window similarities without the CNN, as the paper's baseline",
        ),
        "cache": CACHE,
    },
)


class AuSiL(Method):
    """Windows of sound, compared by attention, the CNN and Chamfer similarity.

    Weights may hold either part or both: `layerN.*` of the sound network's file, and the variables of the authors'
    TensorFlow checkpoint under their names (`PCA/*`, `attention_layer/*`, `video_comparator/*`). A path is a torch
    file, or a checkpoint: its folder, one of its files, or what their names have in common.
    """

    def view(self, options: Options) -> View:
        if options["step"] == "125ms":
            return Mel(rows=176, step=11, tail=options["tail"])
        return replace(CARD.view, tail=options["tail"])

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> nn.Module:
        seed = random_weights.seed_of(weights)
        with torch.device("meta"):  # no point in initialising what is loaded next
            network = SoundNetwork() if part == "embed" else SoundHead(N_FEATURES, whole=options["comparator"] == "on")
        if seed is not None:
            seeded = ausil_weights.seeded_embed_state if part == "embed" else ausil_weights.seeded_similarity_state
            state, source = seeded(seed), str(weights)
        elif part == "embed":
            state, source = ausil_weights.embed_state(weights, options, self.card, fetch=fetch)
        else:
            state, source = ausil_weights.similarity_state(weights, options, self.card)
        files.load_into(network, state, source=source)
        return network


METHOD = AuSiL(CARD)
