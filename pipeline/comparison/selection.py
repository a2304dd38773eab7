"""Which pairs are worth comparing closely, and on which scale the others stand beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ndvr import models
from ndvr.operators.scores.groups import Video, regroup
from ndvr.operators.scores.shortlist import count_of
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import grid
from ndvr.pipeline.comparison.inputs import Comparable
from ndvr.pipeline.comparison.proposals import Proposals, Proposer, Urgency

if TYPE_CHECKING:
    from ndvr.models.method import Model
    from ndvr.operators.scores.cells import Scorer


class Best:
    """The videos that the proposer scores highest."""

    to_proposer_scale = False

    def __init__(self, found: Comparable, proposer: Proposer, wanted: str | int):
        count_of(wanted, 1)  # ValueError now rather than later
        self.wanted, self.about = wanted, {"best": str(wanted)}
        self._low, self._fast = found.model.card.range[0], models.card(proposer.method).range

    def urgency(
        self, proposals: Proposals, videos: Mapping[str, Sequence[Video]], folder: Path, workers: Workers
    ) -> None:
        """None: the score itself."""

    def rest(self, scores: np.ndarray) -> np.ndarray:
        """Scores of the proposer, brought 1 to 2 below the range of the method that compares closely."""
        low, high = self._fast
        return self._low - 1 - (high - scores) / (high - low)


class Doubtful:
    """The videos of which the method's selector doubts the score that the method's own fast form gave."""

    to_proposer_scale = True

    def __init__(self, found: Comparable, proposer: Proposer, wanted: str | int, selector: str | None):
        model = found.model
        offered = model.card.selector
        if offered is None or proposer.method != model.name or not offered.knows(proposer.options):
            raise ValueError(f"no selector knows both methods: --doubtful needs {_with_selectors()}")
        count_of(wanted, 1)
        self.wanted, self.about = wanted, {"doubtful": str(wanted), "selector": selector}
        self._settings: dict[str, Any] = {"method": model.name, "weights": selector, "options": model.options}
        self._found, self._model = found, _selector("cpu", **self._settings)

    def urgency(
        self, proposals: Proposals, videos: Mapping[str, Sequence[Video]], folder: Path, workers: Workers
    ) -> Urgency:
        """The selector's doubt; what it says of single videos is kept in `folder`."""
        sides = {
            side: regroup(recorded, videos[side], lambda new: ()).groups for side, recorded in proposals.groups.items()
        }
        kept = {group.name: (side, group) for side in grid.SIDES for group in sides[side]}
        missing = [pair for name, pair in kept.items() if not (folder / f"{name}.npy").exists()]
        if missing:
            libraries = [library.store for library in self._found.libraries]
            make = partial(_worker, libraries=libraries, folder=folder, memory_gb=workers.memory_gb, **self._settings)
            grid.run(make, [], workers, kept=missing, title="selector")
        for path in folder.glob("*.npy"):
            if path.stem not in kept:
                path.unlink()

        def doubts(row: str, column: str, coarse: np.ndarray) -> np.ndarray:
            stacked = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in (row, column))
            queries, targets = (self._model.unstack(array) for array in stacked)
            return self._model.urgency(queries, targets, coarse)

        return doubts

    def rest(self, scores: np.ndarray) -> np.ndarray:
        """Scores of the proposer as they are: the others are brought to its scale."""
        return scores


def _with_selectors() -> str:
    """The methods that have a selector and their fast forms, as options of the command line."""
    selectors = {name: selector for name in models.names() if (selector := models.card(name).selector)}
    fast = {
        name: ",".join(f"{key}={value}" for key, value in each.proposer.items()) for name, each in selectors.items()
    }
    return " or ".join(f"--method {name} --propose {name}:{options}" for name, options in fast.items())


def _selector(device: str, *, method: str, weights: str | None, options: dict[str, Any]) -> Model:
    return models.load_selector(method, weights, device, **options)


def _worker(device: str, *, libraries: list[Store], folder: Path, memory_gb: float, **settings: Any) -> Scorer:
    from ndvr.operators.scores.cells import Scorer

    return Scorer(_selector(device, **settings), *libraries, folder=folder, memory_gb=memory_gb)
