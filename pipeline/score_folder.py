"""A SCORES folder: what it says about itself, and refusing to mix two comparisons in one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ndvr.operators.library import Entry, write_json, write_whole


def fingerprint(every: list[dict[str, Entry]]) -> str:
    """Identifies the compared content: which videos, with which pieces."""
    digest = hashlib.sha256()
    for entries in every:
        for entry in entries.values():
            digest.update(f"{entry.video_id}\0{entry.status}\0{entry.end['sha256']}\0{entry.windows}\n".encode())
        digest.update(b"\0")
    return digest.hexdigest()


def open_scores(out: Path, about: dict[str, Any]) -> None:
    """Make SCORES, or continue it when it holds the same comparison."""
    path = out / "scores.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        differs = [key for key in about if found.get(key) != about[key] and not key.endswith("_library")]
        if differs:
            raise ValueError(
                f"{out} holds another comparison (other {', '.join(differs)}); name a new folder for SCORES"
            )
    elif out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} exists and holds no scores; name a new folder for SCORES")
    else:
        write_json(path, about)


def write_ids(path: Path, entries: dict[str, Entry]) -> None:
    rows = [
        {"video_id": entry.video_id, "status": entry.status, "reason": entry.end["error_class"] or entry.end["message"]}
        for entry in entries.values()
    ]
    schema = pa.schema([("video_id", pa.string()), ("status", pa.string()), ("reason", pa.string())])
    write_whole(path, lambda name: pq.write_table(pa.Table.from_pylist(rows, schema=schema), name))
