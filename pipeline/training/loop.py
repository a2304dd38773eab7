"""The loop of a training: steps, looks and saves; alone, or as one of several workers that share every step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import torch

from ndvr.models.method import one_thread
from ndvr.models.training.trainer import Others, Trainer, can_mix
from ndvr.pipeline.training.evaluation import mean_ap
from ndvr.pipeline.training.plan import Order, Plan
from ndvr.pipeline.training.run_folder import Point, RunFolder

SAVE_S = 60.0  # at most so much is computed again after a kill


class Team(Others, Protocol):
    """The workers of one training, of which this one is `number` of `size`. Number 0 judges and saves."""

    number: int
    size: int

    def same(self, value: float) -> float:
        """Return what number 0 has."""


class Loop:
    """Steps, looks and saves, until all steps are done or patience is over."""

    def __init__(self, order: Order, plan: Plan, folder: RunFolder, *, team: Team | None = None, device: str = "cpu"):
        self._order, self._plan, self._folder, self._team = order, plan, folder, team
        plan.model.to(device)
        number, size = (team.number, team.size) if team else (0, 1)
        each = order.parts // size
        with one_thread():  # so that what is fitted to the videos is the same wherever it is
            self._trainer = Trainer(
                plan.recipe,
                plan.videos,
                n_steps=order.steps,
                seed=order.seed,
                parts=order.parts,
                share=range(number * each, (number + 1) * each),
                others=team,
                device=device,
                mixed=order.precision == "mixed" and can_mix(device),
            )
        self._first = number == 0
        self.points: list[Point] = []
        self._losses: list[float] = []  # since the last point

    @property
    def best(self) -> Point:
        return best_of(self.points)

    @property
    def done(self) -> int:
        """Count the steps done."""
        return self._trainer.done

    def load(self, checkpoint: dict[str, Any] | None) -> None:
        """Continue from a checkpoint; from the beginning when there is none."""
        if checkpoint is not None:
            self._trainer.load(checkpoint["trainer"])
            self.points = [Point(**point) for point in checkpoint["points"]]
            self._losses = list(checkpoint["losses"])

    def run(self, advance: Callable[[], None] = lambda: None) -> None:
        """Do the steps that are left, and call `advance` after each.

        On one thread, as sums depend on how many share them, and networks as small as these gain little from more.
        """
        with one_thread():
            if not self.points:
                self._look(None)
            saved = time.monotonic()
            while self.done < self._order.steps and not self._stops_early():
                rate = self._plan.recipe.learning_rate(self.done, self._order.steps)
                self._losses.append(self._trainer.step())
                if self.done % self._order.every == 0 or self.done == self._order.steps:
                    self._look(rate)
                    saved = time.monotonic()
                elif time.monotonic() - saved > SAVE_S:
                    self._save()
                    saved = time.monotonic()
                advance()

    def _look(self, rate: float | None) -> None:
        """Judge the network, and save: the weights when they are the best, then the checkpoint that knows of them."""
        mean = float(np.mean(self._losses)) if self._losses else None
        self.points.append(Point(step=self.done, loss=mean, rate=rate, map=self._judged()))
        self._losses = []
        if self._first and self.best == self.points[-1]:
            self._folder.save_weights(self._plan.recipe.weights(), self.best)
        if self._first:
            self._folder.save_curve(self.points)
        self._save()

    def _judged(self) -> float | None:
        if self._plan.held_out is None:
            return None
        self._plan.model.network("similarity").eval()
        judged = mean_ap(self._plan.model, self._plan.held_out) if self._first else 0.0
        return judged if self._team is None else self._team.same(judged)

    def _save(self) -> None:
        if self._first:
            state = {"trainer": self._trainer.state(), "losses": self._losses}
            self._folder.save_checkpoint(state | {"points": [asdict(point) for point in self.points]})

    def _stops_early(self) -> bool:
        since = len(self.points) - 1 - self.points.index(self.best)
        return self._order.patience is not None and since >= self._order.patience


def device_of(asked: str) -> str:
    """Say where this process trains. ValueError when there is no GPU where one was asked for."""
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ValueError("device=cuda: torch finds no GPU here; choose auto or cpu")
    return "cuda" if there and asked != "cpu" else "cpu"


def best_of(points: list[Point]) -> Point:
    """Find the point with the highest mAP, the first of equals; without a truth the last."""
    return max(points, key=lambda point: (point.map, -point.step) if point.map is not None else (0.0, point.step))
