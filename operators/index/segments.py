"""The files of an index: immutable segments of keys, and the snapshot that says which of them count.

    INDEX/index.json               the format, and which configuration of the library was indexed
    INDEX/segments/<hash>.arrow    a row per key, list by list: code, factor, place, box, novelty; Arrow IPC,
                                   zstd: any reader
    INDEX/segments/<hash>.lists    a row per list: its centroid, and how many keys it has; the same
    INDEX/segments/<hash>.parquet  a row per video of that segment: video_id, content, windows, sha256
    INDEX/snapshots/<n>.<lease>.json  segments, the rows of videos that are gone, sureness; the highest number holds

A segment is named by the hash of what is in it, which is checked when it is opened, and never changes; it is made of
its videos and their keys in order, whatever way these came together. Every file is whole or not there, segments come
before the snapshot that names them: a reader sees one state of the index at any moment, and a killed writer leaves
nothing but files that nobody names, which the next one clears away or takes over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ndvr.operators.index.lists import Coded, Lists, into_lists
from ndvr.operators.index.scan import Scan
from ndvr.operators.index.sureness import Sureness
from ndvr.operators.library.fencing import check, ignored, write_fenced
from ndvr.operators.storage.object_store import Unreachable
from ndvr.operators.storage.sealed import Damaged, read_sealed_json, seal_json
from ndvr.operators.storage.shapes import shaped
from ndvr.operators.storage.store import Store, file_name

FORMAT = "ndvr-index/2"
ABOUT, SEGMENTS, SNAPSHOTS = "index.json", "segments", "snapshots"
_REMEDY = "`ndvr index LIBRARY --again` makes a new index"
_ABOUT = {"format": str, "config": str, "method": str, "library": str}
VIDEOS = pa.schema(
    [("video_id", pa.string()), ("content", pa.string()), ("windows", pa.int32()), ("sha256", pa.string())]
)


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
    sureness: dict[str, Any] | None = None  # as ndvr.operators.index.sureness has it

    @property
    def stem(self) -> str:
        """How the name of its file begins."""
        return f"{SNAPSHOTS}/{self.number:08d}"

    def only(self, segments: Sequence[str]) -> Snapshot:
        """Leave all but these segments out."""
        return replace(self, segments=list(segments))


class Segment:
    """An opened segment; its keys are read when they are used."""

    def __init__(self, store: Store, name: str, gone: Sequence[int] = ()):
        self.store, self.name, self.gone = store, name, frozenset(gone)
        self._scans: dict[tuple[bool, bool], Scan] = {}
        with self.told():
            self.rows = pq.read_table(store.open(f"{SEGMENTS}/{name}.parquet"), schema=VIDEOS)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Say what is wrong with a segment that cannot be read, and what to do about it."""
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(f"segment {self.name} of the index {self.store} is gone; {_REMEDY}") from None
        except (pa.ArrowException, OSError, ValueError) as error:
            if getattr(error, "errno", None) is not None or isinstance(error, Unreachable):
                raise
            why = str(error).splitlines()[0]
            raise Damaged(f"segment {self.name} of the index {self.store}", why, _REMEDY) from error

    @cached_property
    def table(self) -> pa.Table:
        """A row per key."""
        with self.told():
            return _open(self.store, f"{SEGMENTS}/{self.name}.arrow").read_all()

    @cached_property
    def _lists(self) -> pa.Table:
        with self.told():
            return _open(self.store, f"{SEGMENTS}/{self.name}.lists").read_all()

    @cached_property
    def _about(self) -> dict[str, Any]:
        with self.told():
            file = _open(self.store, f"{SEGMENTS}/{self.name}.arrow")
        return json.loads(file.schema.metadata[b"ndvr"])

    @cached_property
    def level(self) -> int:
        """How often what is in it was merged."""
        return int(self._about["level"])

    @cached_property
    def boxes(self) -> np.ndarray:
        """(B, 4), see ndvr.models.keys.Keys."""
        return np.array(self._about["boxes"], np.float32).reshape(-1, 4)

    def __len__(self) -> int:
        return int(pc.sum(self._lists["keys"]).as_py() or 0)

    @cached_property
    def lists(self) -> Lists:
        """Which keys are in which list."""
        counts = self._lists["keys"].combine_chunks().to_numpy()
        centroids = _bytes_of(self._lists["centroid"]).view(np.float32)
        return Lists(centroids=centroids, starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    @cached_property
    def coded(self) -> Coded:
        """Keys of the segment, list by list."""
        column = {name: self.table[name].combine_chunks().to_numpy() for name in ("factor", "place", "box", "novelty")}
        return Coded(codes=_bytes_of(self.table["code"]), boxes=self.boxes, **column)

    def scan(self, *, lists: bool, whole: bool = False) -> Scan:
        """Open its keys of videos that count, to be compared with probes: list by list, or all;
        of whole pictures only.
        """
        if (lists, whole) not in self._scans:
            wanted = ~np.isin(self.where(np.arange(len(self)))[0], list(self.gone))
            if whole:
                wanted &= (self.boxes == (0, 0, 1, 1)).all(1)[self.coded.box]
            self._scans[lists, whole] = Scan(self.coded, self.lists if lists else None, wanted)
        return self._scans[lists, whole]

    @cached_property
    def videos(self) -> list[IndexedVideo]:
        """Videos by row; those that are gone too."""
        return [IndexedVideo(**row) for row in self.rows.to_pylist()]

    @property
    def alive(self) -> list[int]:
        """Rows of the videos that count."""
        return [row for row in range(len(self.rows)) if row not in self.gone]

    @cached_property
    def firsts(self) -> np.ndarray:
        """(V + 1,) the place of each video's first window, one behind the other."""
        return np.concatenate([[0], np.cumsum(self.rows["windows"].to_numpy())]).astype(np.int64)

    def where(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the rows of the videos that keys are of, and their windows."""
        place = self.coded.place[keys].astype(np.int64)
        row = np.searchsorted(self.firsts, place, "right") - 1
        return row, place - self.firsts[row]

    def counting(self) -> tuple[list[IndexedVideo], Coded]:
        """Select the videos that count, with their keys."""
        row, window = self.where(np.arange(len(self)))
        alive = np.array(self.alive, np.int64)
        sizes = np.diff(self.firsts)[alive]
        start = np.full(len(self.rows), -1, np.int64)
        start[alive] = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(alive) else []
        kept = start[row] >= 0
        coded = self.coded.take(kept)
        return [self.videos[n] for n in alive], coded.at((start[row] + window)[kept])


def _source(store: Store, path: str) -> pa.NativeFile:
    return store.open(path) if store.remote else pa.memory_map(str(store.folder / path))


def _open(store: Store, path: str) -> pa.ipc.RecordBatchFileReader:
    return pa.ipc.open_file(_source(store, path))


def _name_of(table: pa.Buffer, lists: pa.Buffer, rows: pa.Table) -> str:
    """Name a segment by the bytes of its files; of its videos by what is in them."""
    digest = hashlib.sha256(table)
    digest.update(lists)
    digest.update(json.dumps(rows.to_pylist()).encode())
    return digest.hexdigest()[:16]


def _bytes_of(column: pa.ChunkedArray) -> np.ndarray:
    """Read (K, D) uint8 of a column of fixed-size binary."""
    whole = column.combine_chunks()
    size = whole.type.byte_width
    if not len(whole):
        return np.zeros((0, size), np.uint8)
    flat = np.frombuffer(whole.buffers()[1], np.uint8)[whole.offset * size :][: len(whole) * size]
    return flat.reshape(len(whole), size)


def _binary(array: np.ndarray) -> pa.Array:
    """Write (K, D) of any type as fixed-size binary."""
    data = np.ascontiguousarray(array)
    size = data.dtype.itemsize * data.shape[1]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(data), [None, pa.py_buffer(data.tobytes())])


def _file(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as file:
        file.write_table(table)
    return sink.getvalue()


class IndexFiles:
    """Reads and writes an index. FileNotFoundError when there is none, ValueError when it is of another format."""

    def __init__(self, root: str | Store):
        self.store = Store(root)
        self._checked: set[str] = set()  # segments that are as they were written

    @property
    def exists(self) -> bool:
        return self.store.exists(ABOUT)

    def about(self) -> dict[str, Any]:
        """Read what was written by `create`."""
        try:
            about = read_sealed_json(self.store, ABOUT, remedy=_REMEDY)
        except FileNotFoundError:
            raise FileNotFoundError(f"no index at {self.store}; `ndvr index LIBRARY` makes one") from None
        if isinstance(written := about.get("format"), str) and written != FORMAT:
            raise ValueError(
                f"the index {self.store} has format {written!r}, this version reads {FORMAT!r}; "
                "use the version of ndvr that made it, or `ndvr index LIBRARY --again`"
            )
        return shaped(about, _ABOUT, f"{self.store}/{ABOUT}", remedy=_REMEDY)

    def create(self, about: dict[str, Any]) -> None:
        self.store.write_json(ABOUT, seal_json(about | {"format": FORMAT}))

    def snapshot(self) -> Snapshot:
        """Read the snapshot that holds now. Damaged when it names anything but segments of its own."""
        names = self._snapshots()
        return self._opened(names[-1]) if names else Snapshot()

    def _opened(self, name: str) -> Snapshot:
        source = f"{self.store}/{name}"
        values = read_sealed_json(self.store, name, remedy=_REMEDY)
        shaped(values, Snapshot, source, optional={"sureness": Sureness | None}, remedy=_REMEDY)
        try:
            snapshot = Snapshot(**values)
            Sureness.from_json(snapshot.sureness)
        except (TypeError, ValueError) as error:
            raise Damaged(source, f"this version cannot use it: {error}", _REMEDY) from error
        for segment in snapshot.segments:
            file_name(segment, source, suffix="")
        return snapshot

    def _snapshots(self) -> list[str]:
        """List them, but for those of writers that had been taken over."""
        names = [f"{SNAPSHOTS}/{name}" for name in self.store.names(SNAPSHOTS)]
        late = ignored(self.store, names)
        return [name for name in names if name not in late]

    def drop_unreadable(self) -> None:
        """Forget an index that is damaged, or of another format: it is made anew."""
        try:
            self.about()
            self.open(self.snapshot())
        except FileNotFoundError:
            return
        except (ValueError, TypeError):
            self.store.remove(ABOUT, *(f"{SNAPSHOTS}/{name}" for name in self.store.names(SNAPSHOTS)))

    def commit(self, snapshot: Snapshot) -> None:
        """Make it the one that holds. RunStopped when the lease of the index is gone: it may not hold then."""
        data = seal_json(asdict(snapshot))
        write_fenced(self.store, snapshot.stem, ".json", lambda name: self.store.write_json(name, data))

    def write_segment(self, videos: Sequence[IndexedVideo], keys: Coded, *, level: int) -> str:
        """Write videos with their keys; the name depends on nothing but these, in their order.

        level: how often what is in it was merged.
        """
        coded, lists = into_lists(keys)
        about = {"level": level, "boxes": coded.boxes.tolist()}
        table = pa.table(
            {
                "code": _binary(coded.codes),
                "factor": pa.array(coded.factor),
                "place": pa.array(coded.place),
                "box": pa.array(coded.box),
                "novelty": pa.array(coded.novelty),
            }
        ).replace_schema_metadata({"ndvr": json.dumps(about)})
        of_lists = pa.table({"centroid": _binary(lists.centroids), "keys": pa.array(np.diff(lists.starts))})
        rows = pa.Table.from_pylist([asdict(video) for video in videos], VIDEOS)
        data, data_of_lists = _file(table), _file(of_lists)
        name = _name_of(data, data_of_lists, rows)
        self.store.write_parquet(f"{SEGMENTS}/{name}.parquet", rows, compression="zstd")
        self.store.write(f"{SEGMENTS}/{name}.lists", data_of_lists)
        self.store.write(f"{SEGMENTS}/{name}.arrow", data)
        return name

    def open(self, snapshot: Snapshot, *, keys: bool = True) -> list[Segment]:
        """Open the segments that count. Damaged when one is not as it was written;
        without `keys` this is not looked at.
        """
        segments = [Segment(self.store, name, snapshot.gone.get(name, ())) for name in snapshot.segments]
        for segment in segments if keys else ():
            if segment.name not in self._checked:
                self._check(segment)
                self._checked.add(segment.name)
        return segments

    def shares(self, snapshot: Snapshot, n: int) -> list[list[str]]:
        """Share the segments that count out, in at most n runs of neighbours with about as many keys each."""
        sizes = self.store.sizes(SEGMENTS)
        ends = np.cumsum([sizes.get(f"{name}.arrow", 0) for name in snapshot.segments], dtype=np.int64)
        share = (ends - 1) * n // max(ends[-1:].max(initial=1), 1)
        runs = [[name for name, at in zip(snapshot.segments, share) if at == number] for number in range(n)]
        return [run for run in runs if run]

    def bytes_of(self, snapshot: Snapshot) -> int:
        """Count the bytes of the segments that count."""
        sizes = self.store.sizes(SEGMENTS)
        return sum(size for name, size in sizes.items() if name.partition(".")[0] in snapshot.segments)

    def _check(self, segment: Segment) -> None:
        """Read a segment whole: a changed byte would lose candidates, and what is not found would count as not seen."""
        with segment.told():
            data, lists = (_source(self.store, f"{SEGMENTS}/{segment.name}.{kind}") for kind in ("arrow", "lists"))
            name = _name_of(data.read_buffer(), lists.read_buffer(), segment.rows)
        if name != segment.name:
            raise Damaged(f"segment {segment.name} of the index {self.store}", "its bytes have changed", _REMEDY)

    def clear(self, snapshot: Snapshot) -> list[str]:
        """Remove what neither this snapshot nor the one before it names; returns what was removed."""
        kept = self._snapshots()[-2:]  # with the one before, for readers that are still at it
        named = set(snapshot.segments)
        for name in kept[:-1]:
            with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
                named |= set(self.store.read_json(name)["segments"])
        stray = [f"{SNAPSHOTS}/{name}" for name in self.store.names(SNAPSHOTS)]
        stray = [name for name in stray if name not in kept]
        stray += [f"{SEGMENTS}/{n}" for n in self.store.names(SEGMENTS) if n.partition(".")[0] not in named]
        stray += [f"{folder}/{name}" for folder in (SEGMENTS, SNAPSHOTS) for name in self.store.unfinished(folder)]
        check(self.store)  # since these were listed: who was taken over removes nothing
        self.store.remove(*stray)
        return stray
