"""Is memory bounded, however slow embedding is and however much there is to do?

    python -m ndvr.benchmarks.speed.back_pressure [--slower 10] [--gb 1] [--times 10] [--files 10000]

Extracts windows of so many GB with the embedding stage slowed tenfold, then ten times as many; and manifests of files
that all fail at once. Every run has a process and a Ray of its own and is watched from within: private memory of the
decoders (workers and their children) and of the driver, bytes in the object store, open files, each at its peak.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from ndvr.benchmarks.speed.long_video import descendants, private_mb
from ndvr.pipeline.extraction.pools import Pools

METHOD = "thumbprint"
WINDOW_BYTES, WINDOWS_PER_PICTURE = 1 << 14, 600
PICTURES = 11  # of a video; the last one is gone at once: 98 MB of windows
INTERVAL_S = 0.5  # each look takes some 50 ms of a core


@dataclass
class Peaks:
    """What a run and its Ray had at most."""

    decoders_mb: float = 0.0
    driver_mb: float = 0.0
    store_mb: float = 0.0
    driver_files: int = 0
    decoder_files: int = 0  # of one worker
    writer_files: int = 0

    def look(self) -> None:
        """Take one sample, of this process and all it started."""
        from ndvr.pipeline.runs.metrics import object_store_used

        workers = {pid: _command(pid) for pid in descendants(os.getpid())}
        decoders = [pid for pid, command in workers.items() if "MapBatches(Decode" in command]
        writers = [pid for pid, command in workers.items() if "MapBatches(Commit" in command]
        with_children = {child for pid in decoders for child in descendants(pid)}
        now = Peaks(
            decoders_mb=private_mb(sorted(with_children)),
            driver_mb=private_mb([os.getpid()]),
            store_mb=object_store_used() / 2**20,
            driver_files=_open_files([os.getpid()]),
            decoder_files=_open_files(decoders),
            writer_files=_open_files(writers),
        )
        for name, value in vars(now).items():
            setattr(self, name, max(getattr(self, name), value))


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _open_files(pids: list[int]) -> int:
    """Count the open files of the process that has most."""
    counts = [0]
    for pid in pids:
        try:
            counts.append(len(os.listdir(f"/proc/{pid}/fd")))
        except OSError:
            continue
    return max(counts)


@contextmanager
def watched() -> Iterator[Peaks]:
    """Collect the peaks of what is done inside, where Ray runs."""
    peaks, done = Peaks(), threading.Event()

    def watch() -> None:
        while not done.wait(INTERVAL_S):
            peaks.look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        done.set()
        watcher.join()


@contextmanager
def slowed(factor: float) -> Iterator[None]:
    """Slow embedding down: it takes `factor` times as long as it has work for."""
    from ndvr.pipeline.extraction import graph

    usual = graph.EmbedActor

    class Slow(usual):  # type: ignore[misc, valid-type]
        """Waits, without a core, in proportion to what the models took of cores."""

        def __init__(self, *, threads: int, **settings: Any):
            usual.__init__(self, threads=threads, **settings)
            self._threads = threads

        def __call__(self, pieces: pa.Table) -> pa.Table:
            embedded = usual.__call__(self, pieces)
            time.sleep((factor - 1) * sum(filter(None, embedded["embed_s"].to_pylist())) / self._threads)
            return embedded

    graph.EmbedActor = Slow  # type: ignore[misc]
    try:
        yield
    finally:
        graph.EmbedActor = usual  # type: ignore[misc]


def make_videos(folder: Path, n_videos: int) -> Path:
    """Make videos of few pictures that stay on for long, so that windows come far faster than they can be embedded."""
    from ndvr.operators.media.encode import write_video

    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (PICTURES, 48, 64, 3), np.uint8)
    write_video(folder / "0.mkv", noise, fps=25, times_s=[k * WINDOWS_PER_PICTURE / 2 for k in range(PICTURES)])
    for number in range(1, n_videos):
        shutil.copy(folder / "0.mkv", folder / f"{number}.mkv")  # links would be one video
    return folder


def make_failures(folder: Path, n_files: int) -> Path:
    """Make files without a byte."""
    folder.mkdir()
    for number in range(n_files):
        (folder / f"{number:06d}.mp4").touch()
    return folder


def run(kind: str, count: int, slower: float, *, pools: Pools | None = None) -> dict[str, Any]:
    """Extract `count` "videos" or "failures" in this process."""
    from ndvr.pipeline.cluster import cluster
    from ndvr.pipeline.extraction.extract import extract

    cluster.join()
    with tempfile.TemporaryDirectory(prefix="ndvr-") as name:
        make = {"videos": make_videos, "failures": make_failures}[kind]
        videos = make(Path(name, "videos"), count)
        with watched() as peaks, slowed(slower):
            began = time.monotonic()
            summary = extract(videos, Path(name, "library"), methods=[METHOD], pools=pools, progress=False)
            seconds = time.monotonic() - began
    assert summary.done + sum(summary.failed.values()) == count
    windows_gb = summary.windows * WINDOW_BYTES / 1e9
    return {"kind": kind, "files": count, "seconds": seconds, "windows_gb": windows_gb} | asdict(peaks)


def run_apart(kind: str, count: int, slower: float) -> dict[str, Any]:
    """Run the same in a process of its own."""
    command = [sys.executable, "-m", "ndvr.benchmarks.speed.back_pressure", "--only", kind, str(count)]
    done = subprocess.run([*command, "--slower", str(slower)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@click.command()
@click.option("--slower", default=10.0, show_default=True, help="How many times slower embedding is.")
@click.option("--gb", default=1.0, show_default=True, help="Windows of the smaller run.")
@click.option("--times", default=10, show_default=True, help="So many times more in the larger one.")
@click.option("--files", default=10_000, show_default=True, help="Files that fail; a hundredth in the smaller run.")
@click.option("--only", nargs=2, type=(click.Choice(["videos", "failures"]), int), hidden=True)
def main(slower: float, gb: float, times: int, files: int, only: tuple[str, int] | None) -> None:
    """Print a line a run and write JSON."""
    from ndvr.benchmarks.record import record

    if only:
        click.echo(json.dumps(run(*only, slower)))
        return
    n_videos = max(1, round(gb * 1e9 / ((PICTURES - 1) * WINDOWS_PER_PICTURE * WINDOW_BYTES)))
    plan = [
        ("videos", n_videos, slower),
        ("videos", n_videos * times, slower),
        ("failures", max(1, files // 100), 1.0),
        ("failures", files, 1.0),
    ]
    runs = []
    for settings in plan:
        runs.append(result := run_apart(*settings))
        click.echo(
            f"{result['files']:,} {result['kind']}, {result['windows_gb']:.1f} GB of windows, "
            f"{result['seconds']:,.0f} s: "
            f"decoders {result['decoders_mb']:,.0f} MB, driver {result['driver_mb']:,.0f} MB, object store "
            f"{result['store_mb']:,.0f} MB; open files: driver {result['driver_files']}, a decoder "
            f"{result['decoder_files']}, the writer {result['writer_files']}"
        )
    click.echo(str(record("back_pressure", {"slower": slower, "runs": runs})))


if __name__ == "__main__":
    main()
