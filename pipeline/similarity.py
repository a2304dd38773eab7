"""Similarity: two libraries in, the scores of all pairs out, as Ray tasks over a grid of cells.

ndvr similarity QUERIES DATABASE SCORES --method thumbprint

What SCORES holds is in ndvr.pipeline.score_folder. Running again computes the cells that are not there: after a
kill the rest, after the libraries grew those of the new videos.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ndvr.operators.score_groups import videos_of
from ndvr.operators.similarities_json import write_similarities_json
from ndvr.pipeline import grid
from ndvr.pipeline.comparable import comparable
from ndvr.pipeline.score_folder import SIMILARITIES, ScoreFolder
from ndvr.pipeline.settings import Setting
from ndvr.pipeline.worker_pool import Workers

if TYPE_CHECKING:
    from ndvr.operators.score_cell import ScoreCell


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a similarity run did."""

    scores: str
    method: str
    weights: str
    trained: bool
    queries: int
    videos: int
    pairs: int
    pairs_computed: int  # now; the others were there
    missing_queries: int  # asked for, without features
    missing_videos: int
    cells: int
    cells_resumed: int  # found finished
    compute_s: float  # of seconds, what the workers took once they were there
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """One flat object for programs."""
        return asdict(self) | {"pairs_per_s": round(self.pairs_computed / max(self.seconds, 1e-9), 1)}


def similarity(
    queries: str | Path,
    database: str | Path,
    scores: str | Path,
    *,
    method: str = "thumbprint",
    weights: str | None = None,
    options: dict[str, Any] | None = None,
    config: str | None = None,
    query_ids: Iterable[str] | str | Path | None = None,
    format: Literal["parquet", "json"] = "parquet",
    workers: int | None = None,
    memory_gb: float = Workers.memory_gb,
    address: str | None = None,
    progress: bool = True,
) -> Comparison:
    """Score every query of one library against every video of another (or the same) and write SCORES.

    A pair of a video with itself is scored too. `query_ids` (ids, or a file with one per line) picks queries.
    A killed run continues where it stopped; of libraries that changed since, only what is new is computed, and what
    is gone leaves SCORES. `workers`: how many processes, of one CPU core or GPU each; None: all there are; 0: this
    process, without Ray. `memory_gb` bounds what each keeps and compares at a time, beside the model; it changes no
    score. Raises ValueError or FileNotFoundError before any work when the libraries do not fit each other or the
    method.
    """
    began = time.monotonic()
    if format not in ("parquet", "json"):
        raise ValueError(f"unknown format {format!r}; choose parquet or json")
    found = comparable(queries, database, method=method, weights=weights, options=options, config=config)
    asked = {"queries": found.pick(query_ids), "videos": found.entries[1]}
    videos = {name: videos_of(side.values(), found.configs[n]) for n, (name, side) in enumerate(asked.items())}
    found.check_memory(videos.values(), memory_gb)
    folder = ScoreFolder(Path(scores), found.about)
    for name, side in asked.items():
        folder.check_overlap(name, side)
    sides = grid.sides(folder.recorded, videos, grid.group_size(found.model))
    cells = [(row, column) for column in sides["videos"].groups for row in sides["queries"].groups]
    shrunk = {**sides["queries"].shrunk, **sides["videos"].shrunk}
    folder.narrow(cells, shrunk, lambda cell: {"query_id": cell[0].ids, "video_id": cell[1].ids})
    folder.record(sides)
    todo = folder.missing(cells)
    compute_s = 0.0
    if todo:
        make = partial(
            _worker,
            setting=found.setting,
            libraries=[library.path for library in found.libraries],
            folder=folder.signatures,
            memory_gb=memory_gb,
        )
        force = Workers(workers=workers, memory_gb=memory_gb, address=address, progress=progress)
        compute_s = grid.compute(make, todo, folder, force, compact=found.model.compact)
    groups = [group for side in sides.values() for group in side.groups]
    folder.finish([folder.path(cell).name for cell in cells], folder.write_ids(asked), groups=groups)
    if format == "json":
        write_similarities_json(folder.out, folder.out / SIMILARITIES)
    have = {name: len(side) for name, side in videos.items()}
    return Comparison(
        scores=str(scores),
        method=method,
        weights=found.model.weights,
        trained=found.about["trained"],
        queries=have["queries"],
        videos=have["videos"],
        pairs=have["queries"] * have["videos"],
        pairs_computed=sum(len(row) * len(column) for row, column in todo),
        missing_queries=len(asked["queries"]) - have["queries"],
        missing_videos=len(asked["videos"]) - have["videos"],
        cells=len(cells),
        cells_resumed=len(cells) - len(todo),
        compute_s=round(compute_s, 3),
        seconds=round(time.monotonic() - began, 3),
    )


def _worker(device: str, *, setting: Setting, libraries: list[Path], folder: Path, memory_gb: float) -> ScoreCell:
    from ndvr.operators.score_cell import ScoreCell

    return ScoreCell(setting.load(device, "similarity"), *libraries, folder=folder, memory_gb=memory_gb)
