"""What FIVR-200K cost, as text: a line for every stage, how the cost grows, projections, and the mAP of noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

# Heading -> what stands below it, of a run and one of its stages.
_COLUMNS: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
    "s": lambda _, stage: f"{stage['cost']['wall_s']:.1f}",
    "of work": lambda _, stage: f"{stage['work_s']:.1f}",
    "CPU s": lambda _, stage: f"{stage['cost']['cpu_s']:.1f}",
    "MB": lambda _, stage: f"{stage['cost']['private_mb']:,.0f}",
    "MB shared": lambda _, stage: f"{stage['cost']['shared_mb']:,.0f}",
    "MB read": lambda _, stage: f"{stage['cost']['read_bytes'] / 1e6:,.0f}",
    "MB on disk": lambda _, stage: f"{stage['bytes'] / 1e6:,.0f}",
    "videos/s": lambda run, stage: f"{run['videos'] / stage['work_s']:,.0f}",
    "pairs/s": lambda run, stage: f"{stage['pairs'] / stage['work_s']:,.0f}" if "pairs" in stage else "",
}


def table(found: dict[str, Any]) -> str:
    """Lines of plain text. `found` is what ndvr.benchmarks.speed.fivr_200k.measure returns, and the annotation used."""
    lines = [
        f"{found['queries']:,} queries, {found['videos']:,} videos; annotation {found['annotation']}",
        "s: from start to end of a process; of work: without its imports, of similarity with Ray's start; MB: private "
        "memory of all processes at its peak",
        "",
    ]
    for run in found["runs"]:
        frames = "a window each" if run["windows"] == 1 else f"{run['windows']} windows each"
        rows = [(name, *(cell(run, stage) for cell in _COLUMNS.values())) for name, stage in run["stages"].items()]
        lines += [
            f"{run['method']} at {run['fraction']:.4g}: {run['videos']:,} videos of {frames}, {run['pairs']:,} pairs",
            *_aligned([("", *_COLUMNS), *rows]),
            *([_projection(run)] if "projection" in run else []),
            "",
        ]
    lines += [_growth(step) for step in found["growth"]]
    lines.append("Synthetic features, seeded weights: these numbers say nothing about the methods.")
    return "\n".join([*lines, *map(_map, found["runs"])])


def _growth(step: dict[str, Any]) -> str:
    def told(stage: str) -> str:
        of = step[stage]
        return f"{stage} work n^{of['work_s']:.2f}, CPU n^{of['cpu_s']:.2f}, MB n^{of['private_mb']:.2f}"

    stages = "; ".join(map(told, ("write", "similarity", "evaluate")))
    return f"{step['method']} from {step['from']:.4g} to {step['to']:.4g}: {stages}"


def _projection(run: dict[str, Any]) -> str:
    found = run["projection"]
    return (
        f"  PROJECTED: all pairs at {run['windows']} frames {found['hours']:.1f} h; at {found['mean_frames']} frames, "
        f"where a pair takes {found['times_a_pair']:.0f} times as long, {found['hours_at_mean_frames']:.0f} h"
    )


def _map(run: dict[str, Any]) -> str:
    tasks = run["stages"]["evaluate"]["tasks"]
    told = ", ".join(f"{name} {_number(task['map'])} of {task['queries']} queries" for name, task in tasks.items())
    return f"  mAP, {run['method']} at {run['fraction']:.4g}: {told}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns to the right, but for the first."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
