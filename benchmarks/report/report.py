"""One self-contained report.html: what was run, how right it was, and the videos themselves.

write_report("report.html", title="Demo", evaluations={"thumbprint": evaluation}, videos={"a.mp4": "in/a.mp4"})
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.benchmarks.evaluation.result import Evaluation
from ndvr.benchmarks.report.data import Results, matrix_of, read_rows, results_of
from ndvr.benchmarks.report.parts import (
    coverage_cells,
    heat_map,
    map_table,
    missing_lines,
    pair_pictures,
    provenance_lines,
)
from ndvr.benchmarks.report.templates import SCRIPT, STYLE, TEMPLATE
from ndvr.operators.storage.store import write_text

_SYMBOLS = {"right": "✓", "wrong": "✗", "neither": "–"}
_SAYS = {"right": "right", "wrong": "wrong", "neither": "neither right nor wrong: not ranked"}
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
    named = {evaluations.method or "scores": evaluations} if isinstance(evaluations, Evaluation) else evaluations
    if not named:
        raise ValueError("a report needs at least one evaluation")
    sources: Mapping[str, Any]  # of what `evaluate` takes, which a mapping by name cannot be told from by its type
    if scores is None:
        sources = {name: evaluation.scores for name, evaluation in named.items()}
    else:
        sources = scores if isinstance(evaluations, Mapping) else {name: scores for name in named}
    hardest = _hardest(named)
    results, maps = {}, []
    for name, evaluation in named.items():
        task = evaluation.protocol.tasks[0]
        asked = [query for query in hardest if query in evaluation.tasks[task.name].per_query]
        rows = read_rows(evaluation, sources[name], asked[: max(max_queries, _MAP_SIDE)])
        maps.append(heat_map(name, matrix_of(task, rows, max_videos=_MAP_SIDE), n_queries=len(asked)))
        shown = {query: rows[query] for query in hardest[:max_queries] if query in rows}
        results[name] = results_of(evaluation, task, shown, shown=matches)
    listed, hardest = _listed(len(hardest), max_queries), hardest[:max_queries]
    strips = _strips(_shown_ids(hardest, results), videos or {})
    page = _page(
        title=title,
        summary=summary or {},
        named=named,
        maps=maps,
        pairs=pair_pictures(matrices or {}),
        queries=_queries(hardest, results, truth_rows),
        listed=listed,
        notes=notes,
        strips=list(strips.values()),
        number={video: i for i, video in enumerate(strips)},
    )
    write_text(Path(out_html), page)
    return Path(out_html)


def _hardest(named: Mapping[str, Evaluation]) -> list[str]:
    """Evaluated queries, lowest AP of any method first."""
    lowest: dict[str, float] = {}
    for evaluation in named.values():
        for query, result in evaluation.tasks[evaluation.protocol.tasks[0].name].per_query.items():
            lowest[query] = min(result.ap, lowest.get(query, 1.0))
    return sorted(lowest, key=lambda query: (lowest[query], query))


def _listed(n_queries: int, shown: int) -> str:
    what = f"All {n_queries} queries" if n_queries <= shown else f"The {shown} hardest of {n_queries} queries"
    return f"{what}, lowest average precision first, with their best matches and right ones further down."


def _shown_ids(queries: Sequence[str], results: Mapping[str, Mapping[str, Results]]) -> list[str]:
    ids = dict.fromkeys(queries)
    for by_query in results.values():
        for found in by_query.values():
            ids |= dict.fromkeys(match.video_id for match in (*found.best, *found.missed))
    return list(ids)


def _strips(ids: Sequence[str], videos: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Each video once, whatever the number of places it is shown in."""
    from ndvr.operators.media.film_strip import film_strips, picture_size

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
        columns = [{"name": name, "results": found[query]} for name, found in results.items() if query in found]
        out.append(
            {
                "id": query,
                "tags": list(tags.get(query, ())),
                "text": " ".join([query, *tags.get(query, ())]).lower(),
                "ap": min(found[query].ap for found in results.values() if query in found),
                "columns": columns,
            }
        )
    return out


def _page(*, title: str, summary: Mapping[str, Any], named: Mapping[str, Evaluation], **parts: Any) -> str:
    import jinja2

    first = next(iter(named.values()))
    headline = {
        f"mAP, {name}": f"{value:.3f}"
        for name, evaluation in named.items()
        if (value := evaluation.tasks[evaluation.protocol.tasks[0].name].map) is not None
    }
    parts["notes"] = [*parts["notes"], *(note for evaluation in named.values() for note in evaluation.notes)]
    environment = jinja2.Environment(autoescape=True, trim_blocks=False, undefined=jinja2.StrictUndefined)
    return environment.from_string(TEMPLATE).render(
        title=title,
        lead=f"{first.benchmark}: {first.convention}.",
        untrained=[name for name, evaluation in named.items() if evaluation.untrained],
        tiles=[*headline.items(), *summary.items()],
        methods=list(named),
        table=map_table(named),
        reading="The mean over queries of the average precision, 1 is best; equal scores in the order of their ids. "
        "A pale end of a bar spans the best and the worst order of equal scores.",
        coverage=[{"name": name, "parts": coverage_cells(evaluation)} for name, evaluation in named.items()],
        missing=[line for name, evaluation in named.items() for line in missing_lines(name, evaluation)],
        provenance=[line for name, evaluation in named.items() for line in provenance_lines(name, evaluation)],
        symbol=_SYMBOLS,
        says=_SAYS,
        style=STYLE,
        script=SCRIPT,
        **parts,
    )
