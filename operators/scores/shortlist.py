"""Which videos are worth a closer look: the highest of every query over any number of score matrices."""

from __future__ import annotations

import math
import re
from typing import Any

import faiss
import numpy as np


class Highest:
    """The `n` highest scores of each of Q queries; equals by the place of the video, smaller ones first.

    A score and its place are one integer: bits of a float32 that rise with it, then the place, falling.
    """

    def __init__(self, n_queries: int, n: int):
        self.n = n
        self._keys = np.zeros((n_queries, 0), np.uint64)

    def add(self, scores: np.ndarray, places: np.ndarray) -> None:
        """Take in scores (Q, V) float32 of the videos at `places` (V,)."""
        # A score and its place become one number that sorts as they do, so that one partition keeps the highest. The
        # upper 32 bits are the float's own, with all of them turned round if it is negative and the sign set if it is
        # not: unsigned, they then rise with the score. The lower 32 are the place counted down, so that of equal
        # scores the video that comes first is the higher one.
        bits = (scores.astype(np.float32) + 0.0).view(np.uint32)  # + 0: no negative zeros
        rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
        keys = (rising.astype(np.uint64) << np.uint64(32)) | (np.uint64(0xFFFFFFFF) - places.astype(np.uint64))
        keys = np.concatenate([self._keys, keys], axis=1)
        if keys.shape[1] > self.n:
            keys = np.partition(keys, keys.shape[1] - self.n, axis=1)[:, keys.shape[1] - self.n :]
        self._keys = keys

    def places(self) -> np.ndarray:
        """List the places kept, (Q, n or all) int64, highest first."""
        keys = np.sort(self._keys, axis=1)[:, ::-1]
        return (np.uint64(0xFFFFFFFF) - (keys & np.uint64(0xFFFFFFFF))).astype(np.int64)


def count_of(wanted: str | int, n_videos: int) -> int:
    """Count how many videos "250" or "5%" are of so many: whole ones, at least one. ValueError for anything else."""
    text = str(wanted).strip()
    match = re.fullmatch(r"(\d+(?:\.\d*)?)(%?)", text)
    if not match or float(match[1]) == 0 or (match[2] and float(match[1]) > 100) or (not match[2] and "." in text):
        raise ValueError(f"{wanted!r}: give a number of videos, as 250, or a share of the database, as 5%")
    n = int(float(match[1]) * n_videos / 100) if match[2] else int(match[1])
    return max(1, min(n, n_videos))


# --- Which videos lie nearest to a query, without looking at all of them: faiss's inverted lists of vectors or codes


_PER_LIST = 39  # videos at least: faiss's own lower limit for learning a centre


def nearest(queries: np.ndarray, videos: np.ndarray, n: int) -> np.ndarray:
    """Find places (Q, n) int64 of videos, nearest first, -1 where fewer are; signatures (Q, ...) and (V, ...).

    float32 vectors by dot product, uint8 codes by Hamming distance. The lists are those of 4 sqrt(V) centres; a
    sixteenth of them is looked through, or as many as hold twice the videos asked for. Learning them is seeded.
    """
    query_vectors, video_vectors = (np.ascontiguousarray(side.reshape(len(side), -1)) for side in (queries, videos))
    n_lists = min(int(4 * math.sqrt(len(video_vectors))), len(video_vectors) // _PER_LIST)
    index = _index(video_vectors, n_lists)
    if n_lists > 1:
        index.nprobe = min(n_lists, max(1, n_lists // 16, math.ceil(2 * n / len(video_vectors) * n_lists)))
    index.train(video_vectors)
    index.add(video_vectors)
    return index.search(query_vectors, min(n, len(video_vectors)))[1]


def _index(videos: np.ndarray, n_lists: int) -> Any:
    width = videos.shape[1]
    if videos.dtype == np.uint8:
        codes = faiss.IndexBinaryFlat(8 * width)
        return faiss.IndexBinaryIVF(codes, 8 * width, n_lists) if n_lists > 1 else codes
    vectors = faiss.IndexFlatIP(width)
    return faiss.IndexIVFFlat(vectors, width, n_lists, faiss.METRIC_INNER_PRODUCT) if n_lists > 1 else vectors
