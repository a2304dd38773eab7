"""Charts of evaluations as inline SVG: means with their intervals, precision-recall curves, AP of every query.

Colours are classes r0, r1, ... of the page, one a run, so that they follow its light and dark style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from ndvr.benchmarks.evaluation.result import Evaluation, TaskResult

COLOURS = 8  # classes that the page has; further runs use them again, dashed
_RECALLS = np.linspace(0, 1, 21)


def colour(run: int) -> str:
    """Return the class of a run's colour."""
    return f"r{run % COLOURS}" + (" dashed" if run >= COLOURS else "")


def means(task: str, runs: Mapping[str, Evaluation]) -> Markup:
    """Draw the mAP of each run as a dot, its 95 % interval as a line, what ties and lost videos allow as a pale bar."""
    height, width, left = 20 * len(runs) + 22, 460, 8
    across = width - 2 * left

    def x(value: float) -> str:
        return f"{left + across * value:.1f}"

    parts = [
        f'<path class="gridline" d="M{x(tick / 5)} 2V{height - 20}"/>'
        f'<text x="{x(tick / 5)}" y="{height - 5}" text-anchor="middle">{tick / 5:g}</text>'
        for tick in range(6)
    ]
    for i, run in enumerate(runs.values()):
        result, y = run.tasks[task], 20 * i + 13
        if result.map is None or result.map_low is None or result.map_high is None:
            continue
        low = min(result.map_low, result.possible_low if result.possible_low is not None else 1.0)
        high = max(result.map_high, result.possible_high or 0.0)
        parts.append(f'<g class="{colour(i)}"><path class="could" d="M{x(low)} {y}H{x(high)}"/>')
        if result.map_interval:
            parts.append(f'<path class="line" d="M{x(result.map_interval[0])} {y}H{x(result.map_interval[1])}"/>')
        parts.append(f'<circle cx="{x(result.map)}" cy="{y}" r="4.5"/></g>')
    return _svg(width, height, f"mAP of {len(runs)} runs", parts)


def curves(task: str, runs: Mapping[str, Evaluation]) -> Markup:
    """Draw precision over recall at 21 points, the mean over queries."""
    width, height, left, bottom = 460, 300, 34, 32

    def x(value: float) -> str:
        return f"{left + (width - left - 10) * value:.1f}"

    def y(value: float) -> str:
        return f"{8 + (height - bottom - 8) * (1 - value):.1f}"

    parts = _axes(x, y, "recall", "precision", (width, height))
    for i, run in enumerate(runs.values()):
        points = run.tasks[task].precision_at_recall
        if points:
            line = "L".join(f"{x(recall)} {y(precision)}" for recall, precision in zip(_RECALLS, points))
            parts.append(f'<g class="{colour(i)}"><path class="line" d="M{line}"/></g>')
    return _svg(width, height, "precision over recall", parts)


def of_queries(order: Sequence[str], results: Sequence[TaskResult]) -> Markup:
    """Draw the AP of every query, one dot a run, queries in this order."""
    width, height, left, bottom = 940, 220, 34, 26
    step = (width - left - 10) / max(1, len(order))

    def x(place: float) -> str:
        return f"{left + step * (place + 0.5):.1f}"

    def y(value: float) -> str:
        return f"{8 + (height - bottom - 8) * (1 - value):.1f}"

    parts = [
        f'<path class="gridline" d="M{left} {y(tick / 4)}H{width - 10}"/>'
        f'<text x="{left - 6}" y="{float(y(tick / 4)) + 4:.1f}" text-anchor="end">{tick / 4:g}</text>'
        for tick in range(5)
    ]
    parts.append(
        f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">{len(order):,} queries, hardest first</text>'
    )
    for i, result in enumerate(results):
        dots = [f"M{x(at)} {y(result.per_query[q].ap)}h0" for at, q in enumerate(order) if q in result.per_query]
        parts.append(f'<g class="{colour(i)}"><path class="dots" d="{"".join(dots)}"/></g>')
    return _svg(width, height, "average precision of every query", parts)


def query_values(order: Sequence[str], results: Sequence[TaskResult]) -> dict[str, list]:
    """Return the same for the page's pointer: the ids, and for each run the AP of each query or None."""
    values = [
        [round(result.per_query[query].ap, 4) if query in result.per_query else None for query in order]
        for result in results
    ]
    return {"queries": list(order), "ap": values}


def _axes(x, y, across: str, up: str, size: tuple[int, int]) -> list[str]:
    width, height = size
    parts = []
    for tick in range(6):
        value = tick / 5
        parts += [
            f'<path class="gridline" d="M{x(value)} {y(0)}V{y(1)}M{x(0)} {y(value)}H{x(1)}"/>',
            f'<text x="{x(value)}" y="{float(y(0)) + 14:.1f}" text-anchor="middle">{value:g}</text>',
            f'<text x="{float(x(0)) - 6:.1f}" y="{float(y(value)) + 4:.1f}" text-anchor="end">{value:g}</text>',
        ]
    parts.append(f'<text x="{width / 2}" y="{height - 3}" text-anchor="middle">{across}</text>')
    parts.append(f'<text x="{float(x(0)) + 6:.1f}" y="{float(y(0)) - 7:.1f}">{up}</text>')
    return parts


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> Markup:
    attributes = f'class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{label}"'
    return Markup(f"<svg {attributes}>{''.join(parts)}</svg>")
