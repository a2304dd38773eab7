"""Write features into a library: rows with features in, committed shards and a receipt for every row out."""

from __future__ import annotations

import hashlib
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa

from ndvr.operators.library.receipt_files import COMMITS
from ndvr.operators.library.shards import digest, feature_column, repeated, write_shard
from ndvr.operators.rows import LEDGER, table
from ndvr.operators.storage.store import Store


class Write:
    """One Parquet shard per configuration and call, then one commit file that makes them visible.

    File names depend only on which rows are inside, so a call repeated by Ray overwrites its own files with the
    same bytes. `configs` is what each configuration says about itself, see `ndvr.operators.library.library.Library`.
    """

    def __init__(self, library: str | Path | Store, configs: dict[str, dict]):
        self.store, self.configs = Store(library), configs

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
        self.store.write_parquet(f"{COMMITS}/{rows[0]['run']}-{name}.parquet", receipts)
        return receipts

    def _shard(self, config: str, name: str, rows: list[dict]) -> None:
        position = 0
        for row in rows:
            row |= {"shard": f"{config}/{name}", "shard_row": position, "digest": digest(row["data"])}
            position += row["windows_count"]
        counts = [row["windows_count"] for row in rows]
        about = self.configs[config]
        data = pa.py_buffer(b"".join(row["data"] for row in rows))
        windows = {key: repeated([row[of] for row in rows], counts) for key, of in _SAME.items()}
        windows["start_s"] = pa.array(np.concatenate([row["start_s"] for row in rows]), pa.float64())
        write_shard(self.store, f"{config}/{name}", windows, feature_column(about, data, position), about)


_SAME = {"video_id": "video_id", "content": "sha256"}  # columns of a shard that are the same in all rows of a piece


def _key(row: dict) -> tuple:
    return row["video_id"], row["method"], row["attempt"], row["kind"] != "piece", row["kind"], row["piece"]


class CommitOrStop(Write):
    """Write as a stage of a run: what keeps it from committing comes out as a row that stops the run.

    An exception would not do: a run goes on without blocks that raise, and would decode everything to keep nothing.
    """

    def __call__(self, pieces: pa.Table) -> pa.Table:
        try:
            return super().__call__(pieces)
        except OSError as error:
            reason = f"{self.store} cannot be written to: {error.strerror or error}"
            return table([{"kind": "stopped", "message": reason}], LEDGER)
