"""A comparison that was opened: libraries, method, SCORES and the groups of the grid fit; nothing is computed yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndvr.operators.library.library import Entry
from ndvr.operators.scores.groups import Group, Side, Video, videos_of
from ndvr.pipeline.comparison import grid
from ndvr.pipeline.comparison.inputs import Comparable
from ndvr.pipeline.comparison.score_folder import ScoreFolder


@dataclass(frozen=True, kw_only=True)
class Opened:
    """By side: "queries" and "videos"."""

    found: Comparable
    asked: Mapping[str, dict[str, Entry]]
    videos: Mapping[str, list[Video]]  # those with features
    folder: ScoreFolder
    sides: Mapping[str, Side]

    @property
    def groups(self) -> list[Group]:
        return [group for side in self.sides.values() for group in side.groups]

    @property
    def shrunk(self) -> dict[str, str]:
        """What groups that lost videos were called before."""
        return {**self.sides["queries"].shrunk, **self.sides["videos"].shrunk}

    def worker(self, memory_gb: float) -> dict[str, Any]:
        """What a worker needs to make a `Scorer`."""
        return {
            "setting": self.found.setting,
            "libraries": [library.store for library in self.found.libraries],
            "folder": self.folder.signatures,
            "memory_gb": memory_gb,
        }

    def facts(self) -> dict[str, Any]:
        """What every kind of run says about itself."""
        queries, videos = (len(self.videos[side]) for side in grid.SIDES)
        return {
            "scores": str(self.folder.out),
            "method": self.found.model.name,
            "weights": self.found.model.weights,
            "trained": self.found.about["trained"],
            "queries": queries,
            "videos": videos,
            "pairs": queries * videos,
            "missing_queries": len(self.asked["queries"]) - queries,
            "missing_videos": len(self.asked["videos"]) - videos,
        }


def open_comparison(
    found: Comparable,
    scores: str | Path,
    *,
    query_ids: Iterable[str] | str | Path | None,
    memory_gb: float,
    about: Mapping[str, Any] | None = None,
) -> Opened:
    """Check what else can be wrong, then make or open SCORES.

    `about` joins what decides whether it holds the same comparison.
    """
    asked = {"queries": found.pick(query_ids), "videos": found.entries[1]}
    videos = {name: videos_of(side.values(), found.configs[n]) for n, (name, side) in enumerate(asked.items())}
    found.check_memory(videos.values(), memory_gb)
    folder = ScoreFolder(scores, found.about | dict(about or {}))
    for name, side in asked.items():
        folder.check_overlap(name, side)
    sides = grid.sides(folder.recorded, videos, grid.group_size(found.model))
    return Opened(found=found, asked=asked, videos=videos, folder=folder, sides=sides)
