"""The grid of cells: how large its groups are, and computing cells on Ray."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndvr.operators.score_groups import Group, Members, Side, Video, packed, regroup
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.score_folder import Cell, ScoreFolder
from ndvr.pipeline.worker_pool import Make, Workers, worker_pool

if TYPE_CHECKING:
    from ndvr.models.method import Model

# Small jobs are cut finer, for progress and for all cores. It depends on the inputs only, never on the machine.
CELLS_AT_LEAST = 64


@dataclass(frozen=True, kw_only=True)
class GroupSize:
    """How many videos share a row or column: as many as make a cell some seconds or a minute of work."""

    queries: int
    videos: int
    least: int  # videos, when a small job is cut finer
    windows: int  # together


def group_size(model: Model) -> GroupSize:
    """By what a pair costs: least when a video is one vector or code, less when a window is one vector."""
    if model.compact:  # the scores of a cell are 16 MB, its signatures of 4 KB a video as much
        return GroupSize(queries=1024, videos=4096, least=256, windows=1 << 40)
    if len(model.feature_shape) == 1 and model.card.feature_dtype != "uint8":
        return GroupSize(queries=256, videos=256, least=4, windows=16384)
    return GroupSize(queries=64, videos=64, least=1, windows=4096)


def sides(
    recorded: Mapping[str, Sequence[Members]], videos: Mapping[str, Sequence[Video]], size: GroupSize
) -> dict[str, Side]:
    """The groups of both sides; those of new videos so small that they make CELLS_AT_LEAST cells."""
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
    """The groups of a collection, and the cells of every group with itself and those before it."""

    def fine(new: list[Video]) -> Iterable[Group]:
        n_groups = math.isqrt(2 * CELLS_AT_LEAST)
        n_videos = min(size.videos, max(size.least, -(-len(new) // n_groups)))
        return packed(new, n_videos=n_videos, n_windows=size.windows)

    side = regroup(recorded, videos, fine)
    return side, [(row, column) for n, column in enumerate(side.groups) for row in side.groups[: n + 1]]


def pairs_of(cell: Cell) -> int:
    """How many pairs a cell compares; a group with itself has each pair once."""
    row, column = cell
    return len(row) * (len(row) - 1) // 2 if row is column else len(row) * len(column)


def compute(make: Make, todo: Sequence[Cell], folder: ScoreFolder, workers: Workers, *, compact: bool) -> None:
    """Write the cells on a pool of workers, column by column; every cell file is a commit.

    `make` makes what has `keep(side, group)`, for a compact method, and `write(path, group, group)`.
    """
    with worker_pool(make, workers, n_tasks=len(todo)) as pool:
        # Groups of equal names are equal, also when they stand on both sides.
        groups = {group.name: (side, group) for cell in todo for side, group in zip(("queries", "videos"), cell)}
        sent = {name: pool.share(group) for name, (_, group) in groups.items()}
        if compact:
            lanes = [[("keep", side, sent[name])] for name, (side, _) in groups.items()]
            n_videos = sum(len(group) for _, group in groups.values())
            with Progress("signatures", n_videos, "video", show=workers.progress) as bar:
                pool.run("similarity", lanes, bar)
        columns: dict[str, list[tuple]] = {}
        for row, column in todo:
            task = ("write", folder.path((row, column)), sent[row.name], sent[column.name])
            columns.setdefault(column.name, []).append(task)
        with Progress("similarity", sum(map(pairs_of, todo)), "pair", show=workers.progress) as bar:
            pool.run("similarity", columns.values(), bar)
