"""Decode videos into windows where they cannot hurt: rows of videos in, rows of pieces out, never an exception.

decode = Decode(jobs={"s2vs": Job(view=Frames(), config="s2vs-1a2b3c4d")}, run="r1")
for table in decode(pa.table({"video_id": ["a"], "uri": ["a.mp4"], "methods": [["s2vs"]]})):
    ...
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa

from ndvr.models.card import Mel, View
from ndvr.operators.errors import DecodeError
from ndvr.operators.rows import table
from ndvr.operators.storage.fetch import Fetch
from ndvr.operators.storage.object_store import Access
from ndvr.operators.video import decoders
from ndvr.operators.video.decode_child import File, Seen, Verdict
from ndvr.operators.video.sandbox import ChildDied, ChildKilled, Sandbox
from ndvr.operators.video.windows import Piece

QUARANTINE = 2  # decoder processes that a file may bring down
KILLS = 5  # of its decoder from outside after which a video is tried once more, with growing pauses
FIRST_PAUSE_S = 0.1
_HOPELESS = ("io", "empty", "oom", "unsupported")  # with any decoder: PyAV knows every codec that decord does


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


@dataclass
class _Case:
    """One video: what is known of its file, and how its attempts went."""

    video: dict[str, Any]
    settled: dict[str, str]  # by method the hash of what stands in the ledger
    path: str = ""  # of the file, where it is here
    facts: dict[str, Any] = field(default_factory=dict)  # bytes, mtime_ns, sha256
    attempt: int = 0
    started: datetime | None = None  # of the attempt
    deaths: Counter[str] = field(default_factory=Counter)  # by method: children that went down while it was decoded
    kills: int = 0  # from outside
    ends: dict[str, dict[str, Any]] = field(default_factory=dict)  # by method, as of the latest attempt


class Decode:
    """A table of videos (ndvr.operators.rows.PLANNED) -> tables of pieces, attempts and ends; see there.

    Only video_id, uri, methods and, where there are any, contents are read.
    """

    def __init__(
        self,
        *,
        jobs: dict[str, Job],
        run: str,
        decoder: str = "auto",
        limits: Limits | None = None,
        access: Access | None = None,
    ):
        self.jobs, self.run, self.order = jobs, run, decoders.order(decoder)
        self.host = socket.gethostname().split(".")[0]
        limits = limits or Limits()
        self.fetch = Fetch(access, total_s=limits.total_s)
        hears = any(isinstance(job.view, Mel) for job in jobs.values())
        self.sandbox = Sandbox(
            "ndvr.operators.video.decode_child:serve",
            needs=("ndvr.models.layers.mel",) if hears else (),
            memory_gb=limits.memory_gb,
            stall_s=limits.stall_s,
            total_s=limits.total_s,
        )

    def __call__(self, videos: pa.Table) -> Iterator[pa.Table]:
        for video in videos.to_pylist():
            yield from self._video(video)

    def _video(self, video: dict[str, Any]) -> Iterator[pa.Table]:
        """With the file at hand. What cannot be brought here is failed for every method."""
        settled = zip(video["methods"], video.get("contents") or [])
        case = _Case(video, {method: content for method, content in settled if content})
        case.started, began = datetime.now(timezone.utc), time.monotonic()
        try:
            with self.fetch(video["uri"]) as file:
                case.path, case.facts = file
                yield from self._decoded(case)
        except DecodeError as error:
            case.attempt, case.facts = 1, {name: video.get(name) for name in ("bytes", "mtime_ns")}
            end: dict[str, Any] = {
                "kind": "end",
                "status": "failed",
                "error_class": error.kind,
                "message": error.message,
            }
            end |= {"piece": 0, "windows_count": 0, "uri": video["uri"], "decode_s": time.monotonic() - began}
            end |= {"deaths": 0, "quarantined": False}
            yield table([self._row(case, method, end) for method in video["methods"]])

    def _decoded(self, case: _Case) -> Iterator[pa.Table]:
        """Every attempt hands over pieces; the end rows come when all methods have their verdict."""
        attempts = [(self.order[0], list(case.video["methods"]))]
        while attempts:
            decoder, methods = attempts.pop(0)
            case.attempt, case.started = case.attempt + 1, datetime.now(timezone.utc)
            found, error = yield from self._attempt(case, decoder, methods)
            again = self._again(case, decoder, found, error)
            tried = {method: dict(found[method]) for _, some in again for method in some}
            for method, end in found.items():
                case.ends[method] = self._settle(case, method, end, decoder)
            if tried:
                yield table([self._row(case, method, end | {"kind": "attempt"}) for method, end in tried.items()])
            if isinstance(error, ChildKilled):
                time.sleep(FIRST_PAUSE_S * 2 ** (case.kills - 1) if again else 0)
            attempts = again + attempts
        for method, end in case.ends.items():
            end["deaths"] = case.deaths[method]
            end["quarantined"] = end["status"] == "failed" and end["deaths"] >= QUARANTINE
            del end["tried"]
        if case.ends:
            yield table([self._row(case, method, end) for method, end in case.ends.items()])

    def _attempt(
        self, case: _Case, decoder: str, methods: list[str]
    ) -> Generator[pa.Table, None, tuple[dict[str, dict[str, Any]], DecodeError | None]]:
        """Tables of pieces; returns the end of every method that was not seen, and what broke the attempt off."""
        began = time.monotonic()
        counts = dict.fromkeys(methods, (0, 0))
        ends: dict[str, dict[str, Any]] = {}
        broken: DecodeError | None = None
        views = {method: self.jobs[method].view for method in methods}
        try:
            for item in self.sandbox.stream(case.path, views, decoder, case.settled, case.facts):
                if isinstance(item, Piece):
                    pieces, windows = counts[item.key]
                    counts[item.key] = pieces + 1, windows + len(item.windows)
                    yield table([self._row(case, item.key, _piece(item))])
                elif isinstance(item, File):
                    case.facts = item.facts
                elif isinstance(item, Seen):
                    del counts[item.key]
                    seen = {"kind": "seen", "piece": 0, "windows_count": 0, "uri": case.video["uri"]}
                    yield table([self._row(case, item.key, seen)])
                elif isinstance(item, Verdict):
                    ends[item.key] = item.columns
        except DecodeError as error:
            broken = error
            lost = {"status": "failed", "error_class": error.kind, "message": error.message}
            ends |= {method: dict(lost) for method in counts if method not in ends}
        for method, end in ends.items():
            pieces, windows = counts[method]
            end.setdefault("decode_s", time.monotonic() - began)  # of a failure: how long it kept us waiting
            end.setdefault("decoder", decoder)
            end |= {"kind": "end", "piece": pieces, "windows_count": windows, "uri": case.video["uri"]}
            few = self.jobs[method].min_windows
            if end["status"] == "done" and windows < few and not end["message"]:
                end["message"] = f"{windows} windows, fewer than {few}: repeated when compared"
        return ends, broken

    def _again(
        self, case: _Case, decoder: str, ends: dict[str, dict[str, Any]], error: DecodeError | None
    ) -> list[tuple[str, list[str]]]:
        """What to try next for the methods that failed."""
        failed = [method for method, end in ends.items() if end["status"] == "failed"]
        if isinstance(error, ChildKilled):
            case.kills += 1
            return [(decoder, failed)] if case.kills <= KILLS else []
        if isinstance(error, ChildDied):
            case.deaths.update(failed)
        sound = [method for method in failed if isinstance(self.jobs[method].view, Mel)]
        picture = [method for method in failed if method not in sound]
        if error is not None and error.died and sound and picture:  # either may have done it: apart
            return [(decoder, picture), (decoder, sound)]
        rest = self.order[self.order.index(decoder) + 1 :]
        following = [method for method in picture if rest and ends[method]["error_class"] not in _HOPELESS]
        alone = [method for method in failed if method not in following and _first(case, method, decoder)]
        if not isinstance(error, ChildDied):
            alone = []  # a second time with the same decoder is for those that it is the only one for, and died
        again = [(rest[0], following)] if following else []
        return [*again, (decoder, alone)] if alone else again

    def _settle(self, case: _Case, method: str, end: dict[str, Any], decoder: str) -> dict[str, Any]:
        """The end of a method in the light of the attempts before."""
        before = case.ends.get(method)
        if case.kills > KILLS:
            end["message"] += f"; {case.kills} times"
        if before and before["tried"] != decoder and end["status"] == "failed":
            # The first decoder's verdict stands: it opens more, so its class says more about the file.
            message = f"{before['message']}; then {decoder}: {end['message']}"
            end |= {"error_class": before["error_class"], "message": message}
        elif end["error_class"] == "corrupt" and self.order == ("decord",):
            end["message"] += "; `--decoder auto` reads more files"
        return end | {"attempt": case.attempt, "started": case.started, "tried": decoder}

    def _row(self, case: _Case, method: str, values: dict[str, Any]) -> dict[str, Any]:
        key = {"video_id": case.video["video_id"], "method": method, "config": self.jobs[method].config}
        made = {"run": self.run, "attempt": case.attempt, "host": self.host, "started": case.started}
        return key | made | case.facts | values


def _first(case: _Case, method: str, decoder: str) -> bool:
    """Whether no other decoder has been tried, and this one did not go down too often."""
    before = case.ends.get(method)
    return case.deaths[method] < QUARANTINE and (before is None or before["tried"] == decoder)


def _piece(piece: Piece) -> dict[str, Any]:
    windows = np.ascontiguousarray(piece.windows)
    return {
        "kind": "piece",
        "piece": piece.number,
        "windows_count": len(windows),
        "start_s": piece.start_s,
        "data": windows.tobytes(),
    }
