"""An estimate as a person reads it before spending money, and how right it was after the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MOST_CODECS = 6
_STAGES = {"ray": "ray itself", "driver": "  of it the driver"}


@dataclass(kw_only=True)
class Estimate:
    """What a run is expected to do. `interval` holds what 80 of 100 such estimates would lie between, by name."""

    source: str
    library: str | None
    methods: list[str]
    untrained: list[str]
    machines: dict[str, Any]
    videos: int  # of VIDEOS
    already: int  # done, or failed before: not worked on
    todo: int
    headers: int  # read
    sampled: int  # extracted
    unreadable: dict[str, int]  # by class, extrapolated
    no_picture: int
    failures: int = 0  # expected, the unreadable included
    hours: float  # of video
    frames: int
    bytes_in: int
    codecs: dict[str, int]
    longest_s: float
    largest: list[int]  # width and height
    hdr: int
    windows: dict[str, int] = field(default_factory=dict)
    bytes: int = 0  # of output
    busy_s: dict[str, float] = field(default_factory=dict)  # by stage: CPU seconds, of "embed" on GPUs GPU seconds
    stages: list[dict[str, Any]] = field(default_factory=list)  # stage, busy_s, workers, wall_s
    seconds: float = 0.0  # of the run
    bound: str = ""
    interval: dict[str, list[float]] = field(default_factory=dict)
    plan_s: float = 0.0  # what finding this out took
    sample_s: float = 0.0  # of that, extracting the sample
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """One flat object for programs; `Estimate(**it)` gives this again."""
        return asdict(self)


def estimate_text(found: Estimate) -> str:
    """A compact table: what there is, what each stage has to do, how long it takes, what comes out."""
    lines = [f"WARNING: {warning}" for warning in found.warnings]
    settled = f"; {found.already:,} are settled in {found.library}" if found.already else ""
    lines.append(f"{found.source}: {found.videos:,} videos{settled}; {found.todo:,} to do")
    common, rest = list(found.codecs.items())[:MOST_CODECS], list(found.codecs.items())[MOST_CODECS:]
    codecs = ", ".join(f"{codec} {count:,}" for codec, count in common)
    codecs += f", {len(rest)} others {sum(count for _, count in rest):,}" if rest else ""
    lines.append(
        f"  {found.hours:,.2f} h, {found.frames:,} frames, {_size(found.bytes_in)}; longest {_time(found.longest_s)}, "
        f"largest {found.largest[0]} x {found.largest[1]}; {codecs or 'no pictures'}"
    )
    odd = [f"{sum(found.unreadable.values()):,} unreadable"] if found.unreadable else []
    odd += [f"{found.no_picture:,} without a picture"] if found.no_picture else []
    odd += [f"{found.failures:,} failures expected"] if found.failures else []
    lines += [f"  {', '.join(odd)}"] if odd else []
    lines.append(
        f"  from {found.headers:,} headers and {found.sampled:,} videos extracted ({found.sample_s:.1f} s); "
        f"this plan took {found.plan_s:.1f} s"
    )
    lines += ["", *_stage_lines(found), "", *_totals(found)]
    return "\n".join(lines)


def _stage_lines(found: Estimate) -> list[str]:
    lines = [f"{'stage':<20}{'busy h':>12}{'workers':>9}{'wall':>10}"]
    for row in found.stages:
        on = "GPU" if row["stage"] == "embed" and found.machines["gpus"] else "CPU"
        hours = f"{row['busy_s'] / 3600:,.4f}" if row["busy_s"] < 3600 else f"{row['busy_s'] / 3600:,.1f}"
        busy = "" if row["stage"] == "start" else f"{hours} {on}"
        workers = "" if row["stage"] == "start" else f"{row['workers']:,g}"
        lines.append(f"{_STAGES.get(row['stage'], row['stage']):<20}{busy:>12}{workers:>9}{_time(row['wall_s']):>10}")
    return lines


def _totals(found: Estimate) -> list[str]:
    on_gpu = bool(found.machines["gpus"])
    cores = sum(
        seconds for stage, seconds in found.busy_s.items() if stage != "driver" and (stage, on_gpu) != ("embed", True)
    )
    gpu = f", {found.busy_s.get('embed', 0) / 3600:,.2f} GPU-hours" if on_gpu else ""
    low, high = found.interval["seconds"]
    where = f"{found.machines['cpus']:,} CPUs and {found.machines['gpus']:,} GPUs ({found.machines['where']})"
    windows = ", ".join(f"{method} {count:,}" for method, count in found.windows.items())
    return [
        f"time    {_time(found.seconds)}   (80 %: {_time(low)} to {_time(high)}) on {where}; {_bound_text(found)}",
        f"work    {cores / 3600:,.2f} core-hours{gpu}",
        f"output  {_size(found.bytes)}   (80 %: {' to '.join(_size(value) for value in found.interval['bytes'])}); "
        f"windows: {windows}",
    ]


def _bound_text(found: Estimate) -> str:
    """What the run will wait for."""
    if not found.todo:
        return "nothing to do"
    if found.stages[0]["wall_s"] > found.seconds / 2:
        return "most of it is starting"
    if found.bound == "cores":
        shared = {stage: busy for stage, busy in found.busy_s.items() if stage != "driver"}
        if found.machines["gpus"]:
            shared.pop("embed", None)
        most = max(shared, key=lambda stage: shared[stage])
        share = shared[most] / max(1e-9, sum(shared.values()))
        return f"the CPUs bound it, {share:.0%} of their work is {_STAGES.get(most, most)}"
    return f"{found.bound} bounds it"


def compare(estimate: Estimate | dict[str, Any], measured: dict[str, Any]) -> str:
    """How right an estimate was: a table of what was predicted and what a run measured.

    measured  `Summary.to_json()` of the run; where it has "bytes", of the files written, these are compared as well.
              What a run leaves out of the estimate, because it was stopped, is not made up for.
    """
    if isinstance(estimate, Estimate):
        estimate = estimate.to_json()
    failed = sum((measured.get("failed") or {}).values())
    rows = [
        ("seconds", estimate["seconds"], measured.get("seconds"), estimate["interval"].get("seconds")),
        ("bytes", estimate["bytes"], measured.get("bytes"), estimate["interval"].get("bytes")),
        ("windows", sum(estimate["windows"].values()), measured.get("windows"), estimate["interval"].get("windows")),
        ("frames", estimate["frames"], measured.get("frames"), None),
        ("failed", estimate["failures"], failed, None),
    ]
    lines = [f"{'':<9}{'predicted':>14}{'measured':>14}{'off':>8}   80 % interval"]
    for name, told, found, interval in rows:
        if found is None:
            continue
        off = f"{told / found - 1:+.0%}" if found else ("0%" if not told else "")
        inside = ""
        if interval:
            held = interval[0] <= found <= interval[1]
            inside = f"{interval[0]:,.0f} to {interval[1]:,.0f}: {'inside' if held else 'outside'}"
        lines.append(f"{name:<9}{told:>14,.0f}{found:>14,.0f}{off:>8}   {inside}".rstrip())
    return "\n".join(lines)


def _time(seconds: float) -> str:
    """h:mm:ss"""
    whole = round(seconds)
    if whole >= 360_000:
        return f"{seconds / 86_400:,.1f} days"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
