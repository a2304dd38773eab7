"""Write scores as the JSON that AuSiL and 3D-CSL exchange: {query: {video: score}}."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from ndvr.operators.library import write_whole


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
    """(query_id, {video_id: score}), queries in order; the cells of one group of queries share a prefix."""
    parts = sorted((scores / "parts").glob("*.parquet"))
    for group in sorted({part.name.split("-")[0] for part in parts}):
        rows: dict[str, dict[str, float]] = {}
        for part in parts:
            if part.name.startswith(f"{group}-"):
                cell = pq.read_table(part)
                for query_id, video_id, score in zip(*(cell[name].to_pylist() for name in cell.column_names)):
                    rows.setdefault(query_id, {})[video_id] = score
        for query_id in sorted(rows):
            yield query_id, dict(sorted(rows[query_id].items()))
