"""Similarity: two libraries in, the scores of all pairs out, as Ray tasks over a grid of cells.

ndvr similarity QUERIES DATABASE SCORES --method thumbprint

What SCORES holds is in _score_folder.py. Running again computes the cells that are not there: after a
kill the rest, after the libraries grew those of the new videos.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ndvr.operators.library.fencing import check
from ndvr.operators.scores.files import write_similarities_json
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import _grid as grid
from ndvr.pipeline.comparison._score_folder import IDENTICAL, SIMILARITIES, one_writer, write_identical
from ndvr.pipeline.comparison.inputs import Inputs, MethodSpec, Scored, check_inputs, leaving_out_lost, open_grid
from ndvr.pipeline.notebook import as_html
from ndvr.pipeline.progress import interruptible
from ndvr.pipeline.settings import Setting

if TYPE_CHECKING:
    from ndvr.operators.scores.cells import ScoreCell


@dataclass(frozen=True, kw_only=True)
class Comparison(Scored):
    """What a similarity run did."""

    pairs_computed: int  # now; the others were there
    cells: int
    cells_resumed: int  # found finished
    compute_s: float  # of seconds, what the workers took once they were there
    identical: int = 0  # videos that share their file, byte by byte, with another one

    def to_json(self) -> dict[str, Any]:
        """Make one flat object for programs."""
        return asdict(self) | {"pairs_per_s": round(self.pairs_computed / max(self.seconds, 1e-9), 1)}

    def text(self) -> str:
        """Write one line for people."""
        new = "" if self.pairs_computed == self.pairs else f"{self.pairs_computed:,} of them new; "
        same = f"; {self.identical:,} videos share their file with another: {IDENTICAL}" if self.identical else ""
        return (
            f"{self.pairs:,} scores of {self.queries:,} queries x {self.videos:,} videos by {self.method} in "
            f"{self.scores} ({new}{self.seconds:.1f} s, {self.to_json()['pairs_per_s']:,.0f} pairs/s)"
            f"{same}"
        )

    def _repr_html_(self) -> str:
        return as_html(self.text(), trained=self.trained)


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
    strict: bool = False,
    progress: bool = True,
) -> Comparison:
    """Score every query of one library against every video of another (or the same) and write SCORES.

    A pair of a video with itself is scored too. `query_ids` (ids, or a file with one per line) picks queries.
    A killed run continues where it stopped; of libraries that changed since, only what is new is computed, and what
    is gone leaves SCORES. `workers`: how many processes, of one CPU core or GPU each; None: all there are; 0: this
    process, without Ray. `memory_gb` bounds what each keeps and compares at a time, beside the model; it changes no
    score. Videos whose features are missing or damaged are left out by name; with `strict` they are Damaged, a
    ValueError. Raises ValueError or FileNotFoundError before any work when the libraries do not fit each other or the
    method.
    """
    began = time.monotonic()
    if format not in ("parquet", "json"):
        raise ValueError(f"unknown format {format!r}; choose parquet or json")
    crew = Workers(workers=workers, memory_gb=memory_gb, address=address, progress=progress)
    spec = MethodSpec(method=method, weights=weights, options=options or {}, config=config)
    inputs = check_inputs(queries, database, spec, strict=strict)
    if query_ids is not None:
        query_ids = list(inputs.pick(query_ids))
    with interruptible(), one_writer(scores, "ndvr similarity") as lease:
        work = partial(score_all, scores=scores, query_ids=query_ids, workers=replace(crew, lease=lease))
        comparison = leaving_out_lost(work, inputs, strict=strict)
        if format == "json":
            if lease is not None:
                check(lease)
            write_similarities_json(Path(scores), Path(scores) / SIMILARITIES)
    return replace(comparison, seconds=round(time.monotonic() - began, 3))


def score_all(
    inputs: Inputs, scores: str | Path, *, query_ids: Iterable[str] | str | Path | None, workers: Workers
) -> Comparison:
    """Do the work of `similarity` for inputs that were checked.

    Lay out the grid, keep the cells of groups that only lost videos, compute the missing ones, put all in force.
    """
    began = time.monotonic()
    score_grid = open_grid(inputs, scores, query_ids=query_ids, workers=workers)
    folder, sides = score_grid.folder, score_grid.sides
    cells = [(row, column) for column in sides["videos"].groups for row in sides["queries"].groups]
    folder.narrow(cells, score_grid.shrunk, lambda cell: {"query_id": cell[0].ids, "video_id": cell[1].ids})
    folder.record(sides)
    missing = folder.missing(cells)
    compute_s = 0.0
    if missing:
        make = partial(score_worker, **score_grid.worker(workers.memory_gb))
        compute_s = grid.compute(make, missing, folder, inputs.hire(workers), compact=inputs.model.compact)
    parts = [folder.path(cell).name for cell in cells]
    folder.finish(parts, folder.write_ids(score_grid.entries, score_grid.too_long), groups=score_grid.groups)
    return Comparison(
        **score_grid.facts(),
        pairs_computed=sum(map(grid.pairs_of, missing)),
        cells=len(cells),
        cells_resumed=len(cells) - len(missing),
        identical=write_identical(folder.out, score_grid.entries),
        compute_s=round(compute_s, 3),
        seconds=round(time.monotonic() - began, 3),
    )


def score_worker(device: str, *, setting: Setting, libraries: list[Store], folder: Path, memory_gb: float) -> ScoreCell:
    """Make what scores cells on a device."""
    from ndvr.operators.scores.cells import ScoreCell

    return ScoreCell(setting.load(device, "similarity"), *libraries, folder=folder, memory_gb=memory_gb)
