"""A shard: a Parquet file with a row per window, written and read without a copy of its features."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa

from ndvr.operators.storage.store import Store

SHARDS = "shards"
ROW_GROUP_BYTES = 8 << 20


def feature_type(about: dict[str, Any]) -> pa.DataType:
    """How one feature lies in a shard: a fixed-size list of floats, or fixed-size binary for codes.

    Parquet has no one-byte number, a uint8 in a list would take four.
    """
    size = int(np.prod(about["feature_shape"]))
    if about["feature_dtype"] == "uint8":
        return pa.binary(size)
    return pa.list_(pa.from_numpy_dtype(np.dtype(about["feature_dtype"])), size)


def write_shard(store: Store, shard: str, windows: dict[str, pa.Array], features: pa.Array, about: dict) -> None:
    """A row per window: video_id, content (SHA-256 of the file), start_s, feature; `about` goes into the metadata."""
    rows = pa.table({**windows, "feature": features}).replace_schema_metadata(
        {"ndvr": json.dumps(about, sort_keys=True)}
    )
    size = int(np.prod(about["feature_shape"])) * np.dtype(about["feature_dtype"]).itemsize
    # Features are noise to a general compressor (half floats: 1 to 15 %), so only ids and times are compressed.
    codec = dict.fromkeys(windows, "zstd") | {"feature": "none"}
    store.write_parquet(
        f"{SHARDS}/{shard}",
        rows,
        row_group_size=max(1, ROW_GROUP_BYTES // size),
        compression=codec,
        use_dictionary=["video_id", "content"],
    )


def repeated(values: list, counts: list[int]) -> pa.Array:
    """Each value as often as its count says, coded."""
    coded = pa.array(values, pa.string()).dictionary_encode()
    indices = np.repeat(np.array(coded.indices.fill_null(-1)), counts)
    return pa.DictionaryArray.from_arrays(pa.array(indices, mask=indices < 0), coded.dictionary)


def feature_column(about: dict[str, Any], data: pa.Buffer, count: int) -> pa.Array:
    """`count` features as a Parquet column, straight from their bytes."""
    kind = feature_type(about)
    if pa.types.is_fixed_size_binary(kind):
        return pa.FixedSizeBinaryArray.from_buffers(kind, count, [None, data])
    size = int(np.prod(about["feature_shape"]))
    values = pa.Array.from_buffers(kind.value_type, count * size, [None, data])
    return pa.FixedSizeListArray.from_arrays(values, size)


def digest(features: bytes | memoryview) -> str:
    """What tells features as stored from others: half of their SHA-256."""
    return hashlib.sha256(features).hexdigest()[:32]


def features_of(column: pa.ChunkedArray, feature_shape: list[int]) -> np.ndarray:
    """(T, *feature_shape) of a feature column, in the stored dtype."""
    whole = column.combine_chunks()
    if pa.types.is_fixed_size_binary(whole.type):
        flat = np.frombuffer(whole.buffers()[1], np.uint8)
        flat = flat[whole.offset * whole.type.byte_width :][: len(whole) * whole.type.byte_width]
    else:
        flat = whole.flatten().to_numpy()
    return flat.reshape(len(whole), *feature_shape)
