"""From a sample to the whole: time, windows and bytes of a run, each with an interval from resampling the sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ndvr.operators.library.receipt_files import FEWEST_COMMITS
from ndvr.operators.video.windows import pieces_of
from ndvr.pipeline.estimate import _costs as costs
from ndvr.pipeline.estimate._header_sample import HeaderSample, ratio, resampled_ratios
from ndvr.pipeline.estimate.trial import Trial
from ndvr.pipeline.estimate.wall_time import Machines, StageLoad, blocks_of, commits_of, driver_s, stages, wall_s

N_DRAWS = 1000
LEVELS = (0.1, 0.9)
FOLDED_ROW_BYTES = 88  # of a receipt in the folded ledger, beside the commits
# How much constants and machines differ from run to run, relative: Ray's start, its work, the speed of the cores.
START_SPREAD, RAY_SPREAD, SPEED_SPREAD = 0.15, 0.2, 0.06
OTHERS_STAY = (0.3, 1.4)  # how much of what other programs take now they take during the run
# What a sample in which every header was right cannot show: that some of the others are not.
HEADER_SPREAD = 0.02


@dataclass(frozen=True, kw_only=True)
class Projection:
    """What the whole run is expected to do; `interval` holds what 80 of 100 such runs lie between, by name."""

    failures: int  # the videos whose headers cannot be read included
    windows: dict[str, int]  # by method
    bytes: int  # of output
    busy_s: dict[str, float]  # by stage: CPU seconds, of "embed" on GPUs GPU seconds
    stages: list[StageLoad]  # "start" first
    seconds: float
    bound: str  # what the run waits for: a stage, "cores" or "longest video"
    interval: dict[str, list[float]]


@dataclass(frozen=True)
class Uncertain:
    """A number, and values that it might have instead, (N_DRAWS,)."""

    value: float
    draws: np.ndarray

    def __add__(self, other: Uncertain | float) -> Uncertain:
        if isinstance(other, Uncertain):
            return Uncertain(self.value + other.value, self.draws + other.draws)
        return Uncertain(self.value + other, self.draws + other)

    def __mul__(self, factor: Uncertain | float) -> Uncertain:
        if isinstance(factor, Uncertain):
            return Uncertain(self.value * factor.value, self.draws * factor.draws)
        return Uncertain(self.value * factor, self.draws * factor)

    def interval(self) -> list[float]:
        """Return what 80 % of the draws lie between; the value itself is always inside."""
        low, high = np.quantile(self.draws, LEVELS)
        return [min(float(low), self.value), max(float(high), self.value)]


ZERO = Uncertain(0.0, np.zeros(N_DRAWS))


def extrapolate(
    headers: HeaderSample, trial: Trial, machines: Machines, *, gpu_cores: float, stall_s: float, seed: int
) -> Projection:
    """Project the whole run: windows, then bytes and the work of every stage, then the time on `machines`.

    gpu_cores  cores that a GPU stands for when embedding, where the trial had none
    stall_s    what a video that hangs takes before it is given up
    """
    totals = _Totals(headers, trial, seed=seed)
    windows = {method: totals.windows(method) for method in headers.views}
    commits, n_bytes = _output(headers, trial, windows)
    busy, start = _work(totals, windows, machines, commits=commits, gpu_cores=gpu_cores)
    unreadable = headers.facts().unreadable
    idle_s = unreadable.get("timeout", 0) * stall_s
    loads, bound, seconds = _time(totals, busy, start, machines, idle_s=idle_s)
    return Projection(
        failures=round(sum(unreadable.values()) + totals.failed()),
        windows={method: round(total.value) for method, total in windows.items()},
        bytes=round(n_bytes.value),
        busy_s={load.stage: load.busy_s for load in loads},
        stages=[StageLoad(stage="start", busy_s=start.value, workers=1, wall_s=start.value), *loads],
        seconds=seconds.value,
        bound=bound,
        interval={
            "seconds": seconds.interval(),
            "bytes": n_bytes.interval(),
            "windows": sum(windows.values(), ZERO).interval(),
        },
    )


class _Totals:
    """Numbers of the whole collection, out of the trial of its sample. Every call of a method draws anew."""

    def __init__(self, headers: HeaderSample, trial: Trial, *, seed: int):
        self.headers, self.trial = headers, trial
        self.rng = np.random.default_rng([seed, 1])
        n = len(trial.videos)
        self._draws = self.rng.integers(0, n, (N_DRAWS, n)) if n else np.zeros((N_DRAWS, 0), int)

    def decode_s(self) -> Uncertain:
        """Estimate the CPU seconds of decoders and of the workers that take over from them."""
        seconds = np.array([video.decode_s + video.hand_s for video in self.trial.videos])
        return self._total(seconds, self.headers.decode_s)

    def windows(self, method: str) -> Uncertain:
        """Estimate the windows of all videos."""
        counts = np.array([video.windows.get(method, 0) for video in self.trial.videos], float)
        return self._total(counts, self.headers.windows[method])

    def embed_s(self, method: str) -> Uncertain:
        """Estimate the seconds that embedding one window takes."""
        pieces = np.array(self.trial.embed.get(method) or [(0, 0.0)], float)
        counts, seconds = pieces.T
        draws = self.rng.integers(0, len(pieces), (N_DRAWS, len(pieces)))
        weight = np.ones(len(pieces))
        resampled = resampled_ratios(seconds, counts, weight, draws=draws, share=0.0)
        return Uncertain(ratio(seconds, counts, weight), resampled)

    def failed(self) -> float:
        """Estimate how many videos will fail although their headers can be read."""
        n_usable = self.headers.count(self.headers.usable)
        failed = np.array([video.failed is not None for video in self.trial.videos], float)
        return n_usable * ratio(failed, np.ones(len(failed)), self.trial.drawn.weight)

    def constant(self, value: float, spread: float) -> Uncertain:
        """Make a constant that is known up to a relative `spread`."""
        return Uncertain(value, value * np.exp(spread * self.rng.standard_normal(N_DRAWS)))

    def _total(self, measured: np.ndarray, predicted: np.ndarray) -> Uncertain:
        """Sum up over all videos what was `measured` (n,) in the sample, in proportion to `predicted` (H,)."""
        drawn, total = self.trial.drawn, self.headers.total(predicted)
        x = predicted[drawn.numbers].astype(float)
        share = float(x.sum()) / total if total else 1.0
        resampled = resampled_ratios(measured, x, drawn.weight, draws=self._draws, share=share)
        scale = Uncertain(ratio(measured, x, drawn.weight), resampled)
        return scale * self._header_total(predicted, total) * self.constant(1.0, HEADER_SPREAD)

    def _header_total(self, predicted: np.ndarray, total: float) -> Uncertain:
        """Say how uncertain a total over headers is, when not all were read."""
        headers = self.headers
        if headers.complete or not total:
            return Uncertain(total, np.full(N_DRAWS, total))
        draws = self.rng.integers(0, len(predicted), (N_DRAWS, len(predicted)))
        share = len(predicted) / headers.n_all
        per_byte = resampled_ratios(predicted, headers.bytes, headers.weight, draws=draws, share=share)
        return Uncertain(total, per_byte * headers.bytes_all)


def _output(headers: HeaderSample, trial: Trial, windows: dict[str, Uncertain]) -> tuple[float, Uncertain]:
    """Estimate the commits and the bytes that the run writes: ledger and shards."""
    files, n_rows = trial.files, _receipts(headers)
    commits = commits_of(headers.n_all, n_rows, len(windows))
    ledger = commits * files.commit_bytes + n_rows * files.row_bytes
    ledger += n_rows * FOLDED_ROW_BYTES if commits >= FEWEST_COMMITS else 0.0
    total = ZERO + ledger
    for method, count in windows.items():
        empty_shards = min(commits, count.value) * files.shard_bytes.get(method, 0.0)
        total += count * files.window_bytes.get(method, 0.0) + empty_shards
    return commits, total


def _receipts(headers: HeaderSample) -> float:
    """Estimate the rows of the ledger: one a piece, and the end of every video for every method."""
    pieces = sum(
        headers.total(np.array([pieces_of(int(n), headers.views[method]) for n in counts]))
        for method, counts in headers.windows.items()
    )
    return pieces + headers.n_all * len(headers.views)


def _work(
    totals: _Totals, windows: dict[str, Uncertain], machines: Machines, *, commits: float, gpu_cores: float
) -> tuple[dict[str, Uncertain], Uncertain]:
    """Estimate the busy seconds of every stage, and those of starting up."""
    headers, trial = totals.headers, totals.trial
    gpu_share = 1 / gpu_cores if machines.gpus and not trial.on_gpu else 1.0
    embed, moved_mb = ZERO, ZERO
    for method, count in windows.items():
        embed += count * totals.embed_s(method) * gpu_share
        moved_mb += count * (costs.window_bytes(headers.views[method]) / 1e6)
    blocks = blocks_of(headers.n_all, machines) if headers.n_all else 0
    ray = moved_mb * costs.COPY_S_PER_MB + totals.constant(blocks * costs.BLOCK_S, RAY_SPREAD)
    speed = totals.constant(1.0, SPEED_SPREAD)
    busy = {
        "decode": totals.decode_s() * speed,
        "embed": embed * speed,
        "write": totals.constant(commits * trial.files.write_s, RAY_SPREAD),
        "ray": ray * speed,
        "driver": totals.constant(driver_s(blocks), RAY_SPREAD),
    }
    start_s = costs.START_S + trial.load_s if headers.n_all else 0.0
    return busy, totals.constant(start_s, START_SPREAD)


def _time(
    totals: _Totals, busy: dict[str, Uncertain], start: Uncertain, machines: Machines, *, idle_s: float
) -> tuple[list[StageLoad], str, Uncertain]:
    """Estimate the load of every stage, what bounds the run, and its seconds."""
    headers = totals.headers
    longest = busy["decode"] * (float(headers.decode_s.max(initial=0)) / max(1e-9, headers.total(headers.decode_s)))
    others = totals.trial.others if machines.where == "this machine" else 0.0
    settings: dict[str, Any] = {"n_videos": headers.n_all, "idle_s": idle_s}
    loads = stages({stage: work.value for stage, work in busy.items()}, machines, **settings)
    value, bounds = wall_s(loads, machines, start_s=start.value, longest_s=longest.value, others=others)
    possible = stages({stage: work.draws for stage, work in busy.items()}, machines, **settings)
    # Other programs come and go: they may be gone when the run begins, or still be there.
    come_and_go = others * totals.rng.uniform(*OTHERS_STAY, N_DRAWS)
    draws, _ = wall_s(possible, machines, start_s=start.draws, longest_s=longest.draws, others=come_and_go)
    return loads, max(bounds, key=lambda name: bounds[name]), Uncertain(float(value), np.asarray(draws))
