"""Before the first step: everything that a training needs is opened, read and checked.

Nothing is written but, of videos, what is kept for good: their frames, features of some, and a PCA of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

import ndvr
from ndvr import models
from ndvr.models.method import Model
from ndvr.models.training.recipe import Recipe, Videos
from ndvr.models.training.recipes import RECIPES
from ndvr.operators.library.config import Config
from ndvr.operators.library.library import is_library
from ndvr.operators.video.frame_files import FrameFile
from ndvr.pipeline.settings import choose_one
from ndvr.pipeline.training.evaluation import HeldOut, Reranked, check_held_out
from ndvr.pipeline.training.frames import Shown
from ndvr.pipeline.training.material import (
    Alike,
    Features,
    read_alike,
    read_features,
    read_pair_scores,
    training_videos,
)

FORMAT = "ndvr-training/1"
ON_FRAMES = ("s2vs",)  # methods that are trained on the frames of videos as well, by views of their pictures
SELECTOR = "-selector"  # after the name of a method: the recipe of what doubts its scores


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be trained on what, and how, as the user says it: see ndvr.pipeline.training.train."""

    method: str
    library: str
    related: str | None = None
    teacher: str | None = None
    coarse: str | None = None
    truth: str | None = None
    test: str | None = None
    steps: int = 1000
    every: int = 100
    patience: int | None = None
    seed: int = 0
    settings: Mapping[str, str]
    options: Mapping[str, Any]
    weights: str | None = None
    config: str | None = None
    parts: int = 1
    memory_gb: float = 4.0
    strict: bool = False
    frames: str | None = None  # where frames are kept: `library` and `test` are videos
    own_pca: str | None = None  # where the PCA of these videos is kept, or will be: none is given and one is needed
    device: str = "auto"  # "cpu", "cuda", or "auto": a GPU where there is one
    precision: str = "float32"  # "mixed": networks multiply in bfloat16, on a GPU that can

    def __post_init__(self) -> None:
        numbers = {key: getattr(self, key) for key in ("steps", "every", "parts", "patience")}
        if bad := [f"{key}={number}" for key, number in numbers.items() if number is not None and number < 1]:
            raise ValueError(f"{', '.join(bad)}: give a whole number above zero")
        choices = {"device": ("auto", "cpu", "cuda"), "precision": ("mixed", "float32")}
        for key, known in choices.items():
            if getattr(self, key) not in known:
                raise ValueError(f"{key}={getattr(self, key)}: choose one of {', '.join(known)}")
        if self.method not in RECIPES:
            methods = ", ".join(name for name in RECIPES if not name.endswith(SELECTOR))
            raise ValueError(f"{self.method} cannot be trained here; choose one of {methods}")
        taught = f"{self.method}{SELECTOR}" in RECIPES
        if taught and self.teacher is None:
            raise ValueError(
                f"{self.method} learns from the scores of a teacher: give --teacher SCORES, of `ndvr similarity` of "
                "these videos by a method that is better than it is fast"
            )
        if not taught and (self.teacher or self.coarse):
            raise ValueError(f"{self.method} has no teacher: leave out --teacher and --coarse")
        if self.frames is not None and self.method not in ON_FRAMES:
            raise ValueError(
                f"{self.library} is no library, and {self.method} is trained on features: `ndvr extract {self.library} "
                f"LIBRARY --method {self.method}` makes them (`ndvr methods {self.method}` lists its options), then "
                f"`ndvr train {self.method} LIBRARY OUT`"
            )
        if self.test is not None and self.truth is None:
            raise ValueError("--test has the videos of --truth: give both")
        if self.test is not None and self.test.rstrip("/") == self.library.rstrip("/"):
            raise ValueError("--test is LIBRARY itself: leave it out")
        if self.patience is not None and self.truth is None:
            raise ValueError("--patience looks at the mAP of --truth: give both")

    @property
    def recipe(self) -> str:
        """Name one of RECIPES: with coarse scores to be doubted it is the method's selector that learns."""
        return f"{self.method}{SELECTOR}" if self.coarse else self.method


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a training begins with; nothing is written yet."""

    model: Model
    recipe: Recipe
    videos: Videos
    features: Features | Shown
    held_out: HeldOut | None
    description: dict[str, Any]


def make_plan(order: Order, *, progress: bool = False) -> Plan:
    """Open and read what `order` names. ValueError or FileNotFoundError in one sentence when something does not fit."""
    recipe_settings = parse_settings(order.recipe, order.settings)
    alike, truth = (None if name is None else read_alike(name) for name in (order.related, order.truth))
    features = _open(order, order.library, progress=progress)
    judged = features if order.test is None else _open(order, order.test, progress=progress)
    held = set[str]() if truth is None else _not_trained_on(features, judged, truth, alike)
    videos = features.fill(training_videos(features.contents, features.library, alike, held))
    model = _start(order, features.config)
    recipe = RECIPES[order.recipe](model.network("similarity"), recipe_settings)
    if order.weights is None:
        recipe.begin(order.seed)
    held_out = None if truth is None else _held_out(features, judged, truth)
    if order.teacher is not None:
        videos = replace(videos, teacher=read_pair_scores(order.teacher, videos.ids, memory_gb=order.memory_gb))
    if order.coarse is not None:
        videos = replace(videos, coarse=read_pair_scores(order.coarse, videos.ids, memory_gb=order.memory_gb))
        held_out = held_out and _reranked(held_out, order, share=recipe_settings.share)
    described = {
        **_of_method(order, model, recipe),
        **_of_material(order, features, videos, alike),
        "truth": None if held_out is None else held_out.alike.name,
        "test": None if held_out is None else held_out.features.library,
        "held_out_digest": None if held_out is None else _digest(held_out.features.by_id, held_out.alike.related),
    }
    return Plan(model=model, recipe=recipe, videos=videos, features=features, held_out=held_out, description=described)


def _open(order: Order, place: str, *, progress: bool) -> Features | Shown:
    if order.frames is None or is_library(place):
        return read_features(
            place,
            order.method,
            config=order.config if place == order.library else None,
            memory_gb=order.memory_gb,
            strict=order.strict,
        )
    return Shown(
        place,
        order.frames,
        method=order.method,
        options=order.options,
        own_pca=order.own_pca,
        seed=order.seed,
        strict=order.strict,
        progress=progress,
    )


def _of_method(order: Order, model: Model, recipe: Recipe) -> dict[str, Any]:
    """Describe what is trained, and how."""
    return {
        "format": FORMAT,
        "ndvr": ndvr.__version__,
        "method": order.method,
        "options": {key: value for key, value in model.options.items() if model.card.options[key].part != "embed"},
        "needs": {key: model.options[key] for key in recipe.needs},
        "start": order.weights or f"drawn with seed {order.seed}",
        "settings": asdict(recipe.settings),
        **{key: getattr(order, key) for key in ("seed", "steps", "every", "patience", "parts")},
    }


def _of_material(order: Order, features: Features | Shown, videos: Videos, alike: Alike | None) -> dict[str, Any]:
    """Describe what it is trained on."""
    on_frames = {"unreadable": dict(features.unreadable)} if isinstance(features, Shown) else {}
    return {
        **on_frames,
        "library": features.library,
        "config": features.config.name,
        "features": features.config.weights,
        "features_digest": features.config.weights_digest,
        "features_trained": features.config.trained,
        "videos": len(videos.ids),
        "videos_digest": _digest(videos.frames or videos.features, videos.related, videos.groups),
        "related": None if alike is None else alike.name,
        "pairs": sum(map(len, videos.related.values())) // 2,
        "teacher": order.teacher,
        "coarse": order.coarse,
        "scores_digest": _scores_digest(videos),
    }


def _reranked(held_out: HeldOut, order: Order, *, share: float) -> HeldOut:
    """Judge a selector by what becomes of the coarse scores where it sends a share of them to be compared closely."""
    ids, tables = list(held_out.features.by_id), {}
    for name in (order.teacher, order.coarse):
        tables[name] = read_pair_scores(str(name), ids, memory_gb=order.memory_gb)
        if np.isnan(tables[name][~np.eye(len(ids), dtype=bool)]).any():
            raise ValueError(f"{name} has no score of some pairs of the videos held out: a selector is judged by all")
    reranked = Reranked(coarse=tables[order.coarse], fine=tables[order.teacher], share=share)
    return replace(held_out, reranked=reranked)


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
        if wanted is int and value == 0 and defaults[key]:
            raise ValueError(f"setting {key}={text}: give a whole number above zero")
        if wanted in (int, float) and value < 0:
            raise ValueError(f"setting {key}={text}: give a number that is not below zero")
        values[key] = value
    return replace(kind(), **values)


def _start(order: Order, made_with: Config) -> Model:
    """Load the network that compares such features: `weights`, or noise of the right shape."""
    method, weights = order.method, order.weights or "random"
    setting = choose_one(method, weights, {**order.options, **made_with.options})
    if order.recipe == method:
        model = setting.load("cpu", "similarity")
    else:
        model = models.load_selector(method, weights, **setting.options)
    if model.feature_shape != made_with.feature_shape:
        raise ValueError(
            f"features in the library have shape {list(made_with.feature_shape)}, {method} under these settings "
            f"compares {list(model.feature_shape)}; choose the --option or --weights that fit them"
        )
    return model


def _not_trained_on(
    features: Features | Shown, judged: Features | Shown, truth: Alike, alike: Alike | None
) -> set[str]:
    """Collect the ids that must not be trained on:
    videos that are judged by, and all that are connected with one of them.
    """
    ids = _judged_ids(features, judged, truth)
    contents = {judged.contents[video_id] for video_id in ids} - {None}
    same = {video_id for video_id, content in features.contents.items() if content in contents}
    held = same | (set(ids) if judged is features else set())
    tied = [alike.groups.get(video_id, frozenset()) for video_id in held] if alike else []
    return held.union(*tied)


def _judged_ids(features: Features | Shown, judged: Features | Shown, truth: Alike) -> list[str]:
    """List the videos of the truth; of a place of their own all that are there."""
    if judged is not features:
        return list(judged.contents)
    named = {video_id for group in truth.groups.values() for video_id in group}
    return [video_id for video_id in features.contents if video_id in named]


def _held_out(features: Features | Shown, judged: Features | Shown, truth: Alike) -> HeldOut:
    """Collect what the network is judged by."""
    if isinstance(judged, Shown) and isinstance(features, Shown):
        judged.backbone = features.backbone
    for key in ("weights_digest", "feature_shape", "features_version"):
        if getattr(judged.config, key) != getattr(features.config, key):
            raise ValueError(
                f"the features of {features.library} and {judged.library} cannot be compared: their {key} differ; "
                "extract both with the same settings"
            )
    held_out = HeldOut(features=judged.part(_judged_ids(features, judged, truth)), alike=truth)
    check_held_out(held_out)
    return held_out


def _scores_digest(videos: Videos) -> str | None:
    given = [each for each in (videos.teacher, videos.coarse) if each is not None]
    return hashlib.sha256(b"".join(each.tobytes() for each in given)).hexdigest() if given else None


def _digest(by_id: Mapping[str, Any], *alike: Mapping[str, Any]) -> str:
    """Hash videos: ids, features or the files of frames, and what is alike."""
    known = json.dumps(alike, sort_keys=True, default=sorted)  # sets have no order
    digest = hashlib.sha256(known.encode())
    for video_id, features in by_id.items():
        if isinstance(features, FrameFile):
            digest.update(json.dumps([video_id, features.sha256, len(features)]).encode())
            continue
        digest.update(json.dumps([video_id, *features.shape]).encode())
        digest.update(np.ascontiguousarray(features).data)
    return digest.hexdigest()
