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
from ndvr.operators.library.receipt_files import remedy
from ndvr.operators.library.runs import recover
from ndvr.operators.storage.sealed import open_json, seal_json
from ndvr.operators.storage.shapes import shaped
from ndvr.pipeline.notebook import as_html
from ndvr.pipeline.runs._bottleneck import RunSeconds, StageUse, bounded_by, core_seconds, stage_table, uses
from ndvr.pipeline.runs.status import Status

# --- What an extraction did: for programs, and as a person reads it --------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class GoneVideos:
    """Videos with features that a folder gave before and no longer has."""

    source: str = ""
    videos: int = 0
    marked: int = 0  # of these: kept out of new pairs
    first: str = ""  # the id of one

    def text(self, library: str) -> str:
        """Say how many there are, and what can be done about them."""
        line = f"{self.videos:,} videos of the library that came from {self.source} are no longer there"
        line += f", such as {self.first!r}; {self.marked:,} are marked and stay out of new pairs until they come back; "
        mark = "" if self.marked == self.videos else "--gone mark marks all; "
        return f"{line}{mark}`ndvr remove {library} --all-gone` takes them out for good"


@dataclass(kw_only=True)
class Summary:
    """What a run did. `videos` = done + skipped + all failed."""

    library: str
    methods: list[str]
    untrained: list[str]  # methods that ran on seeded noise
    videos: int
    done: int = 0
    skipped: dict[str, int] = field(default_factory=dict)  # by reason
    failed: dict[str, int] = field(default_factory=dict)  # by class
    ignored: dict[str, int] = field(default_factory=dict)  # files of the folder that are no videos, by extension
    other_names: dict[str, tuple[str, ...]] = field(default_factory=dict)  # id -> links to the same file
    unlisted: dict[str, str] = field(default_factory=dict)  # folder or file that could not be looked at -> why
    growing: list[str] = field(default_factory=list)  # ids of files whose size changed between planning and reading
    quarantined: int = 0  # of the failed: left alone, for bringing down decoders
    partial: int = 0  # done, with pictures missing
    without: dict[str, int] = field(default_factory=dict)  # done, but not for every method: "ausil: no sound ..."
    conflicts: list[str] = field(default_factory=list)  # ids that are another file's, which stays, in an import
    gone: GoneVideos = field(default_factory=GoneVideos)
    seconds: float = 0.0
    frames: int = 0  # decoded
    windows: int = 0
    bytes: int = 0  # of the files written, while every receipt lies in its commit
    stage_seconds: dict[str, float] = field(default_factory=dict)  # busy, summed over workers
    record: RunRecord | None = field(default=None, repr=False)  # of an extraction that had something to do

    @property
    def unaccounted(self) -> int:
        """Count the videos whose end is not known; 0, or something is wrong."""
        return self.videos - self.done - sum(self.skipped.values()) - sum(self.failed.values())

    def to_json(self) -> dict[str, Any]:
        """Return one flat object for programs."""
        busy = max(sum(self.stage_seconds.values()), 1e-9)
        return {
            "library": self.library,
            "methods": self.methods,
            "untrained": self.untrained,
            "videos": self.videos,
            "done": self.done,
            "skipped": sum(self.skipped.values()),
            "skipped_why": self.skipped,
            "failed": self.failed,
            "quarantined": self.quarantined,
            "partial": self.partial,
            "without": self.without,
            "ignored": self.ignored,
            "other_names": self.other_names,
            "unlisted": self.unlisted,
            "growing": self.growing,
            "conflicts": self.conflicts,
            "gone": asdict(self.gone),
            "seconds": round(self.seconds, 3),
            "frames": self.frames,
            "windows": self.windows,
            "bytes": self.bytes,
            "videos_per_s": round((self.done + sum(self.failed.values())) / max(self.seconds, 1e-9), 3),
            "frames_per_s": round(self.frames / max(self.seconds, 1e-9), 1),
            "windows_per_s": round(self.windows / max(self.seconds, 1e-9), 1),
            "stage_share": {stage: round(seconds / busy, 3) for stage, seconds in self.stage_seconds.items()},
            "run": self.record.to_json() if self.record else None,
        }

    def _repr_html_(self) -> str:
        return as_html(summary_text(self))


def summary_text(summary: Summary) -> str:
    """Say in a few lines what became of every video, how fast, and what to do next."""
    lines = []
    for method in summary.untrained:
        lines.append(f"WARNING: {method} ran with untrained (random) weights; its features mean nothing.")
    lines.append(settled_text(summary))
    lines += _remarks(summary)
    if summary.seconds:
        report = summary.to_json()
        lines.append(
            f"{summary.seconds:.1f} s: {report['videos_per_s']:,.1f} videos/s, "
            f"{report['frames_per_s']:,.0f} frames decoded/s, {report['windows_per_s']:,.0f} windows/s "
            f"({', '.join(summary.methods)})"
        )
    if summary.record:
        lines.append(summary.record.text())
    if summary.failed:
        classes = ",".join(summary.failed)
        lines.append(f"see why: ndvr show {summary.library} --failures;  try again: ndvr extract ... --retry {classes}")
    return "\n".join(lines)


def _remarks(summary: Summary) -> list[str]:
    """Say what is not as one would wish: a line for each thing that the number of videos does not tell."""
    lines = []
    if summary.partial:
        lines.append(f"{summary.partial:,} of the done are partial: damaged or cut off, the readable part was used")
    if summary.quarantined:
        lines.append(
            f"{summary.quarantined:,} of the failed are quarantined, as they bring decoders or workers down; only "
            "--retry quarantined tries them again"
        )
    for what, count in summary.without.items():
        lines.append(f"{count:,} of the done have nothing for {what}")
    if summary.ignored:
        kinds = ", ".join(f"{extension} {count}" for extension, count in summary.ignored.items())
        lines.append(f"ignored {sum(summary.ignored.values()):,} files that are no videos by name ({kinds})")
    if n_names := sum(map(len, summary.other_names.values())):
        lines.append(f"{n_names:,} further names (links) of the same files: each file is one video")
    if summary.growing:
        lines.append(
            f"{len(summary.growing):,} files changed in size between planning and reading (such as "
            f"{summary.growing[0]!r}): still growing? Run the same command again when they are whole"
        )
    if summary.gone.videos:
        lines.append(summary.gone.text(summary.library))
    if summary.unlisted:
        lines.append(f"{len(summary.unlisted):,} folders or files could not be looked at; what lies there is unknown")
    return lines


def settled_text(summary: Summary) -> str:
    """Say in one line how many videos ended how."""
    settled = [f"{summary.done:,} done"]
    settled += [f"{count:,} skipped ({why})" for why, count in summary.skipped.items()]
    settled += [f"{count:,} failed ({kind})" for kind, count in summary.failed.items()]
    return f"{summary.videos:,} videos: {', '.join(settled)}  ->  {summary.library}"


def import_text(summary: Summary) -> str:
    """Say in a few lines what an import did."""
    lines = [f"WARNING: features of untrained {method}; their scores mean nothing." for method in summary.untrained]
    lines.append(settled_text(summary))
    for what, count in summary.without.items():
        lines.append(f"{count:,} of the done have nothing for {what}")
    if summary.ignored:
        kinds = ", ".join(f"{extension} {count}" for extension, count in summary.ignored.items())
        lines.append(f"ignored {sum(summary.ignored.values()):,} files of other kinds ({kinds})")
    lines.append(
        f"{summary.seconds:.1f} s: {summary.windows:,} windows, {summary.windows / max(summary.seconds, 1e-9):,.0f}/s"
    )
    if summary.conflicts:
        first, count = summary.conflicts[0], len(summary.conflicts)
        lines.append(
            f"{count:,} ids are those of other files, which stay, {first!r} first (`ndvr explain {summary.library} ID` "
            "tells which): give --prefix TEXT to put TEXT before every id"
        )
    if classes := ",".join(kind for kind in summary.failed if kind != "conflict"):
        lines.append(f"see why: ndvr show {summary.library} --failures;  try again: ndvr import ... --retry {classes}")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Counted:
    """What is read again of the counts in a record, as far as it was there when that was written."""

    videos: int = 0
    done: int = 0
    open: int = 0
    windows: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)


RUNNING, FINISHED, KILLED = "running", "finished", "killed"
_PACKAGES = ("ndvr", "ray", "torch", "av", "decord", "numpy", "pyarrow")


class Files(Protocol):
    """What records are kept in: ndvr.operators.storage.store.Store."""

    def names(self, folder: str) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str, data: bytes) -> object: ...


@dataclass(kw_only=True)
class RunRecord:
    """What one run was to do, on what, what became of it and where its time went."""

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
    walls: list[str] = field(
        default_factory=list
    )  # around decoders, as operators.sandbox.walls has them: of a cluster those that stand on every host that decoded
    walls_by_host: dict[str, list[str] | None] = field(default_factory=dict)  # of a cluster; None: not known
    cluster: dict[str, int] = field(default_factory=dict)  # cpus, gpus, nodes
    counts: dict[str, Any] = field(default_factory=dict)  # as `_counts` makes them
    seconds: RunSeconds = field(default_factory=RunSeconds)
    stages: list[StageUse] = field(default_factory=list)
    bounded_by: str = ""
    because: str = ""
    slowest: list[dict[str, Any]] = field(default_factory=list)  # video_id, uri, decode_s
    passes: int = 0
    most_queued_bytes: int = 0

    @property
    def name(self) -> str:
        """Name its file in a library."""
        return f"{RUNS}/{self.run}.json"

    @property
    def reconciles(self) -> bool:
        """Tell whether every video is accounted for exactly once."""
        counts = self.counts
        settled = counts["done"] + sum(counts["skipped"].values()) + sum(counts["failed"].values())
        return counts["videos"] == settled + counts["open"]

    def to_json(self) -> dict[str, Any]:
        """Return one object; `from_json` reads it."""
        return asdict(self)

    def data(self) -> bytes:
        return (json.dumps(seal_json(self.to_json()), indent=2, ensure_ascii=False, default=str) + "\n").encode()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunRecord:
        """Read a record of this or a later version of ndvr, whose further fields are left out."""
        given = _known(cls, values)
        given["seconds"] = RunSeconds(**_known(RunSeconds, given.get("seconds", {})))
        given["stages"] = [StageUse(**_known(StageUse, stage)) for stage in given.get("stages", [])]
        return cls(**given)

    def text(self) -> str:
        """Show the table of the stages, and which of them bounded the run."""
        return "\n".join([*stage_table(self.stages), self.because]) if self.stages else self.because

    def close(self, status: Status, summary: Summary, error: BaseException | None) -> None:
        """Complete the record of a run that is over: of a complete `summary`, or of what came in before an error."""
        self.outcome = FINISHED if error is None else f"stopped: {_reason(error)}"
        self.finished = _now()
        self.cluster, self.counts = status.cluster, _counts(summary, status)
        if status.cluster.get("nodes", 1) > 1:
            self.walls_by_host = {host: status.walls_by_host.get(host) for host in sorted(status.totals.hosts)}
            self.walls = [wall for wall in self.walls if all(wall in (on or ()) for on in self.walls_by_host.values())]
        self.seconds.close(status)
        self.stages = uses(status, self.seconds)
        self.bounded_by, self.because = bounded_by(self.stages, self.seconds)
        self.slowest, self.passes = status.totals.slowest, status.passes
        self.most_queued_bytes = status.most_queued_bytes


@contextlib.contextmanager
def recorded(
    record: RunRecord, *, status: Status, summary: Summary, write: Callable[[str, bytes], object]
) -> Iterator[RunRecord]:
    """Show the status and keep the record while the block runs, which completes `summary`.

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
        if cores and (now := core_seconds()) and status.cluster.get("nodes", 1) == 1:
            record.seconds.machine_busy = round((now[0] - cores[0]) / max(now[1] - cores[1], 1e-9), 3)
        record.close(status, summary, error)
        summary.record = record
        with contextlib.suppress(OSError) if error else contextlib.nullcontext():
            write(record.name, record.data())


def runs(files: Files) -> list[RunRecord]:
    """Read all records of a library, the latest first."""
    names = [name for name in files.names(RUNS) if name.endswith(".json")]
    every = [_open(files, Path(name).name) for name in names]
    return sorted(every, key=lambda record: (record.started, record.run), reverse=True)


def _open(files: Files, name: str) -> RunRecord:
    """Read a record. Damaged when it is none."""
    place = f"{files}/{RUNS}/{name}"
    values = open_json(files.read(f"{RUNS}/{name}"), place, remedy=remedy(files))
    return RunRecord.from_json(shaped(values, RunRecord, place, optional={"counts": _Counted}, remedy=remedy(files)))


def close_killed(files: Files, run: str) -> None:
    """Mark the record of a run that was killed; do nothing when it was closed or never written."""
    try:
        record = _open(files, f"{run}.json")
    except FileNotFoundError:
        return
    if record.run != run:
        raise ValueError(
            f"{RUNS}/{run}.json is the record of a run {record.run!r}: it is damaged, or not to be trusted"
        )
    if record.outcome == RUNNING:
        record.outcome = KILLED
        files.write(record.name, record.data())


def recover_runs(library: Library, *, patient: bool = False) -> None:
    """Clear up after runs that were killed, and say so in their records; see ndvr.operators.library.runs.recover."""
    for run in recover(library, patient=patient):
        close_killed(library.store, run)


def runs_text(records: list[RunRecord]) -> str:
    """Show a line for each run, the latest first, and the table of the latest."""
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
    """Name the versions that decide features and speed, and the commit where ndvr runs from a repository."""
    installed: dict[str, str | None] = {"python": platform.python_version(), "commit": _commit()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[package] = metadata.version(package)
    return installed


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _counts(summary: Summary, status: Status) -> dict[str, Any]:
    """Count every video once. A stopped run has no complete summary: what came in is added."""
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
        "other_names": summary.other_names,
        "unlisted": summary.unlisted,
        "growing": summary.growing,
        "gone": summary.gone.videos,
        "receipts": totals.receipts,
        "windows": sum(totals.windows.values()),
        "frames": totals.frames,
        "bytes_read": totals.bytes_read,
        "bytes_written": totals.bytes_written,
    }


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("extraction stopped: ").partition(". What was committed")[0]  # as RunStopped has it


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: values[key] for key in (each.name for each in fields(kind)) if key in values}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
