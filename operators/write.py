"""Write features into a library: rows with features in, committed shards and a receipt for every row out."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ndvr.operators.library import COMMITS, SHARDS, feature_type, write_whole
from ndvr.operators.rows import LEDGER, table

ROW_GROUP_BYTES = 8 << 20


class Write:
    """One Parquet shard per configuration and call, then one commit file that makes them visible.

    File names depend only on which rows are inside, so a call repeated by Ray overwrites its own files with the
    same bytes. `configs` is what each configuration says about itself, see `ndvr.operators.library.Library`.
    """

    def __init__(self, library: str | Path, configs: dict[str, dict]):
        self.library, self.configs = Path(library), configs

    def __call__(self, pieces: pa.Table) -> pa.Table:
        rows = sorted(pieces.to_pylist(), key=_key)
        name = hashlib.sha256(repr([_key(row) for row in rows]).encode()).hexdigest()[:16]
        for config in sorted({row["config"] for row in rows}):
            mine = [row for row in rows if row["config"] == config and row["kind"] == "piece" and row["data"]]
            if mine:
                began = time.monotonic()
                self._shard(config, f"{rows[0]['run']}-{name}.parquet", mine)
                for row in mine:
                    row["write_s"] = (time.monotonic() - began) / len(mine)
        now = datetime.now(timezone.utc)
        for row in rows:
            row["finished"] = now
        receipts = table(rows, LEDGER)
        write_whole(
            self.library / COMMITS / f"{rows[0]['run']}-{name}.parquet", lambda path: pq.write_table(receipts, path)
        )
        return receipts

    def _shard(self, config: str, name: str, rows: list[dict]) -> None:
        about = self.configs[config]
        dtype, kind = np.dtype(about["feature_dtype"]), feature_type(about)
        size = int(np.prod(about["feature_shape"]))
        position = 0
        for row in rows:
            row |= {"shard": f"{config}/{name}", "shard_row": position}
            position += row["windows_count"]
        counts = [row["windows_count"] for row in rows]
        flat = pa.py_buffer(b"".join(row["data"] for row in rows))
        features = _column(kind, flat, position, size, dtype)
        ids = pa.array(np.repeat([row["video_id"] for row in rows], counts)).dictionary_encode()
        shard = pa.table(
            {
                "video_id": ids,
                "start_s": pa.array(np.concatenate([row["start_s"] for row in rows])),
                "feature": features,
            }
        ).replace_schema_metadata({"ndvr": json.dumps(about, sort_keys=True)})
        per_group = max(1, ROW_GROUP_BYTES // (size * dtype.itemsize))
        # Features are noise to a general compressor (half floats: 1 to 15 %), so only ids and times are compressed.
        codec = {"video_id": "zstd", "start_s": "zstd", "feature": "none"}
        write_whole(
            self.library / SHARDS / config / name,
            lambda path: pq.write_table(
                shard, path, row_group_size=per_group, compression=codec, use_dictionary=["video_id"]
            ),
        )


def _key(row: dict) -> tuple:
    return row["video_id"], row["method"], row["attempt"], row["kind"] == "end", row["piece"]


def _column(kind: pa.DataType, data: pa.Buffer, count: int, size: int, dtype: np.dtype) -> pa.Array:
    """`count` features as a Parquet column, straight from their bytes."""
    if pa.types.is_fixed_size_binary(kind):
        return pa.FixedSizeBinaryArray.from_buffers(kind, count, [None, data])
    values = pa.Array.from_buffers(kind.value_type, count * size, [None, data])
    return pa.FixedSizeListArray.from_arrays(values, size)
