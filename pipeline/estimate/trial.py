"""Extract a few videos in this process to see what they cost: a run's operators without Ray, results thrown away."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ndvr.operators.features.embed import Embed
from ndvr.operators.library.config import Config
from ndvr.operators.library.library import Library
from ndvr.operators.library.shards import Write
from ndvr.operators.video.decode import Decode, Job, Limits
from ndvr.pipeline.settings import Setting

if TYPE_CHECKING:
    from ndvr.models.method import Model


# --- What features and receipts take on disk: written to a temporary library as a run would, weighed, and dropped ----


@dataclass(frozen=True, kw_only=True)
class Files:
    """Bytes by what they are for."""

    window_bytes: dict[str, float] = field(default_factory=dict)  # by method
    shard_bytes: dict[str, float] = field(default_factory=dict)  # by method, of a shard without windows
    row_bytes: float = 0.0  # of a receipt
    commit_bytes: float = 0.0  # of a commit without receipts
    write_s: float = 0.0  # CPU seconds of one commit with its shards


def write_out(tables: list[pa.Table], configs: dict[str, Config]) -> Files:
    """Write everything as one commit, then a commit a video: what a file costs without rows, and what a row adds."""
    by_name = {config.name: config for config in configs.values()}
    windows = {method: 0 for method in configs}
    for table in tables:
        for row in table.select(["method", "kind", "windows_count"]).to_pylist():
            windows[row["method"]] += row["windows_count"] if row["kind"] == "piece" else 0
    n_rows = sum(table.num_rows for table in tables)
    folder = Path(tempfile.mkdtemp(prefix="ndvr-plan-"))
    try:
        (one, _), (many, seconds) = (
            _written(folder / name, parts, by_name)
            for name, parts in (("one", [pa.concat_tables(tables)]), ("many", tables))
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    files = {name: max(1, sum(_has_windows(table, name) for table in tables)) for name in by_name}
    shard = {name: _fixed(one.get(name, 0), many.get(name, 0), files[name]) for name in by_name}
    commit = _fixed(one["commits"], many["commits"], len(tables))
    names = {method: config.name for method, config in configs.items()}
    return Files(
        window_bytes={
            method: (one.get(name, 0) - shard[name]) / max(1, windows[method]) for method, name in names.items()
        },
        shard_bytes={method: shard[name] for method, name in names.items()},
        row_bytes=(one["commits"] - commit) / max(1, n_rows),
        commit_bytes=commit,
        write_s=seconds / len(tables),
    )


def _has_windows(table: pa.Table, config: str) -> bool:
    return any(
        row["kind"] == "piece" and row["config"] == config for row in table.select(["kind", "config"]).to_pylist()
    )


def _fixed(one: int, many: int, files: int) -> float:
    """Bytes of a file without rows: `one` file and `many` hold the same rows."""
    return max(0.0, (many - one) / (files - 1)) if files > 1 and one else 0.0


def _written(folder: Path, parts: list[pa.Table], by_name: dict[str, Config]) -> tuple[dict[str, int], float]:
    """Bytes of shards by configuration and of "commits", and CPU seconds."""
    Library.create(folder)
    write = Write(str(folder), by_name)
    began = time.process_time()
    for part in parts:
        write(part)
    seconds = time.process_time() - began
    sizes = {name: bytes_under(folder / "shards" / name) for name in by_name}
    return {**sizes, "commits": bytes_under(folder / "commits")}, seconds


def bytes_under(folder: Path | str) -> int:
    """Of all files in a folder and below."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


KEPT_BYTES = 64 << 20  # of windows of each method, kept to be embedded
EMBED_S = 30.0  # for each method, a slow network is known well enough after that


@dataclass(kw_only=True)
class Tried:
    """What one video cost and gave."""

    decode_s: float = 0.0  # CPU seconds of the decoder's process
    hand_s: float = 0.0  # of the worker that takes its windows over
    windows: dict[str, int] = field(default_factory=dict)  # by method
    failed: str | None = None  # error class
    rows: list[pa.Table] = field(default_factory=list, repr=False)  # kept for the stages that follow


@dataclass(kw_only=True)
class Trial:
    """What a sample cost, by stage, and the constants that follow from it."""

    videos: list[Tried]
    embed: dict[str, list[tuple[int, float]]]  # by method: windows and seconds of every piece
    files: Files  # what features and receipts take on disk
    others: float  # cores that other programs kept busy meanwhile


def try_out(
    rows: list[dict[str, Any]],
    chosen: dict[str, Setting],
    models: dict[str, Model],
    configs: dict[str, Config],
    *,
    decoder: str,
    limits: Limits,
    workers: int,
    done: Callable[[], None],
) -> Trial:
    """Decode `rows` (of the plan), embed their windows, write the features to a temporary library and drop it."""
    jobs = {
        method: Job(view=setting.view, config=configs[method].name, min_windows=setting.card.min_windows)
        for method, setting in chosen.items()
    }
    began, busy = time.monotonic(), _others_busy_s()
    videos = _decode(rows, lambda: Decode(jobs=jobs, run="plan", decoder=decoder, limits=limits), workers, done)
    others = max(0.0, (_others_busy_s() - busy) / max(time.monotonic() - began, 1e-9))
    tables, seconds = _embed([video.rows for video in videos], models, workers)
    files = write_out(tables, configs) if tables else Files()
    return Trial(videos=videos, embed=seconds, others=others, files=files)


def _decode(
    rows: list[dict[str, Any]], make: Callable[[], Decode], workers: int, done: Callable[[], None]
) -> list[Tried]:
    """As many decoders at once as the run has on this machine, so that they disturb each other as they will."""
    found = [Tried() for _ in rows]
    waiting = deque(range(len(rows)))
    room = dict.fromkeys({method for row in rows for method in row["methods"]}, KEPT_BYTES)

    def work() -> None:
        decode = make()
        try:
            while waiting:
                try:
                    index = waiting.popleft()
                except IndexError:
                    return
                _decode_one(decode, rows[index], found[index], room)
                done()
        finally:
            decode.close()

    with ThreadPoolExecutor(workers) as pool:
        for worker in [pool.submit(work) for _ in range(min(workers, len(rows)))]:
            worker.result()
    return found


def _decode_one(decode: Decode, row: dict[str, Any], tried: Tried, room: dict[str, int]) -> None:
    began = time.thread_time()
    attempts: dict[int, float] = {}
    columns = {key: [row[key]] for key in ("video_id", "uri", "methods")}
    for table in decode(pa.table({**columns, "contents": [[None] * len(row["methods"])]})):
        keep = True
        for facts in table.drop_columns(["start_s", "data"]).to_pylist():
            method, kind = facts["method"], facts["kind"]
            if kind == "piece":
                keep = room[method] > 0
                room[method] -= table.nbytes
                continue
            attempts[facts["attempt"]] = facts["decode_s"] or 0.0  # methods share it
            if kind == "end":
                tried.windows[method] = facts["windows_count"] if facts["status"] == "done" else 0
                tried.failed = facts["error_class"] if facts["status"] == "failed" else tried.failed
        if keep:
            tried.rows.append(table)
    tried.decode_s = sum(attempts.values())
    tried.hand_s = time.thread_time() - began


def _embed(
    videos: list[list[pa.Table]], models: dict[str, Model], threads: int
) -> tuple[list[pa.Table], dict[str, list[tuple[int, float]]]]:
    """A table per video with features in place of windows, and what every piece took: CPU seconds, on a GPU seconds."""
    clocks = {method: Clock(Embed({method: model}, threads=threads), model) for method, model in models.items()}
    given = []
    for tables in videos:
        mine = []
        for row in (table.slice(number, 1) for table in tables for number in range(table.num_rows)):
            if row["kind"][0].as_py() != "piece":
                mine.append(row)
            elif (features := clocks[row["method"][0].as_py()](row)) is not None:
                mine.append(features)
        if mine:
            given.append(pa.concat_tables(mine))
    for clock in clocks.values():
        clock.embed.close()
    return given, {method: clock.pieces for method, clock in clocks.items()}


@dataclass
class Clock:
    """Embeds pieces of one method and notes what each took."""

    embed: Embed
    model: Model
    pieces: list[tuple[int, float]] = field(default_factory=list)  # windows, seconds

    def __call__(self, piece: pa.Table) -> pa.Table | None:
        """The features; None once enough is known."""
        if len(self.pieces) > 2 and sum(seconds for _, seconds in self.pieces) > EMBED_S:
            return None
        # CPU seconds, which other programs change little, where there is a choice.
        clock = time.process_time if self.model.device.type == "cpu" else time.monotonic
        if not self.pieces:  # the first call sets up what all others find ready
            self.embed(_first_window(piece))
        began = clock()
        features = self.embed(piece)
        self.pieces.append((piece["windows_count"][0].as_py(), clock() - began))
        return features


def _first_window(table: pa.Table) -> pa.Table:
    """A piece with no more than its first window."""
    (row,) = table.to_pylist()
    size = len(row["data"]) // row["windows_count"]
    return pa.Table.from_pylist([row | {"windows_count": 1, "data": row["data"][:size]}], schema=table.schema)


def _others_busy_s() -> float:
    """CPU seconds that programs other than this one had on this machine so far, other guests of its host included."""
    try:
        user, nice, system, _, _, irq, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    ours = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ticks = user + nice + system + irq + soft + steal
    return ticks / os.sysconf("SC_CLK_TCK") - sum(used.ru_utime + used.ru_stime for used in ours)
