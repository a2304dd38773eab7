"""Which videos lie nearest to a query, without looking at all of them: faiss's inverted lists of vectors or codes."""

from __future__ import annotations

import math
from typing import Any

import faiss
import numpy as np

_PER_LIST = 39  # videos at least: faiss's own lower limit for learning a centre


def nearest(queries: np.ndarray, videos: np.ndarray, n: int) -> np.ndarray:
    """Places (Q, n) int64 of videos, nearest first, -1 where fewer were found; signatures (Q, ...) and (V, ...).

    float32 vectors by dot product, uint8 codes by Hamming distance. The lists are those of 4 sqrt(V) centres; a
    sixteenth of them is looked through, or as many as hold twice the videos asked for. Learning them is seeded.
    """
    ours, theirs = (np.ascontiguousarray(side.reshape(len(side), -1)) for side in (queries, videos))
    n_lists = min(int(4 * math.sqrt(len(theirs))), len(theirs) // _PER_LIST)
    index = _index(theirs, n_lists)
    if n_lists > 1:
        index.nprobe = min(n_lists, max(1, n_lists // 16, math.ceil(2 * n / len(theirs) * n_lists)))
    index.train(theirs)
    index.add(theirs)
    return index.search(ours, min(n, len(theirs)))[1]


def _index(videos: np.ndarray, n_lists: int) -> Any:
    width = videos.shape[1]
    if videos.dtype == np.uint8:
        codes = faiss.IndexBinaryFlat(8 * width)
        return faiss.IndexBinaryIVF(codes, 8 * width, n_lists) if n_lists > 1 else codes
    vectors = faiss.IndexFlatIP(width)
    return faiss.IndexIVFFlat(vectors, width, n_lists, faiss.METRIC_INNER_PRODUCT) if n_lists > 1 else vectors
