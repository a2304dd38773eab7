"""What the receipts of a run add up to while they come in: videos, windows, bytes, and the time each stage was busy."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

STAGES = ("decode", "embed", "write")
SLOWEST = 5


class RunTotals:
    """Count what was committed. A row committed twice, after a worker was lost, is work done twice.

    busy_s   seconds by stage, summed over its workers. Of decode: CPU seconds of the child that decodes, which waits
             neither for the disk nor for a core in them; of a video that failed, how long it held its worker. Of
             embed and write: time on the clock inside the model and in writing shards.
    """

    def __init__(self, *, window_bytes: Mapping[str, int] | None = None):
        """window_bytes: of one feature as shards keep it, by method."""
        self._window_bytes = window_bytes or {}
        self.done = 0
        self.failed: Counter[str] = Counter()  # videos by class
        self.skipped: Counter[str] = Counter()  # videos by reason
        self.windows: Counter[str] = Counter()  # by method
        self.hosts: set[str] = set()  # that decoded
        self.receipts = 0
        self.frames = 0
        self.bytes_read = 0
        self.bytes_written = 0
        self.busy_s = dict.fromkeys(STAGES, 0.0)
        self.first_s: float | None = None  # time.monotonic() when the first of these videos was begun
        self.last_s: float | None = None  # and when the last receipt came
        self._slowest: list[tuple[float, str, str]] = []
        self._attempts: set[tuple[str, str, int]] = set()  # passes over videos whose time is counted already

    @property
    def settled(self) -> int:
        """Count the videos of which every method has its end."""
        return self.done + sum(self.failed.values()) + sum(self.skipped.values())

    @property
    def slowest(self) -> list[dict[str, Any]]:
        """List the videos that took longest to decode, the longest first."""
        return [{"video_id": name, "uri": uri, "decode_s": took} for took, name, uri in sorted(self._slowest)[::-1]]

    def row(self, row: Mapping[str, Any]) -> None:
        """Count one receipt, of any kind (ndvr.operators.rows.LEDGER)."""
        self.receipts += 1
        self.hosts |= {row["host"]} if row.get("host") else set()
        self.last_s = time.monotonic()
        self._began(row.get("started"))
        self.busy_s["embed"] += row["embed_s"] or 0.0
        self.busy_s["write"] += row["write_s"] or 0.0
        if row["kind"] == "piece" and row["status"] != "failed":
            self.windows[row["method"]] += row["windows_count"]
            self.bytes_written += row["windows_count"] * self._window_bytes.get(row["method"], 0)
        elif row["kind"] == "attempt" and _pass(row) not in self._attempts:
            self._attempts.add(_pass(row))
            self.busy_s["decode"] += row["decode_s"] or 0.0

    def settle(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count a video that is settled, by its rows of kind end or seen, one of each method."""
        passes = {_pass(row): row["decode_s"] or 0.0 for row in rows}  # methods share them
        self.busy_s["decode"] += sum(took for each, took in passes.items() if each not in self._attempts)
        self._attempts -= passes.keys()
        self.frames += max(row["frames"] or 0 for row in rows)
        self.bytes_read += max(row["bytes"] or 0 for row in rows)
        ends = [row for row in rows if row["kind"] == "end"]
        if failed := [row["error_class"] for row in ends if row["status"] == "failed"]:
            self.failed[failed[0]] += 1
        elif any(row["status"] == "done" for row in ends):
            self.done += 1
        else:
            self.skipped[ends[0]["message"] if ends else "already done"] += 1
        heapq.heappush(self._slowest, (sum(passes.values()), rows[0]["video_id"], rows[0]["uri"] or ""))
        if len(self._slowest) > SLOWEST:
            heapq.heappop(self._slowest)

    def _began(self, started: datetime | None) -> None:
        """Note when the first video was begun. Clocks differ between machines: nothing began in the future."""
        now = time.monotonic()
        age_s = 0.0 if started is None else (datetime.now(timezone.utc) - started).total_seconds()
        began = now - max(0.0, age_s)
        self.first_s = began if self.first_s is None else min(self.first_s, began)


def _pass(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["video_id"], row["run"], row["attempt"]
