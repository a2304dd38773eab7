"""Extract a few videos in this process and measure what they cost: a run's operators without Ray, results dropped."""

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

from ndvr.models.card import View
from ndvr.operators.features.embed import Embed
from ndvr.operators.library.config import Config
from ndvr.operators.library.library import Library
from ndvr.operators.library.shards import Write
from ndvr.operators.video.decode import Decode, Job, Limits
from ndvr.pipeline.estimate._header_sample import Drawn
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.settings import Setting, config_of

if TYPE_CHECKING:
    from ndvr.models.method import Model


# --- What features and receipts take on disk: written to a temporary library as a run would, weighed, and dropped ----


@dataclass(frozen=True, kw_only=True)
class FileSizes:
    """Bytes on disk, by what they are for."""

    window_bytes: dict[str, float] = field(default_factory=dict)  # by method
    shard_bytes: dict[str, float] = field(default_factory=dict)  # by method, of a shard without windows
    row_bytes: float = 0.0  # of a receipt
    commit_bytes: float = 0.0  # of a commit without receipts
    write_s: float = 0.0  # CPU seconds of one commit with its shards


def measure_files(tables: list[pa.Table], configs: dict[str, Config]) -> FileSizes:
    """Write all tables as one commit, then each as its own: what a file costs without rows, and what a row adds."""
    configs_by_name = {config.name: config for config in configs.values()}
    windows = dict.fromkeys(configs, 0)
    for table in tables:
        for row in table.select(["method", "kind", "windows_count"]).to_pylist():
            windows[row["method"]] += row["windows_count"] if row["kind"] == "piece" else 0
    n_rows = sum(table.num_rows for table in tables)
    folder = Path(tempfile.mkdtemp(prefix="ndvr-plan-"))
    try:
        one, _ = _written(folder / "one", [pa.concat_tables(tables)], configs_by_name)
        many, seconds = _written(folder / "many", tables, configs_by_name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    n_files = {name: max(1, sum(_has_windows(table, name) for table in tables)) for name in configs_by_name}
    shard = {name: _fixed_bytes(one.get(name, 0), many.get(name, 0), n_files[name]) for name in configs_by_name}
    commit = _fixed_bytes(one["commits"], many["commits"], len(tables))
    names = {method: config.name for method, config in configs.items()}
    return FileSizes(
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


def _fixed_bytes(one: int, many: int, n_files: int) -> float:
    """Compute the bytes of a file without rows, when the same rows take `one` bytes in one file, `many` in n files."""
    return max(0.0, (many - one) / (n_files - 1)) if n_files > 1 and one else 0.0


def _written(folder: Path, parts: list[pa.Table], configs_by_name: dict[str, Config]) -> tuple[dict[str, int], float]:
    """Write a library; returns bytes of shards by configuration and of "commits", and CPU seconds."""
    Library.create(folder)
    write = Write(str(folder), configs_by_name)
    began = time.process_time()
    for part in parts:
        write(part)
    seconds = time.process_time() - began
    sizes = {name: bytes_under(folder / "shards" / name) for name in configs_by_name}
    return {**sizes, "commits": bytes_under(folder / "commits")}, seconds


def bytes_under(folder: Path | str) -> int:
    """Sum the sizes of all files in a folder and below."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


# --- The sample, extracted -------------------------------------------------------------------------------------------

KEPT_BYTES = 64 << 20  # of windows of each method, kept to be embedded
EMBED_S = 30.0  # for each method, a slow network is known well enough after that


@dataclass(frozen=True, kw_only=True)
class LoadedMethods:
    """The methods of the run, ready to be used in this process; all by method."""

    settings: dict[str, Setting]
    models: dict[str, Model]
    configs: dict[str, Config]
    load_s: float  # CPU seconds that loading took, which every worker that embeds will need as well

    @property
    def views(self) -> dict[str, View]:
        """What each method is shown."""
        return {method: setting.view for method, setting in self.settings.items()}

    @property
    def on_gpu(self) -> bool:
        return all(model.device.type != "cpu" for model in self.models.values())

    @property
    def untrained(self) -> list[str]:
        return [method for method, config in self.configs.items() if not config.trained]


def load_methods(settings: dict[str, Setting], decoder: str) -> LoadedMethods:
    """Load what embeds, on a GPU where there is one."""
    began = time.process_time()
    import torch

    torch.set_num_threads(1)  # as in a run: a batch is one thread's, see ndvr.operators.features.embed
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models = {method: setting.load(device, "embed") for method, setting in settings.items()}
    load_s = time.process_time() - began
    configs = {method: config_of(model, decoder) for method, model in models.items()}
    return LoadedMethods(settings=settings, models=models, configs=configs, load_s=load_s)


@dataclass(kw_only=True)
class TriedVideo:
    """What one video cost and gave."""

    decode_s: float = 0.0  # CPU seconds of the decoder's process
    hand_s: float = 0.0  # of the worker that takes its windows over
    windows: dict[str, int] = field(default_factory=dict)  # by method
    failed: str | None = None  # error class
    rows: list[pa.Table] = field(default_factory=list, repr=False)  # kept for the stages that follow


@dataclass(frozen=True, kw_only=True)
class TrialFacts:
    """How much was really extracted for an estimate."""

    sampled: int  # videos
    sample_s: float  # what extracting them took


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a sample cost, by stage, and the constants that follow from it."""

    drawn: Drawn
    videos: list[TriedVideo]  # parallel to `drawn`
    embed: dict[str, list[tuple[int, float]]]  # by method: windows and seconds of every piece
    files: FileSizes  # what features and receipts take on disk
    others: float  # cores that other programs kept busy meanwhile
    load_s: float  # CPU seconds that loading the models took
    on_gpu: bool  # whether a GPU embedded
    seconds: float  # what trying out took

    def facts(self) -> TrialFacts:
        """Collect the fields of the estimate that the trial decides."""
        return TrialFacts(sampled=len(self.videos), sample_s=self.seconds)


def try_out(
    rows: list[dict[str, Any]],
    drawn: Drawn,
    methods: LoadedMethods,
    *,
    decoder: str,
    limits: Limits,
    progress: bool,
) -> Trial:
    """Decode the rows of the plan that were drawn, embed their windows, write the features to a temporary library."""
    jobs = {
        method: Job(view=setting.view, config=methods.configs[method].name, min_windows=setting.card.min_windows)
        for method, setting in methods.settings.items()
    }
    # As many decoders as the run would have here, so that they disturb each other as they will then.
    workers = os.cpu_count() or 1
    began, others_busy_s = time.monotonic(), _others_busy_s()
    with Progress("sample", len(drawn.numbers), "video", show=progress) as bar:
        videos = _decode(
            [rows[number] for number in drawn.numbers],
            lambda: Decode(jobs=jobs, run="plan", decoder=decoder, limits=limits),
            workers,
            bar.advance,
        )
    others = max(0.0, (_others_busy_s() - others_busy_s) / max(time.monotonic() - began, 1e-9))
    tables, embed = _embed([video.rows for video in videos], methods.models, workers)
    files = measure_files(tables, methods.configs) if tables else FileSizes()
    return Trial(
        drawn=drawn,
        videos=videos,
        embed=embed,
        files=files,
        others=others,
        load_s=methods.load_s,
        on_gpu=methods.on_gpu,
        seconds=time.monotonic() - began,
    )


def _decode(
    rows: list[dict[str, Any]], make: Callable[[], Decode], workers: int, done: Callable[[], None]
) -> list[TriedVideo]:
    """Decode the rows of the plan with `workers` decoders at once, which disturb each other as in a run."""
    videos = [TriedVideo() for _ in rows]
    waiting = deque(range(len(rows)))
    bytes_left = dict.fromkeys({method for row in rows for method in row["methods"]}, KEPT_BYTES)

    def work() -> None:
        decode = make()
        try:
            while waiting:
                try:
                    index = waiting.popleft()
                except IndexError:
                    return
                _decode_one(decode, rows[index], videos[index], bytes_left)
                done()
        finally:
            decode.close()

    with ThreadPoolExecutor(workers) as pool:
        for worker in [pool.submit(work) for _ in range(min(workers, len(rows)))]:
            worker.result()
    return videos


def _decode_one(decode: Decode, row: dict[str, Any], video: TriedVideo, bytes_left: dict[str, int]) -> None:
    """Decode one row of the plan and note in `video` what it cost; keep its windows while there are `bytes_left`."""
    began = time.thread_time()
    attempts: dict[int, float] = {}
    columns = {key: [row[key]] for key in ("video_id", "uri", "methods")}
    for table in decode(pa.table({**columns, "contents": [[None] * len(row["methods"])]})):
        keep = True
        for facts in table.drop_columns(["start_s", "data"]).to_pylist():
            method, kind = facts["method"], facts["kind"]
            if kind == "piece":
                keep = bytes_left[method] > 0
                bytes_left[method] -= table.nbytes
                continue
            attempts[facts["attempt"]] = facts["decode_s"] or 0.0  # methods share it
            if kind == "end":
                video.windows[method] = facts["windows_count"] if facts["status"] == "done" else 0
                video.failed = facts["error_class"] if facts["status"] == "failed" else video.failed
        if keep:
            video.rows.append(table)
    video.decode_s = sum(attempts.values())
    video.hand_s = time.thread_time() - began


def _embed(
    videos: list[list[pa.Table]], models: dict[str, Model], threads: int
) -> tuple[list[pa.Table], dict[str, list[tuple[int, float]]]]:
    """Embed every video, a table each; and say what each piece took: CPU seconds, on a GPU seconds."""
    timed = {method: TimedEmbed(Embed({method: model}, threads=threads), model) for method, model in models.items()}
    embedded = []
    for tables in videos:
        kept = []
        for row in (table.slice(number, 1) for table in tables for number in range(table.num_rows)):
            if row["kind"][0].as_py() != "piece":
                kept.append(row)
            elif (features := timed[row["method"][0].as_py()](row)) is not None:
                kept.append(features)
        if kept:
            embedded.append(pa.concat_tables(kept))
    for each in timed.values():
        each.embed.close()
    return embedded, {method: each.pieces for method, each in timed.items()}


@dataclass
class TimedEmbed:
    """Embeds pieces of one method and notes what each took."""

    embed: Embed
    model: Model
    pieces: list[tuple[int, float]] = field(default_factory=list)  # windows, seconds

    def __call__(self, piece: pa.Table) -> pa.Table | None:
        """Embed a piece; None once enough is known."""
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
    """Cut a piece down to its first window."""
    (row,) = table.to_pylist()
    size = len(row["data"]) // row["windows_count"]
    return pa.Table.from_pylist([row | {"windows_count": 1, "data": row["data"][:size]}], schema=table.schema)


def _others_busy_s() -> float:
    """Read the CPU seconds that other programs had on this machine so far, other guests of its host included."""
    try:
        user, nice, system, _, _, irq, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    ours = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ticks = user + nice + system + irq + soft + steal
    return ticks / os.sysconf("SC_CLK_TCK") - sum(used.ru_utime + used.ru_stime for used in ours)
