"""Receipts: what came back for every row that was committed, counted up to what became of every video."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ndvr.operators.errors import RunStopped
from ndvr.pipeline.plan import count_failures
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.summary import Summary

STAGES = ("decode", "embed", "write")


@dataclass
class Receipts:
    """Takes in receipts (ndvr.operators.rows.LEDGER) and knows which of the planned videos are settled.

    A video is settled when every method asked for has its end row.
    """

    todo: list[dict[str, Any]]  # rows of the plan: video_id, uri, methods
    windows: int = 0
    frames: int = 0
    busy_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def __post_init__(self) -> None:
        self._open = {row["video_id"]: set(row["methods"]) for row in self.todo}
        self._ends: dict[str, list[dict[str, Any]]] = {}
        self._broken: dict[tuple[str, str], dict[str, Any]] = {}  # failed pieces, by video and method

    def take(self, receipts: pa.Table, bar: Progress) -> None:
        """Count what was committed. RunStopped when nothing more can be."""
        for row in receipts.to_pylist():
            self.busy_s["embed"] += row["embed_s"] or 0.0
            self.busy_s["write"] += row["write_s"] or 0.0
            if row["kind"] == "piece":
                self.windows += row["windows_count"]
                if row["status"] == "failed":
                    self._broken[row["video_id"], row["method"]] = row
            elif row["kind"] in ("end", "seen"):
                self._end(row, bar)
            elif row["kind"] == "stopped":
                raise RunStopped(
                    f"extraction stopped: {row['message']}. What was committed is safe; run the same command again "
                    "to continue"
                )

    def _end(self, row: dict[str, Any], bar: Progress) -> None:
        video_id = row["video_id"]
        if row["method"] not in self._open[video_id]:
            return  # committed twice, after a worker was lost between the two
        self._open[video_id].remove(row["method"])
        mine = self._ends.setdefault(video_id, [])
        mine.append(row)
        if not self._open[video_id]:  # methods share the passes over a video
            self.busy_s["decode"] += sum({end["attempt"]: end["decode_s"] or 0.0 for end in mine}.values())
            self.frames += max(end["frames"] or 0 for end in mine)
            bar.advance(failed=any(end["status"] == "failed" for end in mine), windows=self.windows)

    def settled(self) -> set[tuple[str, str]]:
        """(video_id, method) of all that was committed."""
        return {(video_id, end["method"]) for video_id, ends in self._ends.items() for end in ends}

    def unsettled(self) -> list[dict[str, Any]]:
        """Rows of the plan for what no receipt has come for."""
        return [self._rest(row) for row in self.todo if self._open[row["video_id"]]]

    def _rest(self, row: dict[str, Any]) -> dict[str, Any]:
        left = [pair for pair in zip(row["methods"], row["contents"]) if pair[0] in self._open[row["video_id"]]]
        return row | {"methods": [method for method, _ in left], "contents": [content for _, content in left]}

    def add_to(self, summary: Summary, began: float) -> None:
        """What became of every planned video; one that no receipt settles is a failure, never a silence."""
        kinds = []
        for video_id, waiting in self._open.items():
            rows = [self._broken.get((video_id, end["method"]), end) for end in self._ends.get(video_id, [])]
            failures = [row["error_class"] for row in rows if row["status"] == "failed"]
            if waiting:
                kinds.append("crash")
            elif failures:
                kinds.append(failures[0])
                summary.quarantined += any(row["quarantined"] for row in rows)
            elif all(row["kind"] == "seen" for row in rows):
                summary.skipped["already done"] = summary.skipped.get("already done", 0) + 1
            elif any(row["status"] == "done" for row in rows):
                summary.done += 1
                summary.partial += any(row["partial"] for row in rows)
                for row in rows:
                    if row["status"] == "skipped":
                        what = f"{row['method']} ({row['message']})"
                        summary.without[what] = summary.without.get(what, 0) + 1
            else:
                reason = rows[0]["message"]
                summary.skipped[reason] = summary.skipped.get(reason, 0) + 1
        for kind, count in count_failures(kinds).items():
            summary.failed[kind] = summary.failed.get(kind, 0) + count
        summary.windows, summary.frames = self.windows, self.frames
        summary.stage_seconds = {stage: round(seconds, 3) for stage, seconds in self.busy_s.items()}
        summary.seconds = time.monotonic() - began
