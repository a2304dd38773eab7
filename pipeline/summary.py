"""An extraction's summary, as a person reads it."""

from __future__ import annotations

from ndvr.pipeline.extract import Summary


def summary_text(summary: Summary) -> str:
    """A few lines: what became of every video, how fast, and what to do next."""
    found = summary.to_json()
    lines = []
    for method in summary.untrained:
        lines.append(f"WARNING: {method} ran with untrained (random) weights; its features mean nothing.")
    settled = [f"{summary.done:,} done"]
    settled += [f"{count:,} skipped ({why})" for why, count in summary.skipped.items()]
    settled += [f"{count:,} failed ({kind})" for kind, count in summary.failed.items()]
    lines.append(f"{summary.videos:,} videos: {', '.join(settled)}  ->  {summary.library}")
    if summary.partial:
        lines.append(f"{summary.partial:,} of the done are partial: damaged or cut off, the readable part was used")
    if summary.ignored:
        kinds = ", ".join(f"{extension} {count}" for extension, count in summary.ignored.items())
        lines.append(f"ignored {sum(summary.ignored.values()):,} files that are no videos by name ({kinds})")
    if summary.seconds:
        lines.append(
            f"{summary.seconds:.1f} s: {found['videos_per_s']:,.1f} videos/s, "
            f"{found['frames_per_s']:,.0f} frames decoded/s, {found['windows_per_s']:,.0f} windows/s "
            f"({', '.join(summary.methods)})"
        )
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in found["stage_share"].items())
        lines.append(f"busy time by stage: {shares}")
    if summary.failed:
        classes = ",".join(summary.failed)
        lines.append(f"see why: ndvr show {summary.library} --failures;  try again: ndvr extract ... --retry {classes}")
    return "\n".join(lines)
