"""Small libraries to compare, made by importing features, and what a SCORES folder says about them."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from published_features import hdf5, imported

from ndvr.operators.scores.files import open_scores
from ndvr.pipeline.comparison.similarity import similarity

SHAPES = {"csl3d": (768,), "s2vs": (9, 512), "c3dhash": (512,), "tca": (1024,), "dns": (9, 512), "ausil": (2528,)}


def drifting(windows: int, seed: int, method: str = "csl3d") -> np.ndarray:
    """Unit vectors that differ a little from window to window; seeds 10 k .. 10 k + 9 are alike, k is a family."""
    shape = SHAPES[method]
    family, own = np.random.default_rng(seed // 10), np.random.default_rng(seed)
    start = family.standard_normal(shape) + 0.5 * own.standard_normal(shape)
    found = start + 0.1 * own.standard_normal((windows, *shape)).cumsum(0)
    return (found / np.linalg.norm(found, axis=-1, keepdims=True)).astype(np.float32)


def library(folder, lengths: dict[str, int], *, method: str = "csl3d", **settings):
    """`lengths` {id ending in its seed: windows} imported into a library at `folder`, which may hold others."""
    seeds = {video_id: int("".join(filter(str.isdigit, video_id))) for video_id in lengths}
    only = {"c3dhash": 1}.get(method)
    arrays = {video_id: drifting(only or n, seeds[video_id], method) for video_id, n in lengths.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = hdf5(
        folder.parent / f"{folder.name}.hdf5", arrays
    )  # one file, written anew: a video of another would be another
    assert imported(path, folder, method=method, **settings).failed == {}
    return folder


def forget(folder, video_id: str) -> None:
    """Take a video out of a library's ledger."""
    for commit in (folder / "commits").glob("*.parquet"):
        pq.write_table(pq.read_table(commit).filter(pc.field("video_id") != video_id), commit)


def compared(queries, database, scores, *, method: str = "csl3d", **settings):
    """`similarity` with seeded weights, in this process."""
    given = {"weights": "random:5", "workers": 0} | settings
    return similarity(queries, database, scores, method=method, progress=False, **given)


def scores_in(folder) -> dict[tuple[str, str], float]:
    """{(query_id, video_id): score} as `ndvr evaluate` reads it."""
    found: dict[tuple[str, str], float] = {}
    for batch in open_scores(folder).batches():
        queries, videos = batch.queries.to_pylist(), batch.videos.to_pylist()
        rows = [(queries[q], videos[v]) for q, v in zip(batch.query, batch.video)]
        assert not found.keys() & set(rows), "a pair has two scores"
        found.update(zip(rows, batch.score.tolist()))
    return found
