"""Decode videos into windows where they cannot hurt: rows of videos in, rows of pieces out, never an exception.

decode = Decode(jobs={"s2vs": Job(view=Frames(), config="s2vs-1a2b3c4d")}, run="r1")
for table in decode(pa.table({"video_id": ["a"], "uri": ["a.mp4"], "methods": [["s2vs"]]})):
    ...
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ndvr.models.card import View
from ndvr.operators import decoders
from ndvr.operators.errors import DecodeError, NoPicture
from ndvr.operators.rows import table
from ndvr.operators.sandbox import Sandbox
from ndvr.operators.stream import Stream, sha256_of
from ndvr.operators.windows import Piece, cut


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one method wants from the decoder, and the name of its configuration."""

    view: View
    config: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one video may cost before it counts as a failure."""

    memory_gb: float = 4.0  # an 8K HEVC stream with its reference frames needs 2
    stall_s: float = 30.0  # without a decoded frame
    total_s: float = 3600.0  # in all, not counting the time we keep the decoder waiting


def serve(
    beat: Callable[[], None], path: str, views: dict[str, View], decoder: str
) -> Iterator[Piece | dict[str, Any]]:
    """Runs in the child: pieces as they are cut, then what was decoded."""
    began = time.process_time()
    for item in cut(path, views, decoder, heartbeat=beat):
        if isinstance(item, Stream):
            yield _facts(path, item) | {"decode_s": time.process_time() - began}
        else:
            yield item


def _facts(path: str, stream: Stream) -> dict[str, Any]:
    duration_s = float(stream.end_s)
    # Containers overstate by rounding and by sound that is longer; a tenth and a second is more than that.
    claimed_s = stream.duration_s or duration_s
    missing = claimed_s < 12 * 3600 and claimed_s - duration_s > max(1.0, 0.1 * claimed_s)
    return {
        "decoder": stream.decoder,
        "frames": stream.decoded,
        "damaged": stream.errors,
        "partial": bool(stream.errors or missing),
        "duration_s": duration_s,
        "sha256": sha256_of(path),
    }


class Decode:
    """A table of videos (video_id, uri, methods) -> tables of pieces and end rows; see ndvr.operators.rows."""

    def __init__(self, *, jobs: dict[str, Job], run: str, decoder: str = "auto", limits: Limits | None = None):
        self.jobs, self.run, self.order = jobs, run, decoders.order(decoder)
        limits = limits or Limits()
        self.sandbox = Sandbox(
            f"{__name__}:serve", memory_gb=limits.memory_gb, stall_s=limits.stall_s, total_s=limits.total_s
        )

    def __call__(self, videos: pa.Table) -> Iterator[pa.Table]:
        for video in videos.to_pylist():
            yield from self._video(video)

    def _video(self, video: dict[str, Any]) -> Iterator[pa.Table]:
        began = time.monotonic()
        facts: dict[str, Any] = _stat(video["uri"])
        counts = dict.fromkeys(video["methods"], (0, 0))
        views = {method: self.jobs[method].view for method in video["methods"]}
        end: dict[str, Any] = {}
        attempt = 0
        for attempt, decoder in enumerate(self.order, start=1):
            counts = dict.fromkeys(video["methods"], (0, 0))
            try:
                for item in self.sandbox.stream(video["uri"], views, decoder):
                    if isinstance(item, Piece):
                        pieces, windows = counts[item.key]
                        if len(item.windows):
                            counts[item.key] = pieces + 1, windows + len(item.windows)
                            yield table([self._row(video, item.key, attempt, _piece(item))])
                    else:
                        facts |= item
                end = {"status": "done"}
                break
            except NoPicture as reason:
                end = {"status": "skipped", "message": f"no picture: {reason}"}
                break
            except DecodeError as error:
                message = error.message if not end else f"{end['message']}; then {decoder}: {error.message}"
                # The first decoder's verdict stands: it opens more, so its class says more about the file.
                end = {
                    "status": "failed",
                    "error_class": end.get("error_class", error.kind),
                    "message": message,
                }
                if error.kind in ("io", "empty", "oom"):
                    break  # no other decoder will fare better
        facts.setdefault("decode_s", time.monotonic() - began)  # of a failure: how long it kept us waiting
        rows = []
        for method, (pieces, windows) in counts.items():
            last = {"kind": "end", "piece": pieces, "windows_count": windows, "uri": video["uri"]}
            rows.append(self._row(video, method, attempt, last | facts | end))
        yield table(rows)

    def _row(self, video: dict[str, Any], method: str, attempt: int, values: dict[str, Any]) -> dict[str, Any]:
        key = {"video_id": video["video_id"], "method": method, "config": self.jobs[method].config}
        return key | {"run": self.run, "attempt": attempt} | values


def _stat(uri: str) -> dict[str, Any]:
    try:
        found = os.stat(uri)
    except OSError:
        return {}
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def _piece(piece: Piece) -> dict[str, Any]:
    windows = np.ascontiguousarray(piece.windows)
    return {
        "kind": "piece",
        "piece": piece.number,
        "windows_count": len(windows),
        "start_s": piece.start_s,
        "data": windows.tobytes(),
    }
