"""Read the features of one video at a time: memory for that video and one row group, whatever the size of its shards.

reader = FeatureReader("library")
features = reader.read(video.pieces)      # (T, *feature_shape) as stored
lost_videos(library, entries)             # {"a.mp4": "shards/s2vs-1a2b3c4d/r1-0a.parquet is missing"}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from ndvr.operators.library.config import Config
from ndvr.operators.library.library import Entry, Library
from ndvr.operators.library.receipt_files import remedy
from ndvr.operators.library.shards import SHARDS, features_of
from ndvr.operators.storage.sealed import Damaged, SealedTable
from ndvr.operators.storage.store import Store

Piece = tuple[str, int, int, str | None]  # shard, its first row, number of rows, their digest


class FeatureReader:
    """Keeps the shard and the row group that were read last: neighbours are read from them."""

    def __init__(self, library: str | Path | Store):
        self.library = Library(library)
        self._shard, self._starts = "", np.zeros(1, np.int64)
        self._file: SealedTable | None = None
        self._group: tuple[int, np.ndarray, np.ndarray] = (-1, np.zeros(0), np.zeros(0))

    @cached_property
    def _configs(self) -> dict[str, Config]:
        return self.library.configs

    def read(self, pieces: Sequence[Piece]) -> np.ndarray:
        """Read the features of one video: (T, *feature_shape), T >= 1, in the order of the pieces."""
        return self.timed(pieces)[1]

    def timed(self, pieces: Sequence[Piece]) -> tuple[np.ndarray, np.ndarray]:
        """Read when each window begins, in seconds (T,), and the features (T, *feature_shape)."""
        parts = [part for piece in pieces for part in self._of_piece(*piece)]
        if len(parts) == 1:
            return parts[0]
        start_s, features = zip(*parts)
        return np.concatenate(start_s), np.concatenate(features)

    def _of_piece(self, shard: str, first: int, count: int, digest: str | None) -> list[tuple[np.ndarray, np.ndarray]]:
        self._open(shard)
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        group = int(np.searchsorted(self._starts, first, side="right")) - 1
        while count:
            rows = slice(first - self._starts[group], first - self._starts[group] + count)
            start_s, features = (column[rows] for column in self._read_group(group))
            if not len(features):
                why = f"it ends before row {first}, which its ledger names"
                raise Damaged(f"{self.library}/{SHARDS}/{shard}", why, remedy(self.library.store))
            parts.append((start_s, features))
            first, count, group = first + len(features), count - len(features), group + 1
        self.library.check_piece(shard, digest, parts)
        return parts

    def _open(self, shard: str) -> None:
        if shard == self._shard:
            return
        self._file = file = self.library.open_shard(shard)
        meta = file.metadata
        counts = [meta.row_group(number).num_rows for number in range(meta.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._shard, self._group = shard, (-1, np.zeros(0), np.zeros(0))

    def _read_group(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Read times and features of a row group; none behind the last."""
        if self._group[0] != group:
            assert self._file is not None
            shape = self._configs[self._shard.partition("/")[0]].feature_shape
            if group >= self._file.metadata.num_row_groups:
                return np.zeros(0), np.zeros((0, *shape))
            rows = self._file.read([group], ["start_s", "feature"])
            try:
                self._group = group, rows["start_s"].to_numpy(), features_of(rows["feature"], shape)
            except (KeyError, ValueError, TypeError, pa.ArrowException) as error:
                name, why = f"{self.library}/{SHARDS}/{self._shard}", f"its columns are not those of a shard: {error}"
                raise Damaged(name, why, remedy(self.library.store)) from error
        return self._group[1:]


# --- Features that are gone or changed: they cost their videos, not the library --------------------------------------


def lost_videos(library: Library, entries: Iterable[Entry], *, read: bool = False) -> dict[str, str]:
    """Find the videos with features that are not there, or not as they were written: by id, what is wrong.

    read  read all features; otherwise only the shards are looked for, by listing their folders
    """
    there = [entry for entry in entries if entry.pieces]
    missing = library.lost_shards(there)
    lost = {entry.video_id: min(gone) for entry in there if missing and (gone := entry.shards & missing)}
    lost = {video_id: f"{SHARDS}/{shard} is missing" for video_id, shard in lost.items()}
    if read:
        reader = FeatureReader(library.store)
        pieces = {entry.video_id: pieces_of(entry) for entry in there if entry.video_id not in lost}
        for video_id in sorted(pieces, key=pieces.__getitem__):  # as they lie in the shards
            try:
                reader.read(pieces[video_id])
            except (Damaged, FileNotFoundError) as error:
                lost[video_id] = str(error)
    return lost


def pieces_of(entry: Entry) -> tuple[Piece, ...]:
    """Say where the features of a video are, in order."""
    return tuple(
        (piece["shard"], piece["shard_row"], piece["windows_count"], piece["digest"]) for piece in entry.pieces
    )


def without_lost(
    library: Library, entries: Mapping[str, Entry], *, strict: bool = False, read: bool = False
) -> tuple[dict[str, Entry], list[str]]:
    """Make failures of the entries whose features are lost, and list their ids. Damaged, with `strict`, for the first.

    read  as of `lost_videos`
    """
    entries = dict(entries)
    lost = lost_videos(library, entries.values(), read=read)
    if lost:  # or rewritten, since the ledger was read
        (config,) = {entries[video_id].end["config"] for video_id in lost}
        entries |= Library(library.store).lookup([config], list(lost)).entries[config]
        lost = lost_videos(library, [entries[video_id] for video_id in lost], read=read)
    if lost and strict:
        video_id = min(lost)
        raise Damaged(f"video {video_id!r} of {library}", lost[video_id], remedy(library.store))
    return entries | {video_id: entries[video_id].without_features(why) for video_id, why in lost.items()}, sorted(lost)


def named(video_ids: Sequence[str]) -> str:
    """Name the first three, and count the rest."""
    more = f" and {len(video_ids) - 3:,} more" if len(video_ids) > 3 else ""
    return ", ".join(map(repr, video_ids[:3])) + more


class LeavesOut:
    """What a command did, which names in `lost` the videos that it left out, as their features are lost."""

    lost: tuple[str, ...]

    def left_out_text(self) -> str:
        """Name them; nothing when none was left out."""
        return lost_text(self.lost)


def lost_text(video_ids: Sequence[str]) -> str:
    """Say which videos were left out as their features are lost, and what to do about it; nothing when none was."""
    if not video_ids:
        return ""
    are = "features are missing or damaged; `ndvr fsck LIBRARY --repair` makes them due again"
    return f"left out, {len(video_ids):,} videos: {named(video_ids)}: their {are}"


def gone_text(video_ids: Sequence[str]) -> str:
    """Say which videos in pairs are gone from their folder, on a line of its own; nothing where none is."""
    if not video_ids:
        return ""
    one = len(video_ids) == 1
    are = f"1 of these videos, {named(video_ids)}, is" if one else f"{len(video_ids):,} of these videos are"
    such = "" if one else f", such as {named(video_ids)}"
    remedy = "`ndvr extract --gone mark` keeps such out of pairs, `ndvr remove --all-gone` takes them out for good"
    return f"\n{are} no longer in the folder that gave {'it' if one else 'them'}{such}; {remedy}"
