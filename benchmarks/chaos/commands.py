"""The commands that need no cluster, as what is struck: what each begins with, what it does, and what is there then.

place = Place(folder, f"{folder}/library")           # or a library in an object store
COMMANDS["gc"].prepare(place); COMMANDS["gc"].run(place)
held(place)                                          # {"video v01": hash, "scores": hash, ...}
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from ndvr.benchmarks.chaos.forks import ndvr
from ndvr.benchmarks.chaos.library_check import scores_in
from ndvr.operators.library.fencing import LOCKS, REVOKED
from ndvr.operators.library.lease import Lease
from ndvr.operators.library.library import Library
from ndvr.operators.library.receipt_files import fold
from ndvr.operators.storage.store import Store
from ndvr.pipeline.search import build
from ndvr.pipeline.search.library_index import open_index
from ndvr.pipeline.upkeep.maintenance import fsck

_HASHES = ("--method", "c3dhash")
_SCORED = (*_HASHES, "--weights", "random:1", "--workers", "0", "--quiet")
_N_VIDEOS, _N_INDEXED, _N_RAW = 40, 12, 8
_DAMAGED = b"not what was written here"


@dataclass(frozen=True)
class Place:
    """Where a command works: a folder for what it makes, and a library in it or in an object store."""

    folder: Path
    library: str

    @property
    def features(self) -> Path:
        """What is imported; it lies beside the folder, for all commands."""
        return self.folder.parent / "features"

    @property
    def indexes(self) -> list[str]:
        """Where the library has been indexed."""
        names = Store(self.library).walk("index")
        return [f"{self.library}/{name.removesuffix('/index.json')}" for name in names if name.endswith("/index.json")]

    @property
    def _leased(self) -> list[str]:
        """All that is written to by one at a time."""
        return [self.library, *(str(self.folder / name) for name in ("scores", "pairs")), *self.indexes]

    def taken_over(self) -> int:
        """Count the writers that were taken over."""
        marks = (Store(each).names(REVOKED) for each in self._leased)
        return sum(name.count(".") == 1 for names in marks for name in names)

    def being_written(self) -> bool:
        """Tell whether somebody has a lease, or wants one."""
        return any(Store(each).names(LOCKS) for each in self._leased)


# --- What is struck --------------------------------------------------------------------------------------------------


def make_features(folder: Path) -> None:
    """Make the features that commands import: codes of videos, raw vectors, and thumbprints."""
    for name, count, shape in (("features", _N_VIDEOS, (1, 512)), ("raw", _N_RAW, (4, 3840))):
        (folder / name).mkdir(parents=True)
        for video in range(count):
            values = np.random.default_rng(video).standard_normal(shape).astype(np.float32)
            np.save(folder / name / f"v{video:02}.npy", values)
    (folder / "thumbprints").mkdir()
    for video in range(_N_INDEXED):
        codes = np.random.default_rng(video).integers(0, 256, (30, 512)).astype(np.uint8)
        codes[:, :5] = (0, 128, 0, 128, 150)  # a picture without borders, of much contrast
        np.save(folder / "thumbprints" / f"v{video:02}.npy", codes)


def _import(place: Place) -> None:
    ndvr("import", str(place.features), place.library, *_HASHES, "--quiet")


def _gc(place: Place) -> None:
    ndvr("gc", place.library, "--force")


def _fold(place: Place) -> None:
    store = Library(place.library).store
    with Lease(store, "fold"):
        fold(store, fewest=1)


def _remove(place: Place) -> None:
    ndvr("remove", place.library, "v02", "v03", "v04", "--reason", "struck")


def _repair(place: Place) -> None:
    ndvr("fsck", place.library, "--repair", "--quiet")


def _similarity(place: Place) -> None:
    ndvr("similarity", place.library, place.library, str(place.folder / "scores"), *_SCORED)


def _dedupe(place: Place) -> None:
    ndvr("dedupe", place.library, str(place.folder / "pairs"), "--top-k", "3", *_SCORED)


def _fit_pca(place: Place) -> None:
    ndvr("fit-pca", place.library, str(place.folder / "pca.npz"), "--dims", "16", "--quiet")


def _index(place: Place) -> None:
    build.SAMPLED = 2  # videos for what is measured of the whole library, which takes longest
    ndvr("index", place.library, "--quiet")


def _with_left_overs(place: Place) -> None:
    """Make a library of several imports, with shards that nothing names and videos that were removed."""
    names = sorted(place.features.iterdir())
    for number in range(3):
        part = place.folder / f"features{number}"
        part.mkdir(parents=True)
        for name in names[number::3]:
            shutil.copy(name, part)
        ndvr("import", str(part), place.library, *_HASHES, "--quiet")
        if number == 0:
            (shard,) = (place.folder / "library" / "shards").rglob("*.parquet")
    shutil.copy(shard, shard.with_name("r0-nobody.parquet"))
    (shard.parent / ".r0-half.parquet.1234abcd.tmp").write_bytes(b"half")
    ndvr("remove", place.library, "v01", "v07", "v13")  # of another shard


def _with_damage(place: Place) -> None:
    """Make a library of which a shard, the configuration and a commit are damaged."""
    _with_left_overs(place)
    library = place.folder / "library"
    (library / "shards").joinpath(next((library / "shards").iterdir()).name, "r0-nobody.parquet").unlink()
    shards = sorted((library / "shards").rglob("*.parquet"))
    commits = sorted((library / "commits").glob("*.parquet"))
    for path in (shards[0], commits[-1], *(library / "configs").glob("*.json")):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + _DAMAGED + data[len(data) // 2 + len(_DAMAGED) :])


def _with_raw_vectors(place: Place) -> None:
    raw = str(place.folder.parent / "raw")
    ndvr("import", raw, place.library, "--method", "tca", "--option", "pca=none", "--quiet")


def _with_thumbprints(place: Place) -> None:
    """Make a library of which a half is indexed."""
    names = sorted((place.folder.parent / "thumbprints").iterdir())
    for number in range(2):
        part = place.folder / f"thumbprints{number}"
        part.mkdir(parents=True)
        for name in names[number::2]:
            shutil.copy(name, part)
        ndvr("import", str(part), place.library, "--method", "thumbprint", "--quiet")
        if number == 0:
            _index(place)


@dataclass(frozen=True)
class Command:
    """What is struck: how it begins, what it does; `sound` is False where it begins with a damaged library."""

    prepare: Callable[[Place], None]
    run: Callable[[Place], None]
    sound: bool = True


COMMANDS = {
    "import": Command(lambda place: place.folder.mkdir(), _import),
    "gc": Command(_with_left_overs, _gc),
    "fold": Command(_with_left_overs, _fold),
    "remove": Command(_with_left_overs, _remove),
    "fsck --repair": Command(_with_damage, _repair, sound=False),
    "similarity": Command(_import, _similarity),
    "dedupe": Command(_import, _dedupe),
    "fit-pca": Command(_with_raw_vectors, _fit_pca),
    "index": Command(_with_thumbprints, _index),
}


# --- What is there ---------------------------------------------------------------------------------------------------


def held(place: Place, *, sound: bool = True) -> dict[str, str]:
    """Return everything that is there, by name, as hashes.
    AssertionError where the library is not sound though it ought to.

    Scores and an index that say that they are not finished are not there.
    """
    there: dict[str, str] = {}
    if Store(place.library).exists("library.json"):
        report = fsck(place.library, progress=False)
        if sound and not report.sound:
            raise AssertionError("; ".join(report.problems[:3]))
        there |= _videos(place) if report.sound else {}
        there |= _index_held(place)
    there |= _scores(place)
    if (place.folder / "pairs" / "pairs.parquet").exists():
        rows = pq.read_table(place.folder / "pairs" / "pairs.parquet").to_pylist()
        there["pairs"] = _hash(json.dumps(rows).encode())
    if (place.folder / "pca.npz").exists():
        with np.load(place.folder / "pca.npz") as file:
            there["pca"] = _hash(*(file[name].tobytes() for name in sorted(file)))
    return there


def _videos(place: Place) -> dict[str, str]:
    there: dict[str, str] = {}
    library = Library(place.library)
    for config in library.configs:
        entries = library.entries(config)
        there |= {f"removed {video_id}": "yes" for video_id, entry in entries.items() if entry.removed}
        for video_id, start_s, features in library.read(entries.values()):
            there[f"video {video_id}"] = _hash(start_s.tobytes(), features.tobytes())
    return there


def _scores(place: Place) -> dict[str, str]:
    try:
        scores = sorted(scores_in(place.folder / "scores").items())
    except (ValueError, FileNotFoundError):  # it says that it is not finished
        return {}
    return {"scores": _hash(json.dumps(scores).encode())}


def _index_held(place: Place) -> dict[str, str]:
    """Say which videos the index holds, and in which segments, whose names are hashes of what is in them."""
    if not place.indexes:
        return {}
    opened = open_index(place.library)
    videos = sorted(segment.videos[row].video_id for segment in opened.segments for row in segment.alive)
    if len(set(videos)) < len(videos):
        raise AssertionError("the index holds a video twice")
    if len(videos) < _N_INDEXED:
        return {}
    return {"index": _hash(json.dumps([videos, sorted(opened.snapshot.segments)]).encode())}


def _hash(*data: bytes) -> str:
    return hashlib.sha256(b"".join(data)).hexdigest()
