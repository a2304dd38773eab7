"""One cell of the score grid as a Parquet file: query_id, video_id, score."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ndvr.operators.library import write_whole


def write_part(path: Path, query_ids: Sequence[str], video_ids: Sequence[str], scores: np.ndarray) -> int:
    """All pairs, sorted as the ids are given; scores (Q, V) float32. Returns how many."""
    rows, columns = np.indices(scores.shape, np.int32)
    cell = pa.table(
        {
            # From indices: 22 million ids as strings would take a gigabyte.
            "query_id": pa.DictionaryArray.from_arrays(rows.ravel(), pa.array(query_ids, pa.string())),
            "video_id": pa.DictionaryArray.from_arrays(columns.ravel(), pa.array(video_ids, pa.string())),
            "score": pa.array(scores.ravel()),
        }
    )
    write_whole(path, lambda name: pq.write_table(cell, name, compression="zstd"))
    return len(cell)


def keep_rows(old: Path, new: Path, ids: Mapping[str, Collection[str]]) -> None:
    """Write those rows of `old` as `new` that have one of the given ids in every column that `ids` names."""
    cell = pq.read_table(old, read_dictionary=list(ids))
    for column, wanted in ids.items():
        cell = cell.filter(pc.is_in(cell[column], value_set=pa.array(wanted, pa.string())))
    write_whole(new, lambda name: pq.write_table(cell, name, compression="zstd"))
