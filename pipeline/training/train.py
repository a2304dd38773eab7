"""Train what compares features: `ndvr train METHOD LIBRARY OUT`; killed and continued without a trace.

ndvr train tca library/ out/ --related copies.csv --truth truth.csv --steps 500
ndvr train s2vs videos/ out/ --option backbone=lite0 --augmentations GT,FT,TT,ViV
models.load("tca", "out")
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ndvr.models.layers.regions import on_lite0
from ndvr.models.training.picture_views import KINDS, kinds_of
from ndvr.operators.library.feature_reader import LeavesOut
from ndvr.operators.library.lease import Lease
from ndvr.pipeline.progress import Progress, interruptible
from ndvr.pipeline.training.frames import names_videos, unreadable_text
from ndvr.pipeline.training.loop import Loop, best_of, device_of
from ndvr.pipeline.training.plan import Order, Plan, make_plan, parse_settings
from ndvr.pipeline.training.run_folder import FRAMES, OWN_PCA, Point, RunFolder


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
    unreadable: dict[str, str]  # by id: why a video gave no frames to train on
    pca: str | None  # fitted to these videos: to be given as option pca wherever the weights are used
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
        if self.unreadable:
            lines.append(
                f"left out, {len(self.unreadable):,} videos without frames: {unreadable_text(self.unreadable)}"
            )
        if self.pca:
            options = f"--option backbone=lite0 --option pca={self.pca}"
            lines.append(f"features for it: `ndvr extract VIDEOS LIBRARY --method {self.method} {options}`")
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
    augmentations: str | None = None,
    frames: str | Path | None = None,
    weights: str | None = None,
    config: str | None = None,
    workers: int = 0,
    parts: int | None = None,
    address: str | None = None,
    memory_gb: float = 4.0,
    strict: bool = False,
    device: str = "auto",
    precision: str = "float32",
    resume: bool = False,
    progress: bool = True,
) -> Trained:
    """Train the network of METHOD that compares the features in LIBRARY; keep the best weights in the folder OUT.

    S2VS is also trained on videos, named in place of LIBRARY (a folder, list or bucket), by views of their pictures.

    related   file of training videos that show the same (ndvr.pipeline.training.material); None: they are views of
              one video, where the method can learn from that
    teacher   of a method that learns from one: scores of the training videos with each other, as of `ndvr similarity`
    coarse    the same, of the method's fast form: what learns is then the selector, which says where these are far
              from those of `teacher`
    truth     file of the same kind, by which the network is judged every `every` steps (a tenth of `steps`). Its
              videos, and all connected with them, are not trained on
    test      the library, or of a training on videos also the folder or list, with those of `truth`; default: LIBRARY
    patience  stop after so many looks without a better mAP
    settings  of the recipe, by name: see ndvr.models.training.recipes
    augmentations  of views: GT, FT, TT, ViV with commas between; default: all, of features TT alone
    frames    folder in which frames of videos are kept, for the next training, too; default: OUT/frames
    weights   to start from; default: the authors' start, drawn with `seed`
    workers   on Ray, at `address`, which share the `parts` batches of every step; 0: this process. What comes out
              depends on `parts` (default: one for each worker), not on `workers`. All must see LIBRARY and OUT
    device    "cpu", "cuda", or "auto": a GPU where there is one; of workers on Ray each has its own, or a part of one
    precision "float32", or of a GPU "mixed": networks multiply in bfloat16, losses are float32
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
        settings=dict(settings or {}) | ({} if augmentations is None else {"augmentations": augmentations}),
        options=dict(options or {}),
        weights=weights,
        config=config,
        parts=parts or max(1, workers),
        memory_gb=memory_gb,
        strict=strict,
        device=device,
        precision=precision,
    )
    if names_videos(order.library):
        order = _on_videos(order, RunFolder(out, {}), frames=_text(frames), resume=resume)
    if workers and order.parts % workers:
        raise ValueError(f"parts={order.parts} cannot be shared by {workers} workers; give a multiple of {workers}")
    with interruptible("run the same command again: what was decoded is kept"):
        plan = make_plan(order, progress=progress)
    folder = RunFolder(out, plan.description)
    loop = Loop(order, plan, folder, device="cpu" if workers else device_of(order.device))
    folder.check_free(resume=resume)
    with interruptible("--resume goes on from the last checkpoint"), Lease(folder.store, "ndvr train"):
        folder.check_free(resume=resume)  # somebody else may have begun meanwhile
        _begin(loop, folder)
        with Progress("train", steps, "step", show=progress) as bar:
            _run(order, loop, folder, bar, workers=workers, address=address)
    return _trained(out, order, plan, loop.points, seconds=time.monotonic() - began)


def _on_videos(order: Order, folder: RunFolder, *, frames: str | None, resume: bool) -> Order:
    """Say where what is made of videos is kept. ValueError when OUT is taken, before they are decoded."""
    order = replace(order, frames=frames or str(folder.path / FRAMES))
    settings = {"augmentations": ",".join(KINDS), **order.settings}
    kinds_of(parse_settings(order.recipe, settings).augmentations)
    own_pca = folder.path / OWN_PCA
    if not folder.check_place(resume=resume):
        own_pca.unlink(missing_ok=True)  # of a training that never began, perhaps on other videos
    return replace(
        order,
        settings=settings,
        own_pca=str(own_pca) if on_lite0(order.options) and not order.options.get("pca") else None,
    )


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
        videos=len(plan.videos.ids),
        pairs=plan.description["pairs"],
        teacher=order.teacher,
        steps=points[-1].step,
        asked_steps=order.steps,
        queries=len(plan.held_out.queries) if plan.held_out else 0,
        curve=tuple(points),
        best=best_of(points),
        unreadable=dict(getattr(plan.features, "unreadable", {})),
        pca=order.own_pca,
        lost=tuple(sorted({*plan.features.lost, *(plan.held_out.features.lost if plan.held_out else ())})),
        seconds=round(seconds, 3),
    )
