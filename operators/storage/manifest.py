"""Read VIDEOS: a folder, a text list, a CSV or a Parquet table -> which videos, under which ids.

    folder      every file below it that may be a video; id = path relative to the folder, with "/"
    .txt        "id path" per line, the references' format; the path may hold spaces
    .csv        columns video_id and uri (or path); .parquet likewise
    one video   id = its file name
Each may lie in an object store (s3://bucket/videos, s3://bucket/list.csv), and a list may name videos in one.
Relative paths in a list are looked up from the list's own folder; local folders may be spelled in another case.
"""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ndvr.operators.storage.object_store import (
    Stat,
    check_served,
    is_object,
    is_remote,
    kind_of,
    list_objects,
    stat_objects,
)
from ndvr.operators.storage.store import Store
from ndvr.operators.storage.text_files import MissingColumns, read_lines, read_table, split_pair
from ndvr.operators.storage.video_files import NOT_FOLDERS, Walk, local_path, no_video, uri_of

# A Parquet list unpacks to at most this much text, or so many times its own size.
_MOST_TEXT, _MOST_TIMES, _ROWS_AT_ONCE = 256 << 20, 100, 1 << 16
_AT_ONCE = 32  # files asked for: a network file system answers after milliseconds


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The videos of a run: `uris[video_id]`, sorted by id.

    ignored      files left out, by extension or kind: counts
    other_names  video id -> further names of the same file, which are no videos of their own (links)
    unreadable   folder or file that could not be looked at -> why; what lies there is unknown
    """

    source: str
    uris: dict[str, str] = field(repr=False)
    ignored: dict[str, int] = field(default_factory=dict)
    other_names: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    unreadable: dict[str, str] = field(default_factory=dict)
    # Bytes and mtime_ns, None of what is not there; empty where all are local, and can be asked as cheaply later.
    stats: dict[str, Stat | None] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.uris)


def read_manifest(videos: str | Path) -> Manifest:
    """Read the manifest behind VIDEOS. FileNotFoundError or ValueError say what is wrong with it and what to do."""
    place = str(videos) if is_remote(videos) else str(Path(videos))
    kind = kind_of(place) if is_remote(place) else _local_kind(place)
    if kind is None:
        raise FileNotFoundError(
            f"VIDEOS does not exist: {place}; give a folder, a list (.txt, .csv, .parquet) or a video"
        )
    if kind == "folder":
        return _remote_folder(place) if is_remote(place) else _folder(Path(place))
    name = place.rpartition("/")[2]
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _READERS:
        pairs = _READERS[suffix](place, _read(place))
    else:
        pairs = [(name, name)]
    if not pairs:
        raise ValueError(f"{place} lists no videos")
    _refuse_duplicates(place, [video_id for video_id, _ in pairs])
    uris = _resolved(place, dict(sorted(pairs)))
    return Manifest(source=place, uris=uris, stats=_stats(uris))


def _local_kind(place: str) -> str | None:
    return "folder" if os.path.isdir(place) else "file" if os.path.exists(place) else None


def _read(place: str) -> bytes:
    folder, _, name = place.rpartition("/")
    return Store(folder).read(name) if is_remote(place) else Path(place).read_bytes()


def _resolved(place: str, uris: dict[str, str]) -> dict[str, str]:
    """Resolve relative paths from the folder of the list."""
    spelled = cache(_spelled)
    base = place.rpartition("/")[0] if is_remote(place) else str(Path(place).resolve().parent)

    def resolve(uri: str) -> str:
        if is_remote(uri):
            if is_object(uri):
                check_served(uri)
            return uri
        if is_remote(base) and not uri.startswith("/"):
            if not {".", ".."} & set(uri.split("/")):
                return f"{base}/{uri}"  # as it is: a key may have two slashes
            scheme, _, folder = base.partition("://")
            return f"{scheme}://{posixpath.normpath(posixpath.join(folder, uri))}"
        path = Path(base) / uri
        return os.path.join(spelled(str(path.parent)), path.name)

    return {video_id: resolve(uri) for video_id, uri in uris.items()}


def _stats(uris: dict[str, str]) -> dict[str, Stat | None]:
    """Look at all files, if one is in an object store."""
    remote = {video_id: uri for video_id, uri in uris.items() if is_object(uri)}
    if not remote:
        return {}
    local = {video_id: uri for video_id, uri in uris.items() if video_id not in remote}
    return stat_files(local) | dict(zip(remote, stat_objects(list(remote.values()))))


def stat_files(uris: dict[str, str]) -> dict[str, Stat | None]:
    """Read bytes and mtime_ns of local files; None for one that cannot be looked at."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(uris, pool.map(_stat, uris.values(), chunksize=64)))


def _stat(uri: str) -> Stat | None:
    try:
        status = os.stat(local_path(uri))
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _spelled(folder: str) -> str:
    """Spell the folder as it is on disk: 3D-CSL's lists say Videos/ and videos/ of the same one."""
    parent, name = os.path.split(folder)
    if os.path.isdir(folder) or not name:
        return folder
    parent = _spelled(parent)
    try:
        alike = [name_there for name_there in os.listdir(parent) if name_there.casefold() == name.casefold()]
    except OSError:
        alike = []
    return os.path.join(parent, alike[0] if len(alike) == 1 else name)


def _folder(folder: Path) -> Manifest:
    walk = Walk(folder)
    walk.run()
    uris: dict[str, str] = {}
    others: dict[str, tuple[str, ...]] = {}
    for names in walk.names.values():
        (_, video_id, file), *more = sorted(names)
        while video_id in uris:  # "caf\\xe9" may be spelled so, or be the printable form of bytes
            video_id += "~"
        uris[video_id] = uri_of(str(file.resolve() if file.exists() else file.absolute()))
        if more:
            others[video_id] = tuple(name for _, name, _ in more)
    return _of_folder(str(folder), uris, walk.ignored, {}, other_names=others, unreadable=walk.unreadable)


def _remote_folder(folder: str) -> Manifest:
    stats: dict[str, Stat | None] = {}
    ignored: Counter[str] = Counter()
    root = folder.rstrip("/") + "/"
    for uri, stat in list_objects(folder).items():
        video_id = uri.removeprefix(root)
        *folders, name = video_id.rstrip("/").split("/")
        if any(part.lower() in NOT_FOLDERS or (part.startswith(".") and part not in (".", "..")) for part in folders):
            continue
        if kind := no_video(name):
            ignored[kind] += 1
        else:
            stats[video_id] = stat
    return _of_folder(folder, {video_id: root + video_id for video_id in stats}, ignored, stats)


def _of_folder(
    folder: str, uris: dict[str, str], ignored: Counter[str], stats: dict[str, Stat | None], **more: Any
) -> Manifest:
    if not uris:
        left = f"; ignored {sum(ignored.values())} files that are no videos" if ignored else ""
        closed = "".join(f"; cannot look into {name}: {why}" for name, why in more.get("unreadable", {}).items())
        raise ValueError(f"no videos in folder {folder}{left}{closed}")
    uris, kinds = dict(sorted(uris.items())), dict(sorted(ignored.items()))
    return Manifest(source=folder, uris=uris, ignored=kinds, stats=stats, **more)


def _text(place: str, data: bytes) -> list[tuple[str, str]]:
    pairs = []
    for number, line in read_lines(place, data):
        video_id, path = split_pair(line)
        if not path:
            raise ValueError(
                f'{place}, line {number}: expected "id path", got {line!r}; an id with spaces needs quotes'
            )
        pairs.append((video_id, path))
    return pairs


def _csv(place: str, data: bytes) -> list[tuple[str, str]]:
    for key in ("uri", "path"):
        try:
            _, rows = read_table(place, data, needs=("video_id", key), purpose="list of videos")
            break
        except MissingColumns as error:
            columns = error.columns
    else:
        _uri_column(place, columns)
    pairs = []
    for line, row in rows:
        if not row["video_id"] or not row[key]:
            raise ValueError(f"{place}, line {line}: empty {key if row['video_id'] else 'video_id'}")
        pairs.append((row["video_id"], row[key]))
    return pairs


def _parquet(place: str, data: bytes) -> list[tuple[str, str]]:
    try:
        return _complete(place, _parquet_pairs(place, data))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{place} is not a whole Parquet file ({error}): write it again") from None


def _parquet_pairs(place: str, data: bytes) -> list[tuple[Any, Any]]:
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        schema = file.schema_arrow
        key = _uri_column(place, schema.names)
        most = max(_MOST_TEXT, _MOST_TIMES * len(data))
        _refuse_bomb(place, file.metadata.num_rows, most)
    # As dictionaries: a text that stands a million times is here once, and can be counted before it is copied.
    texts = [name for name in ("video_id", key) if _is_text(schema.field(name).type)]
    pairs: list[tuple[Any, Any]] = []
    with pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["video_id", key]):
            most -= sum(_text_bytes(batch.column(name)) for name in texts)
            _refuse_bomb(place, 0, most)
            pairs += zip(batch.column("video_id").to_pylist(), batch.column(key).to_pylist())
    return pairs


def _refuse_bomb(place: str, n: int, most: int) -> None:
    if n > most:
        raise ValueError(f"{place} unpacks to far more text than a list of videos has; is it one?")


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _text_bytes(column: pa.DictionaryArray) -> int:
    lengths = pc.binary_length(column.dictionary).take(column.indices)
    return pc.sum(lengths).as_py() or 0


_READERS = {".txt": _text, ".csv": _csv, ".parquet": _parquet}


def _uri_column(place: str, columns: Iterable[str]) -> str:
    for key in ("uri", "path"):
        if "video_id" in columns and key in columns:
            return key
    there = ", ".join(columns) or "none"
    raise ValueError(f"{place} needs the columns video_id and uri (or path); its columns are: {there}")


def _complete(place: str, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    rows = []
    for number, (video_id, uri) in enumerate(pairs, start=1):
        if not video_id or not uri:
            raise ValueError(f"{place}, row {number}: empty {'uri' if video_id else 'video_id'}")
        rows.append((str(video_id), str(uri)))
    return rows


def _refuse_duplicates(place: str, ids: list[str]) -> None:
    twice = sorted(video_id for video_id, count in Counter(ids).items() if count > 1)
    if twice:
        more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
        raise ValueError(f"{place} lists id {twice[0]!r} twice{more}; every video needs an id of its own")
