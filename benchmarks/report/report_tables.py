"""The tables and lines of a report, from evaluations by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ndvr.benchmarks.evaluation.result import Evaluation, Share, TaskResult


def map_table(named: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """One line a task, the overall one first, then from easy to hard."""
    names = dict.fromkeys(task for evaluation in named.values() for task in evaluation.tasks)
    rows: list[tuple[float, dict[str, Any]]] = []
    for task_name in names:
        tasks = [evaluation.tasks.get(task_name) for evaluation in named.values()]
        asked = [(task.map, str(task.queries)) for task in tasks if task is not None and task.map is not None]
        if asked:
            maps, counts = zip(*asked)
            row = {
                "name": task_name,
                "queries": " / ".join(dict.fromkeys(counts)),
                "cells": [_map_cell(task) for task in tasks],
            }
            rows.append((sum(maps) / len(maps), row))
    return [row for _, row in rows[:1] + sorted(rows[1:], key=lambda row: -row[0])]


def _map_cell(task: TaskResult | None) -> dict[str, str] | None:
    """A bar in percent, None where nothing was evaluated."""
    if task is None or task.map is None or task.map_low is None or task.map_high is None:
        return None
    micro = "none" if task.micro_ap is None else f"{task.micro_ap:.4f}"
    return {
        "low": f"{100 * task.map_low:.2f}",
        "width": f"{100 * (task.map_high - task.map_low):.2f}",
        "text": f"{task.map:.3f}",
        "title": f"{task.map_low:.4f} to {task.map_high:.4f} over the orders of ties; micro-AP {micro}",
    }


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
            lines.append(f"{name}: {what} without a score: {share.some_missing(shown)}")
    return lines


def provenance_lines(name: str, evaluation: Evaluation) -> list[str]:
    weights = f"weights {evaluation.weights}" if evaluation.weights else "weights not recorded"
    return [
        f"{name}: {weights}; {evaluation.n_pairs:,} pairs; database ids sha256 {evaluation.database_sha256}; "
        f"queries sha256 {evaluation.queries_sha256}"
    ]
