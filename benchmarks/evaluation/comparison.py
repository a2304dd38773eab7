"""Several runs under the same settings, side by side in the order given, and on what all of them have.

Two numbers can be compared only where both were asked the same queries of the same videos. Where the runs differ, each
is evaluated again on the queries and videos that all of them scored. How sure a difference is, is told by resampling
the queries that both runs have: the same queries for both, so that hard and easy ones do not count as a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.benchmarks.evaluation.bootstrap import Interval, mean_interval
from ndvr.benchmarks.evaluation.counting import evaluate_protocol
from ndvr.benchmarks.evaluation.protocol import Protocol
from ndvr.benchmarks.evaluation.result import Evaluation, TaskResult
from ndvr.operators.scores.files import Scores
from ndvr.pipeline.cluster.score_walks import HERE, Walks

FORMAT = "ndvr-comparison/1"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """mAP of a run less that of the first one, on the queries that both have. None without any."""

    map: float | None
    interval: Interval | None  # 95 %, by resampling the queries
    queries: int
    better: int  # queries on which this run has the higher AP
    worse: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Evaluations by the name of their run."""

    runs: dict[str, Evaluation]
    common: dict[str, Evaluation]  # on the queries and videos that all have; the same objects where nothing differs
    # Run -> task -> difference to the first run, on what all have.
    differences: dict[str, dict[str, Difference]]
    same_ids: bool
    common_queries: frozenset[str] = field(repr=False)
    common_videos: frozenset[str] = field(repr=False)

    def to_json(self, *, per_query: bool = False) -> dict[str, Any]:
        out: dict[str, Any] = {
            "format": FORMAT,
            "same_ids": self.same_ids,
            "runs": {name: run.to_json(per_query=per_query) for name, run in self.runs.items()},
            "differences": {
                name: {task: asdict(difference) for task, difference in mine.items()}
                for name, mine in self.differences.items()
            },
        }
        if not self.same_ids:
            out["common"] = {
                "queries": len(self.common_queries),
                "videos": len(self.common_videos),
                "runs": {name: run.to_json(per_query=per_query) for name, run in self.common.items()},
            }
        return out

    def table(self) -> str:
        """For people."""
        from ndvr.benchmarks.evaluation.comparison_table import table

        return table(self)


def compare_runs(
    runs: Mapping[str, Scores], protocol: Protocol, *, walks: Walks = HERE, tie_order: Sequence[str] | None = None
) -> Comparison:
    """Evaluate each, then those that differ in their ids once more on the common ones."""
    if not runs:
        raise ValueError("there is nothing to compare: name at least one run")
    found = {
        name: evaluate_protocol(scores, protocol, walks=walks, tie_order=tie_order) for name, scores in runs.items()
    }
    queries = frozenset.intersection(*(run.scored_queries for run in found.values()))
    videos = frozenset.intersection(*(run.scored_videos for run in found.values()))
    same = all(run.scored_queries == queries and run.scored_videos == videos for run in found.values())
    common = found
    if not same:
        if not queries or not videos:
            what = "query" if not queries else "video"
            raise ValueError(f"{' and '.join(runs)} have no {what} in common: they cannot be compared")
        asked = replace(protocol, also_ranked=frozenset()).on(queries, videos)
        common = {
            name: evaluate_protocol(scores, asked, walks=walks, tie_order=tie_order) for name, scores in runs.items()
        }
    first = next(iter(common.values()))
    return Comparison(
        runs=found,
        common=common,
        differences={
            name: {task: difference(result, first.tasks[task]) for task, result in run.tasks.items()}
            for name, run in list(common.items())[1:]
        },
        same_ids=same,
        common_queries=queries,
        common_videos=videos,
    )


def compared(run: Evaluation) -> Comparison:
    """A single run as a comparison with nothing beside it, under the name of its method or its scores."""
    name = run.method or Path(run.scores).name
    return Comparison(
        runs={name: run},
        common={name: run},
        differences={},
        same_ids=True,
        common_queries=run.scored_queries,
        common_videos=run.scored_videos,
    )


def difference(run: TaskResult, first: TaskResult) -> Difference:
    """Query by query."""
    shared = sorted(run.per_query.keys() & first.per_query.keys())
    gains = np.array([run.per_query[query].ap - first.per_query[query].ap for query in shared])
    return Difference(
        map=float(np.mean(gains)) if shared else None,
        interval=mean_interval(gains),
        queries=len(shared),
        better=int(np.sum(gains > 0)),
        worse=int(np.sum(gains < 0)),
    )


def names_of(runs: Sequence[str | Path]) -> list[str]:
    """Short different names: the last parts of the paths, as many as it takes. ValueError for a run given twice."""
    paths = [Path(run).absolute() for run in runs]
    if len(set(paths)) < len(paths):
        twice = next(path for i, path in enumerate(paths) if path in paths[:i])
        raise ValueError(f"{twice} is given twice: name each run once")
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
