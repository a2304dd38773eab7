"""What a run is doing right now: its totals, how busy the stages are, and a line about it on stderr.

extract 1,204/10,000 videos | 4.2/s, 34:48 left | failed: 3 corrupt, 1 timeout
    | decode 96 % embed 41 % write 2 % | 84 windows/s | queued 120 MB
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm
from tqdm.utils import disp_trim

from ndvr.pipeline.progress import Line, Ticker
from ndvr.pipeline.runs._totals import STAGES, RunTotals
from ndvr.pipeline.runs.metrics import RunMetrics, object_store_used

# Receipts come in lumps, a shard at a time; over a shorter time rates would jump.
RECENT_S = 60.0


@dataclass(frozen=True)
class _Moment:
    at_s: float
    settled: int
    windows: int
    busy_s: dict[str, float]


class Status:
    """Take in receipts and show what they add up to; `with Status(80) as status: status.row(row)`.

    `total` is of videos to settle, None where it is unknown. Nothing here costs more than a few additions a row: a
    thread looks at the sums twice a second, shows the line and brings Ray's metrics up to date.
    """

    def __init__(
        self,
        total: int | None,
        *,
        window_bytes: Mapping[str, int] | None = None,
        show: bool = True,
        title: str = "extract",
    ):
        self.title, self.total = title, total
        self.totals = RunTotals(window_bytes=window_bytes)
        self.workers: dict[str, int] = dict.fromkeys(STAGES, 0)
        self.passes = 0
        self.cluster: dict[str, int] = {}
        self.walls_by_host: dict[str, list[str]] = {}  # around decoders, where there are several nodes
        self.queued_bytes = self.most_queued_bytes = 0  # in Ray's object store, between the stages and in them
        self._metrics: RunMetrics | None = None
        self._staff: list[tuple[float, dict[str, int]]] = []
        self._moments: deque[_Moment] = deque()
        self._lock = threading.Lock()
        self._line = Line(show=show)
        self._ticker = Ticker(self._tick)
        self.began_s = time.monotonic()

    def __enter__(self) -> Status:
        self._ticker.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._ticker.__exit__()
        self._line.show(self.text, last=True)
        if self._metrics:
            self._metrics.publish(self.totals, dict.fromkeys(STAGES, 0.0))

    def begin_pass(
        self, workers: Mapping[str, int], *, cluster: Mapping[str, int] | None = None, on_ray: bool = True
    ) -> None:
        """Note who works on the videos, or on the rest of them, from now on. Ray is up, unless `on_ray` says no.

        workers  by stage; of a pool that grows, its largest size
        cluster  what it offers: cpus, gpus, nodes
        """
        with self._lock:
            self.workers = {stage: workers.get(stage, 0) for stage in STAGES}
            self._staff.append((time.monotonic(), self.workers))
            self.passes += 1
            self.cluster = dict(cluster or {})
            if on_ray and not self._metrics:
                self._metrics = RunMetrics()

    def note_walls(self, nodes: Iterable[tuple[str, list[str]]]) -> None:
        """Note by host the walls that stand around decoders there."""
        for host, walls in nodes:
            known = self.walls_by_host.setdefault(host, walls)
            self.walls_by_host[host] = [wall for wall in known if wall in walls]

    def row(self, row: Mapping[str, Any]) -> None:
        """Count one receipt, of any kind."""
        with self._lock:
            self.totals.row(row)

    def settle(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count a settled video: the end rows of all its methods."""
        with self._lock:
            self.totals.settle(rows)

    def worker_s(self, stage: str, begin_s: float, end_s: float) -> float:
        """Sum the seconds that the workers of a stage had in [begin_s, end_s) of time.monotonic()."""
        changes = [*self._staff, (end_s, {})]
        spans = zip(changes, changes[1:])
        return sum(max(0.0, min(end, end_s) - max(at, begin_s)) * workers[stage] for (at, workers), (end, _) in spans)

    def utilisation(self, stage: str) -> float:
        """Return the share of the recent time that the workers of a stage were busy, at most 1."""
        if len(self._moments) < 2:
            return 0.0
        old, new = self._moments[0], self._moments[-1]
        available_s = self.worker_s(stage, old.at_s, new.at_s)
        return min(1.0, (new.busy_s[stage] - old.busy_s[stage]) / available_s) if available_s else 0.0

    def _tick(self) -> None:
        queued = object_store_used() if self._metrics else 0
        with self._lock:
            self.queued_bytes, self.most_queued_bytes = queued, max(queued, self.most_queued_bytes)
            self._remember(time.monotonic())
            if self._metrics:
                self._metrics.publish(self.totals, {stage: self.utilisation(stage) for stage in STAGES})
        self._line.show(self.text)

    def _remember(self, now: float) -> None:
        totals = self.totals
        if totals.first_s is None:
            return  # the start of Ray says nothing about how fast it goes
        if not self._moments:
            self._moments.append(_Moment(max(self.began_s, totals.first_s), 0, 0, dict.fromkeys(STAGES, 0.0)))
        self._moments.append(_Moment(now, totals.settled, sum(totals.windows.values()), dict(totals.busy_s)))
        recent_s = max(RECENT_S, (now - self.began_s) / 10)
        while now - self._moments[1].at_s > recent_s:
            self._moments.popleft()

    def text(self, width: int | None) -> str:
        """Write the line; in a terminal of `width` columns the last parts are left out where they do not fit."""
        of = f"/{self.total:,}" if self.total is not None else ""
        head = f"{self.title} {self.totals.settled:,}{of} videos"
        with self._lock:
            parts = [head, *self._rates(), *self._failures(), *self._stages()]
        while width and len(parts) > 1 and len(" | ".join(parts)) > width:
            parts.pop()
        line = " | ".join(parts)
        return disp_trim(line, width) if width else line

    def _rates(self) -> list[str]:
        if len(self._moments) < 2:
            waited = tqdm.format_interval(time.monotonic() - self.began_s)
            return [f"{'at work, nothing committed yet' if self.passes else 'starting Ray'}, {waited}"]
        old, new = self._moments[0], self._moments[-1]
        rate = (new.settled - old.settled) / max(new.at_s - old.at_s, 1e-9)
        unsettled = (self.total or 0) - self.totals.settled
        left = f", {tqdm.format_interval(unsettled / rate)} left" if rate and unsettled > 0 else ""
        return [f"{rate:,.1f}/s{left}"]

    def _failures(self) -> list[str]:
        by_class = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.totals.failed.items()))
        return [f"failed: {by_class}"] if by_class else []

    def _stages(self) -> list[str]:
        if len(self._moments) < 2:
            return []
        old, new = self._moments[0], self._moments[-1]
        rate = (new.windows - old.windows) / max(new.at_s - old.at_s, 1e-9)
        busy = " ".join(f"{stage} {100 * self.utilisation(stage):.0f} %" for stage in STAGES)
        queued = [f"queued {self.queued_bytes / 1e6:,.0f} MB"] if self.queued_bytes >= 1e6 else []
        return [busy, f"{rate:,.0f} windows/s", *queued]
