"""A small training of every recipe, on made features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ndvr import models
from ndvr.models.method import Model
from ndvr.models.training.distillation import DnSSettings, SelectorSettings
from ndvr.models.training.recipe import Videos
from ndvr.models.training.recipes import RECIPES, C3DHashSettings, S2VSSettings, TCASettings
from ndvr.models.training.trainer import Trainer

SETTINGS = {
    "tca": TCASettings(pairs=3, negatives=2, queue=24, rate=1e-3),
    "c3dhash": C3DHashSettings(batch=6, rate=0.1),
    "s2vs": S2VSSettings(videos=3, frames=8, rate=1e-3),
    "dns": DnSSettings(anchors=3, rate=1e-3),
    "dns-selector": SelectorSettings(batch=6, rate=1e-3),
}
OPTIONS = {"tca": {"dims": 32, "heads": 4}, "c3dhash": {"bits": 16}, "s2vs": {}, "dns": {}, "dns-selector": {}}
SHAPES = {"tca": (32,), "c3dhash": (512,), "s2vs": (9, 512), "dns": (9, 512), "dns-selector": (9, 512)}


def videos(method: str, *, labels: bool = True) -> Videos:
    """Eight videos of 1 to 8 windows in four groups of two."""
    rng = np.random.default_rng(5)
    features = {f"v{n}": rng.standard_normal((n + 1, *SHAPES[method])).astype(np.float16) for n in range(8)}
    related = {f"v{n}": (f"v{n ^ 1}",) for n in range(8)} if labels else {}
    groups = {f"v{n}": n // 2 if labels else n for n in range(8)}
    teacher, coarse = rng.uniform(-1, 1, (8, 8)), rng.uniform(0, 1, (8, 8))
    for scores in (teacher, coarse):
        np.fill_diagonal(scores, np.nan)
    given = {"teacher": teacher.astype(np.float32), "coarse": coarse.astype(np.float32)}
    return Videos(features=features, related=related, groups=groups, **given)


def load(recipe: str, weights, **options) -> Model:
    method, _, selector = recipe.partition("-")
    if selector:
        return models.load_selector(method, weights)
    return models.load(method, weights, parts=("similarity",), **OPTIONS[method] | options)


def trainer(method: str, *, labels: bool = True, options=None, settings=None, **how) -> Trainer:
    """A training of twelve steps that has not begun."""
    model = load(method, "random", **options or {})
    recipe = RECIPES[method](model.network("similarity"), replace(SETTINGS[method], **settings or {}))
    recipe.begin(seed=3)
    return Trainer(recipe, videos(method, labels=labels), **{"n_steps": 12, "seed": 1} | how)
