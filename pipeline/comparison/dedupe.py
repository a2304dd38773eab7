"""Dedupe: one library in, the pairs of its videos that are alike out; the upper triangle of the score grid.

ndvr dedupe LIBRARY PAIRS --method thumbprint --threshold 0.5

PAIRS/pairs.parquet      video_id_a < video_id_b, score, kind; highest first, equals by id. Files of the same bytes
                         (SHA-256) are pairs of kind identical with the highest score there is, those that are there
                         only as people judged them the same are decided, others are similar
PAIRS/left_out.parquet   those that people judged to be no match, with the columns of pairs.parquet
PAIRS/families.parquet   family, video_id: what a chain of pairs connects; the largest first
PAIRS/pairs.json         what was compared, how, and what was found
PAIRS/parts, groups.parquet, signatures   as in ndvr.pipeline.comparison._score_folder; running again continues
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ndvr.operators.library.decisions import decided_text, decisions_of, judged_pairs, rejected_text
from ndvr.operators.library.feature_reader import FeatureReader, gone_text
from ndvr.operators.scores.groups import Side, Video, videos_of
from ndvr.operators.scores.pair_list import PairList
from ndvr.operators.storage.sealed import write_table
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import _grid as grid
from ndvr.pipeline.comparison._score_folder import PAIRS_ABOUT, Cell, ScoreFolder, by_content, one_writer
from ndvr.pipeline.comparison.inputs import Compared, Inputs, MethodSpec, check_inputs, leaving_out_lost
from ndvr.pipeline.notebook import as_html
from ndvr.pipeline.settings import Setting

if TYPE_CHECKING:
    from ndvr.operators.scores.cells import PairCell

PAIRS, LEFT_OUT, FAMILIES = "pairs.parquet", "left_out.parquet", "families.parquet"


@dataclass(frozen=True, kw_only=True)
class Duplicates(Compared):
    """What a dedupe run found."""

    pairs: str  # the folder
    threshold: float | None
    top_k: int | None
    compared: int  # pairs
    computed: int  # pairs, now; the others were there
    found: int  # pairs
    identical: int  # of these: the same bytes
    rejected: int  # that are left out, as people judged them to be no match
    decided: int  # of the pairs found: only there as people judged them the same
    families: int  # of two videos or more
    videos_in_families: int
    largest_family: int
    gone: tuple[str, ...]  # ids of videos in families that the folder which gave them has no more
    cells: int
    cells_resumed: int

    def to_json(self) -> dict[str, Any]:
        """Make one flat object for programs."""
        return asdict(self) | {"pairs_per_s": round(self.computed / max(self.seconds, 1e-9), 1)}

    def _repr_html_(self) -> str:
        return as_html(self.text(), trained=self.trained)

    def text(self) -> str:
        """Write two lines for people."""
        limits = [f"scored {self.threshold:g} or more"] if self.threshold is not None else []
        limits += [f"are among the {self.top_k} best of either video"] if self.top_k is not None else []
        identical = f"{self.identical:,} of these pairs are identical files\n" if self.identical else ""
        return (
            f"{self.found:,} of {self.compared:,} pairs of {self.videos:,} videos {' and '.join(limits)} "
            f"by {self.method}: {self.pairs}/{PAIRS} ({self.seconds:.1f} s)\n{identical}"
            f"{self.videos_in_families:,} videos in {self.families:,} families, the largest of "
            f"{self.largest_family:,}: {self.pairs}/{FAMILIES}"
            f"{rejected_text(self.rejected)}{decided_text(self.decided)}{gone_text(self.gone)}"
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
    strict: bool = False,
    progress: bool = True,
) -> Duplicates:
    """Find the pairs of a library's videos that score `threshold` or more, or are among the `top_k` best, into PAIRS.

    With both, a pair has to pass both; `top_k` counts the best of either video. Of a method that is not symmetric the
    higher of both directions counts: a clip is a part of the longer video, the longer one is not in the clip. Files of
    the same bytes are a pair whatever the method says of them: of dark or blank ones it may say nothing. Pairs that
    people judged to be no match (operators/library/decisions.py) are left out, those judged the same are in at any
    score, and both are counted.
    Settings, errors and running again are as in `similarity`: new videos cost only their own pairs.
    """
    began = time.monotonic()
    limits = _check_limits(threshold, top_k)
    spec = MethodSpec(method=method, weights=weights, options=options or {}, config=config)
    inputs = check_inputs(library, library, spec, strict=strict)
    crew = Workers(workers=workers, memory_gb=memory_gb, address=address, progress=progress)
    with one_writer(pairs, "ndvr dedupe") as lease:
        work = partial(_compare_and_write, pairs=pairs, limits=limits, workers=replace(crew, lease=lease))
        triangle, missing, numbers = leaving_out_lost(work, inputs, strict=strict)
    return Duplicates(
        pairs=str(pairs),
        method=method,
        weights=triangle.inputs.model.weights,
        trained=triangle.inputs.trained,
        **limits,
        **numbers,
        too_long=triangle.too_long,
        lost=triangle.inputs.lost[0],
        computed=sum(map(grid.pairs_of, missing)),
        cells=len(triangle.cells),
        cells_resumed=len(triangle.cells) - len(missing),
        seconds=round(time.monotonic() - began, 3),
    )


@dataclass(frozen=True, kw_only=True)
class _Triangle:
    """The videos of the library in groups, the cells of all pairs of groups, and the folder for them."""

    inputs: Inputs
    videos: list[Video]  # those with features, but for what is too long
    too_long: tuple[str, ...]
    folder: ScoreFolder
    side: Side
    cells: list[Cell]


def _check_limits(threshold: float | None, top_k: int | None) -> dict[str, Any]:
    if threshold is None and top_k is None:
        raise ValueError("which pairs are alike depends on the method: give --threshold SCORE, --top-k K, or both")
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(f"threshold {threshold}: give a finite number")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k {top_k}: give 1 or more")
    return {"threshold": threshold, "top_k": top_k}


def _compare_and_write(
    inputs: Inputs, *, pairs: str | Path, limits: dict[str, Any], workers: Workers
) -> tuple[_Triangle, list[Cell], dict[str, Any]]:
    """Return the triangle, the cells that were computed now, and what was found."""
    triangle = _open_triangle(inputs, pairs, limits, workers)
    missing = _compare(triangle, limits, workers)
    return triangle, missing, _write(triangle, limits["top_k"])


def _open_triangle(inputs: Inputs, pairs: str | Path, limits: dict[str, Any], workers: Workers) -> _Triangle:
    """Check what else can be wrong, then make or open PAIRS."""
    entries = inputs.entries[0]
    videos = videos_of(entries.values(), inputs.configs[0])
    fitting = inputs.fitting([videos], workers.memory_gb)
    (videos,) = fitting.sides
    folder = ScoreFolder(pairs, inputs.decisive | limits, name=PAIRS_ABOUT, holds="pairs", lease=workers.lease)
    folder.check_overlap("videos", entries)
    side, cells = grid.triangle(folder.recorded.get("videos", ()), videos, grid.group_size(inputs.model))
    return _Triangle(inputs=inputs, videos=videos, too_long=fitting.too_long, folder=folder, side=side, cells=cells)


def _compare(triangle: _Triangle, limits: dict[str, Any], workers: Workers) -> list[Cell]:
    """Compute the cells that are missing, and return them."""
    folder, inputs = triangle.folder, triangle.inputs
    if limits["top_k"] is None:  # else what was not among the best may be now
        folder.narrow(triangle.cells, triangle.side.shrunk, _ids)
    folder.record({"videos": triangle.side})
    missing = folder.missing(triangle.cells)
    if missing:
        make = partial(
            _worker,
            setting=inputs.setting,
            library=inputs.libraries[0].store,
            folder=folder.signatures,
            memory_gb=workers.memory_gb,
            **limits,
        )
        grid.compute(make, missing, folder, inputs.hire(workers), compact=inputs.model.compact)
    return missing


def _worker(device: str, *, setting: Setting, library: Store, **settings: Any) -> PairCell:
    from ndvr.operators.scores.cells import PairCell

    return PairCell(setting.load(device, "similarity"), library, **settings)


def _ids(cell: Cell) -> dict[str, list[str]]:
    both = cell[0].ids + cell[1].ids
    return {"video_id_a": both, "video_id_b": both}


def _write(triangle: _Triangle, top_k: int | None) -> dict[str, Any]:
    """Write the pairs and the families out of all cells, and put them in force; returns what there is."""
    folder, videos, entries = triangle.folder, triangle.videos, triangle.inputs.entries[0]
    paths = [folder.path(cell) for cell in triangle.cells]
    with_features = {entry.video_id: entry for entry in entries.values() if entry.pieces}
    identical = [ids for ids in by_content(with_features.values()).values() if len(ids) > 1]
    top = triangle.inputs.model.card.range[1]
    decisions = decisions_of(triangle.inputs.libraries[0])
    rejected = judged_pairs(decisions, with_features.values(), "different")
    decided = _scores(triangle, judged_pairs(decisions, with_features.values(), "same"))
    best = PairList(list(with_features), identical=identical, top=top, rejected=rejected, decided=decided)
    best.read(paths, top_k=top_k)
    families = best.families()
    folder.check()
    best.write(folder.out / PAIRS)
    best.write_left_out(folder.out / LEFT_OUT)
    _write_families(folder.out / FAMILIES, families)
    numbers = {
        "found": len(best),
        "identical": int(best.are_identical.sum()),
        "rejected": best.n_rejected,
        "decided": len(best.decided),
        "families": len(families),
        "videos_in_families": sum(map(len, families)),
        "largest_family": max(map(len, families), default=0),
        "videos": len(videos),
        "missing_videos": len(entries) - len(videos),
        "compared": sum(map(grid.pairs_of, triangle.cells)),
    }
    ids = folder.write_ids({"videos": entries}, triangle.too_long)
    parts, files = [path.name for path in paths], (PAIRS, LEFT_OUT, FAMILIES)
    folder.finish(parts, ids, groups=triangle.side.groups, totals=numbers, files=files)
    gone = sorted(video_id for family in families for video_id in family if entries[video_id].gone)
    return numbers | {"gone": tuple(gone)}


def _scores(triangle: _Triangle, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Compare pairs of ids that people judged the same: those below the threshold are in no cell."""
    inputs, read = triangle.inputs, FeatureReader(triangle.inputs.libraries[0].store)
    videos = {video.video_id: video for video in triangle.videos}
    scores = {}
    for pair in pairs:
        if pair[0] in videos and pair[1] in videos:
            a, b = (inputs.model.signature(read.read(videos[video_id].pieces)) for video_id in pair)
            scores[pair] = max(inputs.model.similarity(a, b), inputs.model.similarity(b, a))
    return scores


def _write_families(path: Path, families: list[list[str]]) -> None:
    columns = {
        "family": [number for number, family in enumerate(families) for _ in family],
        "video_id": [video_id for family in families for video_id in family],
    }
    schema = pa.schema([("family", pa.int32()), ("video_id", pa.string())])
    write_table(path, pa.table(columns, schema=schema))
