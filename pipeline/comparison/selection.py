"""Which pairs are worth comparing closely, and on which scale the others stand beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ndvr import models
from ndvr.models.card import Card
from ndvr.operators.scores.groups import regroup
from ndvr.operators.scores.shortlist import count_of
from ndvr.operators.storage.sealed import is_intact, load_array
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import _grid as grid
from ndvr.pipeline.comparison._proposals import Chosen, Proposals, Urgency
from ndvr.pipeline.comparison.inputs import Inputs, MethodSpec, ScoreGrid

if TYPE_CHECKING:
    from ndvr.models.method import Model
    from ndvr.operators.scores.cells import Scorer


@dataclass(frozen=True)
class Best:
    """Choose the videos that the proposer scores highest."""

    wanted: str | int  # with each query: so many videos (250), or so large a share of the database ("5%")

    on_proposer_scale = False  # whether scores of the slow method are brought to the scale of the proposer

    def __post_init__(self) -> None:
        count_of(self.wanted, 1)  # ValueError now rather than later

    @property
    def settings(self) -> dict[str, Any]:
        """Say what decides the choice, as scores.json records it."""
        return {"best": str(self.wanted)}

    def check(self, slow: Inputs, proposer: MethodSpec) -> None:
        """Accept every pair of methods."""

    def choose(self, proposals: Proposals, score_grid: ScoreGrid, workers: Workers) -> Chosen:
        """Choose among the videos of the grid, which are those that the slow method can compare."""
        return _choose(self.wanted, proposals, score_grid, urgency=None)

    def scale_others(self, scores: np.ndarray, slow: Card, proposer: Card) -> np.ndarray:
        """Bring the proposer's scores of the other videos 1 to 2 below the range of the slow method."""
        low, high = proposer.range
        return slow.range[0] - 1 - (high - scores) / (high - low)


@dataclass(frozen=True)
class Doubtful:
    """Choose the videos of which the method's selector doubts the score that the method's own fast form gave."""

    wanted: str | int  # as for `Best`
    selector: str | None = None  # weights of the selector; None: as published

    on_proposer_scale = True

    def __post_init__(self) -> None:
        count_of(self.wanted, 1)

    @property
    def settings(self) -> dict[str, Any]:
        """Say what decides the choice, as scores.json records it."""
        return {"doubtful": str(self.wanted), "selector": self.selector}

    def check(self, slow: Inputs, proposer: MethodSpec) -> None:
        """Raise ValueError unless the method has a selector for this proposer, and its weights can be loaded."""
        offered = slow.model.card.selector
        if offered is None or proposer.method != slow.model.name or not offered.knows(proposer.options):
            raise ValueError(f"no selector knows both methods: --doubtful needs {_with_selectors()}")
        _load_selector("cpu", **self._model_settings(slow))

    def choose(self, proposals: Proposals, score_grid: ScoreGrid, workers: Workers) -> Chosen:
        """Choose among the videos of the grid; what the selector says of single videos is kept in SCORES/selector."""
        settings, folder = self._model_settings(score_grid.inputs), score_grid.folder.out / "selector"
        _keep_signatures(proposals, score_grid, folder, settings, workers)
        selector = _load_selector("cpu", **settings)

        def doubts(row: str, column: str, scores: np.ndarray) -> np.ndarray:
            stacked = (load_array(folder / f"{name}.npy") for name in (row, column))
            queries, targets = (selector.unstack(array) for array in stacked)
            return selector.urgency(queries, targets, scores)

        return _choose(self.wanted, proposals, score_grid, urgency=doubts)

    def scale_others(self, scores: np.ndarray, slow: Card, proposer: Card) -> np.ndarray:
        """Leave the proposer's scores as they are: those of the slow method are brought to its scale."""
        return scores

    def _model_settings(self, slow: Inputs) -> dict[str, Any]:
        return {"method": slow.model.name, "weights": self.selector, "options": slow.model.options}


Selection = Best | Doubtful


def parse_selection(
    *, best: str | int | None = None, doubtful: str | int | None = None, selector: str | None = None
) -> Selection:
    """Make the selection that --best, or --doubtful with --selector, asks for."""
    if (best is None) == (doubtful is None):
        raise ValueError("say how many videos to compare with each query: --best N or P%, or --doubtful P%")
    return Best(best or "") if doubtful is None else Doubtful(doubtful, selector)


def _choose(wanted: str | int, proposals: Proposals, score_grid: ScoreGrid, *, urgency: Urgency | None) -> Chosen:
    comparable = {side: {video.video_id for video in videos} for side, videos in score_grid.videos.items()}
    return proposals.choose(count_of(wanted, len(proposals.video_ids)), **comparable, urgency=urgency)


def _keep_signatures(
    proposals: Proposals, score_grid: ScoreGrid, folder: Path, settings: Mapping[str, Any], workers: Workers
) -> None:
    """Write the selector's signatures of the proposer's groups that are not in the folder, and remove all others."""
    sides = {
        side: regroup(recorded, score_grid.videos[side], lambda new: ()).groups
        for side, recorded in proposals.groups.items()
    }
    groups = {group.name: (side, group) for side in grid.SIDES for group in sides[side]}
    missing = [pair for name, pair in groups.items() if not is_intact(folder / f"{name}.npy")]
    if missing:
        libraries = [library.store for library in score_grid.inputs.libraries]
        make = partial(_worker, libraries=libraries, folder=folder, memory_gb=workers.memory_gb, **settings)
        grid.run(make, [], workers, kept=missing, title="selector")
    for path in folder.glob("*.npy"):
        if path.stem not in groups:
            path.unlink()


def _with_selectors() -> str:
    """List the methods that have a selector and their fast forms, as options of the command line."""
    selectors = {name: selector for name in models.names() if (selector := models.card(name).selector)}
    fast = {
        name: ",".join(f"{key}={value}" for key, value in each.proposer.items()) for name, each in selectors.items()
    }
    return " or ".join(f"--method {name} --propose {name}:{options}" for name, options in fast.items())


def _load_selector(device: str, *, method: str, weights: str | None, options: dict[str, Any]) -> Model:
    return models.load_selector(method, weights, device, **options)


def _worker(device: str, *, libraries: list[Store], folder: Path, memory_gb: float, **settings: Any) -> Scorer:
    from ndvr.operators.scores.cells import Scorer

    return Scorer(_load_selector(device, **settings), *libraries, folder=folder, memory_gb=memory_gb)
