"""Receipts: what came back for every row that was committed, counted up to what became of every video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ndvr.operators.errors import RunStopped
from ndvr.pipeline.extraction.plan import count_failures
from ndvr.pipeline.runs.record import Summary
from ndvr.pipeline.runs.status import Status


@dataclass
class Receipts:
    """Count receipts (ndvr.operators.rows.LEDGER) and tell which of the planned videos are settled.

    A video is settled when every method asked for has its end row.
    """

    todo: list[dict[str, Any]]  # rows of the plan (ndvr.operators.rows.PLANNED)
    status: Status

    def __post_init__(self) -> None:
        self._open = {row["video_id"]: set(row["methods"]) for row in self.todo}
        self._ends: dict[str, list[dict[str, Any]]] = {}
        self._broken: dict[tuple[str, str], dict[str, Any]] = {}  # failed pieces, by video and method

    def take_all(self, tables: Iterable[pa.Table]) -> None:
        """Count what is committed, as it comes. RunStopped when nothing more can be."""
        for receipts in tables:
            self.take(receipts)

    def take(self, receipts: pa.Table) -> None:
        """Count what was committed. RunStopped when nothing more can be."""
        for row in receipts.to_pylist():
            if row["kind"] == "stopped":
                raise RunStopped(
                    f"extraction stopped: {row['message']}. What was committed is safe; run the same command again to "
                    "continue",
                    passing=row["error_class"] == "io",  # of a store that may answer in a moment
                )
            self.status.row(row)
            if row["kind"] == "piece" and row["status"] == "failed":
                self._broken[row["video_id"], row["method"]] = row
            elif row["kind"] in ("end", "seen"):
                self._end(row)

    def _end(self, row: dict[str, Any]) -> None:
        waiting = self._open[row["video_id"]]
        if row["method"] not in waiting:
            return  # committed twice, after a worker was lost between the two
        waiting.remove(row["method"])
        self._ends.setdefault(row["video_id"], []).append(row)
        if not waiting:
            self.status.settle(self._verdicts(row["video_id"]))

    def _verdicts(self, video_id: str) -> list[dict[str, Any]]:
        """Return the end row of every method; a failed piece makes a failed video."""
        reason = ("status", "error_class", "message")
        broken = [(end, self._broken.get((video_id, end["method"]))) for end in self._ends.get(video_id, [])]
        return [end if piece is None else end | {key: piece[key] for key in reason} for end, piece in broken]

    def settled(self) -> set[tuple[str, str]]:
        """Return (video_id, method) of all that was committed."""
        return {(video_id, end["method"]) for video_id, ends in self._ends.items() for end in ends}

    def unsettled(self) -> list[dict[str, Any]]:
        """Return rows of the plan, with the methods for which no receipt has come."""
        return [self._without_settled(row) for row in self.todo if self._open[row["video_id"]]]

    def _without_settled(self, row: dict[str, Any]) -> dict[str, Any]:
        pairs = [pair for pair in zip(row["methods"], row["contents"]) if pair[0] in self._open[row["video_id"]]]
        return row | {"methods": [method for method, _ in pairs], "contents": [content for _, content in pairs]}

    def add_to(self, summary: Summary) -> None:
        """Add what became of every planned video."""
        kinds = []
        for video_id in self._open:
            rows = self._verdicts(video_id)
            if failures := [row["error_class"] for row in rows if row["status"] == "failed"]:
                kinds.append(failures[0])
                summary.quarantined += any(row["quarantined"] for row in rows)
            elif all(row["kind"] == "seen" for row in rows):
                _count(summary.skipped, ["already done"])
            elif any(row["status"] == "done" for row in rows):
                summary.done += 1
                summary.partial += any(row["partial"] for row in rows)
                _count(
                    summary.without,
                    (f"{row['method']} ({row['message']})" for row in rows if row["status"] == "skipped"),
                )
            else:
                _count(summary.skipped, [next(row["message"] for row in rows if row["kind"] == "end")])
        for kind, count in count_failures(kinds).items():
            summary.failed[kind] = summary.failed.get(kind, 0) + count
        planned = {row["video_id"]: row["bytes"] for row in self.todo}
        summary.growing += sorted(video_id for video_id, rows in self._ends.items() if _grew(planned[video_id], rows))
        totals = self.status.totals
        summary.windows, summary.frames = sum(totals.windows.values()), totals.frames
        summary.stage_seconds = {stage: round(seconds, 3) for stage, seconds in totals.busy_s.items()}


def _grew(planned_bytes: int | None, ends: Iterable[dict[str, Any]]) -> bool:
    """Tell whether a file had another size when it was read than when the run was planned."""
    return planned_bytes is not None and any(end["bytes"] not in (None, planned_bytes) for end in ends)


def _count(counts: dict[str, int], words: Iterable[str]) -> None:
    for word in words:
        counts[word] = counts.get(word, 0) + 1
