"""Products of probes with the coded keys of a segment, in the lists that are nearest to each probe.

Two numbers of a code are four bits, one letter of a product quantiser with sixteen letters: so faiss's FastScan (André,
Kermarrec, Le Scouarnec, "Cache locality is not enough", VLDB 2015) reads 32 keys at a time and never makes floats of
them. The probe's numbers are rounded to eight bits, which moves a product by some .001; two bits a number move it by
.37 / sqrt(numbers).
"""

from __future__ import annotations

import math
from typing import Any

import faiss
import numpy as np

from ndvr.operators.index import codes
from ndvr.operators.index.lists import Coded, Lists

TRIED = 2.5  # times the keys of an index to the power of -.3: share of the lists that a probe looks into
_HIGH = 0.9  # share of the keys whose factors are not higher than what products are compared with before factors
_MOST_HITS = 1 << 26  # of probes that are looked up at once, if all keys were like them
_BLOCK = 32  # keys that are read at a time


def lists_tried(n_lists: int, n_keys: int) -> int:
    """Count the lists of a segment that a probe looks into, of an index of n_keys in all its segments.

    An edit moves a picture to another list. The share is that of one segment with all keys: many cost as much as one.
    """
    return min(n_lists, math.ceil(n_lists * TRIED * max(n_keys, 1) ** -0.3))


class Scan:
    """Some keys of a segment, in memory: 24 bytes each."""

    def __init__(self, coded: Coded, lists: Lists | None, wanted: np.ndarray):
        """
        lists   of which those nearest to a probe are looked into; None: all keys are
        wanted  (K,) bool: which of the keys
        """
        width = 4 * coded.codes.shape[1]
        self._factor, self._width = coded.factor, width
        lists = lists or Lists(centroids=np.zeros((1, width), np.float32), starts=np.array([0, len(coded)]))
        self.n_keys = int(wanted.sum())
        self._nearest = faiss.IndexFlatIP(width)
        self._nearest.add(np.ascontiguousarray(lists.centroids))
        plain = faiss.IndexIVFPQ(self._nearest, width, len(lists), width // 2, 4, faiss.METRIC_INNER_PRODUCT)
        plain.by_residual = False
        faiss.copy_array_to_vector(np.tile(codes.letters().ravel(), width // 2), plain.pq.centroids)
        plain.is_trained = True
        kept: Any = plain.invlists
        for number, (start, stop) in enumerate(zip(lists.starts, lists.starts[1:])):
            keys = start + np.flatnonzero(wanted[start:stop])
            if len(keys):
                data = np.ascontiguousarray(coded.codes[keys])
                kept.add_entries(number, len(keys), faiss.swig_ptr(keys), faiss.swig_ptr(data))
        plain.ntotal = self.n_keys
        self._index = faiss.IndexIVFPQFastScan(plain, _BLOCK)
        self._n_lists = len(lists)
        factors = codes.factor_of(coded.factor[wanted], width)
        self._high = float(np.quantile(factors, _HIGH)) if self.n_keys else 1.0

    def alike(
        self, vectors: np.ndarray, least: np.ndarray, neighbours: int, *, among: int, few: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find probes, keys and likeness above `least` (P,) of turned vectors (P, W) and keys,
        rising by probe: (H,) each.

        least: above 0, or all 0: then only so many `neighbours` of a probe, the most alike.
        among: the keys of the index that this is a part of; few: look into half as many lists.
        """
        faiss.omp_set_num_threads(1)  # more than one wait for each other longer than they work, on a busy machine
        tried: Any = faiss.SearchParametersIVF()  # its stub knows no field
        n_tried = lists_tried(self._n_lists, among)
        tried.nprobe = -(-n_tried // 2) if few else n_tried
        compared = max(self.n_keys * n_tried // self._n_lists, 1)
        at_once = min(max(_MOST_HITS // compared, 256), 4096)
        parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
        for start in range(0, len(vectors) if self.n_keys else 0, at_once):
            part = slice(start, start + at_once)
            near = self._near(np.ascontiguousarray(vectors[part]), float(least[part].min()), neighbours, tried)
            probe, key, product = near
            likeness = product * codes.factor_of(self._factor[key], self._width)
            above = likeness > least[part][probe]
            parts.append((start + probe[above], key[above], likeness[above]))
        probe, key, likeness = (np.concatenate(each) for each in zip(*parts))
        return probe, key, likeness

    def _near(
        self, vectors: np.ndarray, least: float, neighbours: int, tried: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find probes, keys and products before factors, of those that can be above `least`."""
        if least > 0:
            ends, product, key = self._index.range_search(vectors, least / self._high, params=tried)
            counts: np.ndarray = np.diff(ends.astype(np.int64))
            return np.repeat(np.arange(len(vectors)), counts), key, product
        product, key = self._index.search(vectors, min(neighbours, self.n_keys), params=tried)
        probe, rank = np.nonzero(key >= 0)
        return probe, key[probe, rank], product[probe, rank]
