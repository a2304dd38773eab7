"""What an extraction did: for programs, and as a person reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ndvr.pipeline.runs.record import RunRecord


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
    quarantined: int = 0  # of the failed: left alone, for bringing down decoders
    partial: int = 0  # done, with pictures missing
    without: dict[str, int] = field(default_factory=dict)  # done, but not for every method: "ausil: no sound ..."
    seconds: float = 0.0
    frames: int = 0  # decoded
    windows: int = 0
    bytes: int = 0  # of the files written, while every receipt lies in its commit
    stage_seconds: dict[str, float] = field(default_factory=dict)  # busy, summed over workers
    record: RunRecord | None = field(default=None, repr=False)  # of an extraction that had something to do

    @property
    def unaccounted(self) -> int:
        """Videos of which it does not say what became; 0, or something is wrong."""
        return self.videos - self.done - sum(self.skipped.values()) - sum(self.failed.values())

    def to_json(self) -> dict[str, Any]:
        """One flat object for programs."""
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


def summary_text(summary: Summary) -> str:
    """A few lines: what became of every video, how fast, and what to do next."""
    found = summary.to_json()
    lines = []
    for method in summary.untrained:
        lines.append(f"WARNING: {method} ran with untrained (random) weights; its features mean nothing.")
    lines.append(settled_text(summary))
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
    if summary.seconds:
        lines.append(
            f"{summary.seconds:.1f} s: {found['videos_per_s']:,.1f} videos/s, "
            f"{found['frames_per_s']:,.0f} frames decoded/s, {found['windows_per_s']:,.0f} windows/s "
            f"({', '.join(summary.methods)})"
        )
    if summary.record:
        lines.append(summary.record.text())
    if summary.failed:
        classes = ",".join(summary.failed)
        lines.append(f"see why: ndvr show {summary.library} --failures;  try again: ndvr extract ... --retry {classes}")
    return "\n".join(lines)


def settled_text(summary: Summary) -> str:
    """One line: how many videos ended how."""
    settled = [f"{summary.done:,} done"]
    settled += [f"{count:,} skipped ({why})" for why, count in summary.skipped.items()]
    settled += [f"{count:,} failed ({kind})" for kind, count in summary.failed.items()]
    return f"{summary.videos:,} videos: {', '.join(settled)}  ->  {summary.library}"


def import_text(summary: Summary) -> str:
    """A few lines about an import."""
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
    if summary.failed:
        classes = ",".join(summary.failed)
        lines.append(f"see why: ndvr show {summary.library} --failures;  try again: ndvr import ... --retry {classes}")
    return "\n".join(lines)
