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
from ndvr.pipeline.progress import Progress, interruptible
from ndvr.pipeline.search.opened import Opened, ledger_state

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
            f"{self.videos:,} videos indexed ({did}): {self.keys:,} keys, {self.bytes / 1e6:,.1f} MB in "
            f"{self.segments:,} segments, {self.index} ({self.seconds:.1f} s)"
        )


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
            files.drop_unreadable()
            files.commit(Snapshot(number=files.snapshot().number + 1 if files.exists else 1))
        if again or not files.exists:
            files.create({"config": opened.config, "method": opened.setting.method, "library": str(opened.library)})
        ledger = ledger_state(opened.library)  # before what it names is read: what comes meanwhile is for the next
        opened = opened.now()
        added = removed = merged = 0
        lost: list[str] = []
        if opened.snapshot.ledger != ledger:
            check_library(opened)
            entries = opened.library.entries(opened.config)
            videos = videos_of(entries.values(), opened.config)
            opened, new, removed = _forget(opened, videos)
            of_new = {video.video_id: entries[video.video_id] for video in new}
            kept, lost = without_lost(opened.library, of_new, strict=strict)
            opened, damaged = _add(opened, videos_of(kept.values(), opened.config), progress, strict=strict)
            lost = sorted({*lost, *damaged})
            added = len(new) - len(lost)
            opened, merged = _merge(opened)
            opened = _measure(opened, progress)
            # What is lost may be back another time, without a word in the ledger.
            opened = _committed(opened, replace(opened.snapshot, ledger="" if lost else ledger))
        files.clear(opened.snapshot)
    return _updated(opened, began, lost=tuple(lost), added=added, removed=removed, merged=merged)


def _updated(opened: Opened, began: float, *, lost: tuple[str, ...], **counts: int) -> Updated:
    return Updated(
        index=str(opened.files.store),
        method=opened.setting.method,
        videos=opened.n_videos,
        keys=sum(map(len, opened.segments)),
        bytes=opened.files.bytes_of(opened.snapshot),
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
    opened.files.commit(snapshot)
    return replace(opened, snapshot=snapshot)


def check_library(opened: Opened) -> None:
    """Raise ValueError when the index is of another library: of this one under another name, as when it moved, it
    is not.
    """
    if not any(len(segment.rows) for segment in opened.segments):
        return
    if (of := opened.files.about()["library"]) == str(opened.library):
        return
    videos = videos_of(opened.library.entries(opened.config).values(), opened.config)
    known = {(video.video_id, video.content) for video in videos}
    if not any((each.video_id, each.content) in known for segment in opened.segments for each in segment.videos):
        raise ValueError(
            f"{opened.files.store} is the index of {of}, and {opened.library} has none of its videos; name another "
            "folder with --to, or make it anew with --again"
        )


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
    return _committed(opened, replace(opened.snapshot, gone=gone)), list(missing.values()), count


def _add(opened: Opened, videos: Sequence[Video], progress: bool, *, strict: bool) -> tuple[Opened, list[str]]:
    """Put videos, as they came, into the last segment until it is full, then into a new one; a commit a segment.

    So segments depend on the videos and their order alone, not on how many were added at a time. Also returns the ids
    of videos whose features are damaged, and stay out.
    """
    damaged: list[str] = []
    videos = sorted(videos, key=lambda video: (video.pieces[0], video.video_id))
    read = FeatureReader(opened.library.store)
    hashes = _hashes(opened, videos)
    name, rows, parts = _unfilled(opened)
    with Progress("index", len(videos), "video", show=progress and bool(videos)) as bar:
        for video in videos:
            bar.advance()
            try:
                parts.append(coded(opened.model.keys(read.read(video.pieces))))
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
                opened = _replaced(opened, [name] if name else [], rows, joined(parts, [row.windows for row in rows]))
                name, rows, parts = None, [], []
    if rows and len(damaged) < len(videos):
        # What a killed update wrote and did not name has the same name.
        opened = _replaced(opened, [name] if name else [], rows, joined(parts, [row.windows for row in rows]))
    return opened, damaged


def _full(videos: int, keys: int) -> bool:
    return videos >= SEGMENT_VIDEOS or keys >= SEGMENT_KEYS


def _unfilled(opened: Opened) -> tuple[str | None, list[IndexedVideo], list[Coded]]:
    """Find the last segment, if there is room in it: its name, videos, and keys by video."""
    if not opened.segments or (last := opened.segments[-1]).level or _full(len(last.rows), len(last)):
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
    opened: Opened, names: Sequence[str], videos: Sequence[IndexedVideo], keys: Coded | None, level: int = 0
) -> Opened:
    """Commit one segment in the place of others, or behind all; none where no video counts, keys None."""
    made = [] if keys is None else [opened.files.write_segment(videos, keys, level=level)]
    segments = opened.snapshot.segments
    at = segments.index(names[0]) if names else len(segments)
    kept = [other for other in segments if other not in names]
    gone = {other: rows for other, rows in opened.snapshot.gone.items() if other not in names}
    return _committed(opened, replace(opened.snapshot, segments=[*kept[:at], *made, *kept[at:]], gone=gone))


def _hashes(opened: Opened, videos: Sequence[Video]) -> dict[str, str]:
    entries = opened.library.entries(opened.config)
    return {video.video_id: entries[video.video_id].end["sha256"] for video in videos}


def _merge(opened: Opened) -> tuple[Opened, int]:
    """Merge ten segments that were merged as often into one; write one that lost many videos anew."""
    merged = 0
    while (chosen := _to_merge(opened.segments)) is not None:
        counting = [(part, *part.counting()) for part in chosen]
        videos = [video for _, rows, _ in counting for video in rows]
        parts = [(keys, sum(video.windows for video in rows)) for _, rows, keys in counting if rows]
        keys = joined(*zip(*parts)) if parts else None
        level = chosen[0].level + (len(chosen) > 1)
        opened = _replaced(opened, [part.name for part in chosen], videos, keys, level)
        merged += len(chosen)
    return opened, merged


def _to_merge(segments: Sequence[Segment]) -> list[Segment] | None:
    levels: dict[int, list[Segment]] = {}
    for segment in segments:
        if len(segment.gone) > MOST_GONE * len(segment.rows):
            return [segment]
        if segment.level or segment is not segments[-1] or _full(len(segment.rows), len(segment)):
            levels.setdefault(segment.level, []).append(segment)
    return next((some[:TIER] for _, some in sorted(levels.items()) if len(some) >= TIER), None)


# --- How sure a score is, from videos of the library that have nothing to do with each other


def _measure(opened: Opened, progress: bool) -> Opened:
    """Measure sureness, at first and when the library has doubled or halved since."""
    known, n_videos = opened.sureness, opened.n_videos
    if known is not None and known.videos / 2 < n_videos < known.videos * 2 or not n_videos:
        return opened
    read, scores, chosen = FeatureReader(opened.library.store), [], sampled(opened)
    with Progress("sureness", len(chosen), "video", show=progress) as bar:
        for number, row in chosen:
            with contextlib.suppress(Damaged, FileNotFoundError):  # what is lost tells nothing of sureness
                scores += unrelated(opened, read, number, row)
            bar.advance()
    fitted = sureness.fit(scores, videos=n_videos, limits=opened.model.card.range)
    return _committed(opened, replace(opened.snapshot, sureness=fitted.to_json()))


def sampled(opened: Opened) -> list[tuple[int, int]]:
    """Choose the videos that sureness is measured on, by segment and row: the same whatever order they were indexed
    in.
    """
    drawn = []
    for number, segment in enumerate(opened.segments):
        for row in segment.alive:
            video = segment.videos[row]
            draw = hashlib.sha256((video.sha256 or video.video_id).encode()).digest()
            drawn.append((draw, video.video_id, number, row))
    return [(number, row) for _, _, number, row in sorted(drawn)[:SAMPLED]]


def unrelated(opened: Opened, read: FeatureReader, number: int, row: int) -> list[float]:
    """Score one video, by segment and row, with those of other content that its probes find first."""
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
    proposed = candidates(probes, opened.segments, top=COMPARED + 1, plain=opened.model.compact)
    return [c for c in proposed if opened.segments[c.segment].videos[c.row].video_id != mine.video_id][:COMPARED]
