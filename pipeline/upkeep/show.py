"""Say what a library holds: `ndvr show`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ndvr.operators.library.config import Config
from ndvr.operators.library.feature_reader import without_lost
from ndvr.operators.library.library import Entry, Library
from ndvr.operators.library.receipt_files import remedy
from ndvr.operators.library.shards import SHARDS
from ndvr.operators.storage.text_files import fits_a_line, quoted_id, visible
from ndvr.pipeline.extraction.plan import count_failures
from ndvr.pipeline.progress import size_words


@dataclass(frozen=True, kw_only=True)
class ConfigView:
    """One configuration of a library and its videos."""

    config: Config = field(repr=False)
    entries: dict[str, Entry] = field(repr=False)
    bytes: int

    @property
    def done(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.status == "done"]

    @property
    def unfinished(self) -> list[Entry]:
        """List what failed or was skipped."""
        return [entry for entry in self.entries.values() if entry.status != "done"]

    def to_json(self, *, failures: bool) -> dict[str, Any]:
        statuses = Counter(entry.status for entry in self.entries.values())
        facts = {
            "config": self.config.name,
            "method": self.config.method,
            "weights": self.config.weights,
            "trained": self.config.trained,
            "videos": len(self.entries),
            "done": statuses["done"],
            "skipped": statuses["skipped"],
            "failed": count_failures(e.end["error_class"] for e in self.unfinished if e.status == "failed"),
            "quarantined": sum(bool(entry.end["quarantined"]) for entry in self.unfinished),
            "removed": sum(entry.removed for entry in self.unfinished),
            "gone": sum(entry.gone for entry in self.entries.values()),
            "gone_marked": sum(entry.marked for entry in self.unfinished),
            "partial": sum(bool(entry.end["partial"]) for entry in self.done),
            "notes": dict(Counter(e.end["message"] for e in self.done if e.end["message"]).most_common()),
            "windows": sum(entry.windows for entry in self.done),
            "hours": round(sum(entry.end["duration_s"] or 0 for entry in self.done) / 3600, 4),
            "bytes": self.bytes,
            "decoders": dict(Counter(entry.end["decoder"] for entry in self.done)),
        }
        if failures:
            keys = ("video_id", "status", "error_class", "message", "attempt", "uri")
            facts["failures"] = [{key: entry.end[key] for key in keys} for entry in self.unfinished]
        return facts


@dataclass(frozen=True, kw_only=True)
class LibraryView:
    """A library at a glance."""

    library: str
    configs: list[ConfigView]

    def to_json(self, *, failures: bool = False) -> dict[str, Any]:
        return {"library": self.library, "configs": [view.to_json(failures=failures) for view in self.configs]}

    def text(self, *, failures: bool = False) -> str:
        if not self.configs:
            return f"{self.library}: empty"
        lines = [self.library]
        for view in self.configs:
            facts = view.to_json(failures=False)
            mark = "" if facts["trained"] else "  UNTRAINED"
            lines.append(f"{view.config.name}  {facts['method']}, weights {facts['weights']}{mark}")
            failed = ", ".join(f"{count:,} {kind}" for kind, count in facts["failed"].items())
            lines.append(
                f"  {facts['done']:,} videos done ({facts['partial']:,} partial), {facts['hours']:.2f} h, "
                f"{facts['windows']:,} windows, {size_words(facts['bytes'])}"
            )
            left_alone = f", {facts['quarantined']:,} of them quarantined" if facts["quarantined"] else ""
            lines.append(f"  {facts['skipped']:,} skipped; failed: {failed or 'none'}{left_alone}")
            if lost := facts["failed"].get("lost"):
                lines.append(f"  {lost:,} have lost their features; {remedy(self.library)}")
            if facts["gone"]:
                lines.append(
                    f"  {facts['gone']:,} gone from the folder that gave them, {facts['gone_marked']:,} of them marked "
                    "(skipped, out of new pairs)"
                )
            if facts["notes"]:
                short = sum(facts["notes"].values())
                lines.append(f"  {short:,} of the done are too short for the method and were filled up or repeated")
            if failures:
                for entry in view.unfinished:
                    kind = entry.end["error_class"] or entry.status
                    lines.append(f"    {kind:<12}{entry.video_id}  {entry.end['message']}")
                for entry in (entry for entry in view.done if entry.end["message"]):
                    lines.append(f"    {'short':<12}{entry.video_id}  {entry.end['message']}")
        return visible("\n".join(lines))

    def listed(self) -> tuple[str, list[str]]:
        """List the videos with features, "id path" a line, ids with spaces in quotes; and the ids that fit no line."""
        paths = {entry.video_id: entry.end["uri"] for view in self.configs for entry in view.done}
        fitting = [video_id for video_id in sorted(paths) if fits_a_line(video_id, paths[video_id])]
        lines = [f"{quoted_id(video_id)} {paths[video_id]}" for video_id in fitting]
        return "\n".join(lines), sorted(paths.keys() - fitting)


def show(library: str | Path) -> LibraryView:
    """Read a library's ledger. FileNotFoundError when there is no library."""
    opened = Library(library)
    views = []
    for name, config in opened.configs.items():
        size = sum(opened.store.sizes(f"{SHARDS}/{name}").values())
        entries, _ = without_lost(opened, opened.entries(name))
        views.append(ConfigView(config=config, entries=entries, bytes=size))
    return LibraryView(library=str(opened), configs=views)
