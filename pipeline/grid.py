"""The grid of cells: how large its groups are, and computing cells on Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndvr.operators.score_groups import Group, Members, Side, Video, packed, regroup
from ndvr.pipeline.comparable import Comparable
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.score_folder import Cell, ScoreFolder
from ndvr.pipeline.worker_pool import Workers, worker_pool

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


def compute(todo: Sequence[Cell], folder: ScoreFolder, found: Comparable, workers: Workers) -> None:
    """Write the cells on a pool of workers, column by column; every cell file is a commit."""
    make = partial(
        _worker,
        setting=found.setting,
        libraries=[library.path for library in found.libraries],
        folder=folder.signatures,
        memory_gb=workers.memory_gb,
    )
    with worker_pool(make, workers, n_tasks=len(todo)) as pool:
        sent: dict[str, Any] = {}
        for cell in todo:
            for group in cell:
                if group.name not in sent:
                    sent[group.name] = pool.share(group)
        if found.model.compact:
            keep = {("queries", row.name): row for row, _ in todo} | {("videos", col.name): col for _, col in todo}
            lanes = [[("keep", side, sent[name])] for side, name in keep]
            with Progress("signatures", sum(map(len, keep.values())), "video", show=workers.progress) as bar:
                pool.run("similarity", lanes, bar)
        columns: dict[str, list[tuple]] = {}
        for cell in todo:
            row, column = (sent[group.name] for group in cell)
            columns.setdefault(cell[1].name, []).append(("write", folder.path(cell), row, column))
        pairs = sum(len(row) * len(column) for row, column in todo)
        with Progress("similarity", pairs, "pair", show=workers.progress) as bar:
            pool.run("similarity", columns.values(), bar)


def _worker(device: str, *, setting: Any, libraries: Sequence[Path], folder: Path, memory_gb: float) -> Any:
    from ndvr.operators.score_cell import ScoreCell

    return ScoreCell(setting.load(device, "similarity"), *libraries, folder=folder, memory_gb=memory_gb)
