"""Bring an index up to what its library holds: new videos in, removed and changed ones out, small segments merged."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ndvr.models.keys import Keys
from ndvr.operators.index import sureness
from ndvr.operators.index.lists import Coded, coded, joined
from ndvr.operators.index.segments import IndexedVideo, Segment, Snapshot
from ndvr.operators.index.votes import candidates
from ndvr.operators.library.feature_reader import FeatureReader, LeavesOut, without_lost
from ndvr.operators.library.lease import Lease
from ndvr.operators.scores.groups import Video, videos_of
from ndvr.operators.storage.sealed import Damaged
from ndvr.pipeline.progress import Progress, interruptible, size_words
from ndvr.pipeline.search.library_index import LibraryIndex, ledger_state

SEGMENT_KEYS, SEGMENT_VIDEOS = 1 << 14, 2048  # of a segment that is full; later merged with others
TIER = 10  # segments that are merged, of those that were merged as often
MOST_GONE = 0.25  # of a segment's videos, before it is written anew
SAMPLED, COMPARED = 32, 12  # videos, and candidates of each, behind what is said about sureness


@dataclass(frozen=True, kw_only=True)
class Updated(LeavesOut):
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
        """Return one flat object for programs."""
        return asdict(self)

    def text(self) -> str:
        """Write one line."""
        did = f"{self.added:,} added, {self.removed:,} taken out" if self.added or self.removed else "nothing to do"
        return (
            f"{self.videos:,} videos indexed ({did}): {self.keys:,} keys, {size_words(self.bytes)} in "
            f"{self.segments:,} segments, {self.index} ({self.seconds:.1f} s)"
        )


def update(index: LibraryIndex, *, progress: bool = True, again: bool = False, strict: bool = False) -> Updated:
    """Index what the library has and the index lacks; forget what it lost. Locked when somebody else is at it.

    Killed at any point it leaves the index as of the last commit, and the next update goes on from there.
    again: make all of it anew, whatever is there. Videos whose features are missing or damaged stay out and are named,
    until they are there again; with `strict` they are Damaged.
    """
    began = time.monotonic()
    files = index.files
    with interruptible(), Lease(files.store, "ndvr index"):
        if again:
            files.drop_unreadable()
            files.commit(Snapshot(number=files.snapshot().number + 1 if files.exists else 1))
        if again or not files.exists:
            files.create({"config": index.config, "method": index.setting.method, "library": str(index.library)})
        ledger = ledger_state(index.library)  # before what it names is read: what comes meanwhile is for the next
        index = index.now()
        added = removed = merged = 0
        lost: list[str] = []
        if index.snapshot.ledger != ledger:
            check_library(index)
            entries = index.library.entries(index.config)
            videos = videos_of(entries.values(), index.config)
            index, new, removed = _forget(index, videos)
            of_new = {video.video_id: entries[video.video_id] for video in new}
            kept, lost = without_lost(index.library, of_new, strict=strict)
            index, damaged = _add(index, videos_of(kept.values(), index.config), progress, strict=strict)
            lost = sorted({*lost, *damaged})
            added = len(new) - len(lost)
            index, merged = _merge(index)
            index = _measure(index, progress)
            # What is lost may be back another time, without a word in the ledger.
            index = _committed(index, replace(index.snapshot, ledger="" if lost else ledger))
        files.clear(index.snapshot)
    return _updated(index, began, lost=tuple(lost), added=added, removed=removed, merged=merged)


def _updated(index: LibraryIndex, began: float, *, lost: tuple[str, ...], **counts: int) -> Updated:
    return Updated(
        index=str(index.files.store),
        method=index.setting.method,
        videos=index.n_videos,
        keys=sum(map(len, index.segments)),
        bytes=index.files.bytes_of(index.snapshot),
        segments=len(index.segments),
        lost=lost,
        seconds=round(time.monotonic() - began, 3),
        **counts,
    )


def _committed(index: LibraryIndex, snapshot: Snapshot) -> LibraryIndex:
    """Make it hold, if it says anything new."""
    if snapshot == index.snapshot:
        return index
    snapshot = replace(snapshot, number=index.snapshot.number + 1)
    index.files.commit(snapshot)
    return replace(index, snapshot=snapshot)


def check_library(index: LibraryIndex) -> None:
    """Raise ValueError when the index is of another library:
    of this one under another name, as when it moved, it is not.
    """
    if not any(len(segment.rows) for segment in index.segments):
        return
    if (of := index.files.about()["library"]) == str(index.library):
        return
    videos = videos_of(index.library.entries(index.config).values(), index.config)
    known = {(video.video_id, video.content) for video in videos}
    if not any((each.video_id, each.content) in known for segment in index.segments for each in segment.videos):
        raise ValueError(
            f"{index.files.store} is the index of {of}, and {index.library} has none of its videos; name another "
            "folder with --to, or make it anew with --again"
        )


def _forget(index: LibraryIndex, videos: Sequence[Video]) -> tuple[LibraryIndex, list[Video], int]:
    """Mark what the library lost or changed; returns the videos that are new, and how many were marked."""
    missing = {(video.video_id, video.content): video for video in videos}
    gone = {name: list(rows) for name, rows in index.snapshot.gone.items()}
    count = 0
    for segment in index.segments:
        for row in segment.alive:
            indexed = segment.videos[row]
            if missing.pop((indexed.video_id, indexed.content), None) is None:
                gone.setdefault(segment.name, []).append(row)
                count += 1
    gone = {name: sorted(rows) for name, rows in gone.items()}
    return _committed(index, replace(index.snapshot, gone=gone)), list(missing.values()), count


def _add(
    index: LibraryIndex, videos: Sequence[Video], progress: bool, *, strict: bool
) -> tuple[LibraryIndex, list[str]]:
    """Put videos, as they came, into the last segment until it is full, then into a new one; a commit a segment.

    So segments depend on the videos and their order alone, not on how many were added at a time. Also returns the ids
    of videos whose features are damaged, and stay out.
    """
    damaged: list[str] = []
    videos = sorted(videos, key=lambda video: (video.pieces[0], video.video_id))
    read = FeatureReader(index.library.store)
    hashes = _hashes(index, videos)
    name, rows, parts = _unfilled(index)
    with Progress("index", len(videos), "video", show=progress and bool(videos)) as bar:
        for video in videos:
            bar.advance()
            try:
                parts.append(coded(index.model.keys(read.read(video.pieces))))
            except Damaged:
                if strict:
                    raise
                damaged.append(video.video_id)
                continue
            sha256 = hashes.get(video.video_id) or ""
            rows.append(
                IndexedVideo(video_id=video.video_id, content=video.content, windows=video.windows, sha256=sha256)
            )
            if _full(len(rows), sum(map(len, parts))):
                index = _replaced(index, [name] if name else [], rows, joined(parts, [row.windows for row in rows]))
                name, rows, parts = None, [], []
    if rows and len(damaged) < len(videos):
        # What a killed update wrote and did not name has the same name.
        index = _replaced(index, [name] if name else [], rows, joined(parts, [row.windows for row in rows]))
    return index, damaged


def _full(videos: int, keys: int) -> bool:
    return videos >= SEGMENT_VIDEOS or keys >= SEGMENT_KEYS


def _unfilled(index: LibraryIndex) -> tuple[str | None, list[IndexedVideo], list[Coded]]:
    """Find the last segment, if there is room in it: its name, videos, and keys by video."""
    if not index.segments or (last := index.segments[-1]).level or _full(len(last.rows), len(last)):
        return None, [], []
    rows, keys = last.counting()
    firsts = np.concatenate([[0], np.cumsum([row.windows for row in rows])]).astype(np.int64)
    keys = keys.take(np.argsort(keys.place, kind="stable"))
    cuts = np.searchsorted(keys.place, firsts)
    parts = [
        keys.take(np.arange(start, stop)).at(keys.place[start:stop] - first)
        for start, stop, first in zip(cuts, cuts[1:], firsts)
    ]
    return last.name, rows, parts


def _replaced(
    index: LibraryIndex, names: Sequence[str], videos: Sequence[IndexedVideo], keys: Coded | None, level: int = 0
) -> LibraryIndex:
    """Commit one segment in the place of others, or behind all; none where no video counts, keys None."""
    made = [] if keys is None else [index.files.write_segment(videos, keys, level=level)]
    segments = index.snapshot.segments
    at = segments.index(names[0]) if names else len(segments)
    kept = [other for other in segments if other not in names]
    gone = {other: rows for other, rows in index.snapshot.gone.items() if other not in names}
    return _committed(index, replace(index.snapshot, segments=[*kept[:at], *made, *kept[at:]], gone=gone))


def _hashes(index: LibraryIndex, videos: Sequence[Video]) -> dict[str, str]:
    entries = index.library.entries(index.config)
    return {video.video_id: entries[video.video_id].end["sha256"] for video in videos}


def _merge(index: LibraryIndex) -> tuple[LibraryIndex, int]:
    """Merge ten segments that were merged as often into one; write one that lost many videos anew."""
    merged = 0
    while (chosen := _to_merge(index.segments)) is not None:
        counting = [(part, *part.counting()) for part in chosen]
        videos = [video for _, rows, _ in counting for video in rows]
        parts = [(keys, sum(video.windows for video in rows)) for _, rows, keys in counting if rows]
        keys = joined(*zip(*parts)) if parts else None
        level = chosen[0].level + (len(chosen) > 1)
        index = _replaced(index, [part.name for part in chosen], videos, keys, level)
        merged += len(chosen)
    return index, merged


def _to_merge(segments: Sequence[Segment]) -> list[Segment] | None:
    levels: dict[int, list[Segment]] = {}
    for segment in segments:
        if len(segment.gone) > MOST_GONE * len(segment.rows):
            return [segment]
        if segment.level or segment is not segments[-1] or _full(len(segment.rows), len(segment)):
            levels.setdefault(segment.level, []).append(segment)
    return next((some[:TIER] for _, some in sorted(levels.items()) if len(some) >= TIER), None)


# --- How sure a score is, from videos of the library that have nothing to do with each other


def _measure(index: LibraryIndex, progress: bool) -> LibraryIndex:
    """Measure sureness, at first and when the library has doubled or halved since."""
    known, n_videos = index.sureness, index.n_videos
    if known is not None and known.videos / 2 < n_videos < known.videos * 2 or not n_videos:
        return index
    read, scores, chosen = FeatureReader(index.library.store), [], sampled(index)
    with Progress("sureness", len(chosen), "video", show=progress) as bar:
        for number, row in chosen:
            with contextlib.suppress(Damaged, FileNotFoundError):  # what is lost tells nothing of sureness
                scores += unrelated(index, read, number, row)
            bar.advance()
    fitted = sureness.fit(scores, videos=n_videos, limits=index.model.card.range)
    return _committed(index, replace(index.snapshot, sureness=fitted.to_json()))


def sampled(index: LibraryIndex) -> list[tuple[int, int]]:
    """Choose the videos that sureness is measured on, by segment and row:
    the same whatever order they were indexed in.
    """
    drawn = []
    for number, segment in enumerate(index.segments):
        for row in segment.alive:
            video = segment.videos[row]
            draw = hashlib.sha256((video.sha256 or video.video_id).encode()).digest()
            drawn.append((draw, video.video_id, number, row))
    return [(number, row) for _, _, number, row in sorted(drawn)[:SAMPLED]]


def unrelated(index: LibraryIndex, read: FeatureReader, number: int, row: int) -> list[float]:
    """Score one video, by segment and row, with those of other content that its probes find first."""
    mine = index.segments[number].videos[row]
    indexed = [(index.segments[c.segment].videos[c.row]) for c in _others(index, read, mine)]
    videos = index.lookup([mine.video_id, *(other.video_id for other in indexed)])
    if mine.video_id not in videos:
        return []
    query = index.model.bounded_signature(read.read(videos[mine.video_id].pieces))
    others = [videos[other.video_id] for other in indexed if other.video_id in videos and other.sha256 != mine.sha256]
    targets = (index.model.bounded_signature(read.read(other.pieces)) for other in others)
    return [index.model.similarity(query, target) for target in targets]


def _others(index: LibraryIndex, read: FeatureReader, mine: IndexedVideo):
    video = index.lookup([mine.video_id]).get(mine.video_id)
    if video is None:
        return []
    probes: Keys = index.model.probes(read.read(video.pieces))
    proposed = candidates(probes, index.segments, top=COMPARED + 1, plain=index.model.compact)
    return [c for c in proposed if index.segments[c.segment].videos[c.row].video_id != mine.video_id][:COMPARED]
