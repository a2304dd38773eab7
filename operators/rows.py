"""The row that travels: one piece of a video seen through one method's view, or a word on what became of that video.

decode  fills everything but `data`;  embed  swaps windows for features in it;  write  keeps the rest as the ledger.
A video is done for a method when its `end` row says done and pieces 0 .. pieces-1 of the same run and attempt are in
committed shards.

kind      what the row says
piece     these windows of a video have features, and where they are
end       what became of the video: done, failed (class), skipped (reason)
attempt   a try that did not settle it: another one followed in the same run
seen      the file has another time or place than when it was settled, and the same bytes
lost      a worker was gone while it had this video at hand; said by the next run
dropped   the pieces of this attempt are no longer kept
gone      the folder that gave it has it no more, until `back`: noted (status done), or kept out of pairs (skipped)
removed   `ndvr remove`: nothing of this video counts until `restored`; of EVERY_VIDEO: nothing with this content does
stopped   in flight only: nothing more can be committed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

Status = Literal["done", "failed", "skipped"]
Kind = Literal["piece", "end", "attempt", "seen", "lost", "dropped", "gone", "back", "removed", "restored", "stopped"]

EVERY_CONFIG = ""  # in `config`: of rows that speak of a video under all configurations

EVERY_VIDEO = ""  # in `video_id`: of rows that speak of a content (SHA-256), whatever videos have it
REMOVED_CONTENT = "removed by its content"  # the message of a video that was skipped for that

LEDGER = pa.schema(
    [
        ("video_id", pa.string()),
        ("method", pa.string()),
        ("config", pa.string()),  # which weights, view, decoder ...: configs/<config>.json
        ("run", pa.string()),
        ("attempt", pa.int32()),  # 1, 2, ... within the run: one per decoder tried
        ("host", pa.string()),  # where it was decoded
        ("kind", pa.string()),
        ("piece", pa.int32()),  # number of the piece; of an end row: how many there are
        ("windows_count", pa.int32()),  # of the piece; of an end row: in all
        # a piece: where its features are
        ("shard", pa.string()),
        ("shard_row", pa.int64()),
        ("digest", pa.string()),  # of its features as stored
        ("embed_s", pa.float64()),
        ("write_s", pa.float64()),
        # an end row: what became of the video
        ("status", pa.string()),
        ("error_class", pa.string()),
        ("message", pa.string()),
        ("uri", pa.string()),
        ("bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("sha256", pa.string()),
        ("decoder", pa.string()),
        ("frames", pa.int64()),  # decoded
        ("damaged", pa.int64()),  # packets without a frame
        ("partial", pa.bool_()),  # pictures were lost on the way: damaged packets, or the end is missing
        ("duration_s", pa.float64()),
        ("decode_s", pa.float64()),  # CPU seconds
        ("deaths", pa.int32()),  # decoder processes that this file brought down in the run
        ("quarantined", pa.bool_()),  # so many that it is not tried again unless asked for by that word
        ("started", pa.timestamp("ms", tz="UTC")),  # of the attempt
        ("finished", pa.timestamp("ms", tz="UTC")),
    ]
)

# In flight only.
_BLOBS = [("start_s", pa.list_(pa.float64())), ("data", pa.large_binary())]
FLIGHT = pa.schema([*LEDGER, *(pa.field(name, kind) for name, kind in _BLOBS)])


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What a video's file is known by, as columns of its rows; None where it was not found out."""

    bytes: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None


# What a decoder is given: a video, which methods want it, and by method the SHA-256 of what is settled under it, if
# the bytes may still be the same. Where its id stands for a video that lies elsewhere, the content it then has to have.
PLANNED = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("methods", pa.list_(pa.string())),
        ("contents", pa.list_(pa.string())),
        ("expected", pa.string()),  # SHA-256
        ("elsewhere", pa.string()),  # URI of the video with that content
    ]
)


def table(rows: list[dict[str, Any]], schema: pa.Schema = FLIGHT) -> pa.Table:
    """Make a table of rows; a column that a row does not mention is null."""
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)
