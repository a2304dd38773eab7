"""How fast evaluation is at FIVR-200K's size: 100 queries x 225,960 videos, four tasks, from Parquet.

    python -m ndvr.benchmarks.speed.evaluate [--queries 100] [--videos 225960] [--workers N] [--out FILE]

Scores and labels are made up in FIVR's proportions. Evaluation runs in a process of its own, so that its peak
memory is its own; reading the same files without counting anything is measured beside it. With --workers, Ray tasks
count as well, after Ray has started: their time, what one hands back, and whether the numbers are the same bits.
"""

from __future__ import annotations

import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ndvr.benchmarks.evaluation.counting import evaluate_protocol
from ndvr.benchmarks.evaluation.protocol import Protocol, Task
from ndvr.benchmarks.evaluation.result import Evaluation
from ndvr.benchmarks.record import record
from ndvr.operators.scores.files import Scores, open_scores
from ndvr.pipeline.cluster.score_walks import on_ray

_RIGHT_PER_QUERY = {"DSVR": 75, "CSVR": 88, "ISVR": 124, "DAVR": 34}  # FIVR-200K's averages
_CELL = (32, 32768)  # queries x videos of one part
_SEED = 20240501


def _names(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{i:010d}" for i in range(n)]  # as long as a YouTube id


def write_scores(folder: Path, *, n_queries: int, n_videos: int) -> None:
    """Write a grid of parts with float32 noise in [0, 0.6), right pairs 0.3 higher."""
    rng = np.random.default_rng(_SEED)
    queries, videos = _names("q", n_queries), _names("v", n_videos)
    n_right = min(max(_RIGHT_PER_QUERY.values()), n_videos)
    right = np.stack([rng.choice(n_videos, n_right, replace=False) for _ in queries])
    np.save(folder / "right.npy", right)
    (folder / "parts").mkdir()
    for q in range(0, n_queries, _CELL[0]):
        for v in range(0, n_videos, _CELL[1]):
            names = queries[q : q + _CELL[0]], videos[v : v + _CELL[1]]
            shape = len(names[0]), len(names[1])
            scores = 0.6 * rng.random(shape, np.float32)
            row, rank = np.nonzero((right[q : q + _CELL[0]] >= v) & (right[q : q + _CELL[0]] < v + _CELL[1]))
            scores[row, right[q + row, rank] - v] += 0.3
            i, j = (index.ravel().astype(np.int32) for index in np.indices(shape))
            columns = {
                "query_id": pa.DictionaryArray.from_arrays(i, names[0]),
                "video_id": pa.DictionaryArray.from_arrays(j, names[1]),
                "score": scores.ravel(),
            }
            pq.write_table(pa.table(columns), folder / "parts" / f"q{q:05d}-v{v:07d}.parquet")


def measure(folder: Path, *, n_queries: int, n_videos: int, workers: int = 0) -> dict[str, float]:
    """Measure seconds and peak memory of evaluating the folder, in this process; then in Ray tasks, if asked for."""
    videos, right = np.array(_names("v", n_videos)), np.load(folder / "right.npy")
    tasks = tuple(
        Task(
            name=name,
            relevant={q: frozenset(videos[row[:n]].tolist()) for q, row in zip(_names("q", n_queries), right)},
        )
        for name, n in _RIGHT_PER_QUERY.items()
    )
    protocol = Protocol(name="speed", convention="made up", tasks=tasks, database=frozenset(videos.tolist()))
    scores = open_scores(folder)
    began = time.perf_counter()
    rows = sum(len(batch.score) for batch in scores.batches())
    read_s = time.perf_counter() - began
    began = time.perf_counter()
    result = evaluate_protocol(scores, protocol)
    evaluate_s = time.perf_counter() - began
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB
    out = {
        "pairs": rows,
        "evaluate_s": round(evaluate_s, 3),
        "read_once_s": round(read_s, 3),
        "pairs_per_s": round(rows / evaluate_s),
        "peak_rss_gb": round(peak_bytes / 1e9, 3),
        "map": result.tasks["DSVR"].map or 0.0,
    }
    if workers:
        out |= _on_ray(scores, protocol, result, workers)
    return out


def _on_ray(scores: Scores, protocol: Protocol, expected: Evaluation, workers: int) -> dict[str, float]:
    walks = on_ray(workers=workers)
    largest = 0

    def weighed(*arguments: Any) -> Iterator[Any]:
        nonlocal largest
        for state in walks.map(*arguments):
            largest = max(largest, len(pickle.dumps(state, protocol=5)))
            yield state

    began = time.perf_counter()
    result = evaluate_protocol(scores, protocol, walks=walks)
    seconds = time.perf_counter() - began
    evaluate_protocol(scores, protocol, walks=replace(walks, map=weighed))
    return {
        "ray_workers": workers,
        "ray_evaluate_s": round(seconds, 3),
        "ray_state_mb": round(largest / 1e6, 1),
        "ray_same_bits": result == expected,
    }


@click.command()
@click.option("--queries", "n_queries", default=100, show_default=True)
@click.option("--videos", "n_videos", default=225_960, show_default=True)
@click.option("--workers", default=0, help="Ray tasks at a time; 0 for none.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the JSON goes.")
@click.option("--measure-only", hidden=True, type=click.Path(exists=True, path_type=Path))
def main(n_queries: int, n_videos: int, workers: int, out: Path | None, measure_only: Path | None) -> None:
    """Measure evaluation, print one line, keep the numbers."""
    if measure_only:
        click.echo(json.dumps(measure(measure_only, n_queries=n_queries, n_videos=n_videos, workers=workers)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_scores(Path(folder), n_queries=n_queries, n_videos=n_videos)
        settings = ["--queries", str(n_queries), "--videos", str(n_videos), "--measure-only", folder]
        settings += ["--workers", str(workers)]
        command = [sys.executable, "-m", "ndvr.benchmarks.speed.evaluate", *settings]
        results = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    click.echo(
        f"evaluate: {results['pairs']:,} pairs, 4 tasks in {results['evaluate_s']:.1f} s "
        f"({results['read_once_s']:.1f} s to read them once), peak {results['peak_rss_gb']:.2f} GB"
    )
    if workers:
        click.echo(
            f"  {workers} Ray tasks: {results['ray_evaluate_s']:.1f} s, at most {results['ray_state_mb']:.1f} MB from "
            f"each, {'the same bits' if results['ray_same_bits'] else 'OTHER NUMBERS'}"
        )
    record("evaluate_speed", results, out=out)


if __name__ == "__main__":
    main()
