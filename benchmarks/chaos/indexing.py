"""Kill `ndvr index` at random moments, over and over, until it ends by itself; then compare the index bit for bit.

python -m ndvr.benchmarks.chaos.indexing --kills 200

A library of made features is indexed in steps, as if videos came night by night, with small segments that are merged
often. Each writer is a process of its own, killed with SIGKILL between its first file and its end. After every kill a
reader opens what the index names: what cannot be opened, or holds a video twice, is torn. In the end the segments are
those of an undisturbed build of the whole library, and hold every video once.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path

import click
import numpy as np

from ndvr.benchmarks.record import record
from ndvr.pipeline.extraction.import_features import import_features
from ndvr.pipeline.search import build
from ndvr.pipeline.search.library_index import LibraryIndex, open_index

NIGHTS, VIDEOS, WINDOWS = 3, 12, 30
_HANGS_S = 120.0
_MOST_ROUNDS = 20  # for each kill
_FORK = multiprocessing.get_context("fork")  # a writer that imports everything anew would be killed while it does


@dataclass(kw_only=True)
class Counts:
    """What became of it."""

    kills: int = 0
    rounds: int = 0  # libraries that were indexed to the end
    torn: int = 0  # reads of an index that was not whole
    different: int = 0  # indexes that are not the undisturbed one
    leftover: int = 0  # files that the last writer should have cleared away

    @property
    def sound(self) -> bool:
        return not (self.torn or self.different or self.leftover)


def make_library(folder: Path) -> list[Path]:
    """Make one library as it was after each night."""
    rng = np.random.default_rng(0)
    nights = []
    for night in range(NIGHTS):
        features = folder / f"features{night}"
        features.mkdir(parents=True)
        for video in range(VIDEOS):
            codes = rng.integers(0, 256, (WINDOWS, 512)).astype(np.uint8)
            codes[:, :4] = (0, 128, 0, 128)  # a picture without borders
            codes[:, 4] = 150  # of much contrast
            np.save(features / f"v{night}{video:02d}.npy", codes)
        import_features(features, folder / "library", method="thumbprint", progress=False)
        time.sleep(1.1)  # runs are named by the second, and videos are indexed in the order of their runs
        nights.append(shutil.copytree(folder / "library", folder / f"night{night}"))
    return nights


def _index(library: Path) -> None:
    build.SEGMENT_KEYS, build.TIER = 300, 3
    build.SAMPLED = 2
    build.update(open_index(library), progress=False)


def _start(library: Path) -> ForkProcess:
    writer = _FORK.Process(target=_index, args=(library,), daemon=True)
    writer.start()
    return writer


def _exit_code(writer: ForkProcess) -> int | None:
    """Wait for its end. RuntimeError when it hangs."""
    writer.join(_HANGS_S)
    if writer.is_alive():
        writer.kill()
        raise RuntimeError(f"ndvr index hung for {_HANGS_S:g} s")
    return writer.exitcode


def contents(library: Path) -> dict[str, bytes]:
    """Return the bytes of the segments that count, by file."""
    opened = open_index(library)
    folder = opened.files.store.folder / "segments"
    names = set(opened.snapshot.segments)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name.partition(".")[0] in names}


def whole(opened: LibraryIndex) -> bool:
    """Say whether what the index names can be opened and holds each of its videos once."""
    ids = [segment.videos[row].video_id for segment in opened.segments for row in segment.alive]
    readable = all(segment.scan(lists=True).n_keys <= len(segment) for segment in opened.segments)
    return readable and len(ids) == len(set(ids))


def strike(
    nights: list[Path], folder: Path, counts: Counts, chance: random.Random, *, kills: int, lasts_s: float
) -> Path:
    """Index one library night by night, killing writers `kills` times at most; returns the library."""
    library, left = folder / f"round{counts.rounds}", kills
    for night in nights:
        shutil.copytree(night, library, dirs_exist_ok=True)
        ended, tries = False, 0
        while not ended:
            writer = _start(library)
            if left and chance.random() < 0.9:
                writer.join(chance.uniform(0, lasts_s))
                if writer.is_alive():
                    writer.kill()
                    left -= 1
                    counts.kills += 1
            ended = _exit_code(writer) == 0
            files = open_index(library)
            counts.torn += not whole(files)
            tries += 1
            if tries > 2 * kills + 2:
                raise RuntimeError(f"{tries} writers have not indexed {library}")
    counts.rounds += 1
    return library


def kill_index(kills: int, seed: int = 0) -> Counts:
    """Kill so many writers; count what became of their indexes."""
    counts, chance = Counts(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="indexing-") as place:
        folder = Path(place)
        nights = make_library(folder)
        peace = shutil.copytree(nights[-1], folder / "peace")
        began = time.monotonic()
        if _exit_code(_start(peace)):
            raise RuntimeError("undisturbed, no index was made")
        lasts_s, expected = time.monotonic() - began, contents(peace)
        while counts.kills < kills:
            if counts.rounds > _MOST_ROUNDS * kills:
                raise RuntimeError(f"{counts.kills} kills of {kills}: the writers end before they can be killed")
            some = min(kills - counts.kills, 12)
            library = strike(nights, folder, counts, chance, kills=some, lasts_s=lasts_s)
            counts.different += contents(library) != expected
            counts.leftover += _leftover(library)
            shutil.rmtree(library)
    return counts


def _leftover(library: Path) -> int:
    """Count the files of segments that neither the last two snapshots name."""
    opened = open_index(library)
    store, named = opened.files.store, set(opened.snapshot.segments)
    for name in store.names("snapshots"):
        named |= set(store.read_json(f"snapshots/{name}")["segments"])
    return sum(name.partition(".")[0] not in named for name in store.names("segments"))


@click.command()
@click.option("--kills", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the numbers as JSON.")
def main(kills: int, seed: int, out: Path | None) -> None:
    """Kill `ndvr index` at random, and compare what is left."""
    began = time.monotonic()
    counts = kill_index(kills, seed)
    click.echo(
        f"{counts.kills} kills, {counts.rounds} libraries of {NIGHTS * VIDEOS} videos: {counts.torn} torn reads, "
        f"{counts.different} indexes that differ, {counts.leftover} files left over "
        f"({time.monotonic() - began:.0f} s); {record('indexing', asdict(counts), out)}"
    )
    raise SystemExit(0 if counts.sound else 1)


if __name__ == "__main__":
    main()
