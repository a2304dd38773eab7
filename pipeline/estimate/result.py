"""An estimate: what a run is expected to do, as a person reads it before spending money, and how right it was after."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ndvr.operators.storage.sealed import Damaged, open_json
from ndvr.operators.storage.shapes import shaped
from ndvr.pipeline.estimate._extrapolate import Projection
from ndvr.pipeline.estimate._header_sample import HeaderFacts
from ndvr.pipeline.estimate.trial import Trial, TrialFacts
from ndvr.pipeline.estimate.wall_time import Machines
from ndvr.pipeline.progress import size_words

MOST_CODECS = 6
_STAGES = {"ray": "ray itself", "driver": "  of it the driver"}


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which videos, methods and machines an estimate is about."""

    source: str
    library: str | None
    methods: list[str]
    untrained: list[str]
    machines: Machines
    videos: int  # of VIDEOS
    already: int  # done, or failed before: not worked on
    todo: int
    other_names: int  # links to files that are videos already
    unlisted: dict[str, str]  # folder or file that could not be looked at -> why


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run is expected to do."""

    scope: Scope
    headers: HeaderFacts
    trial: TrialFacts
    projection: Projection
    warnings: list[str]
    plan_s: float  # what finding all this out took

    def to_json(self) -> dict[str, Any]:
        """Make one flat object for programs."""
        parts = [asdict(part) for part in (self.scope, self.headers, self.trial, self.projection)]
        return {key: value for part in parts for key, value in part.items()} | {
            "plan_s": self.plan_s,
            "warnings": self.warnings,
        }

    def text(self) -> str:
        """Make a compact table: what there is, what each stage has to do, how long it takes, what comes out."""
        scope, headers, trial, projection = self.scope, self.headers, self.trial, self.projection
        lines = [f"WARNING: {warning}" for warning in self.warnings]
        settled = f"; {scope.already:,} are settled in {scope.library}" if scope.already else ""
        lines.append(f"{scope.source}: {scope.videos:,} videos{settled}; {scope.todo:,} to do")
        if scope.other_names:
            lines.append(f"  {scope.other_names:,} further names (links) of the same files: each file is one video")
        lines.append(
            f"  {headers.hours:,.2f} h, {headers.frames:,} frames, {size_words(headers.bytes_in)}; "
            f"longest {_time(headers.longest_s)}, largest {headers.largest[0]} x {headers.largest[1]}; "
            f"{_codecs_text(headers.codecs) or 'no pictures'}"
        )
        problems = [f"{sum(headers.unreadable.values()):,} unreadable"] if headers.unreadable else []
        problems += [f"{headers.no_picture:,} without a picture"] if headers.no_picture else []
        problems += [f"{projection.failures:,} failures expected"] if projection.failures else []
        lines += [f"  {', '.join(problems)}"] if problems else []
        lines.append(
            f"  from {headers.headers:,} headers and {trial.sampled:,} videos extracted ({trial.sample_s:.1f} s); "
            f"this plan took {self.plan_s:.1f} s"
        )
        lines += ["", *_stage_lines(scope.machines, projection), "", *_total_lines(scope, projection)]
        return "\n".join(lines)


def warnings_of(scope: Scope, headers: HeaderFacts, trial: Trial, *, gpu_cores: float) -> list[str]:
    """List what somebody who pays for the run should know."""
    lines = [f"{method}: untrained (random) weights; its features would mean nothing" for method in scope.untrained]
    if scope.unlisted:
        name = min(scope.unlisted)
        more = f" and {len(scope.unlisted) - 1:,} more" if len(scope.unlisted) > 1 else ""
        lines.append(f"cannot look into {name} ({scope.unlisted[name]}){more}: videos there are not counted")
    if n_bad := sum(headers.unreadable.values()):
        classes = ", ".join(f"{kind} {count:,}" for kind, count in headers.unreadable.items())
        lines.append(f"{n_bad:,} of {scope.todo:,} videos ({n_bad / scope.todo:.1%}) cannot be opened: {classes}")
    n_sampled = len(trial.videos)
    if failed := [video.failed for video in trial.videos if video.failed]:
        lines.append(f"{len(failed)} of the {n_sampled} videos extracted failed: {', '.join(sorted(set(failed)))}")
    if headers.hdr:
        lines.append(f"{headers.hdr:,} videos are HDR: their colours are taken as they are")
    if headers.largest[0] * headers.largest[1] > 3840 * 2160:
        width, height = headers.largest
        lines.append(f"a video has {width} x {height} pixels: decoding it needs 2 GB and more")
    if headers.headers < scope.todo:
        lines.append(
            f"headers of {headers.headers:,} of {scope.todo:,} videos were read, drawn by size; "
            "the rest is extrapolated"
        )
    if scope.machines.gpus and not trial.on_gpu:
        lines.append(f"no GPU here to measure: one is taken for {gpu_cores:g} of these cores (--gpu-cores)")
    if scope.machines.where != "this machine":
        lines.append("seconds of a core were measured on this machine; other processors are faster or slower")
    elif trial.others > 0.15 * scope.machines.cpus:
        lines.append(f"other programs keep {trial.others:.1f} cores of this machine busy, and the time counts on that")
    if scope.todo and not n_sampled:
        lines.append("there was nothing to extract: all of this is guessed from headers")
    return lines


def _codecs_text(codecs: dict[str, int]) -> str:
    """List the most frequent codecs and sum up the others."""
    common, others = list(codecs.items())[:MOST_CODECS], list(codecs.items())[MOST_CODECS:]
    text = ", ".join(f"{codec} {count:,}" for codec, count in common)
    return text + (f", {len(others)} others {sum(count for _, count in others):,}" if others else "")


def _stage_lines(machines: Machines, projection: Projection) -> list[str]:
    lines = [f"{'stage':<20}{'busy h':>12}{'workers':>9}{'wall':>10}"]
    for load in projection.stages:
        device = "GPU" if load.stage == "embed" and machines.gpus else "CPU"
        hours = f"{load.busy_s / 3600:,.4f}" if load.busy_s < 3600 else f"{load.busy_s / 3600:,.1f}"
        busy = "" if load.stage == "start" else f"{hours} {device}"
        workers = "" if load.stage == "start" else f"{load.workers:,g}"
        lines.append(f"{_STAGES.get(load.stage, load.stage):<20}{busy:>12}{workers:>9}{_time(load.wall_s):>10}")
    return lines


def _total_lines(scope: Scope, projection: Projection) -> list[str]:
    machines = scope.machines
    cpu_s = sum(_cpu_work(machines, projection).values())
    gpu = f", {projection.busy_s.get('embed', 0) / 3600:,.2f} GPU-hours" if machines.gpus else ""
    low, high = projection.interval["seconds"]
    where = f"{machines.cpus:,} CPUs and {machines.gpus:,} GPUs ({machines.where})"
    windows = ", ".join(f"{method} {count:,}" for method, count in projection.windows.items())
    n_bytes = " to ".join(size_words(value) for value in projection.interval["bytes"])
    return [
        f"time    {_time(projection.seconds)}   (80 %: {_time(low)} to {_time(high)}) on {where}; "
        f"{_bound_text(scope, projection)}",
        f"work    {cpu_s / 3600:,.2f} core-hours{gpu}",
        f"output  {size_words(projection.bytes)}   (80 %: {n_bytes}); windows: {windows}",
    ]


def _bound_text(scope: Scope, projection: Projection) -> str:
    """Say what the run will wait for."""
    if not scope.todo:
        return "nothing to do"
    if projection.stages[0].wall_s > projection.seconds / 2:
        return "most of it is starting"
    if projection.bound == "cores":
        cpu_work = _cpu_work(scope.machines, projection)
        largest = max(cpu_work, key=lambda stage: cpu_work[stage])
        share = cpu_work[largest] / max(1e-9, sum(cpu_work.values()))
        return f"the CPUs bound it, {share:.0%} of their work is {_STAGES.get(largest, largest)}"
    return f"{projection.bound} bounds it"


def _cpu_work(machines: Machines, projection: Projection) -> dict[str, float]:
    """Select the busy seconds of stages on CPUs; the driver's are part of those of "ray"."""
    elsewhere = {"driver", "embed"} if machines.gpus else {"driver"}
    return {stage: seconds for stage, seconds in projection.busy_s.items() if stage not in elsewhere}


_COMPARED = {"seconds": float, "bytes": float, "windows": dict[str, float], "frames": float, "failures": float}


def read_estimate(path: str | Path) -> dict[str, Any]:
    """Read what `ndvr plan --save` wrote, for `compare`. ValueError, naming it, when it is none."""
    remedy = "`ndvr plan ... --save FILE` writes such a file"
    shape = _COMPARED | {"interval": dict[str, list[float]]}
    values = shaped(open_json(Path(path).read_bytes(), path, remedy=remedy), shape, path, remedy=remedy)
    if any(len(each) != 2 for each in values["interval"].values()):
        raise Damaged(path, "its 'interval': not two numbers each", remedy)
    return values


def compare(estimate: dict[str, Any], measured: dict[str, Any]) -> str:
    """Make a table of what was predicted and what a run measured.

    estimate  `Estimate.to_json()`
    measured  `Summary.to_json()` of the run; where it has "bytes", of the files written, these are compared as well.
              What a run leaves out of the estimate, because it was stopped, is not made up for.
    """
    failed = sum((measured.get("failed") or {}).values())
    rows = [
        ("seconds", estimate["seconds"], measured.get("seconds"), estimate["interval"].get("seconds")),
        ("bytes", estimate["bytes"], measured.get("bytes"), estimate["interval"].get("bytes")),
        ("windows", sum(estimate["windows"].values()), measured.get("windows"), estimate["interval"].get("windows")),
        ("frames", estimate["frames"], measured.get("frames"), None),
        ("failed", estimate["failures"], failed, None),
    ]
    lines = [f"{'':<9}{'predicted':>14}{'measured':>14}{'off':>8}   80 % interval"]
    for name, predicted, actual, interval in rows:
        if actual is None:
            continue
        off = f"{predicted / actual - 1:+.0%}" if actual else ("0%" if not predicted else "")
        verdict = ""
        if interval:
            inside = interval[0] <= actual <= interval[1]
            verdict = f"{interval[0]:,.0f} to {interval[1]:,.0f}: {'inside' if inside else 'outside'}"
        lines.append(f"{name:<9}{predicted:>14,.0f}{actual:>14,.0f}{off:>8}   {verdict}".rstrip())
    return "\n".join(lines)


def _time(seconds: float) -> str:
    """Format as h:mm:ss, or as days."""
    whole = round(seconds)
    if whole >= 360_000:
        return f"{seconds / 86_400:,.1f} days"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
