"""Soundprint: finds the same sound without training, by laying small spectrograms over each other at many speeds."""

from __future__ import annotations

import math
from typing import Any

import torch

from ndvr.models.card import Card, Mel
from ndvr.models.keys import Judged, Keys
from ndvr.models.method import Method, Network, Options, Part
from ndvr.models.methods.soundprint import _align as align
from ndvr.models.methods.soundprint import _levels as levels
from ndvr.models.methods.soundprint import _patches as patches

CARD = Card(
    title="Soundprint",
    paper="ours, training-free: local contrast of log-mel levels, correlated at 35 speeds and pitches",
    # Four windows a second, up to 4 kHz: what telephones and low bit rates leave.
    view=Mel(rate_hz=8000, n_fft=512, hop=125, bands=30, rows=16, step=16, block=16, tail="drop"),
    feature_shape=(120,),  # 480 bytes per second of sound
    feature_dtype="uint8",
    compares_on_cpu=True,
    symmetric=True,
    range=(0.0, 1.0),
)


class Soundprint(Method):
    """Levels of 30 bands sixteen times a second, compared by where, at which speed and pitch, they rise and fall alike.

    Silent and constant sound, hiss, and tones that do not change have nothing that rises and falls: they score 0.
    """

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> torch.nn.Module:
        """Return a network that does nothing: there are no weights."""
        return torch.nn.Identity()

    def embed(self, network: Network, windows: torch.Tensor) -> torch.Tensor:
        """Encode windows: (N, 16, 30) decibels -> (N, 120) uint8."""
        return levels.encode(windows)

    def signature(self, network: Network, features: torch.Tensor) -> align.Prepared:
        """Make the contrast of one sound's levels ready for comparing: some 4 kB a second."""
        return align.prepare(features.cpu())

    def similarities(self, network: Network, query: align.Prepared, targets: list[align.Prepared]) -> torch.Tensor:
        """Score each pair on its own, so that batching cannot change a score: (V,) in [0, 1]."""
        return torch.tensor([align.compare(query, target).score for target in targets])

    def matrix(self, network: Network, query: align.Prepared, target: align.Prepared) -> torch.Tensor:
        """Show how windows agree at the speed and pitch of the best match: (Tq, Tt) in [0, 1]."""
        return align.matrix(query, target, align.compare(query, target))

    def keys(self, network: Network, features: torch.Tensor) -> Keys:
        """Make keys of (T, 120) uint8: one a second."""
        return patches.keys(levels.contrast(features.cpu()))

    def probes(self, network: Network, features: torch.Tensor, *, fast: bool = False) -> Keys:
        """Make probes of (T, 120) uint8: four a second, at many speeds and pitches; `fast`: at its own speed only."""
        return patches.probes(levels.contrast(features.cpu()), own_speed_only=fast)

    def own_matrix(self, network: Network, signature: align.Prepared) -> torch.Tensor:
        """Show how the windows of one sound agree: (T, T) in [0, 1]."""
        return (signature.patches @ signature.patches.T).clamp(min=0)

    def judge(
        self, network: Network, query: align.Prepared, target: align.Prepared, least: float = -math.inf
    ) -> Judged:
        """Score a pair, with its matrix, in one comparison."""
        alignment = align.compare(query, target)
        return Judged(score=alignment.score, matrix=align.matrix(query, target, alignment).numpy())


METHOD = Soundprint(CARD)
