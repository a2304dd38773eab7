"""The tables and lines of a report, from evaluations by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ndvr.benchmarks.evaluation import Evaluation, Share


def map_table(named: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """One line a task, the overall one first, then from easy to hard."""
    names = dict.fromkeys(task for evaluation in named.values() for task in evaluation.tasks)
    rows = []
    for task_name in names:
        tasks = [evaluation.tasks.get(task_name) for evaluation in named.values()]
        asked = [task for task in tasks if task is not None and task.map is not None]
        cells: list[dict[str, Any] | None] = []
        for task in tasks:
            if task is None or task.map is None:
                cells.append(None)
                continue
            title = f"{task.map_low:.4f} to {task.map_high:.4f} over the orders of ties; micro-AP {task.micro_ap:.4f}"
            low, width = 100 * task.map_low, 100 * (task.map_high - task.map_low)
            cells.append({"low": f"{low:.2f}", "width": f"{width:.2f}", "text": f"{task.map:.3f}", "title": title})
        if asked:
            counts = dict.fromkeys(str(task.queries) for task in asked)
            mean = sum(task.map for task in asked) / len(asked)
            rows.append({"name": task_name, "queries": " / ".join(counts), "cells": cells, "mean": mean})
    return rows[:1] + sorted(rows[1:], key=lambda row: -row["mean"])


def coverage_cells(evaluation: Evaluation) -> list[str]:
    coverage = evaluation.coverage

    def text(share: Share) -> str:
        return f"{share.scored:,}" if share.scored == share.expected else f"{share.scored:,} of {share.expected:,}"

    return [text(share) for share in (coverage.queries, coverage.positives, coverage.videos, coverage.pairs)]


def missing_lines(name: str, evaluation: Evaluation, shown: int = 12) -> list[str]:
    coverage, lines = evaluation.coverage, []
    for what, share in (
        ("queries", coverage.queries),
        ("right pairs", coverage.positives),
        ("videos", coverage.videos),
    ):
        if share.missing:
            names = [f"{i} ({why})" if why else i for i, why in sorted(share.missing.items())[:shown]]
            more = f" and {len(share.missing) - shown:,} more" if len(share.missing) > shown else ""
            lines.append(f"{name}: {what} without a score: {', '.join(names)}{more}")
    return lines


def provenance_lines(name: str, evaluation: Evaluation) -> list[str]:
    weights = f"weights {evaluation.weights}" if evaluation.weights else "weights not recorded"
    return [
        f"{name}: {weights}; {evaluation.n_pairs:,} pairs; database ids sha256 {evaluation.database_sha256}; "
        f"queries sha256 {evaluation.queries_sha256}"
    ]
