"""One self-contained HTML page of one or several evaluations: means, curves, every query, what was missing.

write_page("page.html", evaluate("scores", truth="truth.csv"))
write_page("page.html", compare(["a", "b"], truth="truth.csv"))
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ndvr.benchmarks.evaluation.comparison import Comparison, compared, different_ids, gain
from ndvr.benchmarks.evaluation.result import TIES, Evaluation, TaskResult, notes, number, part, span, ties, warnings
from ndvr.benchmarks.report import charts
from ndvr.benchmarks.report.evaluation_template import SCRIPT, STYLE, TEMPLATE
from ndvr.benchmarks.report.parts import coverage_cells, missing_lines, provenance_lines
from ndvr.benchmarks.report.templates import STYLE as REPORT_STYLE
from ndvr.operators.storage.store import write_text

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
    import jinja2

    first = next(iter(comparison.runs.values()))
    names = list(comparison.runs)
    shown = _with_query_charts(comparison.common)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(TEMPLATE).render(
        title=first.benchmark if len(names) > 1 else f"{first.benchmark}: {names[0]}",
        lead=f"{first.convention}.",
        warnings=_warnings(comparison),
        runs=[
            {"name": name, "colour": charts.colour(i), "made_by": _made_by(run)}
            for i, (name, run) in enumerate(comparison.runs.items())
        ],
        names=json.dumps(names).replace("<", "\\u003c"),
        reading=_READING + _on(comparison),
        on=_on(comparison),
        tasks=[_task(task, comparison.common, with_queries=task in shown) for task in first.tasks],
        left_out="" if len(shown) == len(first.tasks) else f"Queries are drawn of {', '.join(shown)} only.",
        blocks=_blocks(comparison),
        coverage=[{"name": name, "parts": coverage_cells(run)} for name, run in comparison.runs.items()],
        missing=[line for name, run in comparison.runs.items() for line in missing_lines(name, run)],
        notes=list(dict.fromkeys(note for run in comparison.runs.values() for note in notes(run))),
        provenance=[line for name, run in comparison.runs.items() for line in provenance_lines(name, run)],
        style=REPORT_STYLE + STYLE,
        script=SCRIPT,
    )


def _warnings(comparison: Comparison) -> list[str]:
    lines = [f"{name}: {line}" for name, run in comparison.runs.items() for line in warnings(run) if line]
    return lines if comparison.same_ids else lines + ["; ".join(line.strip() for line in different_ids(comparison))]


def _made_by(run: Evaluation) -> str:
    return f"{run.method}, weights {run.weights}" if run.method else ""


def _on(comparison: Comparison) -> str:
    if comparison.same_ids:
        return ""
    queries, videos = len(comparison.common_queries), len(comparison.common_videos)
    return f" Drawn on what all runs have: {queries:,} queries, {videos:,} videos."


def _with_query_charts(runs: Mapping[str, Evaluation]) -> list[str]:
    """Tasks whose queries are drawn one by one: the first, and more while the page stays small."""
    shown: list[str] = []
    dots = 0
    for name in next(iter(runs.values())).tasks:
        dots += sum(len(run.tasks[name].per_query) for run in runs.values())
        if not shown or dots <= _MOST_DOTS:
            shown.append(name)
    return shown


def _task(name: str, runs: Mapping[str, Evaluation], *, with_queries: bool) -> dict[str, Any]:
    task = {"name": name, "means": charts.means(name, runs), "curves": charts.curves(name, runs), "queries": ""}
    results = [run.tasks[name] for run in runs.values()]
    order = _hardest_first(results)
    if not with_queries or not order:
        return task
    listed = order[:_MOST_ROWS]
    count = f"All {len(order):,}" if len(listed) == len(order) else f"The {len(listed):,} hardest of {len(order):,}"
    return task | {
        "queries": charts.of_queries(order, results),
        "json": charts.query_values(order, results),
        "listed": f"{count} queries as a table",
        "rows": [_query_row(query, results) for query in listed],
    }


def _hardest_first(results: list[TaskResult]) -> list[str]:
    """By the AP of the first run that has the query."""
    aps: dict[str, float] = {}
    for result in results:
        aps = {query: found.ap for query, found in result.per_query.items()} | aps
    return sorted(aps, key=lambda query: (aps[query], query))


def _query_row(query: str, results: list[TaskResult]) -> list[str]:
    found = [result.per_query.get(query) for result in results]
    some = next(one for one in found if one is not None)
    return [query, f"{some.relevant:,}", f"{some.found:,}"] + [number(one.ap if one else None) for one in found]


def _blocks(comparison: Comparison) -> list[dict[str, Any]]:
    """Tables: what each run has, what all have where that differs, and the differences to the first run."""
    if comparison.same_ids:
        blocks = [_numbers("All numbers", "", comparison.runs)]
    else:
        blocks = [
            _numbers("On the queries and videos that all have", "", comparison.common),
            _numbers("On what each run has", "Not comparable with one another.", comparison.runs),
        ]
    if comparison.differences:
        tasks = next(iter(comparison.runs.values())).tasks
        rows = [{"cells": [task, *(gain(mine[task]) for mine in comparison.differences.values())]} for task in tasks]
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
