"""A training, step by step: what it did so far is one dictionary, and to continue from that is to have never stopped.

    trainer = Trainer(recipe, videos, n_steps=1000, seed=0)
    trainer.step()                          # the loss
    state = trainer.state()                 # tensors, numbers and plain containers

All that is drawn in a step comes from the seed, the number of the step and that of the batch; none of it from before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from ndvr.models.layers.head import exact_convolutions
from ndvr.models.training.recipe import Recipe, Videos, moved


class Others(Protocol):
    """The other workers of one training."""

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Add up each tensor over all workers, in place."""

    def in_order(self, tensor: torch.Tensor) -> torch.Tensor:
        """Join what all workers have along the first axis, the first worker's first."""


class Trainer:
    """Trains a network by its recipe.

    parts   batches of a step: their losses are averaged
    share   the numbers of those that this worker computes; default: all. With `others`, workers do equal shares, in
            the order of workers
    device  where it learns; `mixed`: see Recipe.to. What is drawn does not depend on it, but for dropout
    """

    def __init__(
        self,
        recipe: Recipe,
        videos: Videos,
        *,
        n_steps: int,
        seed: int,
        parts: int = 1,
        share: range | None = None,
        others: Others | None = None,
        device: str = "cpu",
        mixed: bool = False,
    ):
        self.recipe, self.videos, self.n_steps, self.seed, self.parts = recipe, videos, n_steps, seed, parts
        self._share, self._others = share or range(parts), others
        recipe.to(device, mixed=mixed)
        recipe.network.requires_grad_(True)
        recipe.settle(videos, parts=parts, seed=seed)
        self._optimiser = recipe.optimiser()
        self.done = 0  # steps

    def step(self) -> float:
        """Learn from the next step's batches; return their mean loss. ValueError when it is not finite."""
        recipe = self.recipe
        recipe.network.train()
        recipe.before_step()
        self._optimiser.zero_grad(set_to_none=True)
        total, keys = torch.zeros((), device=recipe.device), []
        for part in self._share:
            loss, learnt = self._learn(part)
            total += loss / self.parts
            keys += [] if learnt is None else [learnt]
        parameters = [parameter for group in self._optimiser.param_groups for parameter in group["params"]]
        if self._others is not None:
            self._others.add_up([total, *(_gradient(parameter) for parameter in parameters)])
        if not torch.isfinite(total):
            raise ValueError(
                f"the loss of step {self.done + 1} is {total.item()}: training has gone astray; give a smaller rate"
            )
        for group in self._optimiser.param_groups:
            group["lr"] = recipe.learning_rate(self.done, self.n_steps)
        if total != 0 or not recipe.skips_lossless_steps:
            self._optimiser.step()
            recipe.after_step()
        if keys:
            joined = torch.cat(keys)
            recipe.learnt(joined if self._others is None else self._others.in_order(joined))
        self.done += 1
        return total.item()

    def _learn(self, part: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Add the gradients of one batch to those there are; return its loss, and what the recipe is to be given."""
        recipe = self.recipe
        seeds = np.random.SeedSequence([self.seed, self.done, part])
        batch = moved(recipe.draw(self.videos, np.random.default_rng(seeds)), recipe.device)
        generators = [] if recipe.device.type == "cpu" else [recipe.device]
        with exact_convolutions():
            with torch.random.fork_rng(devices=generators):  # of dropout
                torch.manual_seed(int(seeds.generate_state(1)[0]))
                loss, learnt = recipe.loss(batch)
            if loss.requires_grad:  # a batch without a triplet teaches nothing
                (loss / self.parts).backward()
        return loss.detach(), learnt

    def state(self) -> dict[str, Any]:
        """Return all that continues the training, on any device."""
        state = {
            "done": self.done,
            "network": self.recipe.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "recipe": self.recipe.state(),
        }
        return state if self.recipe.device.type == "cpu" else moved(state, torch.device("cpu"))

    def load(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.done = state["done"]
        self.recipe.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.recipe.load(state["recipe"])


def can_mix(device: str) -> bool:
    """Say whether the device multiplies bfloat16 itself: GPUs since 2020."""
    return device != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
