"""How methods are trained on features or frames: for each the batch, the loss, the optimiser, as its authors have them.

    recipe = RECIPES["tca"](model.network("similarity"), TCASettings(pairs=8))
    recipe.begin(seed=0)                                    # the authors' start, or keep the weights that were loaded
    loss, keys = recipe.loss(recipe.draw(videos, rng))      # backward and step: ndvr.models.training.trainer

A recipe trains what compares features; the backbone that made them stays as it is.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ndvr.models.training import batches, losses, views
from ndvr.models.training.distillation import DnSSelector, DnSStudent
from ndvr.models.training.picture_views import PictureViews, kinds_of
from ndvr.models.training.recipe import Recipe, State, Videos, set_dropout, some, start_attention, tensor

# --- TCA ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TCASettings:
    """Defaults are the authors' but for those marked *, which fit one machine: they used 8 GPUs of 64 pairs each."""

    pairs: int = 16  # * a batch: anchors, each with a positive
    negatives: int = 4  # * other videos for each pair (16); they enter the queue
    queue: int = 1024  # * vectors of past negatives (4096): a multiple of pairs * negatives * parts
    frames: int = 300  # of a video at most, from a random place
    rate: float = 1e-4  # * (1e-5 for each GPU)
    weight_decay: float = 1e-4
    dropout: float = 0.2
    margin: float = 0.25
    gamma: float = 256.0
    temperature: float = 1.0
    momentum: float = 0.0
    authors_code: bool = False  # the circle loss as published in code, not in the paper


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    anchors: list[np.ndarray]
    positives: list[np.ndarray]
    negatives: list[np.ndarray]
    groups: torch.Tensor  # (N,) of the anchors
    other_groups: torch.Tensor  # (M,) of the negatives


class TCA(Recipe):
    """Contrast pairs of related videos with a queue of others (MoCo), by circle loss.

    Without labels the two of a pair are a part of a video and another part of it, changed in time. A vector in the
    queue that is related to an anchor does not count against it.
    """

    Settings = TCASettings
    needs = ("encoder", "heads")
    settings: TCASettings

    def __init__(self, network: Any, settings: TCASettings):
        super().__init__(network, settings)
        self.encoder = network.encoder
        if not hasattr(self.encoder, "transformer_encoder"):
            raise ValueError("of TCA's encoders only the transformer is trained here; leave out option encoder")
        set_dropout(self.encoder, settings.dropout)
        self.keys = copy.deepcopy(self.encoder).requires_grad_(False)
        self._queue_groups = torch.full((settings.queue,), -1)  # of the vectors in the queue; -1: noise

    def begin(self, seed: int) -> None:
        super().begin(seed)
        self.keys.load_state_dict(self.encoder.state_dict())

    def _begin_others(self) -> None:
        for name, parameter in self.encoder.named_parameters():
            start_attention(name, parameter)

    def to(self, device: str | torch.device, *, mixed: bool = False) -> None:
        super().to(device, mixed=mixed)
        self.keys.to(self.device)
        self._queue_groups = self._queue_groups.to(self.device)

    def settle(self, videos: Videos, *, parts: int, seed: int) -> None:
        if len(set(videos.groups.values())) < 2:
            raise ValueError("TCA needs videos that have nothing to do with each other: all of these are related")
        step = self.settings.pairs * self.settings.negatives * parts
        if self.settings.queue % step:
            raise ValueError(
                f"queue={self.settings.queue} does not hold a whole number of steps of {step} negatives; "
                f"give a multiple of {step}"
            )
        with torch.random.fork_rng(devices=()), torch.no_grad():
            torch.manual_seed(seed)
            first = torch.from_numpy(next(iter(videos.features.values()))[:1].astype(np.float32))
            dims = len(self.encoder.video(first.to(self.device)))
            bank = losses.MemoryBank(dims, self.settings.queue, temperature=self.settings.temperature)
        self.bank = bank.to(self.device)

    def draw(self, videos: Videos, rng: np.random.Generator) -> _Pairs:
        ids, size = videos.ids, self.settings.pairs
        labelled = [video_id for video_id in ids if videos.related.get(video_id)]
        anchors = some(labelled or ids, size, rng)
        pairs = [self._pair(video_id, videos, rng) for video_id in anchors]
        taken = {videos.groups[video_id] for video_id in anchors}
        others = [video_id for video_id in ids if videos.groups[video_id] not in taken] or ids
        negatives = some(others, size * self.settings.negatives, rng)
        return _Pairs(
            anchors=[anchor for anchor, _ in pairs],
            positives=[positive for _, positive in pairs],
            negatives=[views.part(videos.features[each], self.settings.frames, rng) for each in negatives],
            groups=torch.tensor([videos.groups[each] for each in anchors]),
            other_groups=torch.tensor([videos.groups[each] for each in negatives]),
        )

    def _pair(self, video_id: str, videos: Videos, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        features, frames = videos.features[video_id], self.settings.frames
        if related := videos.related.get(video_id):
            other = videos.features[related[rng.integers(len(related))]]
            return views.part(features, frames, rng), views.part(other, frames, rng)
        changed = views.changed_in_time(features, rng)
        return views.part(features, frames, rng, least=0.5), views.part(changed, frames, rng, least=0.5)

    def before_step(self) -> None:
        losses.follow(self.keys, self.encoder, momentum=self.settings.momentum)

    def loss(self, batch: _Pairs) -> tuple[torch.Tensor, torch.Tensor]:
        with self.reduced():
            anchors = self._vectors(self.encoder, batch.anchors)
            with torch.no_grad():
                positives, negatives = (self._vectors(self.keys, each) for each in (batch.positives, batch.negatives))
        logits = self.bank(anchors, positives)
        known = batch.groups[:, None] == self._queue_groups[None]
        logits = torch.cat([logits[:, :1], logits[:, 1:].masked_fill(known, -1.0)], 1)
        settings = self.settings
        loss = losses.circle(logits, margin=settings.margin, gamma=settings.gamma, authors_code=settings.authors_code)
        # Their groups travel with them, as one more number: whole numbers below 2^24 are exact.
        return loss, torch.cat([negatives, batch.other_groups[:, None].float()], 1)

    def _vectors(self, encoder: Any, batch: list[np.ndarray]) -> torch.Tensor:
        """Make one vector for each of N videos of any lengths: (N, D)."""
        lengths = torch.tensor([len(features) for features in batch])
        padded = nn.utils.rnn.pad_sequence([tensor(features) for features in batch], batch_first=True)
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        return encoder.videos(padded.to(self.device), mask.to(self.device)).float()

    def learnt(self, keys: torch.Tensor) -> None:
        at = self.bank.position
        self._queue_groups[at : at + len(keys)] = keys[:, -1].long()
        self.bank.push(keys[:, :-1])

    def optimiser(self) -> torch.optim.Optimizer:
        settings = self.settings
        return torch.optim.Adam(self.encoder.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)

    def learning_rate(self, step: int, n_steps: int) -> float:
        """Lower the rate along a cosine to zero; the authors step it once an epoch, of 40."""
        return self.settings.rate * 0.5 * (1 + float(np.cos(np.pi * step / n_steps)))

    def state(self) -> State:
        bank = {"queue": self.bank.queue, "position": self.bank.position, "groups": self._queue_groups}
        return {"keys": self.keys.state_dict(), **bank}

    def load(self, state: State) -> None:
        self.keys.load_state_dict(state["keys"])
        self.bank.queue.copy_(state["queue"])
        self.bank.position, self._queue_groups = state["position"], state["groups"].to(self.device)

    def _saved(self) -> nn.Module:
        """Save what the authors save, the encoder alone, under bare names."""
        return self.encoder


# --- C3DHash --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class C3DHashSettings:
    """Defaults are the authors', whose batches are drawn without regard to classes."""

    batch: int = 120  # videos
    per_class: int = 0  # of each class in a batch, which then has batch / per_class classes; 0: as they come
    margin: float = 14.0  # a little over a quarter of the bits: 14 for 48, 20 for 64
    rate: float = 1e-4  # their code's; a table of theirs says 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    each_once: bool = False  # count every triplet once


class C3DHash(Recipe):
    """Learn bits that tell classes apart, by all triplets of a batch.

    The authors train the 3D ResNet with it, whose features adapt; here these stay as they are, so what learns sees them
    with mean 0 and deviation 1, and the layer of the method is that with both put into its numbers. Videos that are
    connected by pairs count as a class.
    """

    Settings = C3DHashSettings
    prefix = "hash_layer."
    skips_lossless_steps = True
    settings: C3DHashSettings
    _seed: int | None = None  # of a start that is drawn

    def begin(self, seed: int) -> None:
        super().begin(seed)
        self._seed = seed

    def settle(self, videos: Videos, *, parts: int, seed: int) -> None:
        members = videos.members
        if len(members) < 2 or all(len(ids) < 2 for ids in members.values()):
            raise ValueError(
                "C3DHash learns from classes, two at least, one of which has two videos: give --related FILE, a CSV "
                "with video_id and class"
            )
        means = tensor(np.stack([array.astype(np.float32).mean(0) for array in videos.features.values()]))
        self._means = dict(zip(videos.features, means))  # of the frames of each video
        deviation = means.std(0)
        deviation[deviation < 1e-6 * deviation.max()] = 1.0  # numbers that are always the same
        self._mean, self._deviation = means.mean(0).to(self.device), deviation.to(self.device)
        layer = self.network.hashcoder[0]
        self._learner = copy.deepcopy(layer)
        if self._seed is None:
            with torch.no_grad():
                self._learner.weight.copy_(layer.weight * self._deviation)
                self._learner.bias.copy_(layer.bias + layer.weight @ self._mean)
        self._put_together()

    @torch.no_grad()
    def _put_together(self) -> None:
        """Set the method's layer to what was learnt."""
        layer = self.network.hashcoder[0]
        layer.weight.copy_(self._learner.weight / self._deviation)
        layer.bias.copy_(self._learner.bias - layer.weight @ self._mean)

    def draw(self, videos: Videos, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        size, each = self.settings.batch, self.settings.per_class
        if each:
            members = videos.members
            chosen = rng.permutation(list(members))[: max(2, size // each)]
            ids = [video_id for group in chosen for video_id in rng.permutation(members[group])[:each]]
        else:
            ids = [videos.ids[number] for number in rng.permutation(len(videos.features))[:size]]
        classes = torch.tensor([videos.groups[video_id] for video_id in ids])
        return torch.stack([self._means[video_id] for video_id in ids]), classes

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, None]:
        features, classes = batch
        settings = self.settings
        activations = torch.tanh(self._learner((features - self._mean) / self._deviation))
        return losses.all_triplets(activations, classes, margin=settings.margin, each_once=settings.each_once), None

    def optimiser(self) -> torch.optim.Optimizer:
        settings = self.settings
        return torch.optim.SGD(
            self._learner.parameters(),
            lr=settings.rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )

    def learning_rate(self, step: int, n_steps: int) -> float:
        """Divide the rate by ten after every quarter; the authors' quarters are of 40 epochs."""
        return self.settings.rate * 0.1 ** (4 * step // n_steps)

    def after_step(self) -> None:
        self._put_together()

    def state(self) -> State:
        return {"learner": self._learner.state_dict()}

    def load(self, state: State) -> None:
        self._learner.load_state_dict(state["learner"])


# --- S2VS -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class S2VSSettings:
    """Defaults are the authors' but for the one marked *: they had two GPUs, with 64 videos each."""

    videos: int = 8  # * of a batch, two views of each
    frames: int = 32  # of a view
    rate: float = 5e-5
    weight_decay: float = 0.01
    augmentations: str = "TT"  # * of strong views: GT,FT,TT,ViV (all of them), of which all but TT act on pixels


class S2VS(Recipe):
    """Tell views of one video from those of others, by S2VS's whole loss.

    Views are made of frames, as the authors do, or of features, where only time can be changed. Where it is known which
    videos show the same, two of them are the two views: edits are learnt from them.
    """

    Settings = S2VSSettings
    settings: S2VSSettings
    _views: PictureViews | None = None  # of frames

    def __init__(self, network: Any, settings: S2VSSettings):
        super().__init__(network, settings)
        if hasattr(network, "binarization") or not network.whole or network.dense:
            raise ValueError("S2VS is trained with its CNN and without signs: leave out options variant and comparator")

    def settle(self, videos: Videos, *, parts: int, seed: int) -> None:
        if len(set(videos.groups.values())) < 2:
            raise ValueError("S2VS needs videos that have nothing to do with each other: all of these are related")
        self._check_width(videos)
        kinds = kinds_of(self.settings.augmentations)
        if videos.frames:
            assert videos.backbone is not None
            videos.backbone.to(str(self.device))
            self._views = PictureViews(videos.backbone, kinds, threads=os.cpu_count() or 1)
        elif pictured := sorted(kinds - {"TT"}):
            raise ValueError(
                f"augmentations {', '.join(pictured)} act on pixels, which a library of features does not keep: give "
                "the videos in place of LIBRARY, or augmentations TT"
            )

    def _check_width(self, videos: Videos) -> None:
        """Raise ValueError where attention is for regions of another width, as those of a backbone before its PCA."""
        shape = videos.backbone.feature_shape if videos.backbone else next(iter(videos.features.values())).shape
        attention = getattr(self.network, "attention", None)
        width = next(attention.parameters()).shape[-1] if attention is not None else shape[-1]
        if shape[-1] != width:
            raise ValueError(
                f"regions of {shape[-1]} numbers are given, and S2VS compares {width}: whiten them, option pca=FILE of "
                "`ndvr fit-pca`"
            )

    def draw(self, videos: Videos, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw views (2 N, frames, R, D), N weak ones, then N strong ones of the same sources;
        their labels (2 N, 2 N).
        """
        chosen = rng.permutation(list(videos.members))[: self.settings.videos]
        pairs = (self._pair(videos.members[group], rng) for group in chosen)
        if self._views is None:
            made = self._views_of_features(videos, pairs, rng)
            return tensor(made), losses.same_source(torch.eye(len(chosen)))
        sources = [(videos.frames[first], videos.frames[second]) for first, second in pairs]
        made, shown = self._views.batch(sources, self.settings.frames, rng)
        return tensor(made), losses.same_source(torch.from_numpy(shown).float())

    def _pair(self, ids: list[str], rng: np.random.Generator) -> tuple[str, str]:
        """Draw two videos that show the same; of one alone twice this."""
        drawn = rng.permutation(ids)
        return drawn[0], drawn[min(1, len(drawn) - 1)]

    def _views_of_features(
        self, videos: Videos, pairs: Iterable[tuple[str, str]], rng: np.random.Generator
    ) -> np.ndarray:
        frames = self.settings.frames
        weak, strong = [], []
        for one, other in pairs:
            first = views.window(videos.features[one], 2 * frames, rng)
            second = first if one == other else views.window(videos.features[other], 2 * frames, rng)
            weak.append(views.window(first, frames, rng))
            strong.append(views.window(views.changed_in_time(second, rng), frames, rng))
        return np.stack(weak + strong)

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, None]:
        made, labels = batch
        with self.reduced():
            prepared = batches.prepare(self.network, made)
            scores, cells = batches.compare(self.network, prepared[:, None], prepared[None])
        return losses.s2vs(scores / 2 + 0.5, labels, cells), None

    def optimiser(self) -> torch.optim.Optimizer:
        settings = self.settings
        return torch.optim.AdamW(self.network.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)

    def learning_rate(self, step: int, n_steps: int) -> float:
        """Raise the rate over a thirtieth of the steps, then lower it along the authors' cosine."""
        peak = self.settings.rate
        return losses.s2vs_learning_rate(step, peak=peak, n_steps=n_steps, n_warmup=n_steps // 30)


RECIPES: dict[str, type[Recipe]] = {
    "c3dhash": C3DHash,
    "dns": DnSStudent,
    "dns-selector": DnSSelector,
    "s2vs": S2VS,
    "tca": TCA,
}
