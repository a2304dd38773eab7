"""Which videos are worth a closer look: the highest of every query over any number of score matrices."""

from __future__ import annotations

import re

import numpy as np


class Highest:
    """The `n` highest scores of each of Q queries; equals by the place of the video, smaller ones first.

    A score and its place are one integer: bits of a float32 that rise with it, then the place, falling.
    """

    def __init__(self, n_queries: int, n: int):
        self.n = n
        self._keys = np.zeros((n_queries, 0), np.uint64)

    def add(self, scores: np.ndarray, places: np.ndarray) -> None:
        """Scores (Q, V) float32 of the videos at `places` (V,)."""
        bits = (scores.astype(np.float32) + 0.0).view(np.uint32)  # + 0: no negative zeros
        rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
        keys = (rising.astype(np.uint64) << np.uint64(32)) | (np.uint64(0xFFFFFFFF) - places.astype(np.uint64))
        keys = np.concatenate([self._keys, keys], axis=1)
        if keys.shape[1] > self.n:
            keys = np.partition(keys, keys.shape[1] - self.n, axis=1)[:, keys.shape[1] - self.n :]
        self._keys = keys

    def places(self) -> np.ndarray:
        """(Q, n or all) int64, highest first."""
        keys = np.sort(self._keys, axis=1)[:, ::-1]
        return (np.uint64(0xFFFFFFFF) - (keys & np.uint64(0xFFFFFFFF))).astype(np.int64)


def count_of(wanted: str | int, n_videos: int) -> int:
    """How many videos "250" or "5%" are of so many: whole ones, at least one. ValueError for anything else."""
    text = str(wanted).strip()
    match = re.fullmatch(r"(\d+(?:\.\d*)?)(%?)", text)
    if not match or float(match[1]) == 0 or (match[2] and float(match[1]) > 100) or (not match[2] and "." in text):
        raise ValueError(f"{wanted!r}: give a number of videos, as 250, or a share of the database, as 5%")
    n = int(float(match[1]) * n_videos / 100) if match[2] else int(match[1])
    return max(1, min(n, n_videos))
