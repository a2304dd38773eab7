"""The videos of a plan as their headers tell of them: what they should cost and give, and totals over all of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ndvr.models.card import Mel, View
from ndvr.operators.video.headers import Header, read_headers, windows_of
from ndvr.pipeline.estimate import costs
from ndvr.pipeline.progress import Progress

# --- Sampling without replacement with chances of one's choice, and totals told from such a sample -------------------
#
# picked, chance = draw(weights, 8, rng)             # item i is in the sample with probability chance[i]
# total = known_total * ratio(y[picked], x[picked], 1 / chance[picked])


def draw(weights: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Numbers of the items drawn (n,), ascending, and the chance of every item (N,), proportional to its weight.

    Systematic (Madow 1949): one random start, then equal steps along the items in the order given, so that a sorted
    list is sampled evenly over what it is sorted by. Items whose share would be above one are always in.
    """
    weights = np.maximum(np.asarray(weights, float), 1e-12)
    if count >= len(weights):
        return np.arange(len(weights)), np.ones(len(weights))
    always = np.zeros(len(weights), bool)
    while True:
        rest = np.where(always, 0.0, weights)
        chance = np.where(always, 1.0, rest * (count - always.sum()) / rest.sum())
        if not (sure := (chance >= 1) & ~always).any():
            break
        always |= sure
    wanted = count - int(always.sum())
    edges = np.cumsum(np.where(always, 0.0, chance))
    crossed = np.searchsorted(edges, rng.random() + np.arange(wanted), side="right")
    picked = np.concatenate([np.flatnonzero(always), np.minimum(crossed, len(weights) - 1)])
    return np.unique(picked), chance


def ratio(y: Array, x: Array, weight: Array) -> float:
    """The weighted total of y for each unit of x; 0 where there is no x."""
    below = float(np.sum(weight * x))
    return float(np.sum(weight * y)) / below if below else 0.0


def resampled_ratios(y: Array, x: Array, weight: Array, *, draws: Array, share: float) -> Array:
    """`ratio` as a fresh sample might have it, (B,): `draws` (B, n) are numbers of the sample, with replacement.

    share  of the whole that the sample is: where it is all, nothing is left to chance
    """
    here = ratio(y, x, weight)
    n = len(y)
    if here <= 0 or n < 2:
        return np.full(len(draws), here)
    above, below = (weight * y)[draws].sum(axis=1), (weight * x)[draws].sum(axis=1)
    found = np.where((above > 0) & (below > 0), above / np.maximum(below, 1e-300), here)
    # The bootstrap of a small sample is too sure of itself by (n - 1) / n; a sample without replacement by less.
    spread = np.sqrt(n / (n - 1) * max(0.0, 1 - share))
    return here * (found / here) ** spread


MOST_HEADERS = 2000  # all headers are read up to here; of more videos so many, drawn by size
LEAST_SAMPLE, MOST_SAMPLE = 8, 100  # videos extracted, whatever the share is

Array = np.ndarray


@dataclass(kw_only=True)
class Collection:
    """H videos whose headers were read, standing for all `n_all`; arrays are parallel to `headers`."""

    n_all: int
    bytes_all: int
    views: Mapping[str, View]
    rows: list[dict[str, Any]]  # of the plan
    headers: list[Header]
    weight: Array  # (H,) how many videos each one stands for
    decode_s: Array = field(init=False)  # (H,) as told, see ndvr.pipeline.estimate.costs
    windows: dict[str, Array] = field(init=False)  # by method, (H,), 0 where the method is not wanted
    picked: Array = field(init=False)  # (n,) numbers of the sample
    picked_weight: Array = field(init=False)  # (n,)

    def __post_init__(self) -> None:
        wanted = [{method: self.views[method] for method in row["methods"]} for row in self.rows]
        self.decode_s = np.array([costs.decode_s(*pair) for pair in zip(self.headers, wanted)])
        self.windows = {
            method: np.array(
                [windows_of(header, view) if method in mine else 0 for header, mine in zip(self.headers, wanted)]
            )
            for method, view in self.views.items()
        }
        self.bytes = np.array([header.bytes for header in self.headers], float)
        self.picked, self.picked_weight = np.zeros(0, int), np.zeros(0)

    @property
    def whole(self) -> bool:
        """Whether every header was read."""
        return len(self.headers) == self.n_all

    def total(self, values: Array) -> float:
        """Of all videos, what is `values` of these: in proportion to bytes."""
        mine = float(np.sum(self.weight * values))
        covered = float(np.sum(self.weight * self.bytes))
        return mine if self.whole or not covered else mine * self.bytes_all / covered

    def count(self, which: Array) -> int:
        """How many of all videos are such, (H,) bool: in proportion to their number."""
        return round(float(np.sum(self.weight * which)) * self.n_all / max(1e-9, float(self.weight.sum())))

    def usable(self) -> Array:
        """(H,) whether there is anything to decode."""
        hears = any(isinstance(view, Mel) for view in self.views.values())
        looks = any(not isinstance(view, Mel) for view in self.views.values())
        return np.array(
            [
                not header.error_class and bool((looks and header.codec) or (hears and header.sound))
                for header in self.headers
            ],
            bool,
        )

    def pick(self, sample: str, rng: np.random.Generator) -> None:
        """Draw the videos to extract, spread over codecs and sizes.

        Chances go with the square root of what a video should cost: that tells most for the time a sample takes,
        when errors go with the cost (Hansen, Hurwitz and Madow 1953, volume I, section 6.3).
        """
        candidates = np.flatnonzero(self.usable())
        told = self.decode_s[candidates]
        order = sorted(range(len(candidates)), key=lambda i: (self.headers[candidates[i]].codec or "", told[i]))
        candidates, told = candidates[order], told[order]
        known = self.weight[candidates]
        drawn, chance = draw(known * np.sqrt(told), sample_size(sample, self.n_all), rng)
        self.picked, self.picked_weight = candidates[drawn], known[drawn] / chance[drawn]

    def facts(self) -> dict[str, Any]:
        """Fields of the estimate that headers alone tell."""
        found = self.headers
        errors = sorted({header.error_class for header in found if header.error_class})
        codecs = Counter(header.codec for header in found if header.codec)
        shown = {codec: self.count(np.array([header.codec == codec for header in found])) for codec in codecs}
        largest = max(found, key=lambda header: header.pixels, default=Header())
        usable = self.usable()
        return {
            "unreadable": {kind: self.count(np.array([h.error_class == kind for h in found])) for kind in errors},
            "no_picture": self.count(np.array([not h.error_class and h.codec is None for h in found])),
            "hours": self.total(np.array([header.duration_s for header in found]) * usable) / 3600,
            "frames": round(self.total(np.array([header.frames for header in found]) * usable)),
            "bytes_in": self.bytes_all,
            "codecs": dict(sorted(shown.items(), key=lambda pair: -pair[1])),
            "longest_s": max((header.duration_s for header in found), default=0.0),
            "largest": [largest.width, largest.height],
            "hdr": self.count(np.array([header.hdr for header in found])),
        }


def look(
    todo: list[dict[str, Any]],
    views: Mapping[str, View],
    rng: np.random.Generator,
    *,
    sizes: Mapping[str, int],
    progress: bool,
) -> Collection:
    """Read the headers, of very many videos only some. `sizes`: bytes of the videos, by id."""
    n_bytes = np.array([sizes[row["video_id"]] for row in todo], float)
    order = np.argsort(n_bytes, kind="stable")  # small to large, for `draw` to spread over
    # A tenth of the mean on top, so that small and missing files have their chance.
    drawn, chance = draw(np.sqrt(n_bytes + n_bytes.sum() / 10 / max(1, len(todo)))[order], MOST_HEADERS, rng)
    rows = [todo[order[number]] for number in drawn]
    headers = []
    with Progress("headers", len(rows), "video", show=progress) as bar:
        for header in read_headers([row["uri"] for row in rows], workers=min(8, 2 * (os.cpu_count() or 1))):
            headers.append(header)
            bar.advance(failed=header.error_class is not None)
    return Collection(
        n_all=len(todo),
        bytes_all=int(n_bytes.sum()),
        views=views,
        rows=rows,
        headers=headers,
        weight=1 / chance[drawn],
    )


def sample_size(sample: str, n_videos: int) -> int:
    """Videos that "1%" or "40" mean. A share gives at least 8 and at most 100."""
    try:
        if sample.endswith("%"):
            share = float(sample[:-1]) / 100
            if 0 < share <= 1:
                return min(n_videos, max(LEAST_SAMPLE, min(MOST_SAMPLE, round(share * n_videos))))
        elif int(sample) > 0:
            return min(n_videos, int(sample))
    except ValueError:
        pass
    raise ValueError(f"sample {sample!r}: give a share such as 1% or a number of videos such as 40")
