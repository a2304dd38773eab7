"""Similarity: two libraries in, the scores of all pairs out, as Ray tasks over a grid of cells.

ndvr similarity QUERIES DATABASE SCORES --method thumbprint

What SCORES holds is in score_folder.py. Running again computes the cells that are not there: after a
kill the rest, after the libraries grew those of the new videos.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ndvr.operators.scores.files import write_similarities_json
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import grid
from ndvr.pipeline.comparison.inputs import Comparable, comparable, open_comparison
from ndvr.pipeline.comparison.score_folder import SIMILARITIES
from ndvr.pipeline.notebook import as_html
from ndvr.pipeline.settings import Setting

if TYPE_CHECKING:
    from ndvr.operators.scores.cells import ScoreCell


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

    def text(self) -> str:
        """Return one line."""
        new = "" if self.pairs_computed == self.pairs else f"{self.pairs_computed:,} of them new; "
        return (
            f"{self.pairs:,} scores of {self.queries:,} queries x {self.videos:,} videos by {self.method} in "
            f"{self.scores} ({new}{self.seconds:.1f} s, {self.to_json()['pairs_per_s']:,.0f} pairs/s)"
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
    force = Workers(workers=workers, memory_gb=memory_gb, address=address, progress=progress)
    found = comparable(queries, database, method=method, weights=weights, options=options, config=config)
    done = score_all(found, scores, query_ids=query_ids, workers=force)
    if format == "json":
        write_similarities_json(Path(scores), Path(scores) / SIMILARITIES)
    return replace(done, seconds=round(time.monotonic() - began, 3))


def score_all(
    found: Comparable, scores: str | Path, *, query_ids: Iterable[str] | str | Path | None, workers: Workers
) -> Comparison:
    """`similarity` of libraries that were opened."""
    began = time.monotonic()
    opened = open_comparison(found, scores, query_ids=query_ids, memory_gb=workers.memory_gb)
    folder, sides = opened.folder, opened.sides
    cells = [(row, column) for column in sides["videos"].groups for row in sides["queries"].groups]
    folder.narrow(cells, opened.shrunk, lambda cell: {"query_id": cell[0].ids, "video_id": cell[1].ids})
    folder.record(sides)
    todo = folder.missing(cells)
    compute_s = 0.0
    if todo:
        make = partial(score_worker, **opened.worker(workers.memory_gb))
        compute_s = grid.compute(make, todo, folder, workers, compact=found.model.compact)
    folder.finish([folder.path(cell).name for cell in cells], folder.write_ids(opened.asked), groups=opened.groups)
    return Comparison(
        **opened.facts(),
        pairs_computed=sum(map(grid.pairs_of, todo)),
        cells=len(cells),
        cells_resumed=len(cells) - len(todo),
        compute_s=round(compute_s, 3),
        seconds=round(time.monotonic() - began, 3),
    )


def score_worker(device: str, *, setting: Setting, libraries: list[Store], folder: Path, memory_gb: float) -> ScoreCell:
    """What scores cells on a device."""
    from ndvr.operators.scores.cells import ScoreCell

    return ScoreCell(setting.load(device, "similarity"), *libraries, folder=folder, memory_gb=memory_gb)
