"""Several runs under the same settings, side by side in the order given, and on what all of them have.

Two numbers can be compared only where both were asked the same queries of the same videos. Where the runs differ, each
is evaluated again on the queries and videos that all of them scored. How sure a difference is, is found by resampling
the queries that both runs have: the same queries for both, so that hard and easy ones do not count as a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.benchmarks.evaluation._bootstrap import Interval, mean_interval
from ndvr.benchmarks.evaluation.counting import evaluate_protocol
from ndvr.benchmarks.evaluation.protocol import Protocol
from ndvr.benchmarks.evaluation.result import (
    TIES,
    Evaluation,
    TaskResult,
    grid,
    notes,
    number,
    part,
    span,
    ties,
    warnings,
)
from ndvr.operators.scores.files import Scores
from ndvr.pipeline.cluster.score_walks import HERE, Walks
from ndvr.pipeline.notebook import as_html

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
                name: {task: asdict(difference) for task, difference in by_task.items()}
                for name, by_task in self.differences.items()
            },
        }
        if not self.same_ids:
            out["common"] = {
                "queries": len(self.common_queries),
                "videos": len(self.common_videos),
                "runs": {name: run.to_json(per_query=per_query) for name, run in self.common.items()},
            }
        return out

    def _repr_html_(self) -> str:
        return as_html(self.table())

    def table(self) -> str:
        """Return plain text, about 25 characters a run wide: a line a task, a column a run, then the differences."""
        return _table(self)


def compare_runs(
    runs: Mapping[str, Scores], protocol: Protocol, *, walks: Walks = HERE, tie_order: Sequence[str] | None = None
) -> Comparison:
    """Evaluate each run, and once more on the ids that all have where they differ."""
    if not runs:
        raise ValueError("there is nothing to compare: name at least one run")
    evaluations = {
        name: evaluate_protocol(scores, protocol, walks=walks, tie_order=tie_order) for name, scores in runs.items()
    }
    queries = frozenset.intersection(*(run.scored_queries for run in evaluations.values()))
    videos = frozenset.intersection(*(run.scored_videos for run in evaluations.values()))
    same = all(run.scored_queries == queries and run.scored_videos == videos for run in evaluations.values())
    common = evaluations
    if not same:
        if not queries or not videos:
            what = "query" if not queries else "video"
            raise ValueError(f"{' and '.join(runs)} have no {what} in common: they cannot be compared")
        common_protocol = replace(protocol, also_ranked=frozenset()).on(queries, videos)
        common = {
            name: evaluate_protocol(scores, common_protocol, walks=walks, tie_order=tie_order)
            for name, scores in runs.items()
        }
    first = next(iter(common.values()))
    return Comparison(
        runs=evaluations,
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
    """Wrap a single run as a comparison with nothing beside it, under the name of its method or its scores."""
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
    """Subtract the first run's AP from this run's, query by query."""
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
    """Return short different names, the last parts of the paths; ValueError for a run given twice."""
    paths = [Path(run).absolute() for run in runs]
    if len(set(paths)) < len(paths):
        twice = next(path for i, path in enumerate(paths) if path in paths[:i])
        raise ValueError(f"{twice} is given twice: name each run once")
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _table(comparison: Comparison) -> str:
    first = next(iter(comparison.runs.values()))
    lines = []
    for name, run in comparison.runs.items():
        lines += [f"{name}: {line}" if line else line for line in warnings(run)]
    if not comparison.same_ids:
        lines += [*different_ids(comparison), ""]
    lines += [first.benchmark, f"{first.convention}.", ""]
    lines += _runs(comparison) + [""]
    if not comparison.same_ids:
        lines += ["On what each run has: NOT comparable with one another"]
    lines += _numbers(comparison.runs) + [""]
    if not comparison.same_ids:
        lines += ["On the queries and videos that all have"] + _numbers(comparison.common) + [""]
    lines += _differences(comparison)
    lines += [
        f"Note: {note}" for note in dict.fromkeys(note for run in comparison.runs.values() for note in notes(run))
    ]
    return "\n".join(lines).rstrip()


def different_ids(comparison: Comparison) -> list[str]:
    """Say which ids differ, run by run."""
    lines = ["THE RUNS HAVE DIFFERENT IDS: compare them only where all have the same."]
    for name, run in comparison.runs.items():
        more = len(run.scored_queries - comparison.common_queries), len(run.scored_videos - comparison.common_videos)
        lines.append(
            f"  {name}: {len(run.scored_queries):,} queries ({more[0]:,} that not all have), "
            f"{len(run.scored_videos):,} videos ({more[1]:,} that not all have)"
        )
    lines.append(f"  in common: {len(comparison.common_queries):,} queries, {len(comparison.common_videos):,} videos")
    return lines


def _runs(comparison: Comparison) -> list[str]:
    rows = []
    for name, run in comparison.runs.items():
        coverage = run.coverage
        rows.append(
            [
                name,
                run.method or "-",
                run.weights or "-",
                f"{run.n_pairs:,}",
                part(coverage.queries.scored, coverage.queries.expected),
                part(coverage.videos.scored, coverage.videos.expected),
                part(coverage.positives.scored, coverage.positives.expected),
            ]
        )
    return grid(["run", "method", "weights", "pairs", "queries", "videos", "right pairs"], rows)


def _numbers(runs: dict[str, Evaluation]) -> list[str]:
    """Write mAP with its interval and, in a second block, micro-AP."""
    names = list(dict.fromkeys(task for run in runs.values() for task in run.tasks))
    rows = []
    for name in names:
        tasks = [run.tasks[name] for run in runs.values()]
        queries = "/".join(dict.fromkeys(f"{task.queries:,}" for task in tasks))
        rows.append([name, queries] + [f"{number(task.map)} ({span(task.map_interval)})" for task in tasks])
    out = grid(["mAP (95 %)", "queries", *runs], rows)
    if any(task.tied_queries for run in runs.values() for task in run.tasks.values()):
        rows = [[name] + [ties(run.tasks[name]) for run in runs.values()] for name in names]
        out += ["", *grid([TIES, *runs], rows)]
    rows = [[name] + [number(run.tasks[name].micro_ap) for run in runs.values()] for name in names]
    return out + ["", *grid(["micro-AP", *runs], rows)]


def _differences(comparison: Comparison) -> list[str]:
    if not comparison.differences:
        return []
    first = next(iter(comparison.runs))
    tasks = list(dict.fromkeys(task for by_task in comparison.differences.values() for task in by_task))
    rows = [[task] + [gain(by_task[task]) for by_task in comparison.differences.values()] for task in tasks]
    title = f"mAP less that of {first} (95 %; queries on which it is higher, lower)"
    return [title, *grid(["task", *comparison.differences], rows), ""]


def gain(difference: Difference) -> str:
    if difference.map is None:
        return "-"
    ends = "-" if difference.interval is None else "{:+.4f} to {:+.4f}".format(*difference.interval)
    return f"{difference.map:+.4f} ({ends}; {difference.better}, {difference.worse})"
