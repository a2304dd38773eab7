"""Train what compares features: `ndvr train METHOD LIBRARY OUT`; killed and continued without a trace.

ndvr train tca library/ out/ --related copies.csv --truth truth.csv --steps 500
models.load("tca", "out")
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ndvr.operators.library.feature_reader import LeavesOut
from ndvr.operators.library.lease import Lease
from ndvr.pipeline.progress import Progress, interruptible
from ndvr.pipeline.training.loop import Loop, best_of
from ndvr.pipeline.training.plan import Order, Plan, make_plan
from ndvr.pipeline.training.run_folder import Point, RunFolder


@dataclass(frozen=True, kw_only=True)
class Trained(LeavesOut):
    """What was trained on what, and how well it does on videos that it has not seen."""

    out: str
    method: str
    features: str  # of which weights they are
    trained_features: bool  # whether those weights are real
    videos: int  # trained on
    pairs: int  # that show the same; 0: none are known, views of one video are pairs, or there is a teacher
    teacher: str | None  # whose scores were learnt
    steps: int  # done
    asked_steps: int
    queries: int  # held out
    curve: tuple[Point, ...]
    best: Point  # whose weights are in OUT
    lost: tuple[str, ...]  # ids of videos that were left out: their features are gone or damaged
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """Say what was trained, and whether it helped."""
        pairs = f"{self.pairs:,} pairs" if self.pairs else "views of one video as pairs"
        known = pairs if self.teacher is None else f"scores of {self.teacher}"
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


def train(
    method: str,
    library: str | Path,
    out: str | Path,
    *,
    related: str | Path | None = None,
    teacher: str | Path | None = None,
    coarse: str | Path | None = None,
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
    workers: int = 0,
    parts: int | None = None,
    address: str | None = None,
    memory_gb: float = 4.0,
    strict: bool = False,
    resume: bool = False,
    progress: bool = True,
) -> Trained:
    """Train the network of METHOD that compares the features in LIBRARY; keep the best weights in the folder OUT.

    related   file of training videos that show the same (ndvr.pipeline.training.material); None: they are views of
              one video, where the method can learn from that
    teacher   of a method that learns from one: scores of the training videos with each other, as of `ndvr similarity`
    coarse    the same, of the method's fast form: what learns is then the selector, which says where these are far
              from those of `teacher`
    truth     file of the same kind, by which the network is judged every `every` steps (a tenth of `steps`). Its
              videos, and all connected with them, are not trained on
    test      the library with the videos of `truth`; default: LIBRARY
    patience  stop after so many looks without a better mAP
    settings  of the recipe, by name: see ndvr.models.training.recipes
    weights   to start from; default: the authors' start, drawn with `seed`
    workers   on Ray, at `address`, which share the `parts` batches of every step; 0: this process. What comes out
              depends on `parts` (default: one for each worker), not on `workers`. All must see LIBRARY and OUT
    resume    go on with the training that OUT holds. What comes out is that of one that was never stopped
    ValueError or FileNotFoundError before the first step, when something does not fit.
    """
    began = time.monotonic()
    order = Order(
        method=method,
        library=str(library),
        related=_text(related),
        teacher=_text(teacher),
        coarse=_text(coarse),
        truth=_text(truth),
        test=_text(test),
        steps=steps,
        every=every or max(1, steps // 10),
        patience=patience,
        seed=seed,
        settings=dict(settings or {}),
        options=dict(options or {}),
        weights=weights,
        config=config,
        parts=parts or max(1, workers),
        memory_gb=memory_gb,
        strict=strict,
    )
    if workers and order.parts % workers:
        raise ValueError(f"parts={order.parts} cannot be shared by {workers} workers; give a multiple of {workers}")
    plan = make_plan(order)
    folder = RunFolder(out, plan.description)
    loop = Loop(order, plan, folder)
    folder.check_free(resume=resume)
    with interruptible("--resume goes on from the last checkpoint"), Lease(folder.store, "ndvr train"):
        folder.check_free(resume=resume)  # somebody else may have begun meanwhile
        _begin(loop, folder)
        with Progress("train", steps, "step", show=progress) as bar:
            _run(order, loop, folder, bar, workers=workers, address=address)
    return _trained(out, order, plan, loop.points, seconds=time.monotonic() - began)


def _begin(loop: Loop, folder: RunFolder) -> None:
    """Go on where the folder's checkpoint is, and write down what is trained."""
    loop.load(folder.checkpoint())
    folder.describe()
    if loop.points:
        folder.save_curve(loop.points)  # as the checkpoint has them


def _run(order: Order, loop: Loop, folder: RunFolder, bar: Progress, *, workers: int, address: str | None) -> None:
    bar.advance(loop.done)
    if not workers:
        loop.run(bar.advance)
        return
    from ndvr.pipeline.training.workers import run_on_ray

    run_on_ray(order, folder, workers=workers, address=address, bar=bar)
    loop.load(folder.checkpoint())


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def _trained(out: str | Path, order: Order, plan: Plan, points: list[Point], *, seconds: float) -> Trained:
    return Trained(
        out=str(out),
        method=order.method,
        features=plan.features.config.weights,
        trained_features=plan.features.config.trained,
        videos=len(plan.videos.features),
        pairs=plan.description["pairs"],
        teacher=order.teacher,
        steps=points[-1].step,
        asked_steps=order.steps,
        queries=len(plan.held_out.queries) if plan.held_out else 0,
        curve=tuple(points),
        best=best_of(points),
        lost=tuple(sorted({*plan.features.lost, *(plan.held_out.features.lost if plan.held_out else ())})),
        seconds=round(seconds, 3),
    )
