"""Dedupe: one library in, the pairs of its videos that are alike out; the upper triangle of the score grid.

ndvr dedupe LIBRARY PAIRS --method thumbprint --threshold 0.5

PAIRS/pairs.parquet      video_id_a < video_id_b, score; highest first, equals by id
PAIRS/families.parquet   family, video_id: what a chain of pairs connects; the largest first
PAIRS/pairs.json         what was compared, how, and what was found
PAIRS/parts, groups.parquet, signatures   as in ndvr.pipeline.comparison.score_folder; running again continues
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ndvr.operators.scores.groups import videos_of
from ndvr.operators.scores.pair_list import PairList
from ndvr.operators.storage.store import Store, write_whole
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import grid
from ndvr.pipeline.comparison.inputs import comparable
from ndvr.pipeline.comparison.score_folder import Cell, ScoreFolder
from ndvr.pipeline.notebook import as_html
from ndvr.pipeline.settings import Setting

if TYPE_CHECKING:
    from ndvr.operators.scores.cells import PairCell

PAIRS, FAMILIES = "pairs.parquet", "families.parquet"


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """What a dedupe run found."""

    pairs: str  # the folder
    method: str
    weights: str
    trained: bool
    threshold: float | None
    top_k: int | None
    videos: int
    missing_videos: int  # without features
    compared: int  # pairs
    computed: int  # pairs, now; the others were there
    found: int  # pairs
    families: int  # of two videos or more
    videos_in_families: int
    largest_family: int
    cells: int
    cells_resumed: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """One flat object for programs."""
        return asdict(self) | {"pairs_per_s": round(self.computed / max(self.seconds, 1e-9), 1)}

    def _repr_html_(self) -> str:
        return as_html(self.text(), trained=self.trained)

    def text(self) -> str:
        """Two lines."""
        limits = [f"scored {self.threshold:g} or more"] if self.threshold is not None else []
        limits += [f"are among the {self.top_k} best of either video"] if self.top_k is not None else []
        return (
            f"{self.found:,} of {self.compared:,} pairs of {self.videos:,} videos {' and '.join(limits)} "
            f"by {self.method}: {self.pairs}/{PAIRS} ({self.seconds:.1f} s)\n"
            f"{self.videos_in_families:,} videos in {self.families:,} families, the largest of "
            f"{self.largest_family:,}: {self.pairs}/{FAMILIES}"
        )


def dedupe(
    library: str | Path,
    pairs: str | Path,
    *,
    method: str = "thumbprint",
    threshold: float | None = None,
    top_k: int | None = None,
    weights: str | None = None,
    options: dict[str, Any] | None = None,
    config: str | None = None,
    workers: int | None = None,
    memory_gb: float = Workers.memory_gb,
    address: str | None = None,
    progress: bool = True,
) -> Duplicates:
    """Find the pairs of one library's videos that score `threshold` or more, are among the `top_k` best of either
    video, or both; write PAIRS.

    Of a method that is not symmetric the higher of both directions counts: a clip is a copy of a part of a longer
    video, the longer one is not wholly in the clip. Settings are those of `similarity`; as there, a killed run
    continues and new videos cost only their own pairs. ValueError or FileNotFoundError before any work.
    """
    began = time.monotonic()
    limits = _limits(threshold, top_k)
    found = comparable(library, library, method=method, weights=weights, options=options, config=config)
    entries = found.entries[0]
    videos = videos_of(entries.values(), found.configs[0])
    found.check_memory([videos], memory_gb)
    folder = ScoreFolder(pairs, found.about | limits, name="pairs.json", holds="pairs")
    folder.check_overlap("videos", entries)
    side, cells = grid.triangle(folder.recorded.get("videos", ()), videos, grid.group_size(found.model))
    if top_k is None:  # else what was not among the best may be now
        folder.narrow(cells, side.shrunk, _ids)
    folder.record({"videos": side})
    todo = folder.missing(cells)
    if todo:
        own: dict[str, Any] = {"library": found.libraries[0].store, "folder": folder.signatures, "memory_gb": memory_gb}
        make = partial(_worker, setting=found.setting, **own, **limits)
        force = Workers(workers=workers, memory_gb=memory_gb, address=address, progress=progress)
        grid.compute(make, todo, folder, force, compact=found.model.compact)
    best = PairList([video.video_id for video in videos]).read(map(folder.path, cells), top_k=top_k)
    numbers = _write(folder.out, best) | {
        "videos": len(videos),
        "missing_videos": len(entries) - len(videos),
        "compared": sum(map(grid.pairs_of, cells)),
    }
    parts = [folder.path(cell).name for cell in cells]
    folder.finish(parts, folder.write_ids({"videos": entries}), groups=side.groups, found=numbers)
    return Duplicates(
        pairs=str(pairs),
        method=method,
        weights=found.model.weights,
        trained=found.about["trained"],
        **limits,
        **numbers,
        computed=sum(map(grid.pairs_of, todo)),
        cells=len(cells),
        cells_resumed=len(cells) - len(todo),
        seconds=round(time.monotonic() - began, 3),
    )


def _limits(threshold: float | None, top_k: int | None) -> dict[str, Any]:
    if threshold is None and top_k is None:
        raise ValueError("which pairs are alike depends on the method: give --threshold SCORE, --top-k K, or both")
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(f"threshold {threshold}: give a finite number")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k {top_k}: give 1 or more")
    return {"threshold": threshold, "top_k": top_k}


def _worker(device: str, *, setting: Setting, library: Store, **settings: Any) -> PairCell:
    from ndvr.operators.scores.cells import PairCell

    return PairCell(setting.load(device, "similarity"), library, **settings)


def _ids(cell: Cell) -> dict[str, list[str]]:
    both = cell[0].ids + cell[1].ids
    return {"video_id_a": both, "video_id_b": both}


def _write(out: Path, best: PairList) -> dict[str, int]:
    """Write the pairs and the families; returns how many of both there are."""
    families = best.families()
    best.write(out / PAIRS)
    columns = {
        "family": [number for number, family in enumerate(families) for _ in family],
        "video_id": [video_id for family in families for video_id in family],
    }
    schema = pa.schema([("family", pa.int32()), ("video_id", pa.string())])
    write_whole(out / FAMILIES, lambda name: pq.write_table(pa.table(columns, schema=schema), name))
    return {
        "found": len(best),
        "families": len(families),
        "videos_in_families": sum(map(len, families)),
        "largest_family": max(map(len, families), default=0),
    }
