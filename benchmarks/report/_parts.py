"""The parts of a page: matrices as pictures (one pixel a value, PNG in a data URI), tables and lines of evaluations."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from ndvr.benchmarks.evaluation.result import Evaluation, Share, TaskResult
from ndvr.benchmarks.report._data import Matrix

_COLOURS = "viridis"  # both of its ends can be told from a light and from a dark page


def heat_map(name: str, matrix: Matrix, *, n_queries: int) -> dict[str, Any]:
    """Draw a matrix with one pixel a pair, outline the right pairs, and add the values for a pointer."""
    finite = matrix.values[np.isfinite(matrix.values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    scaled = (matrix.values - low) / ((high - low) or 1.0)
    levels = np.where(np.isfinite(scaled), 1 + np.round(254 * np.nan_to_num(scaled)), 0).astype(np.uint8)
    height, width = levels.shape
    data = {
        "queries": matrix.queries,
        "videos": matrix.videos,
        "low": low,
        "high": high,
        "values": base64.b64encode(levels.tobytes()).decode(),
        "right": [row * width + column for row, column in matrix.right],
    }
    rows = f"{height}" if height == n_queries else f"the {height} hardest of {n_queries:,}"
    columns = f"{width}" if width == matrix.n_videos else f"the {width} closest of {matrix.n_videos:,}"
    return {
        "name": name,
        "low": f"{low:.2f}",
        "high": f"{high:.2f}",
        "ramp": _png(np.linspace(0, 1, 128)[None]),
        "image": _png(scaled),
        "ratio": f"{width}/{max(height, width // 4)}",
        "width": width,
        "height": height,
        "path": "".join(f"M{column} {row}h1v1h-1z" for row, column in matrix.right),
        "caption": f"rows: {rows} queries; columns: {columns} videos; related ones side by side",
        "data": data,
    }


def pair_pictures(matrices: Mapping[tuple[str, str], np.ndarray]) -> list[dict[str, str]]:
    """Draw each matrix as a picture, its lowest value dark and its highest bright."""
    out = []
    for (query, video), values in matrices.items():
        low, high = float(np.min(values)), float(np.max(values))
        out.append({"query": query, "video": video, "image": _png((values - low) / ((high - low) or 1.0))})
    return out


def _png(values: np.ndarray) -> str:
    """Return values in [0, 1] (H, W) as a data URI, one pixel each; NaN is transparent."""
    from matplotlib import colormaps
    from matplotlib.image import imsave

    rgba = colormaps[_COLOURS](np.nan_to_num(values), bytes=True)
    rgba[..., 3] = np.where(np.isfinite(values), 255, 0)
    out = io.BytesIO()
    imsave(out, rgba, format="png")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def map_rows(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """Return one row a task, the overall one first, then from easy to hard."""
    names = dict.fromkeys(task for evaluation in evaluations.values() for task in evaluation.tasks)
    rows: list[tuple[float, dict[str, Any]]] = []
    for task_name in names:
        tasks = [evaluation.tasks.get(task_name) for evaluation in evaluations.values()]
        evaluated = [(task.map, str(task.queries)) for task in tasks if task is not None and task.map is not None]
        if evaluated:
            maps, counts = zip(*evaluated)
            row = {
                "name": task_name,
                "queries": " / ".join(dict.fromkeys(counts)),
                "cells": [_map_cell(task) for task in tasks],
            }
            rows.append((sum(maps) / len(maps), row))
    return [row for _, row in rows[:1] + sorted(rows[1:], key=lambda row: -row[0])]


def _map_cell(task: TaskResult | None) -> dict[str, str] | None:
    """Return a bar in percent, None where nothing was evaluated."""
    if task is None or task.map is None or task.map_low is None or task.map_high is None:
        return None
    micro = "none" if task.micro_ap is None else f"{task.micro_ap:.4f}"
    return {
        "low": f"{100 * task.map_low:.2f}",
        "width": f"{100 * (task.map_high - task.map_low):.2f}",
        "text": f"{task.map:.3f}",
        "title": f"{task.map_low:.4f} to {task.map_high:.4f} over the orders of ties; micro-AP {micro}",
    }


def coverage_rows(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """Return one row a run: its queries, right pairs, videos and pairs, scored of expected."""

    def cell(share: Share) -> str:
        return f"{share.scored:,}" if share.scored == share.expected else f"{share.scored:,} of {share.expected:,}"

    rows = []
    for name, evaluation in evaluations.items():
        coverage = evaluation.coverage
        shares = (coverage.queries, coverage.positives, coverage.videos, coverage.pairs)
        rows.append({"name": name, "cells": [cell(share) for share in shares]})
    return rows


def missing_lines(evaluations: Mapping[str, Evaluation], shown: int = 12) -> list[str]:
    """Name the first ids without a score, and why they have none."""
    lines = []
    for name, evaluation in evaluations.items():
        coverage = evaluation.coverage
        shares = {"queries": coverage.queries, "right pairs": coverage.positives, "videos": coverage.videos}
        lines += [
            f"{name}: {what} without a score: {share.some_missing(shown)}"
            for what, share in shares.items()
            if share.missing
        ]
    return lines


def provenance_lines(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Say what each run's numbers stand on."""
    lines = []
    for name, evaluation in evaluations.items():
        weights = f"weights {evaluation.weights}" if evaluation.weights else "weights not recorded"
        lines.append(
            f"{name}: {weights}; {evaluation.n_pairs:,} pairs; database ids sha256 {evaluation.database_sha256}; "
            f"queries sha256 {evaluation.queries_sha256}"
        )
    return lines
