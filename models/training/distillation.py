"""DnS (Kordopatis-Zilos et al., IJCV 2022): students that learn a teacher's scores, and the selector that doubts them.

    recipe = DnSStudent(model.network("similarity"), DnSSettings(anchors=8))      # fine or coarse: the network decides
    recipe = DnSSelector(models.load_selector("dns", "random").network("similarity"), SelectorSettings())

The authors train on features of stored videos as well, so nothing of theirs is left out but the file that says which
pairs of a video count as positives: here `related` says it, or the height of the teacher's score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ndvr.models.training import batches, losses, views
from ndvr.models.training.recipe import Recipe, Videos, set_dropout, some, start_attention, tensor

_ROUNDS = 50  # of ITQ
_MOMENTUM = 0.1  # of batch normalisation's running numbers, as torch has it
_FINE, _COARSE = 1e-4, 1e-5  # the authors' learning rates


# --- Students ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DnSSettings:
    """Defaults are the authors' but for those marked *."""

    anchors: int = 32  # a batch: each with a positive and a negative
    frames: int = 300  # the first of a video; * also of anchors, which the authors leave whole
    positive: float = 0.0  # * the teacher's score from which a pair is a positive, where --related says nothing of it
    rate: float = 0.0  # 0: the authors', 1e-4 for a fine student and 1e-5 for the coarse one
    range_weight: float = 1e-3  # of a fine student's cells outside [-1, 1]
    dropout: float = 0.1  # of the coarse student's Transformer
    regions: int = 10_000  # * by which the rotation of the binary student begins, with ITQ (1,000,000)


@dataclass(frozen=True, kw_only=True)
class Triplets:
    """A batch of N."""

    anchors: list[torch.Tensor]
    targets: tuple[list[torch.Tensor], list[torch.Tensor]]  # positives, negatives
    teacher: torch.Tensor  # (2, N) in [-1, 1]


class DnSStudent(Recipe):
    """Give the scores that the teacher gives, to a positive and to a negative of every anchor."""

    Settings = DnSSettings
    settings: DnSSettings
    _seed: int | None = None  # of a start that is drawn

    def __init__(self, network: Any, settings: DnSSettings):
        super().__init__(network, settings)
        self.coarse = not hasattr(network, "visil_head")
        set_dropout(network, settings.dropout)

    def begin(self, seed: int) -> None:
        super().begin(seed)
        self._seed = seed

    def _begin_others(self) -> None:
        for name, parameter in self.network.named_parameters():
            if not start_attention(name, parameter) and name.endswith("centroids"):
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)

    def settle(self, videos: Videos, *, parts: int, seed: int) -> None:
        scores = _scores(videos.teacher, "a teacher's scores")
        related = np.zeros(scores.shape, bool)
        places = {video_id: place for place, video_id in enumerate(videos.ids)}
        for video_id, others in videos.related.items():
            related[places[video_id], [places[other] for other in others]] = True
        known = np.isfinite(scores)
        high = related if related.any() else scores >= self.settings.positive  # NaN is not
        self._positives, self._negatives = high & known, ~high & known
        self._anchors = [
            video_id
            for video_id, place in places.items()
            if self._positives[place].any() and self._negatives[place].any()
        ]
        if not self._anchors:
            raise ValueError(
                "no video has a positive and a negative among the teacher's scores, which lie between "
                f"{np.nanmin(scores):.3g} and {np.nanmax(scores):.3g}: give --related FILE, or --set positive=SCORE"
            )
        self._places, self._teacher = places, scores
        if hasattr(self.network, "binarization") and self._seed is not None:
            self.network.binarization.W.data.copy_(rotation(videos, self.settings.regions, self._seed))

    def draw(self, videos: Videos, rng: np.random.Generator) -> Triplets:
        anchors = some(self._anchors, self.settings.anchors, rng)
        rows = [self._places[video_id] for video_id in anchors]
        columns = [
            [rng.choice(np.flatnonzero(kind[row])) for row in rows] for kind in (self._positives, self._negatives)
        ]
        positives, negatives = (
            [self._video(views.changed_as_stored(videos.features[videos.ids[place]], rng)) for place in kind]
            for kind in columns
        )
        return Triplets(
            anchors=[self._video(videos.features[video_id]) for video_id in anchors],
            targets=(positives, negatives),
            teacher=torch.from_numpy(np.stack([self._teacher[rows, kind] for kind in columns])),
        )

    def _video(self, features: np.ndarray) -> torch.Tensor:
        return batches.long_enough(tensor(features[: self.settings.frames]))

    def loss(self, batch: Triplets) -> tuple[torch.Tensor, None]:
        if self.coarse:
            with self.reduced():
                anchors, *targets = (self.network.vectors(each).float() for each in (batch.anchors, *batch.targets))
            scores = torch.stack([(anchors * each).sum(1) for each in targets])
            return losses.distillation(scores, batch.teacher / 2 + 0.5), None
        with self.reduced():
            anchors = [batches.prepare(self.network, each) for each in batch.anchors]
            matrices = [  # recomputed one by one for gradients: all products of a batch would take gigabytes
                checkpoint(batches.frame_similarities, self.network, anchor, target, use_reentrant=False)
                for targets in batch.targets
                for anchor, target in zip(anchors, (batches.prepare(self.network, each) for each in targets))
            ]
            scores, cells = batches.score(self.network, *batches.padded(matrices))
        teacher, weight = batch.teacher.flatten(), self.settings.range_weight
        return losses.distillation(scores, teacher, cells, range_weight=weight), None

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.learning_rate(0, 1))

    def learning_rate(self, step: int, n_steps: int) -> float:
        """Keep the rate the same from first to last."""
        return self.settings.rate or (_COARSE if self.coarse else _FINE)


def _scores(given: np.ndarray | None, what: str) -> np.ndarray:
    if given is None:
        raise ValueError(f"DnS learns from {what}: none are given")
    return given


def rotation(videos: Videos, count: int, seed: int) -> torch.Tensor:
    """Fit the start of the binary student, (D, D): what brings regions closest to signs
    (ITQ: Gong, Lazebnik, CVPR 2011).

    Principal axes of `count` regions, drawn from all videos, then rotated in 50 rounds to lose least by the signs.
    """
    rng = np.random.default_rng(seed)
    every = [features.reshape(-1, features.shape[-1]) for features in videos.features.values()]
    each = -(-count // len(every))
    regions = tensor(np.concatenate([rng.permutation(rows)[:each] for rows in every]))
    regions = functional.normalize(regions, dim=-1)
    regions = regions - regions.mean(0)
    axes = torch.linalg.eigh(regions.t() @ regions).eigenvectors
    projected = regions @ axes
    turn = torch.linalg.qr(tensor(rng.standard_normal(axes.shape))).Q
    for _ in range(_ROUNDS):
        left, _, right = torch.linalg.svd(projected.t() @ torch.sign(projected @ turn))
        turn = left @ right
    return axes @ turn


# --- The selector -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SelectorSettings:
    """Defaults are the authors' but for those marked *."""

    batch: int = 64  # pairs, half of them such that the coarse score is wrong
    wrong: float = 0.2  # by so much, both scores in [0, 1]
    frames: int = 300  # * the first of a video
    rate: float = 1e-4
    share: float = 0.05  # * of targets that are compared closely when the selector is judged


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A batch of N pairs."""

    videos: list[torch.Tensor]  # N queries, then N targets
    coarse: torch.Tensor  # (N,) scores
    wrong: torch.Tensor  # (N,) 1 where these are, else 0


class DnSSelector(Recipe):
    """Tell pairs of which the coarse score is wrong, by what each video is like in itself and by that score.

    What batch normalisation has seen enters its running numbers after the step, in the order of batches, so that it
    does not matter who computed which.
    """

    Settings = SelectorSettings
    settings: SelectorSettings

    def settle(self, videos: Videos, *, parts: int, seed: int) -> None:
        fine, coarse = _scores(videos.teacher, "a fine student's scores"), _scores(videos.coarse, "coarse scores")
        if self.settings.batch < 4:
            raise ValueError(f"batch={self.settings.batch}: give at least 4 pairs, two of each kind")
        apart = np.abs(fine / 2 + 0.5 - coarse)
        self._kinds = [np.flatnonzero(apart > self.settings.wrong), np.flatnonzero(apart <= self.settings.wrong)]
        if not all(map(len, self._kinds)):
            raise ValueError(
                f"coarse scores and fine ones, brought to [0, 1], differ by {np.nanmin(apart):.3g} to "
                f"{np.nanmax(apart):.3g}: a selector needs pairs above and below wrong={self.settings.wrong:g}; give "
                "--set wrong=NUMBER"
                if np.isfinite(apart).any()
                else "no pair has both a fine score and a coarse one: give SCORES of the same videos"
            )
        self._coarse = coarse

    def draw(self, videos: Videos, rng: np.random.Generator) -> Pairs:
        half = self.settings.batch // 2
        pairs = np.concatenate([kind[rng.integers(len(kind), size=half)] for kind in self._kinds])
        places = np.concatenate(np.divmod(pairs, len(videos.ids)))
        drawn = [tensor(videos.features[videos.ids[place]][: self.settings.frames]) for place in places]
        return Pairs(
            videos=[batches.long_enough(each) for each in drawn],
            coarse=torch.from_numpy(self._coarse.ravel()[pairs]),
            wrong=torch.cat([torch.ones(half), torch.zeros(half)]),
        )

    def loss(self, batch: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
        with self.reduced():
            queries, targets = own_similarities(self.network, batch.videos).chunk(2)
        x, seen = torch.stack([queries, targets, batch.coarse], -1), []
        for layer in self.network.mlp["model"]:
            if isinstance(layer, nn.BatchNorm1d):
                seen += [x.detach().mean(0), x.detach().var(0)]
                x = functional.batch_norm(x, None, None, layer.weight, layer.bias, training=True, eps=layer.eps)
            else:
                x = layer(x)
        return functional.binary_cross_entropy(x[:, 0], batch.wrong), torch.cat(seen)[None]

    def learnt(self, keys: torch.Tensor) -> None:
        running = [getattr(layer, name) for layer in self._normalisations() for name in ("running_mean", "running_var")]
        for batch in keys:
            for kept, seen in zip(running, batch.view(len(running), -1)):
                kept.lerp_(seen, _MOMENTUM)

    def _normalisations(self) -> list[nn.BatchNorm1d]:
        return [layer for layer in self.network.mlp["model"] if isinstance(layer, nn.BatchNorm1d)]

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.settings.rate)

    def learning_rate(self, step: int, n_steps: int) -> float:
        """Keep the rate the same from first to last."""
        return self.settings.rate


def own_similarities(network: Any, videos: Sequence[torch.Tensor]) -> torch.Tensor:
    """Compare each of N videos with itself, (N,), in a batch that is padded: what the selector knows of a video.

    The authors' training: masks are pooled by their maximum, so that it differs a little from `network.signature`.
    """
    frames = [network.attention(features).mean(1) for features in videos]
    matrix, mask = batches.padded([each @ each.t() for each in frames])
    cells, kept = batches.masked_cells(network.visil_head, matrix, mask)
    return cells.float().sum((1, 2, 3)) / kept.sum((1, 2, 3))
