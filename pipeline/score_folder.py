"""A SCORES folder: what it says about itself, which cells it has, and never more or less than one whole state.

SCORES/scores.json          what was compared, with what, and the parts in force: written last, whole
SCORES/queries-*.parquet    video_id, status, reason of every query asked for; videos-*.parquet likewise
SCORES/parts/*.parquet      query_id, video_id, score: one file per cell, whole or absent
SCORES/groups.parquet       which videos share a cell, of the run that was started last
SCORES/signatures/*.npy     of methods that keep one vector or code a video
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ndvr.operators.library import Entry, write_json, write_whole
from ndvr.operators.score_files import ABOUT, PARTS
from ndvr.operators.score_groups import Group, Side, read_groups, write_groups
from ndvr.operators.score_part import keep_rows

GROUPS, SIGNATURES = "groups.parquet", "signatures"
_IDS = pa.schema([("video_id", pa.string()), ("status", pa.string()), ("reason", pa.string())])
Cell = tuple[Group, Group]


class ScoreFolder:
    """Made, or opened to be continued. ValueError when it holds another comparison than `about` says."""

    def __init__(self, out: Path, about: dict[str, Any]):
        self.out, self.about = out, about
        self.parts, self.signatures = out / PARTS, out / SIGNATURES
        path = out / ABOUT
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            differs = [key for key in about if found.get(key) != about[key] and not key.endswith("library")]
            if differs:
                raise ValueError(
                    f"{out} holds another comparison (other {', '.join(differs)}); name a new folder for SCORES"
                )
        elif out.exists() and any(out.iterdir()):
            raise ValueError(f"{out} exists and holds no scores; name a new folder for SCORES")
        else:
            write_json(path, about | {"parts": None})
        self.recorded = read_groups(out / GROUPS)

    def check_overlap(self, side: str, video_ids: Iterable[str]) -> None:
        """ValueError when nothing of a side is asked for any more: scores must not be lost to a wrong name."""
        before = {video_id for group in self.recorded.get(side, ()) for video_id, _ in group}
        if before and before.isdisjoint(video_ids):
            raise ValueError(
                f"{self.out} holds another comparison (none of its {len(before)} {side} is asked for now); "
                "name a new folder for SCORES"
            )

    def begin(self, sides: Mapping[str, Side], cells: Sequence[Cell], *, narrow: bool = True) -> None:
        """Write down the groups; with `narrow`, make the cells of groups that lost videos from those they were."""
        if narrow:
            for cell in cells:
                before = [side.shrunk.get(group.name, group.name) for side, group in zip(_both(sides), cell)]
                old, new = self.parts / _name(*before), self.path(cell)
                if old != new and old.exists() and not new.exists():
                    keep_rows(old, new, cell[0].ids, cell[1].ids)
        groups = {
            name: [[video[:2] for video in group.videos] for group in side.groups] for name, side in sides.items()
        }
        if groups != self.recorded:
            write_groups(self.out / GROUPS, sides)

    def path(self, cell: Cell) -> Path:
        """Where a cell is written."""
        return self.parts / _name(cell[0].name, cell[1].name)

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Those that are not there yet."""
        there = _listed(self.parts)
        return [cell for cell in cells if self.path(cell).name not in there]

    def finish(self, cells: Sequence[Cell], asked: Mapping[str, Mapping[str, Entry]]) -> None:
        """Put the cells in force, all at once, and remove what they replace."""
        if missing := self.missing(cells):
            raise ValueError(
                f"{len(missing)} parts of {self.out} are gone, such as {self.path(missing[0]).name}: is another run "
                "writing there? Run this one again"
            )
        ids = {name: _write_ids(self.out, name, entries) for name, entries in asked.items()}
        parts = [self.path(cell).name for cell in cells]
        about = self.about | {"parts": parts, "ids": ids}
        path = self.out / ABOUT
        if json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(about)):
            write_json(path, about)
        signatures = {f"{group.name}.npy" for cell in cells for group in cell}
        _remove(self.parts, set(parts))
        _remove(self.signatures, signatures)
        for name, kept in ids.items():
            _remove(self.out, {kept}, f"{name}-")


def _both(sides: Mapping[str, Side]) -> Iterator[Side]:
    """The sides of rows and of columns; of a collection against itself twice the same."""
    yield from sides.values() if len(sides) == 2 else 2 * list(sides.values())


def _name(query_group: str, video_group: str) -> str:
    return f"{query_group}-{video_group}.parquet"


def _listed(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()


def _remove(folder: Path, kept: set[str], prefix: str = "") -> None:
    for name in _listed(folder) - kept:
        if name.startswith(prefix):
            (folder / name).unlink(missing_ok=True)


def _write_ids(out: Path, side: str, entries: Mapping[str, Entry]) -> str:
    """Write who was asked for and what became of it; the name of the file stands for its content."""
    rows = [
        {"video_id": entry.video_id, "status": entry.status, "reason": entry.end["error_class"] or entry.end["message"]}
        for entry in entries.values()
    ]
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
    path = out / f"{side}-{digest}.parquet"
    if not path.exists():
        table = pa.Table.from_pylist(rows, schema=_IDS)
        write_whole(path, lambda name: pq.write_table(table, name))
    return path.name
