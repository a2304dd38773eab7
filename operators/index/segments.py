"""The files of an index: immutable segments of keys, and the snapshot that says which of them count.

    INDEX/index.json               the format, and which configuration of the library was indexed
    INDEX/segments/<hash>.arrow    a row per key: vector, row of its video, window, box, novelty; Arrow IPC, any reader
    INDEX/segments/<hash>.parquet  a row per video of that segment: video_id, content, windows, sha256
    INDEX/snapshots/<n>.json       segments, the rows of videos that are gone, sureness; the highest number holds

A segment is named by the hash of what is in it and never changes. Every file is whole or not there, segments come
before the snapshot that names them: a reader sees one state of the index at any moment, and a killed writer leaves
nothing but files that nobody names, which the next one clears away or takes over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ndvr.models.keys import Keys
from ndvr.operators.storage.store import Store

FORMAT = "ndvr-index/1"
ABOUT, SEGMENTS, SNAPSHOTS = "index.json", "segments", "snapshots"
VIDEOS = pa.schema(
    [("video_id", pa.string()), ("content", pa.string()), ("windows", pa.int32()), ("sha256", pa.string())]
)
_LEVELS = 127


@dataclass(frozen=True, kw_only=True)
class IndexedVideo:
    """One video that was looked at; one too dark or flat for keys is here too."""

    video_id: str
    content: str  # equal contents, equal features
    windows: int
    sha256: str  # of the file; "" where it is not known


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One state of an index."""

    number: int = 0
    segments: list[str] = field(default_factory=list)  # names, oldest first
    gone: dict[str, list[int]] = field(default_factory=dict)  # by segment: rows of videos that count no more
    ledger: str = ""  # of the library, when all of it had been indexed; "" before
    sureness: dict[str, Any] | None = None  # see ndvr.operators.index.sureness

    @property
    def name(self) -> str:
        return f"{SNAPSHOTS}/{self.number:08d}.json"


class Segment:
    """An opened segment; its arrays lie in the file until they are used."""

    def __init__(self, store: Store, name: str, gone: Sequence[int] = ()):
        path = f"{SEGMENTS}/{name}.arrow"
        try:
            source = store.open(path) if store.remote else pa.memory_map(str(store.folder / path))
            self.table = pa.ipc.open_file(source).read_all()
            self.rows = pq.read_table(store.open(f"{SEGMENTS}/{name}.parquet"), schema=VIDEOS)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"segment {name} of the index {store} is gone; `ndvr index LIBRARY --again` makes a new index"
            ) from None
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"segment {name} of the index {store} is damaged ({error}); `ndvr index LIBRARY --again` makes one"
            ) from error
        self.name, self.gone = name, frozenset(gone)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def codes(self) -> np.ndarray:
        """(K, D) int8."""
        return _bytes_of(self.table["vector"]).view(np.int8)

    @cached_property
    def boxes(self) -> np.ndarray:
        """(K, 4) float32, see ndvr.models.keys.Keys."""
        return _bytes_of(self.table["box"]).view(np.int8).astype(np.float32) / 100

    def column(self, name: str) -> np.ndarray:
        """video (K,) int32, window (K,) int32 or novelty (K,) uint8."""
        return self.table[name].combine_chunks().to_numpy(zero_copy_only=False)

    @cached_property
    def videos(self) -> list[IndexedVideo]:
        """By row; those that are gone too."""
        return [IndexedVideo(**row) for row in self.rows.to_pylist()]

    @property
    def alive(self) -> list[int]:
        """Rows of the videos that count."""
        return [row for row in range(len(self.rows)) if row not in self.gone]

    def vectors(self, start: int, stop: int) -> np.ndarray:
        """(K, D) float32 of unit length, or shorter where they were stored so."""
        codes = self.codes[start:stop].astype(np.float32)
        return codes * (self.column("scale")[start:stop, None] / _LEVELS)


def _bytes_of(column: pa.ChunkedArray) -> np.ndarray:
    """(K, D) uint8 of a column of fixed-size binary."""
    whole = column.combine_chunks()
    size = whole.type.byte_width
    if not len(whole):
        return np.zeros((0, size), np.uint8)
    flat = np.frombuffer(whole.buffers()[1], np.uint8)[whole.offset * size :][: len(whole) * size]
    return flat.reshape(len(whole), size)


def segment_table(videos: Sequence[Keys]) -> pa.Table:
    """The keys of a segment's videos, by row: a byte a number, scaled by each vector's largest."""
    vectors = np.concatenate([keys.vectors for keys in videos])
    largest = np.maximum(np.abs(vectors).max(1, initial=0), 1e-9)
    codes = np.rint(vectors / largest[:, None] * _LEVELS).astype(np.int8)
    boxes = np.rint(np.concatenate([keys.boxes for keys in videos]) * 100).astype(np.int8)
    counts = [len(keys) for keys in videos]
    return pa.table(
        {
            "vector": _binary(codes),
            "scale": pa.array(largest.astype(np.float32)),
            "video": pa.array(np.repeat(np.arange(len(videos), dtype=np.int32), counts)),
            "window": pa.array(np.concatenate([keys.windows for keys in videos])),
            "box": _binary(boxes),
            "novelty": pa.array(np.rint(np.concatenate([keys.novelty for keys in videos]) * 255).astype(np.uint8)),
        }
    )


def _binary(array: np.ndarray) -> pa.Array:
    """(K, D) of one byte each -> fixed-size binary."""
    data = np.ascontiguousarray(array)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(array.shape[1]), len(array), [None, pa.py_buffer(data.tobytes())]
    )


class IndexFiles:
    """Reads and writes an index. FileNotFoundError when there is none, ValueError when it is of another format."""

    def __init__(self, root: str | Store):
        self.store = Store(root)

    @property
    def exists(self) -> bool:
        return self.store.exists(ABOUT)

    def about(self) -> dict[str, Any]:
        """What was written by `create`."""
        try:
            about = self.store.read_json(ABOUT)
        except FileNotFoundError:
            raise FileNotFoundError(f"no index at {self.store}; `ndvr index LIBRARY` makes one") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.store} is not an index: {error}") from error
        if (written := about.get("format")) != FORMAT:
            raise ValueError(
                f"the index {self.store} has format {written!r}, this version reads {FORMAT!r}; "
                "use the version of ndvr that made it, or `ndvr index LIBRARY --again`"
            )
        return about

    def create(self, about: dict[str, Any]) -> None:
        self.store.write_json(ABOUT, about | {"format": FORMAT})

    def snapshot(self) -> Snapshot:
        """The one that holds now."""
        names = self.store.names(SNAPSHOTS)
        return Snapshot(**self.store.read_json(f"{SNAPSHOTS}/{names[-1]}")) if names else Snapshot()

    def commit(self, snapshot: Snapshot) -> None:
        """Make it the one that holds."""
        self.store.write_json(snapshot.name, asdict(snapshot))

    def write_segment(self, videos: Sequence[IndexedVideo], keys: Sequence[Keys]) -> str:
        """The name of the segment, which depends on nothing but what is in it."""
        return self.write_tables(pa.Table.from_pylist([asdict(video) for video in videos], VIDEOS), segment_table(keys))

    def write_tables(self, videos: pa.Table, keys: pa.Table) -> str:
        """As `write_segment`, of tables."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, keys.schema) as file:
            file.write_table(keys.combine_chunks())
        data = sink.getvalue()
        digest = hashlib.sha256(data)
        digest.update(json.dumps(videos.to_pylist()).encode())
        name = digest.hexdigest()[:16]
        self.store.write_parquet(f"{SEGMENTS}/{name}.parquet", videos, compression="zstd")
        self.store.write(f"{SEGMENTS}/{name}.arrow", data)
        return name

    def open(self, snapshot: Snapshot) -> list[Segment]:
        """The segments that count."""
        return [Segment(self.store, name, snapshot.gone.get(name, ())) for name in snapshot.segments]

    def clear(self, snapshot: Snapshot) -> list[str]:
        """Remove what neither this snapshot nor the one before it names; returns what was removed."""
        kept = {snapshot.name}
        named = set(snapshot.segments)
        earlier = [name for name in self.store.names(SNAPSHOTS) if f"{SNAPSHOTS}/{name}" < snapshot.name]
        if earlier:  # for readers that are still at it
            kept.add(f"{SNAPSHOTS}/{earlier[-1]}")
            with contextlib.suppress(FileNotFoundError):
                named |= set(self.store.read_json(f"{SNAPSHOTS}/{earlier[-1]}")["segments"])
        stray = [f"{SNAPSHOTS}/{name}" for name in self.store.names(SNAPSHOTS)]
        stray = [name for name in stray if name not in kept]
        stray += [f"{SEGMENTS}/{n}" for n in self.store.names(SEGMENTS) if n.partition(".")[0] not in named]
        stray += [f"{folder}/{name}" for folder in (SEGMENTS, SNAPSHOTS) for name in self.store.unfinished(folder)]
        self.store.remove(*stray)
        return stray
