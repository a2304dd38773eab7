"""Bring an index up to what its library holds: new videos in, removed and changed ones out, small segments merged."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ndvr.models.keys import Keys
from ndvr.operators.index import sureness
from ndvr.operators.index.segments import IndexedVideo, IndexFiles, Segment, Snapshot
from ndvr.operators.index.votes import candidates
from ndvr.operators.library.feature_reader import FeatureReader, lost_text, without_lost
from ndvr.operators.library.fencing import check
from ndvr.operators.library.lease import Lease
from ndvr.operators.scores.groups import Video, videos_of
from ndvr.operators.storage.sealed import Damaged
from ndvr.pipeline.progress import Progress, interruptible
from ndvr.pipeline.search.opened import Opened, ledger_state

SEGMENT_VIDEOS = 2048  # at most; a segment is a commit
SEGMENT_WINDOWS = 200_000
TIER = 10  # segments of about one size that are merged
MOST_GONE = 0.25  # of a segment's videos, before it is written anew
SAMPLED, COMPARED = 32, 12  # videos, and candidates of each, behind what is said about sureness


@dataclass(frozen=True, kw_only=True)
class Updated:
    """What an update did."""

    index: str
    method: str
    videos: int  # indexed now
    added: int
    removed: int  # that are gone or changed
    keys: int
    bytes: int
    segments: int
    merged: int  # segments that were taken together
    lost: tuple[str, ...]  # ids of videos that could not be indexed: their features are gone or damaged
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """One flat object for programs."""
        return asdict(self)

    def text(self) -> str:
        """One line."""
        did = f"{self.added:,} added, {self.removed:,} taken out" if self.added or self.removed else "nothing to do"
        return (
            f"{self.videos:,} videos indexed ({did}): {self.keys:,} keys, {self.bytes / 1e6:,.1f} MB in "
            f"{self.segments:,} segments, {self.index} ({self.seconds:.1f} s)"
        )

    def left_out_text(self) -> str:
        """Which videos could not be indexed; nothing when all were."""
        return lost_text(self.lost) if self.lost else ""


def update(opened: Opened, *, progress: bool = True, again: bool = False, strict: bool = False) -> Updated:
    """Index what the library has and the index lacks; forget what it lost. Locked when somebody else is at it.

    Killed at any point it leaves the index as of the last commit, and the next update goes on from there.
    again: make all of it anew, whatever is there. Videos whose features are missing or damaged stay out and are named,
    until they are there again; with `strict` they are Damaged.
    """
    began = time.monotonic()
    files = opened.files
    with interruptible(), Lease(files.store, "ndvr index"):
        if again:
            files.commit(Snapshot(number=files.snapshot().number + 1 if files.exists else 1))
        if again or not files.exists:
            files.create({"config": opened.config, "method": opened.setting.method, "library": str(opened.library)})
        ledger = ledger_state(opened.library)  # before what it names is read: what comes meanwhile is for the next
        opened = opened.now()
        added = removed = merged = 0
        lost: list[str] = []
        if opened.snapshot.ledger != ledger:
            entries = opened.library.entries(opened.config)
            opened, new, removed = _forget(opened, videos_of(entries.values(), opened.config))
            of_new = {video.video_id: entries[video.video_id] for video in new}
            kept, lost = without_lost(opened.library, of_new, strict=strict)
            opened, damaged = _add(opened, videos_of(kept.values(), opened.config), progress, strict=strict)
            lost = sorted({*lost, *damaged})
            added = len(new) - len(lost)
            opened, merged = _merge(opened)
            opened = _measure(opened, progress)
            # What is lost may be back another time, without a word in the ledger.
            opened = _committed(opened, replace(opened.snapshot, ledger="" if lost else ledger))
        check(files.store)
        files.clear(opened.snapshot)
    return _updated(opened, began, lost=tuple(lost), added=added, removed=removed, merged=merged)


def _updated(opened: Opened, began: float, *, lost: tuple[str, ...], **counts: int) -> Updated:
    sizes = opened.files.store.sizes("segments")
    return Updated(
        index=str(opened.files.store),
        method=opened.setting.method,
        videos=opened.n_videos,
        keys=sum(map(len, opened.segments)),
        bytes=sum(size for name, size in sizes.items() if name.partition(".")[0] in opened.snapshot.segments),
        segments=len(opened.segments),
        lost=lost,
        seconds=round(time.monotonic() - began, 3),
        **counts,
    )


def _committed(opened: Opened, snapshot: Snapshot) -> Opened:
    """Make it hold, if it says anything new."""
    if snapshot == opened.snapshot:
        return opened
    snapshot = replace(snapshot, number=opened.snapshot.number + 1)
    check(opened.files.store)  # who was taken over makes nothing hold, and below removes nothing
    opened.files.commit(snapshot)
    return replace(opened, snapshot=snapshot)


def _forget(opened: Opened, videos: Sequence[Video]) -> tuple[Opened, list[Video], int]:
    """Mark what the library lost or changed; returns the videos that are new, and how many were marked."""
    missing = {(video.video_id, video.content): video for video in videos}
    gone = {name: list(rows) for name, rows in opened.snapshot.gone.items()}
    count = 0
    for segment in opened.segments:
        for row in segment.alive:
            indexed = segment.videos[row]
            if missing.pop((indexed.video_id, indexed.content), None) is None:
                gone.setdefault(segment.name, []).append(row)
                count += 1
    gone = {name: sorted(rows) for name, rows in gone.items()}
    new = sorted(missing.values(), key=lambda video: (video.pieces[0], video.video_id))
    return _committed(opened, replace(opened.snapshot, gone=gone)), new, count


def _add(opened: Opened, videos: Sequence[Video], progress: bool, *, strict: bool) -> tuple[Opened, list[str]]:
    """A segment and a commit for every so many videos; the ids of those whose features are damaged, and stay out."""
    damaged: list[str] = []
    read = FeatureReader(opened.library.store)
    hashes = _hashes(opened, videos)
    with Progress("index", len(videos), "video", show=progress and bool(videos)) as bar:
        for batch in _batches(videos):
            rows, keys = [], []
            for video in batch:
                bar.advance()
                try:
                    keys.append(opened.model.keys(read.read(video.pieces)))
                except Damaged:
                    if strict:
                        raise
                    damaged.append(video.video_id)
                    continue
                sha256 = hashes.get(video.video_id) or ""
                rows.append(
                    IndexedVideo(video_id=video.video_id, content=video.content, windows=video.windows, sha256=sha256)
                )
            if not rows:
                continue
            name = opened.files.write_segment(rows, keys)
            # What a killed update wrote and did not name has the same name.
            opened = _committed(opened, replace(opened.snapshot, segments=[*opened.snapshot.segments, name]))
    return opened, damaged


def _hashes(opened: Opened, videos: Sequence[Video]) -> dict[str, str]:
    entries = opened.library.entries(opened.config)
    return {video.video_id: entries[video.video_id].end["sha256"] for video in videos}


def _batches(videos: Sequence[Video]) -> Iterator[list[Video]]:
    batch: list[Video] = []
    windows = 0
    for video in videos:
        if batch and (len(batch) == SEGMENT_VIDEOS or windows + video.windows > SEGMENT_WINDOWS):
            yield batch
            batch, windows = [], 0
        batch.append(video)
        windows += video.windows
    if batch:
        yield batch


def _merge(opened: Opened) -> tuple[Opened, int]:
    """Segments of about one size become one when there are ten of them; one that lost many videos is written anew."""
    merged = 0
    while (chosen := _to_merge(opened.segments)) is not None:
        name = merge(opened.files, chosen)
        names = {segment.name for segment in chosen}
        segments = [other for other in opened.snapshot.segments if other not in names]
        gone = {other: rows for other, rows in opened.snapshot.gone.items() if other not in names}
        opened = _committed(
            opened, replace(opened.snapshot, segments=[*segments, *([name] if name else [])], gone=gone)
        )
        merged += len(chosen)
    return opened, merged


def _to_merge(segments: Sequence[Segment]) -> list[Segment] | None:
    tiers: dict[int, list[Segment]] = {}
    for segment in segments:
        if len(segment.gone) > MOST_GONE * len(segment.rows):
            return [segment]
        tiers.setdefault(int(np.log10(max(len(segment), 1))), []).append(segment)
    return next((some[:TIER] for _, some in sorted(tiers.items()) if len(some) >= TIER), None)


def merge(files: IndexFiles, segments: Sequence[Segment]) -> str | None:
    """Write one segment of what counts in several; its name, or None when nothing counts."""
    videos, tables, n_rows = [], [], 0
    for segment in segments:
        alive = np.array(segment.alive, np.int64)
        if not len(alive):
            continue
        place = np.full(len(segment.rows), -1, np.int32)
        place[alive] = np.arange(n_rows, n_rows + len(alive))
        row = place[segment.column("video")]
        table = segment.table.set_column(segment.table.column_names.index("video"), "video", pa.array(row))
        tables.append(table.filter(pa.array(row >= 0)))
        videos.append(segment.rows.take(pa.array(alive)))
        n_rows += len(alive)
    return files.write_tables(pa.concat_tables(videos), pa.concat_tables(tables)) if videos else None


# --- How sure a score is, from videos of the library that have nothing to do with each other


def _measure(opened: Opened, progress: bool) -> Opened:
    """Measure sureness, at first and when the library has doubled or halved since."""
    known, n_videos = opened.sureness, opened.n_videos
    if known is not None and known.videos / 2 < n_videos < known.videos * 2 or not n_videos:
        return opened
    pairs = [(number, row) for number, segment in enumerate(opened.segments) for row in segment.alive]
    chosen = [pairs[n] for n in np.unique(np.linspace(0, len(pairs) - 1, min(SAMPLED, len(pairs))).astype(int))]
    read, scores = FeatureReader(opened.library.store), []
    with Progress("sureness", len(chosen), "video", show=progress) as bar:
        for number, row in chosen:
            with contextlib.suppress(Damaged, FileNotFoundError):  # what is lost tells nothing of sureness
                scores += _unrelated(opened, read, number, row)
            bar.advance()
    fitted = sureness.fit(scores, videos=n_videos, limits=opened.model.card.range)
    return _committed(opened, replace(opened.snapshot, sureness=fitted.to_json()))


def _unrelated(opened: Opened, read: FeatureReader, number: int, row: int) -> list[float]:
    """Scores of one video with those of other content that its probes find first."""
    mine = opened.segments[number].videos[row]
    indexed = [(opened.segments[c.segment].videos[c.row]) for c in _others(opened, read, mine)]
    videos = opened.lookup([mine.video_id, *(other.video_id for other in indexed)])
    if mine.video_id not in videos:
        return []
    query = opened.model.signature(read.read(videos[mine.video_id].pieces))
    others = [videos[other.video_id] for other in indexed if other.video_id in videos and other.sha256 != mine.sha256]
    targets = [opened.model.signature(read.read(other.pieces)) for other in others]
    return opened.model.similarities(query, targets).tolist()


def _others(opened: Opened, read: FeatureReader, mine: IndexedVideo):
    video = opened.lookup([mine.video_id]).get(mine.video_id)
    if video is None:
        return []
    probes: Keys = opened.model.probes(read.read(video.pieces))
    found = candidates(probes, opened.segments, top=COMPARED + 1)
    return [c for c in found if opened.segments[c.segment].videos[c.row].video_id != mine.video_id][:COMPARED]
