"""Train what compares features: `ndvr train METHOD LIBRARY OUT`; one process, killed and continued without a trace.

ndvr train tca library/ out/ --related copies.csv --truth truth.csv --steps 500
models.load("tca", "out")
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import ndvr
from ndvr.models.method import Model, one_thread
from ndvr.models.training.recipes import RECIPES, Recipe, Videos
from ndvr.models.training.trainer import Trainer
from ndvr.operators.library.config import Config
from ndvr.operators.library.feature_reader import lost_text
from ndvr.operators.library.lease import Lease
from ndvr.operators.storage.store import Store
from ndvr.pipeline.progress import Progress, interruptible
from ndvr.pipeline.settings import choose_one
from ndvr.pipeline.training.evaluation import HeldOut, check_held_out, mean_ap
from ndvr.pipeline.training.material import Alike, Features, read_alike, read_features, training_videos
from ndvr.pipeline.training.run_folder import Point, RunFolder

FORMAT = "ndvr-training/1"
SAVE_S = 60.0  # at most so much is computed again after a kill


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What was trained on what, and how well it does on videos that it has not seen."""

    out: str
    method: str
    features: str  # of which weights they are
    trained_features: bool  # whether those weights are real
    videos: int  # trained on
    pairs: int  # that show the same; 0: none are known, views of one video are pairs
    steps: int  # done
    asked_steps: int
    queries: int  # held out
    curve: tuple[Point, ...]
    best: Point  # whose weights are in OUT
    lost: tuple[str, ...]  # ids of videos that were left out: their features are gone or damaged
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def left_out_text(self) -> str:
        """Name the videos that were left out; nothing when none was."""
        return lost_text(self.lost)

    def text(self) -> str:
        """Say what was trained, and whether it helped."""
        known = f"{self.pairs:,} pairs" if self.pairs else "views of one video as pairs"
        lines = [f"{self.out}: {self.method}, {self.steps:,} steps on {self.videos:,} videos ({known})"]
        if self.steps < self.asked_steps:
            lines[0] += f", stopped early of {self.asked_steps:,}"
        losses = [point.loss for point in self.curve if point.loss is not None]
        if losses:
            lines.append(f"loss {losses[0]:.4g} at first, {losses[-1]:.4g} at last")
        start = self.curve[0].map
        if start is not None and self.best.map is not None:
            better = "" if self.best.step else ": no step was better than the start, whose weights these are"
            lines.append(
                f"mAP of {self.queries:,} queries held out: {start:.4f} at the start, {self.best.map:.4f} at step "
                f"{self.best.step:,}{better}"
            )
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a training begins with; nothing is written yet."""

    model: Model
    recipe: Recipe
    videos: Videos
    features: Features
    held_out: HeldOut | None
    description: dict[str, Any]


def train(
    method: str,
    library: str | Path,
    out: str | Path,
    *,
    related: str | Path | None = None,
    truth: str | Path | None = None,
    test: str | Path | None = None,
    steps: int = 1000,
    every: int | None = None,
    patience: int | None = None,
    seed: int = 0,
    settings: Mapping[str, str] | None = None,
    options: dict[str, Any] | None = None,
    weights: str | None = None,
    config: str | None = None,
    parts: int = 1,
    memory_gb: float = 4.0,
    strict: bool = False,
    resume: bool = False,
    progress: bool = True,
) -> Trained:
    """Train the network of METHOD that compares the features in LIBRARY; keep the best weights in the folder OUT.

    related   file of training videos that show the same (ndvr.pipeline.training.material); None: they are views of
              one video, where the method can learn from that
    truth     file of the same kind, by which the network is judged every `every` steps (a tenth of `steps`). Its
              videos, and all connected with them, are not trained on
    test      the library with the videos of `truth`; default: LIBRARY
    patience  stop after so many looks without a better mAP
    settings  of the recipe, by name: see ndvr.models.training.recipes
    weights   to start from; default: the authors' start, drawn with `seed`
    parts     batches of a step
    resume    go on with the training that OUT holds. What comes out is that of one that was never stopped
    ValueError or FileNotFoundError before the first step, when something does not fit.
    """
    began = time.monotonic()
    if steps < 1 or (every or 1) < 1 or parts < 1 or seed < 0 or (patience or 1) < 1:
        raise ValueError(f"steps={steps}, every={every}, patience={patience}, parts={parts}, seed={seed}: too small")
    if test is not None and truth is None:
        raise ValueError("--test has the videos of --truth: give both")
    if patience is not None and truth is None:
        raise ValueError("--patience looks at the mAP of --truth: give both")
    plan = _plan(
        method, library, related=related, truth=truth, test=test, seed=seed, settings=settings, options=options or {},
        weights=weights, config=config, memory_gb=memory_gb, strict=strict,
    )  # fmt: skip
    every = every or max(1, steps // 10)
    description = plan.description | {"steps": steps, "every": every, "patience": patience, "parts": parts}
    folder = RunFolder(out, description)
    trainer = Trainer(plan.recipe, plan.videos, n_steps=steps, seed=seed, parts=parts)
    folder.open(resume=resume)
    with interruptible(), Lease(Store(out), "ndvr train"):
        checkpoint = folder.open(resume=resume)
        folder.describe()
        loop = Loop(plan, trainer, folder, every=every, patience=patience)
        if checkpoint is not None:
            loop.load(checkpoint)
        # On one thread, as sums depend on how many share them, and networks as small as these gain little from more.
        with Progress("train", steps, "step", show=progress) as bar, one_thread():
            bar.advance(trainer.done)
            loop.run(bar)
    return Trained(
        out=str(out),
        method=method,
        features=plan.features.config.weights,
        trained_features=plan.features.config.trained,
        videos=len(plan.videos.features),
        pairs=description["pairs"],
        steps=trainer.done,
        asked_steps=steps,
        queries=len(plan.held_out.queries) if plan.held_out else 0,
        curve=tuple(loop.points),
        best=loop.best,
        lost=plan.features.lost,
        seconds=round(time.monotonic() - began, 3),
    )


class Loop:
    """Steps, looks and saves, until all steps are done or patience is over."""

    def __init__(self, plan: Plan, trainer: Trainer, folder: RunFolder, *, every: int, patience: int | None):
        self._plan, self._trainer, self._folder = plan, trainer, folder
        self._every, self._patience = every, patience
        self.points: list[Point] = []
        self._losses: list[float] = []  # since the last point

    @property
    def best(self) -> Point:
        """The point with the highest mAP, the first of equals; without a truth the last."""
        if self._plan.held_out is None:
            return self.points[-1]
        return max(self.points, key=lambda point: (point.map or 0.0, -point.step))

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._trainer.load(checkpoint["trainer"])
        self.points = [Point(**point) for point in checkpoint["points"]]
        self._losses = list(checkpoint["losses"])

    def run(self, bar: Progress) -> None:
        """Do the steps that are left."""
        trainer = self._trainer
        if not self.points:
            self._look(None)
        saved = time.monotonic()
        while trainer.done < trainer.n_steps and not self._stops_early():
            rate = trainer.recipe.learning_rate(trainer.done, trainer.n_steps)
            self._losses.append(trainer.step())
            looks = trainer.done % self._every == 0 or trainer.done == trainer.n_steps
            if looks:
                self._look(rate)
            elif time.monotonic() - saved > SAVE_S:
                self._save()
            if looks or time.monotonic() - saved > SAVE_S:
                saved = time.monotonic()
            bar.advance()

    def _look(self, rate: float | None) -> None:
        """Judge the network, and save: the weights when they are the best, then the checkpoint that knows of them."""
        plan, mean = self._plan, float(np.mean(self._losses)) if self._losses else None
        judged = mean_ap(_evaluated(plan.model), plan.held_out) if plan.held_out else None
        self.points.append(Point(step=self._trainer.done, loss=mean, rate=rate, map=judged))
        self._losses = []
        if self.best == self.points[-1]:
            self._folder.save_weights(plan.recipe.weights(), self.best)
        self._folder.save_curve(self.points)
        self._save()

    def _save(self) -> None:
        self._folder.save_checkpoint(
            {
                "trainer": self._trainer.state(),
                "points": [asdict(point) for point in self.points],
                "losses": self._losses,
            }
        )

    def _stops_early(self) -> bool:
        since = len(self.points) - 1 - self.points.index(self.best)
        return self._patience is not None and since >= self._patience


def _evaluated(model: Model) -> Model:
    model.network("similarity").eval()
    return model


# --- Before the first step: everything is opened, read and checked ---------------------------------------------------


def _plan(
    method: str,
    library: str | Path,
    *,
    related: str | Path | None,
    truth: str | Path | None,
    test: str | Path | None,
    seed: int,
    settings: Mapping[str, str] | None,
    options: dict[str, Any],
    weights: str | None,
    config: str | None,
    memory_gb: float,
    strict: bool,
) -> Plan:
    if method not in RECIPES:
        raise ValueError(f"{method} cannot be trained here; choose one of {', '.join(RECIPES)}")
    recipe_settings = parse_settings(method, settings or {})
    features = read_features(library, method, config=config, memory_gb=memory_gb, strict=strict)
    model = _start(method, features.config, options=options, weights=weights)
    recipe = RECIPES[method](model.network("similarity"), recipe_settings)
    if weights is None:
        recipe.begin(seed)
    alike = None if related is None else read_alike(related)
    held_out, not_trained_on = None, set[str]()
    if truth is not None:
        held_out, not_trained_on = _held_out(features, read_alike(truth), test, memory_gb=memory_gb, strict=strict)
    videos = training_videos(features, alike, not_trained_on)
    description = {
        "format": FORMAT,
        "ndvr": ndvr.__version__,
        "method": method,
        "options": {key: value for key, value in model.options.items() if model.card.options[key].part != "embed"},
        "needs": {key: model.options[key] for key in recipe.needs},
        "start": weights or f"drawn with seed {seed}",
        "seed": seed,
        "settings": asdict(recipe.settings),
        "library": features.library,
        "config": features.config.name,
        "features": features.config.weights,
        "features_digest": features.config.weights_digest,
        "features_trained": features.config.trained,
        "videos": len(videos.features),
        "videos_digest": _digest(videos),
        "related": None if alike is None else alike.name,
        "pairs": sum(map(len, videos.related.values())) // 2,
        "truth": None if held_out is None else held_out.alike.name,
        "test": None if held_out is None else held_out.features.library,
    }
    return Plan(
        model=model, recipe=recipe, videos=videos, features=features, held_out=held_out, description=description
    )


def parse_settings(method: str, given: Mapping[str, str]) -> Any:
    """Make the settings of a recipe from text. ValueError names what is unknown or no number."""
    kind = RECIPES[method].Settings
    defaults = asdict(kind())
    values: dict[str, Any] = {}
    for key, text in given.items():
        if key not in defaults:
            raise ValueError(f"unknown setting {key!r} of training {method}; choose from {', '.join(defaults)}")
        try:
            value = json.loads(str(text).lower())
        except json.JSONDecodeError:
            value = text
        wanted = type(defaults[key])
        if isinstance(value, int) and not isinstance(value, bool) and wanted is float:
            value = float(value)
        if not isinstance(value, wanted) or (wanted is int and value is True):
            raise ValueError(f"setting {key}={text}: give a value like {json.dumps(defaults[key])}")
        if wanted in (int, float) and value < 0:
            raise ValueError(f"setting {key}={text}: give a number that is not below zero")
        values[key] = value
    return replace(kind(), **values)


def _start(method: str, made_with: Config, *, options: dict[str, Any], weights: str | None) -> Model:
    """Load the network that compares such features: `weights`, or noise of the right shape."""
    setting = choose_one(method, weights or "random", {**options, **made_with.options})
    model = setting.load("cpu", "similarity")
    if model.feature_shape != made_with.feature_shape:
        raise ValueError(
            f"features in the library have shape {list(made_with.feature_shape)}, {method} under these settings "
            f"compares {list(model.feature_shape)}; choose the --option or --weights that fit them"
        )
    return model


def _held_out(
    features: Features, truth: Alike, test: str | Path | None, *, memory_gb: float, strict: bool
) -> tuple[HeldOut, set[str]]:
    """What the network is judged by, and the ids in the training library that must not be trained on."""
    if test is None:
        ids = {video_id for group in truth.groups.values() for video_id in group}
        by_id = {video_id: array for video_id, array in features.by_id.items() if video_id in ids}
        judged = replace(features, by_id=by_id)
    else:
        config = features.config
        judged = read_features(test, config.method, config=None, memory_gb=memory_gb, strict=strict)
        for key in ("weights_digest", "feature_shape", "features_version"):
            if getattr(judged.config, key) != getattr(config, key):
                raise ValueError(
                    f"the features of {features.library} and {judged.library} cannot be compared: their {key} differ; "
                    "extract both with the same settings"
                )
    held_out = HeldOut(features=judged, alike=truth)
    check_held_out(held_out)
    contents = {judged.contents[video_id] for video_id in judged.by_id} - {None}
    same = {video_id for video_id in features.by_id if features.contents[video_id] in contents}
    return held_out, same | (set(judged.by_id) if test is None else set())


def _digest(videos: Videos) -> str:
    """Hash what is trained on: ids, features, and what is alike."""
    digest = hashlib.sha256(json.dumps([videos.related, videos.groups], sort_keys=True).encode())
    for video_id, features in videos.features.items():
        digest.update(json.dumps([video_id, *features.shape]).encode())
        digest.update(np.ascontiguousarray(features).data)
    return digest.hexdigest()
