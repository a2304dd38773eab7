"""Building an index, adding one video in a hundred, doing so again; bytes a second of video; how soon it answers.

    python -m ndvr.benchmarks.speed.search index      # [--videos 1000] [--seconds 10]

Opened and asked a first time with its files out of the page cache, and again.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import click

from ndvr.benchmarks.record import record
from ndvr.benchmarks.speed.search.made import SECONDS, film, made_library, out_option
from ndvr.operators.index.segments import IndexFiles
from ndvr.operators.index.votes import candidates
from ndvr.operators.library.feature_reader import FeatureReader
from ndvr.pipeline.search.build import sampled, unrelated
from ndvr.pipeline.search.library_index import LibraryIndex, open_index
from ndvr.pipeline.search.search import index


def measure_index(folder: Path, n_videos: int, seconds: int) -> dict[str, float]:
    """Measure CPU seconds of building and of adding; seconds until an index answers, cold and warm."""
    videos = {f"v{seed:06}": film(seed, seconds) for seed in range(n_videos)}
    late = dict(list(videos.items())[-max(1, n_videos // 100) :])
    library = made_library(folder, {name: each for name, each in videos.items() if name not in late})
    measured: dict[str, float] = {"videos": n_videos, "added": len(late)}
    for step in ("build_s", "add_s", "again_s"):
        if step == "add_s":
            made_library(library, late)
        began = time.process_time()
        done = index(library, progress=False)
        measured[step] = time.process_time() - began
    opened = open_index(library)
    measured["sureness_s"] = _sureness_s(opened)
    probes = opened.model.probes(film(0), fast=True)
    for name in ("cold", "warm"):
        if name == "cold":
            _out_of_cache(opened.files.store.folder)
        began = time.perf_counter()
        segments = IndexFiles(opened.files.store).open(opened.snapshot)
        measured[f"open_{name}_s"] = time.perf_counter() - began
        candidates(probes, segments)
        measured[f"first_answer_{name}_s"] = time.perf_counter() - began
    return measured | {"keys": done.keys, "bytes_per_s": done.bytes / (n_videos * seconds)}


def _sureness_s(opened: LibraryIndex) -> float:
    """Measure CPU seconds that the build spends on sureness, whatever the size of the library."""
    reader, began = FeatureReader(opened.library.store), time.process_time()
    for number, row in sampled(opened):
        unrelated(opened, reader, number, row)
    return time.process_time() - began


def _out_of_cache(folder: Path) -> None:
    """Ask the kernel to forget what the files hold; where it cannot, cold is warm."""
    for path in (path for path in folder.rglob("*") if path.is_file() and hasattr(os, "posix_fadvise")):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@click.command("index")
@click.option("--videos", default=1000, show_default=True)
@click.option("--seconds", default=SECONDS, show_default=True, help="Of a video.")
@out_option
def index_command(videos: int, seconds: int, out: Path | None) -> None:
    """Measure building, adding, opening, and bytes a second of video."""
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        each = measure_index(Path(folder) / "library", videos, seconds)
    built, sureness, added = each["build_s"], each["sureness_s"], each["add_s"]
    click.echo(
        f"{videos:,} videos of {seconds} s, {each['keys']:,} keys, {each['bytes_per_s']:.0f} bytes a second: built "
        f"in {built:.2f} s, some {sureness:.2f} of them for sureness; {each['added']:,} more in {added:.2f} s = "
        f"{added / built:.1%} of it, {added / (built - sureness):.1%} without sureness; nothing to do: "
        f"{each['again_s']:.3f} s; opened in "
        f"{1e3 * each['open_cold_s']:.0f} ms cold, {1e3 * each['open_warm_s']:.0f} warm, first answer after "
        f"{1e3 * each['first_answer_cold_s']:.0f} and {1e3 * each['first_answer_warm_s']:.0f} ms; "
        f"{record('search_index', each, out)}"
    )
