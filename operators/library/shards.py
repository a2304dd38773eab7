"""A shard: a Parquet file with a row per window, written and read without a copy of its features."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ndvr.operators.errors import RunStopped
from ndvr.operators.library.config import Config
from ndvr.operators.library.fencing import check, fenced_name
from ndvr.operators.library.receipt_files import COMMITS, commit, read_commits, time_for_receipts
from ndvr.operators.rows import LEDGER, table
from ndvr.operators.storage.store import Store

SHARDS = "shards"
ROW_GROUP_BYTES = 8 << 20


def feature_type(config: Config) -> pa.DataType:
    """Choose how a feature lies in a shard: a fixed-size list of floats, or fixed-size binary for codes.

    Parquet has no one-byte number, a uint8 in a list would take four.
    """
    size = math.prod(config.feature_shape)
    if config.feature_dtype == "uint8":
        return pa.binary(size)
    return pa.list_(pa.from_numpy_dtype(np.dtype(config.feature_dtype)), size)


def write_shard(store: Store, shard: str, windows: dict[str, pa.Array], features: pa.Array, config: Config) -> None:
    """Write a row per window: video_id, content (the file's SHA-256), start_s, feature; metadata: `config`."""
    rows = pa.table({**windows, "feature": features}).replace_schema_metadata(
        {"ndvr": json.dumps(config.to_json(), sort_keys=True)}
    )
    # Features are noise to a general compressor (half floats: 1 to 15 %), so only ids and times are compressed.
    codec = dict.fromkeys(windows, "zstd") | {"feature": "none"}
    store.write_parquet(
        f"{SHARDS}/{shard}",
        rows,
        row_group_size=max(1, ROW_GROUP_BYTES // config.window_bytes),
        compression=codec,
        use_dictionary=["video_id", "content"],
        write_page_checksum=True,
    )


def repeated(values: list, counts: list[int]) -> pa.Array:
    """Repeat each value as often as its count says, coded."""
    coded = pa.array(values, pa.string()).dictionary_encode()
    indices = np.repeat(np.array(coded.indices.fill_null(-1)), counts)
    return pa.DictionaryArray.from_arrays(pa.array(indices, mask=indices < 0), coded.dictionary)


def feature_column(config: Config, data: pa.Buffer, count: int) -> pa.Array:
    """Make a Parquet column of `count` features, straight from their bytes."""
    kind = feature_type(config)
    if pa.types.is_fixed_size_binary(kind):
        return pa.FixedSizeBinaryArray.from_buffers(kind, count, [None, data])
    size = math.prod(config.feature_shape)
    values = pa.Array.from_buffers(kind.value_type, count * size, [None, data])
    return pa.FixedSizeListArray.from_arrays(values, size)


def digest(features: Any, start_s: Sequence[float] | np.ndarray) -> str:
    """Make what tells a piece as stored from others: half of its features' SHA-256, a quarter of its start times'.

    features  bytes, or arrays that lie in one piece
    """
    times = np.ascontiguousarray(start_s, np.float64)
    return hashlib.sha256(features).hexdigest()[:_FEATURES] + hashlib.sha256(times.data).hexdigest()[:16]


_FEATURES = 32  # digits of a digest; earlier versions wrote no more


def changed(digest_written: str | None, features: Any, start_s: np.ndarray) -> str:
    """Say what of a piece is not as it was written: "features", "start times", or "" when it all is."""
    written, now = digest_written or "", digest(features, start_s)
    if written[:_FEATURES] not in ("", now[:_FEATURES]):
        return "features"
    return "start times" if written[_FEATURES:] not in ("", now[_FEATURES:]) else ""


def features_of(column: pa.ChunkedArray, feature_shape: Sequence[int]) -> np.ndarray:
    """View a feature column as (T, *feature_shape), in the stored dtype."""
    whole = column.combine_chunks()
    if pa.types.is_fixed_size_binary(whole.type):
        flat = np.frombuffer(whole.buffers()[1], np.uint8)
        flat = flat[whole.offset * whole.type.byte_width :][: len(whole) * whole.type.byte_width]
    else:
        flat = whole.flatten().to_numpy()
    return flat.reshape(len(whole), *feature_shape)


# --- Write features into a library: rows with features in, committed shards and a receipt for every row out


class Write:
    """One Parquet shard per configuration and call, then one commit file that makes them visible.

    File names depend only on which rows are inside, so a call repeated by Ray writes the same files. A `library` that
    is a Store is written to under the lease that it carries. `configs` are those of the rows that have features, by
    name. Receipts are later than all that were there at the first call, whatever the clock of this host says.
    """

    def __init__(self, library: str | Path | Store, configs: Mapping[str, Config]):
        self.store, self.configs = Store(library), configs

    @cached_property
    def _not_before(self) -> datetime:
        return time_for_receipts(self.store)

    def __call__(self, pieces: pa.Table) -> pa.Table:
        rows = sorted(pieces.to_pylist(), key=_key)
        name = hashlib.sha256(repr([_key(row) for row in rows]).encode()).hexdigest()[:16]
        stem = f"{rows[0]['run']}-{name}"
        if (receipts := self._committed(stem)) is not None:
            return receipts
        for config in sorted({row["config"] for row in rows}):
            stored = [row for row in rows if row["config"] == config and row["kind"] == "piece" and row["data"]]
            if stored:
                began = time.monotonic()
                self._shard(config, f"{stem}.parquet", stored)
                for row in stored:
                    row["write_s"] = (time.monotonic() - began) / len(stored)
        now = max(datetime.now(timezone.utc), self._not_before)
        for row in rows:
            row["finished"] = now
        receipts = table(rows, LEDGER)
        commit(self.store, stem, receipts)
        return receipts

    def _committed(self, stem: str) -> pa.Table | None:
        """Read the receipts of a call that Ray repeats although it went well; a commit is never written twice."""
        name = fenced_name(self.store, stem, ".parquet")
        if self.store.lease is None or not self.store.exists(f"{COMMITS}/{name}"):
            return None
        check(self.store)
        return read_commits(self.store, [name])

    def _shard(self, config: str, name: str, rows: list[dict]) -> None:
        position = 0
        for row in rows:
            row |= {"shard": f"{config}/{name}", "shard_row": position, "digest": digest(row["data"], row["start_s"])}
            position += row["windows_count"]
        counts = [row["windows_count"] for row in rows]
        data = pa.py_buffer(b"".join(row["data"] for row in rows))
        features = feature_column(self.configs[config], data, position)
        windows = {key: repeated([row[of] for row in rows], counts) for key, of in _SAME.items()}
        windows["start_s"] = pa.array(np.concatenate([row["start_s"] for row in rows]), pa.float64())
        write_shard(self.store, f"{config}/{name}", windows, features, self.configs[config])


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
        except RunStopped as error:
            return table([{"kind": "stopped", "message": str(error)}], LEDGER)
        except OSError as error:
            reason = f"{error.filename or self.store} cannot be written to: {error.strerror or error}"
            passing = "io" if getattr(error, "passing", False) else None
            return table([{"kind": "stopped", "message": reason, "error_class": passing}], LEDGER)
