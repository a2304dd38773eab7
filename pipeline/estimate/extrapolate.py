"""From a sample to the whole: time, windows and bytes of a run, each with an interval from resampling the sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ndvr.operators.library.receipt_files import FEWEST_COMMITS
from ndvr.operators.video.windows import pieces_of
from ndvr.pipeline.estimate import costs
from ndvr.pipeline.estimate.collection import Collection, ratio, resampled_ratios
from ndvr.pipeline.estimate.result import Estimate
from ndvr.pipeline.estimate.trial import Trial
from ndvr.pipeline.estimate.wall_time import Machines, blocks_of, commits_of, driver_s, stages, wall_s

N_DRAWS = 1000
LEVELS = (0.1, 0.9)
FOLDED_ROW_BYTES = 88  # of a receipt in the folded ledger, beside the commits
# How much constants and machines differ from run to run, relative: Ray's start, its work, the speed of the cores.
START_SPREAD, RAY_SPREAD, SPEED_SPREAD = 0.15, 0.2, 0.06
OTHERS_STAY = (0.3, 1.4)  # how much of what other programs take now they take during the run
# What a sample in which every header was right cannot show: that some of the others are not.
HEADER_SPREAD = 0.02


@dataclass(frozen=True)
class Guess:
    """A number, and what it might be as well, (N_DRAWS,)."""

    value: float
    draws: np.ndarray

    def __add__(self, other: Guess) -> Guess:
        return Guess(self.value + other.value, self.draws + other.draws)

    def __mul__(self, factor: Any) -> Guess:
        if isinstance(factor, Guess):
            return Guess(self.value * factor.value, self.draws * factor.draws)
        return Guess(self.value * factor, self.draws * factor)

    def interval(self) -> list[float]:
        """What 80 % of the draws lie between; the value itself is always inside."""
        low, high = np.quantile(self.draws, LEVELS)
        return [min(float(low), self.value), max(float(high), self.value)]


NOTHING = Guess(0.0, np.zeros(N_DRAWS))


class Extrapolation:
    """Numbers of the whole collection, out of the trial of its sample."""

    def __init__(self, collection: Collection, trial: Trial, *, seed: int):
        self.collection, self.trial = collection, trial
        self.rng = np.random.default_rng([seed, 1])
        n = len(trial.videos)
        self.draws = self.rng.integers(0, n, (N_DRAWS, n)) if n else np.zeros((N_DRAWS, 0), int)

    def decode_s(self) -> Guess:
        """CPU seconds of decoders and of the workers that take over from them."""
        took = np.array([video.decode_s + video.hand_s for video in self.trial.videos])
        return self._whole(took, self.collection.decode_s)

    def windows(self, method: str) -> Guess:
        """Of all videos."""
        found = np.array([video.windows.get(method, 0) for video in self.trial.videos], float)
        return self._whole(found, self.collection.windows[method])

    def embed_s(self, method: str) -> Guess:
        """Seconds for one window."""
        pieces = np.array(self.trial.embed.get(method) or [(0, 0.0)], float)
        counts, seconds = pieces.T
        draws = self.rng.integers(0, len(pieces), (N_DRAWS, len(pieces)))
        every = np.ones(len(pieces))
        return Guess(ratio(seconds, counts, every), resampled_ratios(seconds, counts, every, draws=draws, share=0.0))

    def failed(self) -> float:
        """Videos that will fail although their headers can be read."""
        usable = self.collection.count(self.collection.usable())
        bad = np.array([video.failed is not None for video in self.trial.videos], float)
        return usable * ratio(bad, np.ones(len(bad)), self.collection.picked_weight)

    def about(self, value: float, spread: float) -> Guess:
        """A constant that is known up to a relative `spread`."""
        return Guess(value, value * np.exp(spread * self.rng.standard_normal(N_DRAWS)))

    def _whole(self, found: np.ndarray, told: np.ndarray) -> Guess:
        """The total of what is `found` in the sample, in proportion to what headers told of all."""
        here, total = self.collection, self.collection.total(told)
        x = told[here.picked].astype(float)
        share = float(x.sum()) / total if total else 1.0
        draws = resampled_ratios(found, x, here.picked_weight, draws=self.draws, share=share)
        return (
            Guess(ratio(found, x, here.picked_weight), draws)
            * self._headers(told, total)
            * self.about(1.0, HEADER_SPREAD)
        )

    def _headers(self, told: np.ndarray, total: float) -> Guess:
        """A total over headers, uncertain when not all were read."""
        here = self.collection
        if here.whole or not total:
            return Guess(total, np.full(N_DRAWS, total))
        draws = self.rng.integers(0, len(told), (N_DRAWS, len(told)))
        per_byte = resampled_ratios(told, here.bytes, here.weight, draws=draws, share=len(told) / here.n_all)
        return Guess(total, per_byte * here.bytes_all)


def extrapolate(
    found: Estimate,
    collection: Collection,
    trial: Trial,
    machines: Machines,
    *,
    load_s: float,
    stall_s: float,
    gpu_share: float,
    seed: int,
) -> None:
    """Fill in windows, bytes, stages, seconds and intervals.

    gpu_share  seconds of a GPU for one second of embedding in the trial
    """
    told, methods = Extrapolation(collection, trial, seed=seed), found.methods
    windows = {method: told.windows(method) for method in methods}
    n_rows = _receipts(collection, methods)
    commits = commits_of(collection.n_all, n_rows, len(methods))
    ledger = commits * trial.files.commit_bytes + n_rows * trial.files.row_bytes
    ledger += n_rows * FOLDED_ROW_BYTES if commits >= FEWEST_COMMITS else 0.0
    out = Guess(ledger, np.full(N_DRAWS, ledger))
    embed, moved = NOTHING, NOTHING
    for method in methods:
        embed += windows[method] * told.embed_s(method) * (gpu_share if machines.gpus else 1.0)
        moved += windows[method] * (costs.window_bytes(collection.views[method]) / 1e6)
        fixed = min(commits, windows[method].value) * trial.files.shard_bytes.get(method, 0.0)
        size = windows[method] * trial.files.window_bytes.get(method, 0.0)
        out += Guess(size.value + fixed, size.draws + fixed)
    blocks = blocks_of(collection.n_all, machines) if collection.n_all else 0
    ray = moved * costs.COPY_S_PER_MB + told.about(blocks * costs.BLOCK_S, RAY_SPREAD)
    speed = told.about(1.0, SPEED_SPREAD)
    busy = {
        "decode": told.decode_s() * speed,
        "embed": embed * speed,
        "write": told.about(commits * trial.files.write_s, RAY_SPREAD),
        "ray": ray * speed,
        "driver": told.about(driver_s(blocks), RAY_SPREAD),
    }
    start = told.about((costs.START_S + load_s) if collection.n_all else 0.0, START_SPREAD)
    waits = {"idle_s": found.unreadable.get("timeout", 0) * stall_s, "others": trial.others}
    seconds = _fill_time(found, collection, busy, start, machines, **waits, rng=told.rng)
    found.failures = round(sum(found.unreadable.values()) + told.failed())
    found.windows = {method: round(guess.value) for method, guess in windows.items()}
    found.bytes = round(out.value)
    found.interval = {
        "seconds": seconds.interval(),
        "bytes": out.interval(),
        "windows": sum(windows.values(), NOTHING).interval(),
    }


def _receipts(collection: Collection, methods: list[str]) -> float:
    """Rows of the ledger: one a piece, and the end of every video for every method."""
    pieces = sum(
        collection.total(np.array([pieces_of(int(n), collection.views[method]) for n in told]))
        for method, told in collection.windows.items()
    )
    return pieces + collection.n_all * len(methods)


def _fill_time(
    found: Estimate,
    collection: Collection,
    busy: dict[str, Guess],
    start: Guess,
    machines: Machines,
    *,
    idle_s: float,
    others: float,
    rng: np.random.Generator,
) -> Guess:
    """Stages, bound and seconds."""
    longest = busy["decode"] * (
        float(collection.decode_s.max(initial=0)) / max(1e-9, collection.total(collection.decode_s))
    )
    others = others if machines.where == "this machine" else 0.0
    n_videos = collection.n_all
    table = stages({stage: guess.value for stage, guess in busy.items()}, machines, n_videos=n_videos, idle_s=idle_s)
    value, bounds = wall_s(table, machines, start_s=start.value, longest_s=longest.value, others=others)
    possible = stages({stage: guess.draws for stage, guess in busy.items()}, machines, n_videos=n_videos, idle_s=idle_s)
    # Other programs come and go: they may be gone when the run begins, or still be there.
    come_and_go = others * rng.uniform(*OTHERS_STAY, N_DRAWS)
    draws, _ = wall_s(possible, machines, start_s=start.draws, longest_s=longest.draws, others=come_and_go)
    found.busy_s = {row["stage"]: row["busy_s"] for row in table}
    found.stages = [{"stage": "start", "busy_s": start.value, "workers": 1, "wall_s": start.value}, *table]
    found.bound = max(bounds, key=lambda name: bounds[name])
    found.seconds = float(value)
    return Guess(float(value), np.asarray(draws))
