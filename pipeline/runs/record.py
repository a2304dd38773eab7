"""The record of a run: LIBRARY/runs/<run>.json, written when it begins and when it ends, and read back.

Counts add up: videos = done + skipped + failed + open, and open is 0 unless the run was stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from ndvr.operators.library.library import RUNS, Library
from ndvr.operators.library.runs import recover
from ndvr.pipeline.runs.bottleneck import RunSeconds, StageUse, bounded_by, core_seconds, stage_table, uses
from ndvr.pipeline.runs.status import Status
from ndvr.pipeline.runs.summary import Summary

RUNNING, FINISHED, KILLED = "running", "finished", "killed"
_PACKAGES = ("ndvr", "ray", "torch", "av", "decord", "numpy", "pyarrow")


class Files(Protocol):
    """What records are kept in: ndvr.operators.storage.store.Store."""

    def names(self, folder: str) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str, data: bytes) -> object: ...


@dataclass(kw_only=True)
class RunRecord:
    """What one run was asked to do, on what, what became of it and where its time went."""

    run: str
    library: str
    settings: dict[str, Any]  # as given: methods, weights, decoder, limits ...
    configs: dict[str, str]  # configuration by method
    command: list[str] = field(default_factory=lambda: list(sys.argv))
    outcome: str = RUNNING  # finished, killed, or "stopped: REASON"
    started: str = field(default_factory=lambda: _now())
    finished: str | None = None
    host: str = field(default_factory=platform.node)
    process: int = field(default_factory=os.getpid)
    versions: dict[str, str | None] = field(default_factory=lambda: versions())
    cluster: dict[str, Any] = field(default_factory=dict)  # cpus, gpus, nodes
    counts: dict[str, Any] = field(default_factory=dict)  # videos, done, skipped, failed, open; partial, windows ...
    seconds: RunSeconds = field(default_factory=RunSeconds)
    stages: list[StageUse] = field(default_factory=list)
    bounded_by: str = ""
    because: str = ""
    slowest: list[dict[str, Any]] = field(default_factory=list)  # video_id, uri, decode_s
    passes: int = 0
    most_queued_bytes: int = 0

    @property
    def name(self) -> str:
        """Of its file in a library."""
        return f"{RUNS}/{self.run}.json"

    @property
    def reconciles(self) -> bool:
        """Whether every video is accounted for exactly once."""
        counts = self.counts
        settled = counts["done"] + sum(counts["skipped"].values()) + sum(counts["failed"].values())
        return counts["videos"] == settled + counts["open"]

    def to_json(self) -> dict[str, Any]:
        """One object; `from_json` reads it."""
        return asdict(self)

    def data(self) -> bytes:
        return (json.dumps(self.to_json(), indent=2, ensure_ascii=False, default=str) + "\n").encode()

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> RunRecord:
        """Of this or a later version of ndvr, whose further fields are left out."""
        given = {key: found[key] for key in (each.name for each in fields(cls)) if key in found}
        given["seconds"] = RunSeconds(**given.get("seconds", {}))
        given["stages"] = [StageUse(**stage) for stage in given.get("stages", [])]
        return cls(**given)

    def text(self) -> str:
        """The table of the stages and which of them bounded the run."""
        return "\n".join([*stage_table(self.stages), self.because]) if self.stages else self.because

    def close(self, status: Status, summary: Summary, error: BaseException | None) -> None:
        """The run is over: of a `summary` that is complete, or after an error of what came in before it."""
        self.outcome = FINISHED if error is None else f"stopped: {_reason(error)}"
        self.finished = _now()
        self.counts = _counts(summary, status)
        self.seconds.close(status)
        self.stages = uses(status, self.seconds)
        self.bounded_by, self.because = bounded_by(self.stages, self.seconds)
        self.slowest, self.passes = status.totals.slowest, status.passes
        self.most_queued_bytes = status.most_queued_bytes


@contextlib.contextmanager
def recorded(
    record: RunRecord, *, status: Status, summary: Summary, write: Callable[[str, bytes], object]
) -> Iterator[RunRecord]:
    """Shows the status and keeps the record while the block runs, which completes `summary`.

    An error is recorded and goes on its way; a record that cannot be written then hides none.
    """
    cores, cpu_s = core_seconds(), time.process_time()
    write(record.name, record.data())
    error: BaseException | None = None
    try:
        with status:
            yield record
    except BaseException as raised:
        error = raised
        raise
    finally:
        record.seconds.driver_cpu_s = time.process_time() - cpu_s
        if cores and (now := core_seconds()) and record.cluster.get("nodes", 1) == 1:
            record.seconds.machine_busy = round((now[0] - cores[0]) / max(now[1] - cores[1], 1e-9), 3)
        record.close(status, summary, error)
        summary.record = record
        with contextlib.suppress(OSError) if error else contextlib.nullcontext():
            write(record.name, record.data())


def runs(files: Files) -> list[RunRecord]:
    """All records of a library, the latest first."""
    names = [name for name in files.names(RUNS) if name.endswith(".json")]
    every = [RunRecord.from_json(json.loads(files.read(f"{RUNS}/{Path(name).name}"))) for name in names]
    return sorted(every, key=lambda record: (record.started, record.run), reverse=True)


def close_killed(files: Files, run: str) -> None:
    """For recovery: whoever wrote this record is gone. Nothing is done when it was closed or never written."""
    try:
        record = RunRecord.from_json(json.loads(files.read(f"{RUNS}/{run}.json")))
    except FileNotFoundError:
        return
    if record.outcome == RUNNING:
        record.outcome = KILLED
        files.write(record.name, record.data())


def recover_runs(library: Library, *, patient: bool = False) -> None:
    """Clear up after runs that were killed, and say so in their records; see ndvr.operators.library.runs.recover."""
    for run in recover(library, patient=patient):
        close_killed(library.store, run)


def runs_text(records: list[RunRecord]) -> str:
    """A line per run, the latest first, and the table of the latest."""
    if not records:
        return "no run is recorded"
    lines = [f"{'run':<24}{'seconds':>9}{'done':>10}{'failed':>8}{'windows':>11}  bounded by  outcome"]
    for record in records:
        counts = record.counts
        numbers = (counts.get("done", 0), sum(counts.get("failed", {}).values()), counts.get("windows", 0))
        cells = "".join(f"{number:>{width},}" for number, width in zip(numbers, (10, 8, 11)))
        lines.append(
            f"{record.run:<24}{record.seconds.elapsed_s:>9,.1f}{cells}  {record.bounded_by:<10}  {record.outcome}"
        )
    latest = next((record for record in records if record.stages), None)
    return "\n".join(lines + ([f"\n{latest.run}", latest.text()] if latest else []))


def versions() -> dict[str, str | None]:
    """Of what decides features and speed; and the commit, where ndvr runs from a repository."""
    found: dict[str, str | None] = {"python": platform.python_version(), "commit": _commit()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _counts(summary: Summary, status: Status) -> dict[str, Any]:
    """Every video once. A stopped run has no complete summary: what was settled before it, what came in, the rest."""
    totals = status.totals
    done, skipped, failed = summary.done, Counter(summary.skipped), Counter(summary.failed)
    if done + skipped.total() + failed.total() < summary.videos:
        done, skipped, failed = done + totals.done, skipped + totals.skipped, failed + totals.failed
    return {
        "videos": summary.videos,
        "done": done,
        "skipped": dict(skipped),
        "failed": dict(failed),
        "open": summary.videos - done - skipped.total() - failed.total(),
        "partial": summary.partial,
        "receipts": totals.receipts,
        "windows": sum(totals.windows.values()),
        "frames": totals.frames,
        "bytes_read": totals.bytes_read,
        "bytes_written": totals.bytes_written,
    }


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    said = str(error).strip().splitlines() or [type(error).__name__]
    return said[0].removeprefix("extraction stopped: ").partition(". What was committed")[0]  # as RunStopped has it


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
