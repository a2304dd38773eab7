"""The stages of ndvr.benchmarks.speed.fivr_200k, each run in a process of its own, so that its cost is its own.

python -m ndvr.benchmarks.speed.fivr_200k_stages STAGE JSON      what was done, as JSON on stdout
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ndvr import models
from ndvr.pipeline.settings import Setting, choose_one

DATASET = "fivr-200k"
MEAN_FRAMES = 112  # of FIVR-200K at one frame a second
# What makes a method keep one vector or code a video, where its defaults do not.
OPTIONS: dict[str, dict[str, Any]] = {
    "c3dhash": {"bits": 64},
    "tca": {"encoder": "none", "similarity": "cosine"},
    "dns": {"student": "coarse"},
}
WEIGHTS = "random:1"  # cost what trained ones do; under this seed what S2VS's CNN says grows with likeness
_PROBED_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Job:
    """One method on one share of the collection."""

    method: str
    fraction: float
    frames: int  # of a method that compares videos frame by frame
    annotations: str
    folder: str  # of this job alone
    workers: int | None = None

    @property
    def setting(self) -> Setting:
        """What the job runs, with seeded weights."""
        weights = WEIGHTS if models.card(self.method).weights else None
        return choose_one(self.method, weights, OPTIONS.get(self.method))

    @property
    def compact(self) -> bool:
        return models.get(self.method).compact(self.setting.options)

    @property
    def windows(self) -> int:
        """A video has one vector or code, or as many windows as were asked for."""
        return 1 if self.compact else self.frames

    @property
    def library(self) -> Path:
        return Path(self.folder) / "library"

    @property
    def scores(self) -> Path:
        return Path(self.folder) / "scores"

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def write(job: Job) -> dict[str, Any]:
    """Write the share as a library."""
    from ndvr.benchmarks.speed.fivr_200k_data import read_collection, write_library

    collection = read_collection(Path(job.annotations))
    videos = collection.share(job.fraction)
    began = time.perf_counter()
    write_library(job.library, collection, videos, setting=job.setting, n_windows=job.windows)
    work_s = time.perf_counter() - began
    return {"work_s": work_s, "videos": len(videos), "bytes": _bytes_in(job.library)}


def similarity(job: Job) -> dict[str, Any]:
    """Compare all queries with all videos of the share; Ray's start is part of the work."""
    from ndvr.benchmarks.speed.fivr_200k_data import read_collection
    from ndvr.pipeline.comparison.similarity import similarity as compare

    done = compare(
        job.library,
        job.library,
        job.scores,
        method=job.method,
        weights=job.setting.weights,
        options=job.setting.options,
        query_ids=read_collection(Path(job.annotations)).queries,
        workers=job.workers,
        progress=False,
    )
    return done.to_json() | {"work_s": done.seconds, "bytes": _bytes_in(job.scores)}


def evaluate(job: Job) -> dict[str, Any]:
    """Evaluate all tasks on the share."""
    from ndvr.benchmarks.evaluate import evaluate as judge
    from ndvr.benchmarks.speed.fivr_200k_data import read_collection

    ids = None if job.fraction == 1 else read_collection(Path(job.annotations)).share(job.fraction)
    began = time.perf_counter()
    evaluation = judge(job.scores, dataset=DATASET, annotations=job.annotations, ids=ids)
    work_s = time.perf_counter() - began
    keys = ("map", "map_interval", "map_low", "map_high", "micro_ap", "queries", "queries_without_right", "relevant")
    tasks = {name: {key: getattr(task, key) for key in keys} for name, task in evaluation.tasks.items()}
    coverage = {"complete": evaluation.coverage.complete, "database_sha256": evaluation.database_sha256, "bytes": 0}
    return coverage | {"work_s": work_s, "pairs": evaluation.n_pairs, "tasks": tasks}


def pair_cost(job: Job) -> dict[str, Any]:
    """Measure seconds of a pair on one core with signatures in memory: of videos as in the job, and of mean length."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    model = job.setting.load("cpu", "similarity")
    rng = np.random.default_rng(0)

    def seconds(windows: int) -> float:
        n_targets = max(2, 1024 // windows)
        shape = (windows, *model.feature_shape)
        query, *targets = (model.signature(rng.standard_normal(shape, np.float32)) for _ in range(1 + n_targets))
        model.similarities(query, targets)
        began, calls = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < _PROBED_S:
            model.similarities(query, targets)
            calls += 1
        return passed / calls / n_targets

    return {"pair_s": seconds(job.windows), "mean_frames": MEAN_FRAMES, "mean_length_pair_s": seconds(MEAN_FRAMES)}


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


STAGES: dict[str, Callable[[Job], dict[str, Any]]] = {
    "write": write,
    "similarity": similarity,
    "evaluate": evaluate,
    "pair_cost": pair_cost,
}


def command(stage: str, job: Job) -> list[str]:
    """Return the command line that runs a stage."""
    return [sys.executable, "-m", __name__, stage, job.to_json()]


if __name__ == "__main__":
    print(json.dumps(STAGES[sys.argv[1]](Job(**json.loads(sys.argv[2])))))
