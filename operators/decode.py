"""Decode videos into windows where they cannot hurt: rows of videos in, rows of pieces out, never an exception.

decode = Decode(jobs={"s2vs": Job(view=Frames(), config="s2vs-1a2b3c4d")}, run="r1")
for table in decode(pa.table({"video_id": ["a"], "uri": ["a.mp4"], "methods": [["s2vs"]]})):
    ...
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from ndvr.models.card import Mel, View
from ndvr.operators import decoders
from ndvr.operators.errors import DecodeError
from ndvr.operators.rows import table
from ndvr.operators.sandbox import Sandbox
from ndvr.operators.stream import Stream, sha256_of
from ndvr.operators.windows import End, Piece, cut


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one method wants from the decoder, and the name of its configuration."""

    view: View
    config: str
    min_windows: int = 1  # a shorter video is marked in the ledger


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one video may cost before it counts as a failure."""

    memory_gb: float = 4.0  # an 8K HEVC stream with its reference frames needs 2
    stall_s: float = 30.0  # without a decoded frame
    total_s: float = 3600.0  # in all, not counting the time we keep the decoder waiting


def serve(
    beat: Callable[[], None], path: str, views: dict[str, View], decoder: str
) -> Iterator[Piece | tuple[str, dict[str, Any]]]:
    """Runs in the child: pieces as they are cut, and of every view its name with what became of it."""
    began = time.process_time()
    use_one_core(views.values())
    ends = []
    for item in cut(path, views, decoder, heartbeat=beat):
        if isinstance(item, End):
            ends.append(item)
        else:
            yield item
    common = {"decode_s": time.process_time() - began, "sha256": sha256_of(path)}
    for end in ends:
        verdict = {"status": end.status, "error_class": end.error_class, "message": end.message}
        facts = _facts(end.stream) if end.stream else {}
        if isinstance(views[end.key], Mel):
            facts["frames"] = None  # counted of pictures only
        yield end.key, common | verdict | facts


def use_one_core(views: Iterable[View]) -> None:
    """Keep the libraries that cut windows of these views to one core, as a decoder has one."""
    cv2.setNumThreads(1)
    if any(isinstance(view, Mel) for view in views):
        from ndvr.models.layers import mel  # torch, which picture methods can do without

        mel.use_one_thread()


def _facts(stream: Stream) -> dict[str, Any]:
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
    }


class Decode:
    """A table of videos (video_id, uri, methods) -> tables of pieces and end rows; see ndvr.operators.rows."""

    def __init__(self, *, jobs: dict[str, Job], run: str, decoder: str = "auto", limits: Limits | None = None):
        self.jobs, self.run, self.order = jobs, run, decoders.order(decoder)
        limits = limits or Limits()
        hears = any(isinstance(job.view, Mel) for job in jobs.values())
        self.sandbox = Sandbox(
            f"{__name__}:serve",
            needs=("ndvr.models.layers.mel",) if hears else (),
            memory_gb=limits.memory_gb,
            stall_s=limits.stall_s,
            total_s=limits.total_s,
        )

    def __call__(self, videos: pa.Table) -> Iterator[pa.Table]:
        for video in videos.to_pylist():
            yield from self._video(video)

    def _video(self, video: dict[str, Any]) -> Iterator[pa.Table]:
        """Every attempt hands over pieces; the end rows come when all methods have their verdict."""
        facts = _stat(video["uri"])
        ends: dict[str, dict[str, Any]] = {}
        attempts = [(self.order[0], list(video["methods"]))]
        number = 0
        while attempts:
            decoder, methods = attempts.pop(0)
            number += 1
            found = yield from self._attempt(video, decoder, methods, number)
            for method, end in found.items():
                if (before := ends.get(method)) and end["status"] == "failed":
                    # The first decoder's verdict stands: it opens more, so its class says more about the file.
                    end |= {
                        "error_class": before["error_class"],
                        "message": f"{before['message']}; then {decoder}: {end['message']}",
                    }
                ends[method] = end
            attempts += self._again(decoder, found)
        yield table([self._row(video, method, end.pop("attempt"), facts | end) for method, end in ends.items()])

    def _attempt(
        self, video: dict[str, Any], decoder: str, methods: list[str], number: int
    ) -> Generator[pa.Table, None, dict[str, dict[str, Any]]]:
        """Tables of pieces; returns the end of every method."""
        began = time.monotonic()
        counts = dict.fromkeys(methods, (0, 0))
        ends: dict[str, dict[str, Any]] = {}
        try:
            for item in self.sandbox.stream(video["uri"], {m: self.jobs[m].view for m in methods}, decoder):
                if isinstance(item, Piece):
                    pieces, windows = counts[item.key]
                    counts[item.key] = pieces + 1, windows + len(item.windows)
                    yield table([self._row(video, item.key, number, _piece(item))])
                else:
                    ends[item[0]] = item[1]
        except DecodeError as error:
            lost = {"status": "failed", "error_class": error.kind, "message": error.message, "died": error.died}
            ends |= {method: dict(lost) for method in methods if method not in ends}
        for method, end in ends.items():
            pieces, windows = counts[method]
            end.setdefault("decode_s", time.monotonic() - began)  # of a failure: how long it kept us waiting
            end |= {"kind": "end", "piece": pieces, "windows_count": windows, "uri": video["uri"], "attempt": number}
            few = self.jobs[method].min_windows
            if end["status"] == "done" and windows < few and not end["message"]:
                end["message"] = f"{windows} windows, fewer than {few}: repeated when compared"
        return ends

    def _again(self, decoder: str, ends: dict[str, dict[str, Any]]) -> list[tuple[str, list[str]]]:
        """What to try next for methods that failed: the next decoder, or, after a death, one without the other."""
        failed = [method for method, end in ends.items() if end["status"] == "failed"]
        died = any([ends[method].pop("died", False) for method in failed])
        sound = [method for method in failed if isinstance(self.jobs[method].view, Mel)]
        picture = [method for method in failed if method not in sound]
        if died and sound and picture:  # either may have killed the child; the other shall have its chance
            return [(decoder, picture), (decoder, sound)]
        rest = self.order[self.order.index(decoder) + 1 :]
        picture = [method for method in picture if ends[method]["error_class"] not in ("io", "empty", "oom")]
        return [(rest[0], picture)] if rest and picture else []

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
