"""A comparison as text: one line a task, one column a run; then how sure the differences are."""

from __future__ import annotations

from ndvr.benchmarks.evaluation.comparison import Comparison, Difference
from ndvr.benchmarks.evaluation.evaluation_table import TIES, grid, notes, number, part, span, ties, warnings
from ndvr.benchmarks.evaluation.result import Evaluation


def table(comparison: Comparison) -> str:
    """Lines of plain text; about 25 characters a run wide."""
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
    """What differs, run by run."""
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
    """mAP with its interval and, in a second block, micro-AP."""
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
    tasks = list(dict.fromkeys(task for mine in comparison.differences.values() for task in mine))
    rows = [[task] + [gain(mine[task]) for mine in comparison.differences.values()] for task in tasks]
    title = f"mAP less that of {first} (95 %; queries on which it is higher, lower)"
    return [title, *grid(["task", *comparison.differences], rows), ""]


def gain(difference: Difference) -> str:
    if difference.map is None:
        return "-"
    ends = "-" if difference.interval is None else "{:+.4f} to {:+.4f}".format(*difference.interval)
    return f"{difference.map:+.4f} ({ends}; {difference.better}, {difference.worse})"
