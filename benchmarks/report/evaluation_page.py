"""One self-contained HTML page of one or several evaluations: means, curves, every query, what was missing.

write_page("page.html", evaluate("scores", truth="truth.csv"))
write_page("page.html", compare(["a", "b"], truth="truth.csv"))
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ndvr.benchmarks.evaluation.comparison import Comparison, compared, different_ids, gain
from ndvr.benchmarks.evaluation.result import TIES, Evaluation, TaskResult, notes, number, part, span, ties, warnings
from ndvr.benchmarks.report import _charts as charts
from ndvr.benchmarks.report._parts import coverage_rows, missing_lines, provenance_lines
from ndvr.operators.storage.store import write_text
from ndvr.pipeline.review.page import render

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_DOTS = 60_000  # of the charts of single queries: a page of some MB
_MOST_ROWS = 1000  # of a table of queries
_READING = (
    "1 is best; equal scores in the order of their ids. The line is the 95 % interval (queries resampled), the pale "
    "bar what the order of equal scores and what has no score could change."
)


def write_page(path: str | Path, result: Evaluation | Comparison) -> Path:
    """Write the page and return its path. It loads nothing from anywhere."""
    write_text(Path(path), _page(compared(result) if isinstance(result, Evaluation) else result))
    return Path(path)


def _page(comparison: Comparison) -> str:
    runs, first = comparison.runs, next(iter(comparison.runs.values()))
    charted = _tasks_with_query_charts(comparison.common)
    common_ids = _common_ids(comparison)
    return render(
        "evaluation.html",
        _TEMPLATES,
        title=first.benchmark if len(runs) > 1 else f"{first.benchmark}: {next(iter(runs))}",
        lead=f"{first.convention}.",
        warnings=_warnings(comparison),
        runs=[
            {"name": name, "colour": charts.colour(i), "made_by": _made_by(run)}
            for i, (name, run) in enumerate(runs.items())
        ],
        run_names=list(runs),
        reading=f"{_READING} {common_ids}".strip(),
        common_ids=common_ids,
        tasks=[_task(task, comparison.common, with_queries=task in charted) for task in first.tasks],
        left_out="" if len(charted) == len(first.tasks) else f"Queries are drawn of {', '.join(charted)} only.",
        blocks=_blocks(comparison),
        coverage=coverage_rows(runs),
        missing=missing_lines(runs),
        notes=list(dict.fromkeys(note for run in runs.values() for note in notes(run))),
        provenance=provenance_lines(runs),
    )


def _warnings(comparison: Comparison) -> list[str]:
    lines = [f"{name}: {line}" for name, run in comparison.runs.items() for line in warnings(run) if line]
    return lines if comparison.same_ids else [*lines, *(line.strip() for line in different_ids(comparison))]


def _made_by(run: Evaluation) -> str:
    return f"{run.method}, weights {run.weights}" if run.method else ""


def _common_ids(comparison: Comparison) -> str:
    if comparison.same_ids:
        return ""
    queries, videos = len(comparison.common_queries), len(comparison.common_videos)
    return f"Drawn on what all runs have: {queries:,} queries, {videos:,} videos."


def _tasks_with_query_charts(runs: Mapping[str, Evaluation]) -> list[str]:
    """Return the tasks whose queries are drawn one by one: the first, and more while the page stays small."""
    shown: list[str] = []
    dots = 0
    for name in next(iter(runs.values())).tasks:
        dots += sum(len(run.tasks[name].per_query) for run in runs.values())
        if not shown or dots <= _MOST_DOTS:
            shown.append(name)
    return shown


def _task(name: str, runs: Mapping[str, Evaluation], *, with_queries: bool) -> dict[str, Any]:
    task = {"name": name, "means": charts.means(name, runs), "curves": charts.curves(name, runs), "query_chart": ""}
    results = [run.tasks[name] for run in runs.values()]
    order = _hardest_first(results)
    if not with_queries or not order:
        return task
    listed = order[:_MOST_ROWS]
    count = f"All {len(order):,}" if len(listed) == len(order) else f"The {len(listed):,} hardest of {len(order):,}"
    return task | {
        "query_chart": charts.of_queries(order, results),
        "query_values": charts.query_values(order, results),
        "listed": f"{count} queries as a table",
        "query_rows": [_query_row(query, results) for query in listed],
    }


def _hardest_first(results: list[TaskResult]) -> list[str]:
    """Return the queries by their AP in the first run that has them, lowest first."""
    aps: dict[str, float] = {}
    for result in results:
        aps = {query: evaluated.ap for query, evaluated in result.per_query.items()} | aps
    return sorted(aps, key=lambda query: (aps[query], query))


def _query_row(query: str, results: list[TaskResult]) -> list[str]:
    by_run = [result.per_query.get(query) for result in results]
    first = next(evaluated for evaluated in by_run if evaluated is not None)
    aps = [number(evaluated.ap if evaluated else None) for evaluated in by_run]
    return [query, f"{first.relevant:,}", f"{first.found:,}", *aps]


def _blocks(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the tables: what each run has, what all have where that differs, and the differences to the first run."""
    if comparison.same_ids:
        blocks = [_numbers("All numbers", "", comparison.runs)]
    else:
        blocks = [
            _numbers("On the queries and videos that all have", "", comparison.common),
            _numbers("On what each run has", "Not comparable with one another.", comparison.runs),
        ]
    if comparison.differences:
        tasks = next(iter(comparison.runs.values())).tasks
        by_run = comparison.differences.values()
        rows = [{"cells": [task, *(gain(differences[task]) for differences in by_run)]} for task in tasks]
        title = f"mAP less that of {next(iter(comparison.runs))}"
        text = "With its 95 % interval, the same resampled queries for both; queries on which it is higher, lower."
        blocks.append(_block(title, text, ["task", *comparison.differences], rows))
    return blocks


def _numbers(title: str, text: str, runs: Mapping[str, Evaluation]) -> dict[str, Any]:
    header = ["task", "run", "mAP", "95 %", TIES, "micro-AP", "95 %", "queries", "right pairs", "could be"]
    rows = []
    for name in next(iter(runs.values())).tasks:
        for i, (run, evaluation) in enumerate(runs.items()):
            task = evaluation.tasks[name]
            cells = [name if i == 0 else "", run, number(task.map), span(task.map_interval), ties(task)]
            cells += [number(task.micro_ap), span(task.micro_ap_interval)]
            cells += [part(task.queries, task.expected_queries), part(task.found, task.relevant)]
            rows.append(
                {
                    "cells": [*cells, span((task.possible_low or 0, task.possible_high or 0))],
                    "colour": charts.colour(i),
                }
            )
    return _block(title, text, header, rows)


def _block(title: str, text: str, header: list[str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "text": text, "header": header, "rows": [{"colour": ""} | row for row in rows]}
