"""The videos that are searched for, one at a time, with their features: files are decoded here, without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ndvr.operators.features.embed import Embed
from ndvr.operators.library.feature_reader import FeatureReader
from ndvr.operators.library.library import Library, is_library
from ndvr.operators.scores.groups import videos_of
from ndvr.operators.storage.manifest import Manifest, read_manifest, stat_files
from ndvr.operators.storage.sealed import Damaged
from ndvr.operators.video.decode import Decode, Job
from ndvr.pipeline.search.library_index import LibraryIndex

Stats = Mapping[str, tuple[int | None, int | None] | None]  # bytes and mtime_ns by id, where they are known


@dataclass(frozen=True, kw_only=True)
class Query:
    """A video that is searched for. Without features, `message` says why."""

    query_id: str
    uri: str
    start_s: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)  # (T,)
    features: np.ndarray | None = field(default=None, repr=False)  # (T, *feature_shape) as shards keep them
    sha256: str = ""
    duration_s: float | None = None
    bytes: int | None = None
    mtime_ns: int | None = None
    message: str = ""
    skipped: bool = False  # there is nothing to see, or to hear, in it
    own: bool = False  # a video of the library that is searched: it does not find itself


@dataclass(frozen=True)
class Queries:
    """What is searched for: a manifest of files, or another library."""

    source: str
    uris: dict[str, str] = field(repr=False)
    stats: Stats = field(repr=False)  # bytes and mtime_ns, where they are known
    library: Library | None = None

    def __len__(self) -> int:
        return len(self.uris)

    def read(self, ids: list[str], index: LibraryIndex, *, strict: bool = False) -> Iterator[Query]:
        """Read features, in order; of those that are missing or damaged a message, or Damaged if `strict`."""
        if self.library is not None:
            yield from _of_library(self.library, ids, index, strict=strict)
        else:
            uris = {video_id: self.uris[video_id] for video_id in ids}
            yield from (query for (query,) in _of_files(uris, self.stats, (index,)))


def read_queries(videos: str | Path, index: LibraryIndex) -> Queries:
    """Read VIDEOS as a list of queries. ValueError or FileNotFoundError when there are none or they do not fit."""
    if is_library(videos):
        library = Library(videos)
        config = library.config_of(index.setting.method)
        mine, theirs = library.configs[config].to_json(), index.features.to_json()
        for key in ("weights_digest", "view", "feature_shape", "features_version"):
            if mine[key] != theirs[key]:
                raise ValueError(
                    f"the features of {library} and {index.library} cannot be compared: their {key} differ "
                    f"({mine[key]!r}, {theirs[key]!r}); extract both with the same settings"
                )
        entries = library.entries(config)
        of_library: Stats = {v: (entry.end["bytes"], entry.end["mtime_ns"]) for v, entry in entries.items()}
        return Queries(str(videos), {v: entry.end["uri"] or "" for v, entry in entries.items()}, of_library, library)
    manifest: Manifest = read_manifest(videos)
    stats: Stats = manifest.stats or stat_files(manifest.uris)
    return Queries(str(videos), manifest.uris, stats)


def _of_library(library: Library, ids: list[str], index: LibraryIndex, *, strict: bool) -> Iterator[Query]:
    config = library.config_of(index.setting.method)
    entries, own = library.entries(config), str(library) == str(index.library)
    pieces = {video.video_id: video.pieces for video in videos_of(entries.values(), config)}
    read = FeatureReader(library.store)
    for video_id in ids:
        end = entries[video_id].end
        facts = {"query_id": video_id, "uri": end["uri"] or "", "bytes": end["bytes"], "mtime_ns": end["mtime_ns"]}
        if video_id in pieces:
            try:
                start_s, features = read.timed(pieces[video_id])
                facts |= {"start_s": start_s, "features": features, "duration_s": end["duration_s"]}
            except (Damaged, FileNotFoundError) as error:
                if strict:
                    raise
                facts["message"] = f"its features are lost: {error}"
        else:
            facts |= _reason(end)
        yield Query(**facts, sha256=end["sha256"] or "", own=own)


def read_each(
    queries: Sequence[Queries], ids: list[str], index: Sequence[LibraryIndex], *, strict: bool = False
) -> Iterator[tuple[Query, ...]]:
    """Read the features of each query by several methods, `queries` by the same; a file is decoded once."""
    if queries[0].library is None:
        yield from _of_files({video_id: queries[0].uris[video_id] for video_id in ids}, queries[0].stats, index)
        return
    by_method = []
    for mine, one in zip(queries, index):
        known = iter(mine.read([video_id for video_id in ids if video_id in mine.uris], one, strict=strict))
        by_method.append((mine, one, known))
    for video_id in ids:
        yield tuple(
            next(known) if video_id in mine.uris else _not_extracted(video_id, one) for mine, one, known in by_method
        )


def _not_extracted(video_id: str, index: LibraryIndex) -> Query:
    return Query(query_id=video_id, uri="", message=f"it has no features of {index.setting.method}")


def _of_files(uris: dict[str, str], stats: Stats, index: Sequence[LibraryIndex]) -> Iterator[tuple[Query, ...]]:
    if not uris:
        return
    models = {each.setting.method: each.model for each in index}
    jobs = {method: Job(view=model.view, config="") for method, model in models.items()}
    decode = Decode(jobs=jobs, run="", decoder=index[0].features.decoder)
    embed = Embed(models)
    try:
        for video_id, uri in uris.items():
            video = pa.table({"video_id": [video_id], "uri": [uri], "methods": [list(models)]})
            rows = [row for table in decode(video) for row in embed(table).to_pylist()]
            stat = stats.get(video_id)
            yield tuple(
                _query(video_id, uri, [row for row in rows if row["method"] == each.setting.method], each, stat)
                for each in index
            )
    finally:
        embed.close()
        decode.close()


def _query(
    video_id: str, uri: str, rows: list[dict], index: LibraryIndex, stat: tuple[int | None, int | None] | None
) -> Query:
    """Make a query of the rows that decoding and embedding gave; only the last attempt counts."""
    end = rows[-1]
    facts = {"query_id": video_id, "uri": uri, "sha256": end["sha256"] or "", "duration_s": end["duration_s"]}
    facts |= dict(zip(("bytes", "mtime_ns"), stat)) if stat else {}
    bad = next((row for row in rows if row["status"] == "failed" and row["attempt"] == end["attempt"]), end)
    if bad["status"] != "done":
        return Query(**facts, **_reason(bad))
    pieces = [row for row in rows if row["kind"] == "piece" and row["attempt"] == end["attempt"]]
    start_s = np.concatenate([row["start_s"] for row in pieces])
    data = bytearray(b"".join(row["data"] for row in pieces))
    shape = (len(start_s), *index.model.feature_shape)
    features = np.frombuffer(data, index.model.card.feature_dtype).reshape(shape)
    return Query(**facts, start_s=start_s, features=features)


def _reason(end) -> dict[str, Any]:
    """Say why there are no features, and whether that is because there is nothing to see or to hear."""
    skipped = end["status"] == "skipped"
    return {
        "message": ": ".join(
            filter(None, (end["error_class"] or (None if skipped else end["status"]), end["message"]))
        ),
        "skipped": skipped,
    }
