"""mAP of rankings by the index, beside that of comparing each query with all videos.

    python -m ndvr.benchmarks.speed.search two-stage  # [--videos 225960] [--candidates 50 --candidates 200 ...]

Of synthetic vectors in the numbers of FIVR-200K (fivr_200k_data.py); a video that is no candidate is not ranked.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from ndvr.benchmarks.record import record
from ndvr.benchmarks.speed.fivr_200k_data import VIDEOS, read_collection, write_library, write_made_up
from ndvr.benchmarks.speed.fivr_200k_stages import Job
from ndvr.benchmarks.speed.search.made import out_option
from ndvr.operators.index.votes import candidates
from ndvr.operators.metrics.average_precision import average_precision
from ndvr.pipeline.search.library_index import open_index
from ndvr.pipeline.search.search import index


def measure_two_stage(folder: Path, n_videos: int, tops: Sequence[int]) -> dict[str, Any]:
    """Write, index and search; mAP of all of FIVR-200K's labels, exhaustive and by the first `tops` candidates."""
    annotations = write_made_up(folder / "annotations", videos=n_videos)
    collection = read_collection(annotations)
    job = Job(method="tca", fraction=1.0, frames=1, annotations=str(annotations), folder=str(folder))
    write_library(job.library, collection, collection.videos, setting=job.setting, n_windows=1)
    began = time.process_time()
    built = index(job.library, method=job.method, options=job.setting.options, progress=False)
    measured: dict[str, Any] = {"videos": n_videos, "keys": built.keys, "bytes": built.bytes}
    measured["index_s"] = time.process_time() - began
    opened = open_index(job.library, method=job.method, options=job.setting.options)
    entries = opened.library.entries(opened.config)
    ids, vectors = [], np.empty((n_videos, *opened.features.feature_shape[-1:]), np.float32)
    for row, (video_id, _, features) in enumerate(opened.library.read(entries.values())):
        ids.append(video_id)
        vectors[row] = features.reshape(-1)
    row_of = {video_id: row for row, video_id in enumerate(ids)}
    every: list[float] = []
    by_index: dict[int, list[float]] = {top: [] for top in tops}
    seconds: dict[str, list[float]] = {"candidates": [], "exhaustive": []}
    for query in collection.queries:
        began = time.process_time()
        scores = vectors @ vectors[row_of[query]]
        seconds["exhaustive"].append(time.process_time() - began)
        right = [row_of[v] for v, labels in collection.labels.items() if any(each == query for _, each in labels)]
        own, relevant = row_of[query], np.zeros(len(ids), bool)
        relevant[right] = True
        began = time.process_time()
        probes = opened.model.probes(vectors[own].reshape(1, *opened.features.feature_shape))
        found = candidates(probes, opened.segments, top=max(tops) + 1, plain=True)
        seconds["candidates"].append(time.process_time() - began)
        chosen = [row_of[opened.segments[c.segment].videos[c.row].video_id] for c in found]
        chosen = [row for row in chosen if row != own]
        every.append(_average_precision(scores, relevant, [row for row in range(len(ids)) if row != own]))
        for top in tops:
            by_index[top].append(_average_precision(scores, relevant, chosen[:top]))
    measured |= {f"{name}_s": statistics.median(each) for name, each in seconds.items()}
    return measured | {
        "map": float(np.nanmean(every)),
        "map_of": {top: float(np.nanmean(by_index[top])) for top in tops},
    }


def _average_precision(scores: np.ndarray, relevant: np.ndarray, ranked: Sequence[int]) -> float:
    """Rank some rows by their scores; the relevant ones that are not among them are never found. NaN: none is."""
    if not relevant.any():
        return float("nan")
    rows = np.array(ranked, np.int64)
    hits = relevant[rows[np.argsort(-scores[rows], kind="stable")]]
    wrong_before = np.cumsum(~hits)[hits]
    return average_precision(wrong_before, int(relevant.sum()))


@click.command("two-stage")
@click.option("--videos", default=VIDEOS, show_default=True)
@click.option("--candidates", "tops", multiple=True, type=int, default=(50, 200, 1000), show_default=True)
@out_option
def two_stage_command(videos: int, tops: tuple[int, ...], out: Path | None) -> None:
    """Measure what a ranking by the index loses against comparing all."""
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        each = measure_two_stage(Path(folder), videos, tops)
    told = ", ".join(f"{value:.4f} by {top:,} candidates" for top, value in each["map_of"].items())
    click.echo(
        f"{videos:,} videos, {each['bytes'] / 1e6:,.0f} MB of index in {each['index_s']:.0f} s: mAP {each['map']:.4f} "
        f"by comparing all ({1e3 * each['exhaustive_s']:.0f} ms a query), {told} "
        f"({1e3 * each['candidates_s']:.0f} ms); {record('search_two_stage', each, out)}"
    )
