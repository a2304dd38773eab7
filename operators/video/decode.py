"""Decode videos into windows where they cannot hurt: rows of videos in, rows of pieces out, never an exception.

decode = Decode(jobs={"s2vs": Job(view=Frames(), config="s2vs-1a2b3c4d")}, run="r1")
for table in decode(pa.table({"video_id": ["a"], "uri": ["a.mp4"], "methods": [["s2vs"]]})):
    ...
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa

from ndvr.models.card import Mel, View
from ndvr.operators.errors import DecodeError
from ndvr.operators.rows import FileFacts, Kind, table
from ndvr.operators.sandbox.sandbox import ChildKilled, Sandbox
from ndvr.operators.sandbox.walls import missing
from ndvr.operators.storage.fetch import Fetcher
from ndvr.operators.storage.object_store import Access
from ndvr.operators.video import decoders
from ndvr.operators.video._attempts import (
    QUARANTINE,
    Attempt,
    Outcome,
    Tried,
    deaths,
    final_outcome,
    kills,
    next_attempts,
)
from ndvr.operators.video._decode_child import Content, File, Seen, Verdict, serve
from ndvr.operators.video.windows import Piece

FIRST_PAUSE_S = 0.1  # after a decoder was killed from outside; doubled every time


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
class _Video:
    """One video while it is being decoded."""

    video_id: str
    uri: str
    methods: tuple[str, ...]
    settled: dict[str, str]  # by method the hash of what stands in the ledger
    content: Content
    facts: FileFacts  # as far as they are known
    path: str = ""  # of the file, where it is here
    history: list[Tried] = field(default_factory=list)


class Decode:
    """A table of videos (ndvr.operators.rows.PLANNED) -> tables of pieces, attempts and ends; see there.

    Of the videos only video_id, uri and methods have to be there. Files whose SHA-256 is among `removed` are skipped.
    `on_video` is called with the id of every video before it is touched.
    """

    def __init__(
        self,
        *,
        jobs: dict[str, Job],
        run: str,
        decoder: str = "auto",
        limits: Limits | None = None,
        access: Access | None = None,
        removed: frozenset[str] = frozenset(),
        on_video: Callable[[str], None] = lambda video_id: None,
    ):
        self.removed = removed
        self.jobs, self.run, self.order, self.on_video = jobs, run, decoders.order(decoder), on_video
        self.sounds = {method for method, job in jobs.items() if isinstance(job.view, Mel)}
        self.host = this_host()
        limits = limits or Limits()
        self.fetcher = Fetcher(access, total_s=limits.total_s)
        self.limits = limits
        self.sandbox = self._new_sandbox()

    def close(self) -> None:
        """End the decoder process."""
        self.sandbox.close()

    def _new_sandbox(self, needs: tuple[str, ...] = (), readable: tuple[str, ...] = ()) -> Sandbox:
        return Sandbox(
            serve,
            needs=(*needs, "ndvr.models.layers.mel", "ndvr.models.method") if self.sounds else needs,
            records=(File, FileFacts, Seen, Piece, Verdict, Outcome),
            readable=readable,
            memory_gb=self.limits.memory_gb,
            stall_s=self.limits.stall_s,
            total_s=self.limits.total_s,
        )

    def _decoders(self) -> tuple[str, ...]:
        """Choose which decoders are tried: decord's old FFmpeg as a second one only where walls stand around it."""
        choice = len(self.order) > 1 and bool(missing(self.sandbox.walls))
        return self.order[:1] if choice else self.order

    def _stream(self, video: _Video, attempt: Attempt, views: dict[str, View]) -> Iterator[Any]:
        """Yield what the decoder's process says of a video."""
        call = (views, attempt.decoder, video.settled, video.facts, video.content)
        if attempt.decoder != "decord":
            yield from self.sandbox.stream(*call, file=video.path)
            return
        # decord opens files by their name, with an FFmpeg of 2020: a process for each, that may open this one alone.
        with self._new_sandbox(("decord",), (video.path,)) as own:
            yield from own.stream(*call, file=video.path)

    def __call__(self, videos: pa.Table) -> Iterator[pa.Table]:
        for row in videos.to_pylist():
            settled = zip(row["methods"], row.get("contents") or [])
            video = _Video(
                video_id=row["video_id"],
                uri=row["uri"],
                methods=tuple(row["methods"]),
                settled={method: content for method, content in settled if content},
                content=Content(row.get("expected"), row.get("elsewhere") or "", self.removed),
                facts=FileFacts(bytes=row.get("bytes"), mtime_ns=row.get("mtime_ns")),
            )
            self.on_video(video.video_id)
            yield from self._video(video)

    def _video(self, video: _Video) -> Iterator[pa.Table]:
        """Bring the file here and decode it; when that is impossible, every method fails."""
        started, began = datetime.now(timezone.utc), time.monotonic()
        try:
            with self.fetcher.fetch(video.uri) as (video.path, video.facts):
                # Also of a file that cannot be opened: the next run knows it by them.
                video.facts = video.facts if video.facts.sha256 else _facts_of(video.path)
                yield from self._attempts(video)
        except DecodeError as error:
            failure = replace(_failure(error), decode_s=time.monotonic() - began)
            outcomes = dict.fromkeys(video.methods, failure)
            video.history = [Tried(attempt=Attempt("", video.methods), started=started, outcomes=outcomes)]
        if ends := self._ends(video):
            yield table(ends)

    def _attempts(self, video: _Video) -> Iterator[pa.Table]:
        """Try until there is nothing left to try: yield pieces, and of every try that another one follows a row."""
        waiting = [Attempt(self.order[0], video.methods)]
        while waiting:
            tried = yield from self._attempt(video, waiting.pop(0))
            video.history.append(tried)
            following = next_attempts(video.history, decoders=self._decoders(), sounds=self.sounds)
            if following:
                retried = [method for attempt in following for method in attempt.methods]
                yield table([self._end(video, method, tried.outcomes[method], kind="attempt") for method in retried])
            if following and isinstance(tried.error, ChildKilled):
                time.sleep(FIRST_PAUSE_S * 2 ** (kills(video.history) - 1))
            waiting = following + waiting

    def _attempt(self, video: _Video, attempt: Attempt) -> Generator[pa.Table, None, Tried]:
        """Yield the pieces of one attempt; return what became of every method that was not seen."""
        started, began = datetime.now(timezone.utc), time.monotonic()
        pieces, windows = Counter[str](), Counter[str]()
        waiting, outcomes = list(attempt.methods), dict[str, Outcome]()
        broken: DecodeError | None = None
        views = {method: self.jobs[method].view for method in attempt.methods}
        row = {"attempt": len(video.history) + 1, "started": started}
        try:
            for item in self._stream(video, attempt, views):
                if isinstance(item, Piece):
                    pieces[item.key] += 1
                    windows[item.key] += len(item.windows)
                    yield table([self._row(video, item.key, row | _piece(item))])
                elif isinstance(item, File):
                    video.facts = item.facts
                elif isinstance(item, Seen):
                    waiting.remove(item.method)
                    seen = {"kind": "seen", "piece": 0, "windows_count": 0, "uri": video.uri}
                    yield table([self._row(video, item.method, row | seen)])
                elif isinstance(item, Verdict):
                    waiting.remove(item.method)
                    outcomes[item.method] = item.outcome
        except DecodeError as error:
            broken = error
            outcomes |= dict.fromkeys(waiting, _failure(error))
        waited_s = time.monotonic() - began
        for method, outcome in outcomes.items():
            outcome = replace(
                outcome,
                pieces=pieces[method],
                windows=windows[method],
                decoder=outcome.decoder or attempt.decoder,
                decode_s=waited_s if outcome.decode_s is None else outcome.decode_s,
            )
            outcomes[method] = self._with_note_if_short(method, outcome)
        return Tried(attempt=attempt, started=started, outcomes=outcomes, error=broken)

    def _with_note_if_short(self, method: str, outcome: Outcome) -> Outcome:
        fewest = self.jobs[method].min_windows
        if outcome.status != "done" or outcome.windows >= fewest or outcome.message:
            return outcome
        return replace(outcome, message=f"{outcome.windows} windows, fewer than {fewest}: repeated when compared")

    def _ends(self, video: _Video) -> list[dict[str, Any]]:
        """Make the end rows: one for every method that was tried."""
        rows = []
        for method in dict.fromkeys(method for tried in video.history for method in tried.outcomes):
            outcome = final_outcome(video.history, method, decoders=self._decoders())
            n_deaths = deaths(video.history, method)
            row = self._end(video, method, outcome, kind="end")
            rows.append(row | {"deaths": n_deaths, "quarantined": outcome.failed and n_deaths >= QUARANTINE})
        return rows

    def _end(self, video: _Video, method: str, outcome: Outcome, *, kind: Kind) -> dict[str, Any]:
        """Make the row of an outcome, with the number and time of the method's latest attempt."""
        number = max(n for n, tried in enumerate(video.history, 1) if method in tried.outcomes)
        columns = asdict(outcome)
        counts = {"piece": columns.pop("pieces"), "windows_count": columns.pop("windows")}
        made = {"kind": kind, "attempt": number, "started": video.history[number - 1].started, "uri": video.uri}
        return self._row(video, method, made | counts | columns)

    def _row(self, video: _Video, method: str, columns: dict[str, Any]) -> dict[str, Any]:
        key = {"video_id": video.video_id, "method": method, "config": self.jobs[method].config}
        return key | {"run": self.run, "host": self.host} | asdict(video.facts) | columns


def _facts_of(path: str) -> FileFacts:
    with contextlib.suppress(OSError):
        stat = os.stat(path)
        return FileFacts(bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)
    return FileFacts()


def _failure(error: DecodeError) -> Outcome:
    return Outcome(status="failed", error_class=error.kind, message=error.message)


def _piece(piece: Piece) -> dict[str, Any]:
    windows = np.ascontiguousarray(piece.windows)
    return {
        "kind": "piece",
        "piece": piece.number,
        "windows_count": len(windows),
        "start_s": piece.start_s,
        "data": windows.tobytes(),
    }


def this_host() -> str:
    """Name this machine as receipts do."""
    return socket.gethostname().split(".")[0]
