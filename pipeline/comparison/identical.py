"""Files that are the same byte by byte: the ledger has their SHA-256, so that no method needs to compare them.

Of dark or blank videos a method may say nothing, of a copy as of the video itself; that they are one file is certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from ndvr.operators.library.library import Entry
from ndvr.operators.storage.sealed import write_table

IDENTICAL = "identical.parquet"
_SCHEMA = pa.schema([("content", pa.string()), ("side", pa.string()), ("video_id", pa.string())])


def by_content(entries: Iterable[Entry]) -> dict[str, list[str]]:
    """Group the videos with features by the SHA-256 of their files."""
    ids: dict[str, list[str]] = {}
    for entry in entries:
        if entry.pieces and (content := entry.end["sha256"]):
            ids.setdefault(content, []).append(entry.video_id)
    return ids


def write_identical(folder: Path, entries: Mapping[str, Mapping[str, Entry]]) -> int:
    """List in a folder of scores the videos that share their file with another; return how many there are.

    entries  by side, "queries" and "videos", and id. There is no such file where there are no such videos.
    """
    sides = {side: by_content(of_side.values()) for side, of_side in entries.items()}
    rows = []
    for content in sorted(set().union(*sides.values())):
        names = [(side, video_id) for side, ids in sides.items() for video_id in ids.get(content, ())]
        if len({video_id for _, video_id in names}) > 1:
            rows += [{"content": content, "side": side, "video_id": video_id} for side, video_id in sorted(names)]
    if rows:
        write_table(folder / IDENTICAL, pa.Table.from_pylist(rows, schema=_SCHEMA), compression="zstd")
    else:
        (folder / IDENTICAL).unlink(missing_ok=True)
    return len({row["video_id"] for row in rows})
