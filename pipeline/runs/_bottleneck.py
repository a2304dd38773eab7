"""Where the time of a run went: how much each stage was used, and which one bounded the run."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ndvr.pipeline.runs._totals import STAGES
from ndvr.pipeline.runs.status import Status

# A stage that is busy for less of the time waits for something else.
BOUND = 0.7
BUSY_MACHINE = 0.9
UNITS = {"decode": "frames", "embed": "windows", "write": "MB"}


@dataclass(kw_only=True)
class RunSeconds:
    """elapsed = start + work + end, by a clock that is never set."""

    elapsed_s: float = 0.0
    start_s: float = 0.0  # Ray, workers, models: until the first video was begun
    work_s: float = 0.0  # from then to the last receipt
    end_s: float = 0.0  # after it
    driver_cpu_s: float = 0.0  # of the process that schedules
    machine_busy: float | None = None  # share of this machine's cores, by all programs; on one node only

    def close(self, status: Status) -> None:
        """Set the seconds of a run that is over now."""
        now, totals = time.monotonic(), status.totals
        first = now if totals.first_s is None else max(totals.first_s, status.began_s)
        last = now if totals.last_s is None else max(totals.last_s, first)
        self.elapsed_s, self.start_s = now - status.began_s, first - status.began_s
        self.work_s, self.end_s = last - first, now - last


@dataclass(kw_only=True)
class StageUse:
    """One stage: its workers, how long they were busy, what they did."""

    stage: str
    workers: int
    busy_s: float  # summed over workers; RunTotals says what that means for each stage
    utilisation: float  # busy_s / (workers x seconds of work)
    share: float  # of the busy time of all stages
    count: float
    unit: str
    per_s: float  # over the seconds of work

    @property
    def at_full_use_per_s(self) -> float:
        """What the workers would do if they never waited."""
        return self.per_s / self.utilisation if self.utilisation else 0.0


def uses(status: Status, seconds: RunSeconds) -> list[StageUse]:
    """Measure every stage over the seconds of work; an empty list where no receipt came."""
    totals = status.totals
    if totals.first_s is None or totals.last_s is None:
        return []
    counts = (totals.frames, sum(totals.windows.values()), totals.bytes_written / 1e6)
    all_busy_s, stages = max(sum(totals.busy_s.values()), 1e-9), []
    for stage, count in zip(STAGES, counts):
        available_s = status.worker_s(stage, totals.first_s, totals.last_s)
        busy = totals.busy_s[stage]
        stages.append(
            StageUse(
                stage=stage,
                workers=status.workers[stage],
                busy_s=round(busy, 3),
                utilisation=round(busy / available_s, 4) if available_s else 0.0,
                share=round(busy / all_busy_s, 4),
                count=round(count, 3),
                unit=UNITS[stage],
                per_s=round(count / max(seconds.work_s, 1e-9), 3) if seconds.work_s else 0.0,
            )
        )
    return stages


def stage_table(stages: Sequence[StageUse]) -> list[str]:
    """Return the lines of a table, its heading first."""
    lines = [f"{'stage':<8}{'workers':>8}{'busy s':>10}{'busy':>8}{'share':>8}{'did':>22}{'a second':>12}{'could':>12}"]
    for use in stages:
        shares = "".join(f"{100 * share:>6.0f} %" for share in (use.utilisation, use.share))
        did = f"{use.count:,.0f} {use.unit}"
        rates = "".join(f"{rate:>12,.{0 if rate >= 100 else 2}f}" for rate in (use.per_s, use.at_full_use_per_s))
        row = f"{use.stage:<8}{use.workers:>8}{use.busy_s:>10,.1f}{shares}{did:>22}{rates}"
        lines.append(row)
    return lines


def bounded_by(stages: Sequence[StageUse], seconds: RunSeconds) -> tuple[str, str]:
    """Say what bounded the run, in a word, and in a sentence with the evidence.

    A stage only where its workers had little else to wait for. Else what there is to see from here: the start, the
    driver, the cores of the machine; and where none of them was busy, that.
    """
    times = f"start of Ray and models {seconds.start_s:.1f} s of {seconds.elapsed_s:.1f} s"
    if seconds.end_s >= 1:
        times += f", end {seconds.end_s:.1f} s"
    if not stages:
        return "start", f"nothing was committed in {seconds.elapsed_s:.1f} s"
    busiest = max(stages, key=lambda use: use.utilisation)
    others = ", ".join(_busy(use) for use in stages if use is not busiest)
    work = f"of {seconds.work_s:.1f} s of work: {_busy(busiest)}, {others}"
    driver = seconds.driver_cpu_s / max(seconds.elapsed_s, 1e-9)
    driver_was = f"the driver used {driver:.2f} of a core"
    if seconds.start_s + seconds.end_s > seconds.elapsed_s / 2:
        return "start", f"start and end bounded this run: {times}; busy {work}"
    if busiest.utilisation >= BOUND:
        whose = f"its {busiest.workers} workers were" if busiest.workers > 1 else "its one worker was"
        return busiest.stage, (
            f"{busiest.stage} bounded this run: {whose} busy {100 * busiest.utilisation:.0f} % of the "
            f"{seconds.work_s:.1f} s of work; {others}; {times}"
        )
    if driver >= BOUND:
        return "driver", f"the driver bounded this run: {driver_was} to schedule; busy {work}; {times}"
    if (seconds.machine_busy or 0) >= BUSY_MACHINE:
        return "cores", (
            f"the cores of this machine bounded this run: stages, Ray and other programs kept them "
            f"{100 * (seconds.machine_busy or 0):.0f} % busy; the stages {work}; {driver_was}; {times}"
        )
    return "none", f"no stage bounded this run, it waited for files or for Ray: busy {work}; {driver_was}; {times}"


def _busy(use: StageUse) -> str:
    return f"{use.stage} {100 * use.utilisation:.0f} %"


def core_seconds() -> tuple[float, float] | None:
    """Return busy and all seconds of this machine's cores since its start, by all programs; None where unknown."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(number) for number in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    _, _, _, idle, waiting, *_ = ticks  # proc(5)
    hz = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - idle - waiting) / hz, sum(ticks) / hz
