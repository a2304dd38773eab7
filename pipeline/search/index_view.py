"""What the indexes of a library hold: `ndvr show LIBRARY --indexes`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.operators.index.segments import IndexFiles
from ndvr.operators.index.sureness import Sureness
from ndvr.operators.library.library import Library
from ndvr.pipeline.search.opened import files_of, ledger_state


@dataclass(frozen=True, kw_only=True)
class IndexView:
    """One index at a glance."""

    index: str
    method: str
    config: str
    snapshot: int  # its number; each change makes the next
    up_to_date: bool  # False: the library has changed since
    videos: int
    without_keys: int  # videos too dark or flat to be looked up
    gone: int  # videos that count no more and whose keys still lie there
    keys: int
    bytes: int
    seconds: float  # of video
    segments: dict[int, int]  # how many were merged how often
    lists: int
    sureness: Sureness | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """Write some lines."""
        a_second = f", {self.bytes / self.seconds:.0f} bytes a second of video" if self.seconds else ""
        state = (
            "up to date" if self.up_to_date else "the library has changed since; `ndvr index` or a search updates it"
        )
        merged = ", ".join(
            f"{n:,} merged {level} times" if level else f"{n:,} new" for level, n in self.segments.items()
        )
        lines = [
            f"{self.index}  {self.method}, snapshot {self.snapshot}, {state}",
            f"  {self.videos:,} videos ({self.without_keys:,} too dark or flat to be looked up, {self.gone:,} gone)",
            f"  {self.keys:,} keys in {self.lists:,} lists, {self.bytes / 1e6:,.1f} MB{a_second}",
            f"  segments: {merged or 'none'}; each has lists fitted to it when it was written",
        ]
        return "\n".join([*lines, f"  sureness: {self._sure()}"])

    def _sure(self) -> str:
        sure = self.sureness
        if sure is None:
            return "not measured"
        if not sure.fitted:
            return f"assumed from other videos, as {sure.pairs:,} pairs of {sure.videos:,} videos are too few"
        return (
            f"fitted to {sure.pairs:,} unrelated pairs of {sure.videos:,} videos; of a million such pairs "
            f"{sure.share * 1e6:,.0f} exceed odds of {sure.start:.3f}, scale {sure.scale:.3f}, shape {sure.shape:.2f}"
        )


def show_index(library: str | Path, *, to: str | Path | None = None) -> list[IndexView]:
    """Describe all indexes of a library, by configuration. FileNotFoundError when there is none."""
    opened = Library(library)
    views = []
    for config in opened.configs:
        files = files_of(opened, config, to)
        if files.exists:
            views.append(_view(opened, config, files))
    if not views:
        raise FileNotFoundError(f"{library} has no index; `ndvr index {library}` makes it")
    return views


def _view(library: Library, config: str, files: IndexFiles) -> IndexView:
    snapshot = files.snapshot()
    segments = files.open(snapshot)
    durations = {video_id: entry.end["duration_s"] or 0.0 for video_id, entry in library.entries(config).items()}
    alive = [segment.videos[row] for segment in segments for row in segment.alive]
    with_keys = sum(len(set(segment.where(np.arange(len(segment)))[0].tolist()) - segment.gone) for segment in segments)
    return IndexView(
        index=str(files.store),
        method=files.about()["method"],
        config=config,
        snapshot=snapshot.number,
        up_to_date=snapshot.ledger == ledger_state(library),
        videos=len(alive),
        without_keys=len(alive) - with_keys,
        gone=sum(len(segment.gone) for segment in segments),
        keys=sum(map(len, segments)),
        bytes=files.bytes_of(snapshot),
        seconds=round(sum(durations.get(video.video_id, 0.0) for video in alive), 3),
        segments=dict(sorted(Counter(segment.level for segment in segments).items())),
        lists=sum(len(segment.lists) for segment in segments),
        sureness=Sureness.from_json(snapshot.sureness),
    )
