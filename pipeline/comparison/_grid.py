"""The grid of cells: how large its groups are, and computing cells on Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndvr.operators.library.fencing import check
from ndvr.operators.scores.groups import Group, Members, Side, Video, packed, regroup
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cluster.workers import Make, Workers, worker_pool
from ndvr.pipeline.comparison._score_folder import Cell, ScoreFolder
from ndvr.pipeline.progress import Progress

if TYPE_CHECKING:
    from ndvr.models.method import Model

# Small jobs are cut finer, for progress and for all cores. It depends on the inputs only, never on the machine.
CELLS_AT_LEAST = 64
SIDES = ("queries", "videos")


@dataclass(frozen=True, kw_only=True)
class GroupSize:
    """How many videos share a row or column: as many as make a cell some seconds or a minute of work."""

    queries: int
    videos: int
    least: int  # videos, when a small job is cut finer
    windows: int  # together


def group_size(model: Model) -> GroupSize:
    """Choose by what a pair costs: least when a video is one vector or code, less when a window is one vector."""
    if model.compact:  # the scores of a cell are 16 MB, its signatures of 4 KB a video as much
        return GroupSize(queries=1024, videos=4096, least=256, windows=1 << 40)
    if len(model.feature_shape) == 1 and model.card.feature_dtype != "uint8":
        return GroupSize(queries=256, videos=256, least=4, windows=16384)
    return GroupSize(queries=64, videos=64, least=1, windows=4096)


def sides(
    recorded: Mapping[str, Sequence[Members]], videos: Mapping[str, Sequence[Video]], size: GroupSize
) -> dict[str, Side]:
    """Group both sides; the groups of new videos are so small that they make CELLS_AT_LEAST cells."""
    rows = regroup(
        recorded.get("queries", ()),
        videos["queries"],
        lambda new: packed(new, n_videos=size.queries, n_windows=size.windows),
    )

    def columns(new: list[Video]) -> Iterable[Group]:
        fine = max(size.least, -(-len(new) * max(1, len(rows.groups)) // CELLS_AT_LEAST))
        return packed(new, n_videos=min(size.videos, fine), n_windows=size.windows)

    return {"queries": rows, "videos": regroup(recorded.get("videos", ()), videos["videos"], columns)}


def triangle(recorded: Sequence[Members], videos: Sequence[Video], size: GroupSize) -> tuple[Side, list[Cell]]:
    """Group a collection, and list the cells of every group with itself and those before it."""

    def fine(new: list[Video]) -> Iterable[Group]:
        n_groups = math.isqrt(2 * CELLS_AT_LEAST)
        n_videos = min(size.videos, max(size.least, -(-len(new) // n_groups)))
        return packed(new, n_videos=n_videos, n_windows=size.windows)

    side = regroup(recorded, videos, fine)
    return side, [(row, column) for n, column in enumerate(side.groups) for row in side.groups[: n + 1]]


def pairs_of(cell: Cell) -> int:
    """Count the pairs that a cell compares; a group with itself has each pair once."""
    row, column = cell
    return len(row) * (len(row) - 1) // 2 if row is column else len(row) * len(column)


def compute(make: Make, cells: Sequence[Cell], folder: ScoreFolder, workers: Workers, *, compact: bool) -> float:
    """Write the cells on a pool of workers, column by column; every cell file is a commit. Returns the seconds of work.

    `make` makes what has `keep(side, group)`, for a compact method, and `write(path, group, group)`.
    """
    tasks = [(cell, folder.path(cell), ()) for cell in cells]
    # Groups of equal names are equal, also when they stand on both sides.
    kept = {group.name: (side, group) for cell in cells for side, group in zip(SIDES, cell)} if compact else {}
    return run(make, tasks, workers, kept=list(kept.values()))[1]


def run(
    make: Make,
    tasks: Sequence[tuple[Cell, Path, tuple]],
    workers: Workers,
    *,
    kept: Sequence[tuple[str, Group]] = (),
    title: str = "similarity",
) -> tuple[int, float]:
    """Write the signatures of `kept` groups, then do the tasks: cell, its path, further arguments of `write`.

    Returns the sum of what the tasks returned, and the seconds of work.
    """
    with worker_pool(partial(_fenced, make, workers.lease), workers, n_tasks=max(len(tasks), len(kept))) as pool:
        began = time.monotonic()
        groups = {group.name: group for cell, *_ in tasks for group in cell} | {group.name: group for _, group in kept}
        sent = {name: pool.share(group) for name, group in groups.items()}
        if kept:
            with Progress("signatures", sum(len(group) for _, group in kept), "video", show=workers.progress) as bar:
                pool.run(title, [[("keep", side, sent[group.name])] for side, group in kept], bar)
        columns: dict[str, list[tuple]] = {}
        for (row, column), path, more in tasks:
            columns.setdefault(column.name, []).append(("write", path, sent[row.name], sent[column.name], *more))
        n_pairs = sum(len(more[0]) if more else pairs_of(cell) for cell, _, more in tasks)
        with Progress(title, n_pairs, "pair", show=workers.progress) as bar:
            done = pool.run(title, columns.values(), bar)
        return done, time.monotonic() - began


def _fenced(make: Make, lease: Store | None, device: str) -> Any:
    """Make a worker that looks before it writes whether somebody has taken over the folder: then RunStopped."""
    work = make(device)
    if lease is not None:
        work.fence = partial(check, lease)
    return work
