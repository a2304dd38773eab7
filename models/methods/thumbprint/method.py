"""Thumbprint: finds copies without training, by laying small pictures over each other in every plausible way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ndvr.models.card import Card, Frames
from ndvr.models.keys import Judged, Keys, Place
from ndvr.models.method import Method, Network, Options, Part, Signature
from ndvr.models.methods.thumbprint import _align as align
from ndvr.models.methods.thumbprint import _codes as codes
from ndvr.models.methods.thumbprint import _keys, _probes, _spot
from ndvr.models.methods.thumbprint import _search as search

CARD = Card(
    title="Thumbprint",
    paper="ours, training-free: DCT thumbnails, exhaustive placement search, local-contrast correlation",
    view=Frames(fps=2.0, rule="ffmpeg", resize=(128, 128), crop=128, kernel="area", grey=True),
    feature_shape=(512,),  # 1024 bytes per second of video
    feature_dtype="uint8",
    compares_on_cpu=True,
    symmetric=True,
    range=(0.0, 1.0),
)


class Thumbprint(Method):
    """Thumbnails of frames, compared by where and when one video's pictures show up in the other's."""

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> torch.nn.Module:
        """Return a network that does nothing: there are no weights."""
        return torch.nn.Identity()

    def embed(self, network: Network, windows: torch.Tensor) -> torch.Tensor:
        """Encode windows: (N, 128, 128) uint8 -> (N, 512) uint8."""
        return codes.encode(windows)

    def signature(self, network: Network, features: torch.Tensor) -> list[search.Prepared]:
        """Decode a video, (T, 512) uint8 -> thumbnails, key frames and their crops, some 6 MB for 600 frames."""
        return search.prepare(search.thumbnails(features.cpu()))

    def windows_at_once(self, options: Options) -> int | None:
        """Return how many frames of a long video are prepared at a time."""
        return search.MAX_FRAMES

    def long_signature(self, network: Network, features: torch.Tensor, n_bytes: int) -> search.Parts:
        """Keep the codes of a long video, (T, 512) uint8, of which parts are prepared when they are compared."""
        return search.Parts(features.cpu(), n_bytes)

    def similarities(self, network: Network, query: Signature, targets: list[Signature]) -> torch.Tensor:
        """Score each pair on its own, so that batching cannot change a score: (V,) in [0, 1]."""
        return align.compare_all([query], targets)[0]

    def score_matrix(
        self, network: Network, queries: Sequence[Signature], targets: Sequence[Signature]
    ) -> torch.Tensor:
        """Score each pair on its own: (Q, V) in [0, 1]."""
        return align.compare_all(queries, targets)

    def matrix(self, network: Network, query: Signature, target: Signature) -> torch.Tensor:
        """Show how frames agree under the best placement: (Tq, Tt) in [0, 1]."""
        return align.best_matrix(query, target)

    def keys(self, network: Network, features: torch.Tensor) -> Keys:
        """Make keys of (T, 512) uint8: four boxes of a frame a second."""
        return _keys.keys(search.thumbnails(features.cpu()))

    def probes(self, network: Network, features: torch.Tensor, *, fast: bool = False) -> Keys:
        """Make probes of (T, 512) uint8: whole frames in all turns, and some 600 parts of a few frames."""
        return _probes.probes(search.thumbnails(features.cpu()), fast=fast)

    def spot(
        self, query: torch.Tensor, targets: Sequence[torch.Tensor], places: Sequence[Sequence[Place]]
    ) -> np.ndarray:
        """Look at the proposed placements of many candidates roughly: whether each may have any evidence, (V,) bool."""
        nats = _spot.spot(query.cpu(), [target.cpu() for target in targets], places)
        return nats > _spot.LEAST

    def own_matrix(self, network: Network, signature: Signature) -> torch.Tensor:
        """Show how whole frames agree: (T, T) in [0, 1]."""
        return align.own_matrix(signature)

    def judge(self, network: Network, query: Signature, target: Signature, least: float = -math.inf) -> Judged:
        """Score a pair, with its matrix and placement, in one comparison."""
        return align.judge(query, target, least)


METHOD = Thumbprint(CARD)
