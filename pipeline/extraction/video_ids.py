"""What the ids of VIDEOS stand for: where else a known id lies, and ids that two sources do not share.

    manifest = renamed(manifest, prefix="day2/", id_from=None, library=None)

The id of a file is its path below the folder that was named: two folders with a clip.mp4 each give the same id twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

import pyarrow.compute as pc

from ndvr.operators.errors import DecodeError
from ndvr.operators.library.library import Entry, Library
from ndvr.operators.storage.fetch import content_of
from ndvr.operators.storage.manifest import Manifest, stat_files
from ndvr.operators.storage.object_store import Stat, is_object
from ndvr.operators.storage.video_files import local_path, printable

IdFrom = Literal["path", "name", "hash"]
_WAYS_OUT = "give --prefix TEXT to put TEXT before every id, or --id-from path, name or hash"
_READERS = 8  # files hashed at once


def find_others(
    uris: Mapping[str, str], configs: Iterable[Mapping[str, Entry]], stats: Mapping[str, Stat | None]
) -> dict[str, Entry]:
    """Find by id what the library has under it from another place, where the file may be another video.

    A file that was moved with its time and size is the same video; a file that is not there is none.
    """
    others: dict[str, Entry] = {}
    for entries in configs:
        for video_id, entry in entries.items():
            end, stat = entry.end, stats[video_id]
            if end["uri"] == uris[video_id] or end["sha256"] is None or stat is None or entry.status == "failed":
                continue
            if not is_unchanged(entry, uris[video_id], stat) and lies_elsewhere(entry, uris[video_id]):
                others.setdefault(video_id, entry)
    return others


def refuse_conflicts(
    others: Mapping[str, Entry], uris: Mapping[str, str], stats: Mapping[str, Stat | None], *, library: str
) -> None:
    """Raise ValueError where a file has another size than the video of its id, which lies elsewhere:
    it is another video.

    Of a file of the same size the decoder tells, which reads its bytes.
    """
    conflicts = [
        video_id for video_id, other in others.items() if (stat := stats[video_id]) and stat[0] != other.end["bytes"]
    ]
    if conflicts:
        first = min(conflicts)
        more = f" (and {len(conflicts) - 1:,} more ids)" if len(conflicts) > 1 else ""
        raise ValueError(
            f"id {first!r} is {printable(others[first].end['uri'])} in {library}, and {printable(uris[first])} is "
            f"another video{more}: {_WAYS_OUT}"
        )


def lies_elsewhere(entry: Entry, uri: str) -> bool:
    """Tell whether a video was read from another place than this one, whatever links lead there."""
    stored = entry.end["uri"]
    if not stored or stored == uri:
        return False
    if is_object(stored) or is_object(uri):
        return True
    return os.path.realpath(local_path(stored)) != os.path.realpath(local_path(uri))


def is_unchanged(entry: Entry, uri: str, stat: Stat) -> bool:
    """Tell whether a file is the one that was read, by its size and time.

    A time of whole seconds (FAT, zip, tar, S3) does not tell two files at two places apart.
    """
    same = stat == (entry.end["bytes"], entry.end["mtime_ns"])
    return same and (stat[1] % 10**9 != 0 or not lies_elsewhere(entry, uri))


def renamed(manifest: Manifest, *, prefix: str, id_from: IdFrom | None, library: Library | None) -> Manifest:
    """Rename the videos as the user asked. ValueError where two videos would get one id.

    prefix   put before every id
    id_from  path: the whole path or address; name: the file name; hash: the SHA-256 of the bytes; None: as it is
    library  tells the hash of files that it knows unchanged
    """
    if id_from not in (None, *get_args(IdFrom)):
        raise ValueError(f"unknown id_from {id_from!r}; choose one of {', '.join(get_args(IdFrom))}")
    if not prefix and id_from is None:
        return manifest
    if id_from == "hash":
        ids = _hashes(manifest, library)
    else:
        made = {"path": _path, "name": lambda uri: _path(uri).rpartition("/")[2]}.get(id_from or "")
        ids = {video_id: made(uri) if made else video_id for video_id, uri in manifest.uris.items()}
    first: dict[str, str] = {}
    others: dict[str, list[str]] = {}
    for video_id, new in ids.items():
        if new in first and id_from != "hash":
            places = " and ".join(printable(manifest.uris[each]) for each in (first[new], video_id))
            raise ValueError(f"{places} would both be {prefix + new!r}: give --id-from path or hash")
        if first.setdefault(new, video_id) != video_id:
            others.setdefault(new, []).append(video_id)  # the same bytes are the same video
        others.setdefault(new, []).extend(manifest.other_names.get(video_id, ()))
    new_of = {old: prefix + new for new, old in sorted(first.items())}
    return replace(
        manifest,
        uris={new: manifest.uris[old] for old, new in new_of.items()},
        stats={new: manifest.stats[old] for old, new in new_of.items()} if manifest.stats else {},
        other_names={prefix + new: tuple(names) for new, names in others.items() if names},
    )


def _path(uri: str) -> str:
    return uri if is_object(uri) else printable(local_path(uri))


def _hashes(manifest: Manifest, library: Library | None) -> dict[str, str]:
    """Hash every file (SHA-256), by id; of one that cannot be read its path, so that its failure is told under it."""
    stats = manifest.stats or stat_files(manifest.uris)
    known: dict[tuple[str, int, int], str] = {}
    if library is not None:
        rows = library.ledger.select(["uri", "bytes", "mtime_ns", "sha256"])
        rows = rows.filter(pc.is_valid(rows["sha256"])).to_pydict()
        known = dict(zip(zip(rows["uri"], rows["bytes"], rows["mtime_ns"]), rows["sha256"]))
    with ThreadPoolExecutor(_READERS) as pool:
        known_stats = [stats[video_id] for video_id in manifest.uris]
        return dict(zip(manifest.uris, pool.map(partial(_hash, known), manifest.uris.values(), known_stats)))


def _hash(known: Mapping[tuple[str, int, int], str], uri: str, stat: Stat | None) -> str:
    try:
        return known.get((uri, *stat) if stat else ("", 0, 0)) or content_of(uri)
    except DecodeError:
        return _path(uri)
