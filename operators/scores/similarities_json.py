"""Write scores as the JSON that AuSiL and 3D-CSL exchange: {query: {video: score}}."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from ndvr.operators.scores.files import COLUMNS, open_scores
from ndvr.operators.storage.store import write_whole


def write_similarities_json(scores: Path, path: Path) -> None:
    """All parts of a SCORES folder as one JSON file, a query at a time: memory for one group of queries."""

    def write(name: str) -> None:
        with open(name, "w", encoding="utf-8") as file:
            comma = "{"
            for query_id, row in _rows(scores):
                file.write(
                    f"{comma}\n{json.dumps(query_id, ensure_ascii=False)}: {json.dumps(row, ensure_ascii=False)}"
                )
                comma = ","
            file.write("{}\n" if comma == "{" else "\n}\n")

    write_whole(path, write)


def _rows(scores: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """(query_id, {video_id: score}), a group of queries at a time: its cells share the first half of their names."""
    groups: dict[str, list[Path]] = {}
    for part in open_scores(scores).sources:
        groups.setdefault(part.name.split("-")[0], []).append(part)
    for parts in groups.values():
        rows: dict[str, dict[str, float]] = {}
        for part in parts:
            cell = pq.read_table(part, columns=list(COLUMNS))
            for query_id, video_id, score in zip(*(cell[name].to_pylist() for name in COLUMNS)):
                rows.setdefault(query_id, {})[video_id] = score
        for query_id in sorted(rows):
            yield query_id, dict(sorted(rows[query_id].items()))
