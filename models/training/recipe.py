"""What every recipe is: how one method is trained on features, or frames; `recipes` has them by method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ndvr.models.method import Model
from ndvr.models.training.picture_views import Frames

State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Videos:
    """What is trained on. Ids are in a fixed order, which decides what is drawn."""

    features: Mapping[str, np.ndarray]  # by id: (T, *feature_shape), T >= 1, as stored
    related: Mapping[str, tuple[str, ...]]  # by id: videos that show the same; without labels: nothing
    groups: Mapping[str, int]  # by id: videos of different groups have nothing to do with each other
    teacher: np.ndarray | None = None  # (N, N) of the ids in order: scores to be learnt, NaN where there is none
    coarse: np.ndarray | None = None  # the same, of the method's fast form, which a selector is to doubt
    frames: Mapping[str, Frames] = field(default_factory=dict)  # by id, in place of features
    backbone: Model | None = None  # that makes features of frames

    @cached_property
    def ids(self) -> list[str]:
        return list(self.frames or self.features)

    @cached_property
    def members(self) -> dict[int, list[str]]:
        """List the ids of every group."""
        members: dict[int, list[str]] = {}
        for video_id in self.ids:
            members.setdefault(self.groups[video_id], []).append(video_id)
        return members


class Recipe(ABC):
    """How one method is trained."""

    Settings: ClassVar[type]
    prefix: ClassVar[str] = ""  # before the names of tensors in a file of weights
    needs: ClassVar[tuple[str, ...]] = ()  # options under which weights mean what they were trained for
    skips_lossless_steps: ClassVar[bool] = False  # a loss of exactly 0 changes nothing, not even by weight decay
    device = torch.device("cpu")
    mixed = False

    def __init__(self, network: Any, settings: Any):
        self.network, self.settings = network, settings

    def to(self, device: str | torch.device, *, mixed: bool = False) -> None:
        """Learn on this device, before `settle`; `mixed`: what networks multiply is bfloat16, losses are float32."""
        self.device, self.mixed = torch.device(device), mixed
        self.network.to(self.device)

    def reduced(self) -> torch.autocast:
        """Let networks inside `with` multiply in bfloat16 where training is mixed."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed)

    @abstractmethod
    def settle(self, videos: Videos, *, parts: int, seed: int) -> None:
        """Get ready for these videos, in `parts` batches a step. ValueError in one sentence when they do not do."""

    @abstractmethod
    def draw(self, videos: Videos, rng: np.random.Generator) -> Any:
        """Draw a batch."""

    @abstractmethod
    def loss(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute the loss of a batch, and what `learnt` is to be given after the step:
        of all batches of it, in order.
        """

    @abstractmethod
    def optimiser(self) -> torch.optim.Optimizer:
        """Make the authors' optimiser."""

    @abstractmethod
    def learning_rate(self, step: int, n_steps: int) -> float:
        """Compute the learning rate of step 0, 1, ... of `n_steps`."""

    def begin(self, seed: int) -> None:
        """Set the weights as they are before any training."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            for module in self.network.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
            self._begin_others()

    def _begin_others(self) -> None:  # noqa: B027
        """Set what has no rule of its own in torch."""

    def before_step(self) -> None:  # noqa: B027
        """Get ready for the batches of a step."""

    def after_step(self) -> None:  # noqa: B027
        """Make the network what the step has learnt."""

    def learnt(self, keys: torch.Tensor) -> None:  # noqa: B027
        """Take note, after a step, of what its batches gave."""

    def state(self) -> State:
        """Return what continues the training, beside the network and the optimiser."""
        return {}

    def load(self, state: State) -> None:  # noqa: B027
        """Continue from `state`."""

    def weights(self) -> dict[str, torch.Tensor]:
        """Copy the weights under the names that `ndvr.models.load` knows."""
        tensors = self._saved().state_dict().items()
        return {self.prefix + key: value.detach().cpu().clone() for key, value in tensors}

    def _saved(self) -> nn.Module:
        """Return what a file of weights is of."""
        return self.network


def start_attention(name: str, parameter: nn.Parameter) -> bool:
    """Set a parameter of torch's attention as torch does when it makes one; tell whether it is one, by its name."""
    if name.endswith("in_proj_weight"):
        nn.init.xavier_uniform_(parameter)
    elif name.endswith(("in_proj_bias", "out_proj.bias")):
        nn.init.zeros_(parameter)
    else:
        return False
    return True


def set_dropout(network: Any, share: float) -> None:
    """Drop this share in every layer that drops some."""
    for module in network.modules():
        if hasattr(module, "dropout"):
            module.dropout = share


def tensor(features: np.ndarray) -> torch.Tensor:
    """Copy features into a float32 tensor, unless they are float32 already."""
    return torch.from_numpy(np.ascontiguousarray(features, np.float32))


def moved(content: Any, device: torch.device) -> Any:
    """Bring tensors to a device, those in lists, tuples, dictionaries and records as well."""
    if isinstance(content, torch.Tensor):
        return content.to(device)
    if isinstance(content, dict):
        return {key: moved(value, device) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(moved(each, device) for each in content)
    if is_dataclass(content) and not isinstance(content, type):
        return replace(content, **{each.name: moved(getattr(content, each.name), device) for each in fields(content)})
    return content


def some(ids: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Draw `count` ids, each once as long as there are enough."""
    rounds = [rng.permutation(len(ids)) for _ in range(-(-count // len(ids)))]
    return [ids[number] for number in np.concatenate(rounds)[:count]]
