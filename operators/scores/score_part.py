"""One cell of the score grid as a Parquet file: query_id, video_id, score."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ndvr.operators.storage.store import write_whole


def write_part(path: Path, query_ids: Sequence[str], video_ids: Sequence[str], scores: np.ndarray) -> int:
    """All pairs, sorted as the ids are given; scores (Q, V) float32. Returns how many."""
    rows, columns = np.indices(scores.shape, np.int32)
    return write_pairs(path, query_ids, video_ids, rows=rows.ravel(), columns=columns.ravel(), scores=scores.ravel())


def write_pairs(
    path: Path,
    query_ids: Sequence[str],
    video_ids: Sequence[str],
    *,
    rows: np.ndarray,
    columns: np.ndarray,
    scores: np.ndarray,
) -> int:
    """The pairs of the ids at rows[i] and columns[i], with scores[i]. Returns how many."""
    # From indices: 22 million ids as strings would take a gigabyte.
    ids = [
        pa.DictionaryArray.from_arrays(places.astype(np.int32), pa.array(names, pa.string()))
        for places, names in ((rows, query_ids), (columns, video_ids))
    ]
    cell = pa.table({"query_id": ids[0], "video_id": ids[1], "score": pa.array(scores)})
    write_whole(path, lambda name: pq.write_table(cell, name, compression="zstd"))
    return len(cell)


def read_matrix(path: Path, n_queries: int, n_videos: int) -> np.ndarray:
    """The scores of a part of all pairs, (Q, V) float32."""
    return pq.read_table(path, columns=["score"])["score"].to_numpy().reshape(n_queries, n_videos)


def keep_rows(old: Path, new: Path, ids: Mapping[str, Collection[str]]) -> None:
    """Write those rows of `old` as `new` that have one of the given ids in every column that `ids` names."""
    cell = pq.read_table(old, read_dictionary=list(ids))
    for column, wanted in ids.items():
        cell = cell.filter(pc.is_in(cell[column], value_set=pa.array(wanted, pa.string())))
    write_whole(new, lambda name: pq.write_table(cell, name, compression="zstd"))
