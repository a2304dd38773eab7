"""What features and receipts take on disk: written to a temporary library as a run would, weighed, and dropped."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ndvr.operators.library.library import Library
from ndvr.operators.library.write import Write


@dataclass(frozen=True, kw_only=True)
class Files:
    """Bytes by what they are for."""

    window_bytes: dict[str, float] = field(default_factory=dict)  # by method
    shard_bytes: dict[str, float] = field(default_factory=dict)  # by method, of a shard without windows
    row_bytes: float = 0.0  # of a receipt
    commit_bytes: float = 0.0  # of a commit without receipts
    write_s: float = 0.0  # CPU seconds of one commit with its shards


def write_out(tables: list[pa.Table], configs: dict[str, dict[str, Any]]) -> Files:
    """Write everything as one commit, then a commit a video: what a file costs without rows, and what a row adds."""
    about = {config["name"]: config for config in configs.values()}
    windows = {method: 0 for method in configs}
    for table in tables:
        for row in table.select(["method", "kind", "windows_count"]).to_pylist():
            windows[row["method"]] += row["windows_count"] if row["kind"] == "piece" else 0
    n_rows = sum(table.num_rows for table in tables)
    folder = Path(tempfile.mkdtemp(prefix="ndvr-plan-"))
    try:
        (one, _), (many, seconds) = (
            _written(folder / name, parts, about)
            for name, parts in (("one", [pa.concat_tables(tables)]), ("many", tables))
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    files = {name: max(1, sum(_has_windows(table, name) for table in tables)) for name in about}
    shard = {name: _fixed(one.get(name, 0), many.get(name, 0), files[name]) for name in about}
    commit = _fixed(one["commits"], many["commits"], len(tables))
    names = {method: config["name"] for method, config in configs.items()}
    return Files(
        window_bytes={
            method: (one.get(name, 0) - shard[name]) / max(1, windows[method]) for method, name in names.items()
        },
        shard_bytes={method: shard[name] for method, name in names.items()},
        row_bytes=(one["commits"] - commit) / max(1, n_rows),
        commit_bytes=commit,
        write_s=seconds / len(tables),
    )


def _has_windows(table: pa.Table, config: str) -> bool:
    return any(
        row["kind"] == "piece" and row["config"] == config for row in table.select(["kind", "config"]).to_pylist()
    )


def _fixed(one: int, many: int, files: int) -> float:
    """Bytes of a file without rows: `one` file and `many` hold the same rows."""
    return max(0.0, (many - one) / (files - 1)) if files > 1 and one else 0.0


def _written(folder: Path, parts: list[pa.Table], about: dict[str, dict[str, Any]]) -> tuple[dict[str, int], float]:
    """Bytes of shards by configuration and of "commits", and CPU seconds."""
    Library.create(folder)
    write = Write(str(folder), about)
    began = time.process_time()
    for part in parts:
        write(part)
    seconds = time.process_time() - began
    sizes = {name: bytes_under(folder / "shards" / name) for name in about}
    return {**sizes, "commits": bytes_under(folder / "commits")}, seconds


def bytes_under(folder: Path | str) -> int:
    """Of all files in a folder and below."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
