"""OUT of a training: files that are whole or not there.

OUT/weights.pth      what `ndvr.models.load(METHOD, OUT)` reads, and what it was trained on
OUT/checkpoint.pth   all that continues the training
OUT/curve.jsonl      a line for each time it was looked at: step, mean loss since, learning rate, mAP held out
OUT/training.json    what is trained, on what, and how
OUT/frames/          of a training on videos: their frames, unless they are kept elsewhere
OUT/pca.npz          the PCA that was fitted to them, where the backbone needs one and none was given
OUT/locks/           who is writing: see ndvr.operators.library.lease
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ndvr.models import weights as files
from ndvr.operators.library.fencing import check
from ndvr.operators.storage.object_store import is_remote
from ndvr.operators.storage.sealed import open_json
from ndvr.operators.storage.shapes import shaped
from ndvr.operators.storage.store import Store, is_unfinished, write_json, write_text, write_whole

CHECKPOINT, CURVE, DESCRIPTION = "checkpoint.pth", "curve.jsonl", "training.json"
FRAMES, OWN_PCA = "frames", "pca.npz"
_BEFORE = ("locks", FRAMES, OWN_PCA)  # may be there before a training is


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of the learning curve."""

    step: int
    loss: float | None  # mean since the point before; None before the first step
    rate: float | None
    map: float | None  # of videos held out; None where none are


class RunFolder:
    """The files of one training. A local folder."""

    def __init__(self, out: str | Path | Store, description: Mapping[str, Any]):
        """ValueError for an address. A Store is written to under the lease that it carries."""
        if is_remote(str(out)):
            raise ValueError(f"{out}: a training is kept in a local folder; name one for OUT")
        self.store, self.path, self.description = Store(out), Path(str(out)), dict(description)

    def check_free(self, *, resume: bool) -> None:
        """Raise ValueError when the folder is taken, or is of a training with other settings."""
        if self.check_place(resume=resume):
            self._check_same(self._described(self.path / DESCRIPTION))

    def check_place(self, *, resume: bool) -> bool:
        """Tell whether there is a training to go on with; ValueError when the folder is taken."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; name a new folder for OUT")
        there = self.path / DESCRIPTION
        if there.is_file():
            if not resume:
                raise ValueError(f"{self.path} holds a training; give --resume to go on with it, or name a new folder")
            return True
        names = [each.name for each in self.path.iterdir()] if self.path.is_dir() else []
        if any(name not in _BEFORE and not is_unfinished(name) for name in names):
            raise ValueError(f"{self.path} exists and holds no training; name a new folder for OUT")
        return False

    def checkpoint(self) -> dict[str, Any] | None:
        """Read what to continue from; None at the beginning."""
        place = self.path / CHECKPOINT
        return files.read(place) if place.is_file() else None

    def describe(self) -> None:
        """Write down what is trained on what."""
        write_json(self.path / DESCRIPTION, self.description)

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        self._save(CHECKPOINT, state)

    def save_weights(self, weights: Mapping[str, torch.Tensor], point: Point) -> None:
        """Write the weights, and of which step they are."""
        reached = {"step": point.step, "map": point.map}
        self._save(files.TRAINED, {"model": dict(weights), "training": json.dumps(self.description | reached)})

    def save_curve(self, points: Sequence[Point]) -> None:
        check(self.store)
        write_text(self.path / CURVE, "".join(json.dumps(asdict(point)) + "\n" for point in points))

    def curve(self) -> list[Point]:
        """Read the learning curve; no points before there is one."""
        path = self.path / CURVE
        lines = path.read_bytes().splitlines() if path.is_file() else []
        return [Point(**shaped(open_json(line, path), Point, path)) for line in lines]

    def _save(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file whole. RunStopped when another process has taken over."""
        check(self.store)

        def write(path: str) -> None:
            with open(path, "wb") as file:  # given a name, torch would write it into the file
                torch.save(dict(content), file)

        write_whole(self.path / name, write)

    def _described(self, there: Path) -> dict[str, Any]:
        return open_json(there.read_bytes(), there, remedy="take it from a backup, or name a new folder for OUT")

    def _check_same(self, before: Mapping[str, Any]) -> None:
        now = json.loads(json.dumps(self.description))
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                raise ValueError(
                    f"{self.path} was begun with other {key}: {_short(before.get(key))}, not {_short(now.get(key))}; "
                    "--resume goes on with the same, or name a new folder"
                )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]} ..."
