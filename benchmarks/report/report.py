"""One self-contained report.html: what was run, how right it was, and the videos themselves.

write_report("report.html", title="Demo", evaluations={"thumbprint": evaluation}, videos={"a.mp4": "in/a.mp4"})
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.benchmarks.evaluation.result import Evaluation, TaskResult
from ndvr.benchmarks.report._data import Results, Rows, matrix_of, read_rows, results_of
from ndvr.benchmarks.report._parts import (
    coverage_rows,
    heat_map,
    map_rows,
    missing_lines,
    pair_pictures,
    provenance_lines,
)
from ndvr.operators.media.film_strip import film_strips, picture_size
from ndvr.operators.storage.store import write_text
from ndvr.pipeline.review.page import render

_TEMPLATES = Path(__file__).parent / "templates"
_SYMBOLS = {"right": "✓", "wrong": "✗", "neither": "–"}
_TITLES = {"right": "right", "wrong": "wrong", "neither": "neither right nor wrong: not ranked"}
_READING = (
    "The mean over queries of the average precision, 1 is best; equal scores in the order of their ids. A pale end of "
    "a bar spans the best and the worst order of equal scores."
)
_MAP_SIDE = 400  # most queries and videos of a heat map: more are smaller than a pixel


def write_report(
    out_html: str | Path,
    *,
    title: str,
    evaluations: Mapping[str, Evaluation] | Evaluation,
    scores: Mapping[str, Any] | Any = None,
    videos: Mapping[str, str] | None = None,
    truth_rows: Sequence[Mapping[str, str]] = (),
    matrices: Mapping[tuple[str, str], np.ndarray] | None = None,
    summary: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    matches: int = 4,
    max_queries: int = 100,
) -> Path:
    """Write the page and return its path. It loads nothing from anywhere.

    evaluations  by the name to show, such as the method's; the first task of each decides right and wrong
    scores       the scores behind each evaluation, as `evaluate` takes them; None for the paths it was given
    videos       id -> file, for the film strips; ids without one are shown by name
    truth_rows   query_id, video_id, relation, edit: labels of the queries
    matrices     (query_id, video_id) -> similarities of their windows (Tq, Tv), drawn as pictures
    summary      tiles at the top: counts, times; `notes`: paragraphs at the end
    matches      best matches to show of each query; with more than `max_queries`, the hardest ones are shown
    """
    if isinstance(evaluations, Evaluation):
        name = evaluations.method or "scores"
        evaluations, scores = {name: evaluations}, None if scores is None else {name: scores}
    if not evaluations:
        raise ValueError("a report needs at least one evaluation")
    sources = scores or {name: evaluation.scores for name, evaluation in evaluations.items()}
    order = _hardest_first(evaluations)
    n_read = max(max_queries, _MAP_SIDE)
    rows = {name: _read(evaluation, sources[name], order, n_read) for name, evaluation in evaluations.items()}
    results = {name: _results(evaluations[name], rows[name], order[:max_queries], matches) for name in evaluations}
    strips = _strips(_shown_ids(order[:max_queries], results), videos or {})
    page = render(
        "report.html",
        _TEMPLATES,
        **_facts(title, evaluations, summary or {}, notes),
        maps=[_map(name, evaluation, rows[name]) for name, evaluation in evaluations.items()],
        pairs=pair_pictures(matrices or {}),
        listed=_listed(len(order), max_queries),
        queries=_queries(order[:max_queries], results, truth_rows),
        mark_symbols=_SYMBOLS,
        mark_titles=_TITLES,
        strips=list(strips.values()),
        strip_number={video: i for i, video in enumerate(strips)},
    )
    write_text(Path(out_html), page)
    return Path(out_html)


def _read(evaluation: Evaluation, scores: Any, order: Sequence[str], n_queries: int) -> Rows:
    """Read the scores of the first evaluated queries."""
    evaluated = [query for query in order if query in _first_task(evaluation).per_query]
    return read_rows(evaluation, scores, evaluated[:n_queries])


def _results(evaluation: Evaluation, rows: Rows, queries: Sequence[str], matches: int) -> dict[str, Results]:
    listed = {query: rows[query] for query in queries if query in rows}
    return results_of(evaluation, evaluation.protocol.tasks[0], listed, shown=matches)


def _map(name: str, evaluation: Evaluation, rows: Rows) -> dict[str, Any]:
    matrix = matrix_of(evaluation.protocol.tasks[0], rows, max_videos=_MAP_SIDE)
    return heat_map(name, matrix, n_queries=len(_first_task(evaluation).per_query))


def _first_task(evaluation: Evaluation) -> TaskResult:
    return evaluation.tasks[evaluation.protocol.tasks[0].name]


def _hardest_first(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Return the evaluated queries, lowest AP of any method first."""
    lowest: dict[str, float] = {}
    for evaluation in evaluations.values():
        for query, result in _first_task(evaluation).per_query.items():
            lowest[query] = min(result.ap, lowest.get(query, 1.0))
    return sorted(lowest, key=lambda query: (lowest[query], query))


def _listed(n_queries: int, shown: int) -> str:
    what = f"All {n_queries} queries" if n_queries <= shown else f"The {shown} hardest of {n_queries} queries"
    return f"{what}, lowest average precision first, with their best matches and right ones further down."


def _shown_ids(queries: Sequence[str], results: Mapping[str, Mapping[str, Results]]) -> list[str]:
    ids = dict.fromkeys(queries)
    for by_query in results.values():
        for result in by_query.values():
            ids |= dict.fromkeys(match.video_id for match in (*result.best, *result.missed))
    return list(ids)


def _strips(ids: Sequence[str], videos: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Draw the film strip of each video once, whatever the number of places it is shown in."""
    known = [video for video in ids if video in videos]
    out = {}
    for video, (_, jpeg) in zip(known, film_strips(videos[video] for video in known)):
        width, height = picture_size(jpeg)
        out[video] = {"data": base64.b64encode(jpeg).decode(), "ratio": f"{width}/{height}"}
    return out


def _queries(
    order: Sequence[str], results: Mapping[str, Mapping[str, Results]], truth_rows: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    tags: dict[str, dict[str, None]] = {}
    for row in truth_rows:
        labels = (row.get(key) or "" for key in ("relation", "edit"))
        tags.setdefault(row["query_id"], {}).update(dict.fromkeys(filter(None, labels)))
    out = []
    for query in order:
        columns = [{"name": name, "results": of[query]} for name, of in results.items() if query in of]
        out.append(
            {
                "id": query,
                "tags": list(tags.get(query, ())),
                "text": " ".join([query, *tags.get(query, ())]).lower(),
                "ap": min(of[query].ap for of in results.values() if query in of),
                "columns": columns,
            }
        )
    return out


def _facts(
    title: str, evaluations: Mapping[str, Evaluation], summary: Mapping[str, Any], notes: Sequence[str]
) -> dict[str, Any]:
    """Return what the page says about all queries together, by the names that its template uses."""
    first = next(iter(evaluations.values()))
    maps = {f"mAP, {name}": _first_task(evaluation).map for name, evaluation in evaluations.items()}
    tiles = {label: f"{value:.3f}" for label, value in maps.items() if value is not None} | dict(summary)
    return {
        "title": title,
        "lead": f"{first.benchmark}: {first.convention}.",
        "warnings": [
            f"{name} ran with untrained (random) weights: its numbers say nothing about the method."
            for name, evaluation in evaluations.items()
            if evaluation.untrained
        ],
        "tiles": list(tiles.items()),
        "methods": list(evaluations),
        "map_rows": map_rows(evaluations),
        "reading": _READING,
        "coverage": coverage_rows(evaluations),
        "missing": missing_lines(evaluations),
        "notes": [*notes, *(note for evaluation in evaluations.values() for note in evaluation.notes)],
        "provenance": provenance_lines(evaluations),
    }
