"""The headers of a plan's videos: what each video should cost and give, and totals over all videos.

headers = read(todo, views, sizes, rng)
drawn = pick(headers, "1%", rng)            # the videos to extract
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ndvr.models.card import Mel, View
from ndvr.operators.video.headers import Header, read_headers, windows_of
from ndvr.pipeline.estimate import _costs as costs
from ndvr.pipeline.progress import Progress

MOST_HEADERS = 2000  # all headers are read up to here; of more videos so many, drawn by size
LEAST_SAMPLE, MOST_SAMPLE = 8, 100  # videos extracted, whatever the share is

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class HeaderFacts:
    """Fields of the estimate that headers alone decide, extrapolated to all videos."""

    headers: int  # read
    unreadable: dict[str, int]  # by error class
    no_picture: int
    hours: float  # of video
    frames: int
    bytes_in: int
    codecs: dict[str, int]  # videos by codec, the most frequent first
    longest_s: float
    largest: list[int]  # width and height
    hdr: int


@dataclass(frozen=True, kw_only=True)
class HeaderSample:
    """H videos whose headers were read, standing for all `n_all`; arrays are parallel to `headers`."""

    n_all: int
    bytes_all: int
    views: Mapping[str, View]  # by method
    rows: list[dict[str, Any]]  # of the plan
    headers: list[Header]
    weight: Array  # (H,) how many videos each one stands for

    @cached_property
    def decode_s(self) -> Array:
        """(H,) predicted CPU seconds of decoding, up to a common factor; see ndvr.pipeline.estimate._costs."""
        return np.array([costs.decode_s(*pair) for pair in zip(self.headers, self._views_by_video)])

    @cached_property
    def windows(self) -> dict[str, Array]:
        """Predicted windows by method, (H,); 0 where the plan does not ask for the method."""
        return {
            method: np.array(
                [
                    windows_of(header, view) if method in views else 0
                    for header, views in zip(self.headers, self._views_by_video)
                ]
            )
            for method, view in self.views.items()
        }

    @cached_property
    def bytes(self) -> Array:
        """(H,) size of each file."""
        return np.array([header.bytes for header in self.headers], float)

    @cached_property
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

    @property
    def complete(self) -> bool:
        """Whether every header was read."""
        return len(self.headers) == self.n_all

    @property
    def _views_by_video(self) -> list[dict[str, View]]:
        return [{method: self.views[method] for method in row["methods"]} for row in self.rows]

    def total(self, values: Array) -> float:
        """Sum `values` (H,) over all videos, in proportion to bytes."""
        read = float(np.sum(self.weight * values))
        bytes_read = float(np.sum(self.weight * self.bytes))
        return read if self.complete or not bytes_read else read * self.bytes_all / bytes_read

    def count(self, which: Array) -> int:
        """Count how many of all videos have the property `which` (H,) bool, in proportion to their number."""
        return round(float(np.sum(self.weight * which)) * self.n_all / max(1e-9, float(self.weight.sum())))

    def facts(self) -> HeaderFacts:
        """Collect everything that the headers say about the whole collection."""
        headers = self.headers
        errors = sorted({header.error_class for header in headers if header.error_class})
        codecs = Counter(header.codec for header in headers if header.codec)
        counts = {codec: self.count(np.array([header.codec == codec for header in headers])) for codec in codecs}
        largest = max(headers, key=lambda header: header.pixels, default=Header())
        return HeaderFacts(
            headers=len(headers),
            unreadable={kind: self.count(np.array([h.error_class == kind for h in headers])) for kind in errors},
            no_picture=self.count(np.array([not h.error_class and h.codec is None for h in headers])),
            hours=self.total(np.array([header.duration_s for header in headers]) * self.usable) / 3600,
            frames=round(self.total(np.array([header.frames for header in headers]) * self.usable)),
            bytes_in=self.bytes_all,
            codecs=dict(sorted(counts.items(), key=lambda pair: -pair[1])),
            longest_s=max((header.duration_s for header in headers), default=0.0),
            largest=[largest.width, largest.height],
            hdr=self.count(np.array([header.hdr for header in headers])),
        )


def read(
    todo: list[dict[str, Any]],
    views: Mapping[str, View],
    sizes: Mapping[str, int],
    rng: np.random.Generator,
    *,
    progress: bool,
) -> HeaderSample:
    """Read the headers of the plan's rows `todo`; of very many videos only of some. `sizes`: bytes by video id."""
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
    return HeaderSample(
        n_all=len(todo),
        bytes_all=int(n_bytes.sum()),
        views=views,
        rows=rows,
        headers=headers,
        weight=1 / chance[drawn],
    )


# --- Which of them are extracted -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """n videos of a `HeaderSample` that are to be extracted."""

    numbers: Array  # (n,) int: places among its headers
    weight: Array  # (n,) how many of all videos each one stands for


def pick(headers: HeaderSample, sample: str, rng: np.random.Generator) -> Drawn:
    """Draw the videos to extract, spread over codecs and sizes.

    Chances go with the square root of what a video should cost: that tells most for the time a sample takes,
    when errors go with the cost (Hansen, Hurwitz and Madow 1953, volume I, section 6.3).
    """
    candidates = np.flatnonzero(headers.usable)
    cost_s = headers.decode_s[candidates]
    order = sorted(range(len(candidates)), key=lambda i: (headers.headers[candidates[i]].codec or "", cost_s[i]))
    candidates, cost_s = candidates[order], cost_s[order]
    weight = headers.weight[candidates]
    drawn, chance = draw(weight * np.sqrt(cost_s), sample_size(sample, headers.n_all), rng)
    return Drawn(numbers=candidates[drawn], weight=weight[drawn] / chance[drawn])


def sample_size(sample: str, n_videos: int) -> int:
    """Convert "1%" or "40" to a number of videos. A share gives at least 8 and at most 100."""
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


# --- Sampling without replacement with chances of one's choice, and totals estimated from such a sample --------------
#
# picked, chance = draw(weights, 8, rng)             # item i is in the sample with probability chance[i]
# total = known_total * ratio(y[picked], x[picked], 1 / chance[picked])


def draw(weights: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw `count` items: their numbers (n,), ascending, and the chance of every item (N,), proportional to its weight.

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
    n_random = count - int(always.sum())
    edges = np.cumsum(np.where(always, 0.0, chance))
    crossed = np.searchsorted(edges, rng.random() + np.arange(n_random), side="right")
    picked = np.concatenate([np.flatnonzero(always), np.minimum(crossed, len(weights) - 1)])
    return np.unique(picked), chance


def ratio(y: Array, x: Array, weight: Array) -> float:
    """Divide the weighted total of y by that of x; 0 where there is no x."""
    below = float(np.sum(weight * x))
    return float(np.sum(weight * y)) / below if below else 0.0


def resampled_ratios(y: Array, x: Array, weight: Array, *, draws: Array, share: float) -> Array:
    """Compute `ratio` as fresh samples might give it, (B,): `draws` (B, n) are numbers of the sample, with replacement.

    share  of the whole that the sample is: where it is all, nothing is left to chance
    """
    value = ratio(y, x, weight)
    n = len(y)
    if value <= 0 or n < 2:
        return np.full(len(draws), value)
    above, below = (weight * y)[draws].sum(axis=1), (weight * x)[draws].sum(axis=1)
    ratios = np.where((above > 0) & (below > 0), above / np.maximum(below, 1e-300), value)
    # The bootstrap of a small sample is too sure of itself by (n - 1) / n; a sample without replacement by less.
    spread = np.sqrt(n / (n - 1) * max(0.0, 1 - share))
    return value * (ratios / value) ** spread
