"""The sides of the score grid: videos known by their content, in groups that later runs keep.

A group is made once, written down, and from then on only loses videos: those that left the library or changed.
New videos form new groups, so they cost new cells only. Scores do not depend on the grouping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ndvr.operators.library.feature_reader import Piece, pieces_of
from ndvr.operators.library.library import Entry
from ndvr.operators.storage.sealed import is_intact, read_table, write_table

_TABLE = pa.schema([("side", pa.string()), ("group", pa.int32()), ("video_id", pa.string()), ("content", pa.string())])


class Video(NamedTuple):
    """One video on a side of the grid, and where its features are."""

    video_id: str
    content: str  # equal contents, equal features
    windows: int
    pieces: tuple[Piece, ...]


def videos_of(entries: Iterable[Entry], config: str) -> list[Video]:
    """List those of the entries that have features, in the order in which their features lie."""
    videos = [_video(entry, config) for entry in entries if entry.pieces]
    return sorted(videos, key=lambda video: (video.pieces[0], video.video_id))


def _video(entry: Entry, config: str) -> Video:
    pieces = pieces_of(entry)
    # Where features lie may change; what was seen, how, and by which decoder decides what they are.
    origin = entry.end.get("sha256") or tuple(piece[:3] for piece in pieces)
    text = repr((config, origin, entry.end.get("decoder"), entry.windows))
    return Video(entry.video_id, hashlib.sha256(text.encode()).hexdigest()[:16], entry.windows, pieces)


@dataclass(frozen=True)
class Group:
    """Videos that share the cells of one row or column of the grid, sorted by id."""

    videos: tuple[Video, ...]

    @cached_property
    def name(self) -> str:
        """The same for the same videos with the same contents."""
        return name_of((video.video_id, video.content) for video in self.videos)

    @cached_property
    def ids(self) -> list[str]:
        return [video.video_id for video in self.videos]

    def __len__(self) -> int:
        return len(self.videos)


def name_of(members: Iterable[tuple[str, str]]) -> str:
    """Make 16 hexadecimal digits that stand for (video_id, content) of a group."""
    lines = "".join(f"{video_id}\0{content}\n" for video_id, content in sorted(members))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Side:
    """All groups of one side; `shrunk` says what a group was called before it lost videos."""

    groups: tuple[Group, ...]
    shrunk: Mapping[str, str]


Members = list[tuple[str, str]]  # (video_id, content)


def regroup(
    recorded: Sequence[Members], videos: Sequence[Video], pack: Callable[[list[Video]], Iterable[Group]]
) -> Side:
    """Take recorded groups, without what is gone or changed, then new groups of all other `videos` in their order."""
    not_yet_grouped = {(video.video_id, video.content): video for video in videos}
    groups, shrunk = [], {}
    for members in recorded:
        remaining = [not_yet_grouped.pop(member) for member in members if member in not_yet_grouped]
        if remaining:
            groups.append(_group(remaining))
            if len(remaining) < len(members):
                shrunk[groups[-1].name] = name_of(members)
    return Side((*groups, *pack(list(not_yet_grouped.values()))), shrunk)


def packed(videos: Iterable[Video], *, n_videos: int, n_windows: int) -> Iterator[Group]:
    """Pack groups of at most `n_videos` videos, of together at most `n_windows` windows; a longer video is alone."""
    group: list[Video] = []
    windows = 0
    for video in videos:
        if group and (windows + video.windows > n_windows or len(group) == n_videos):
            yield _group(group)
            group, windows = [], 0
        group.append(video)
        windows += video.windows
    if group:
        yield _group(group)


def _group(videos: Iterable[Video]) -> Group:
    return Group(tuple(sorted(videos, key=lambda video: video.video_id)))


def write_groups(path: Path, sides: Mapping[str, Side]) -> None:
    """Write down who is in which group."""
    rows = [
        {"side": name, "group": number, "video_id": video.video_id, "content": video.content}
        for name, side in sides.items()
        for number, group in enumerate(side.groups)
        for video in group.videos
    ]
    table = pa.Table.from_pylist(rows, schema=_TABLE)
    write_table(path, table, compression="zstd")


def read_groups(path: Path) -> dict[str, list[Members]]:
    """Read what `write_groups` wrote, by side; nothing when there is none, or it is damaged: they are made again."""
    groups_of_side: dict[str, list[Members]] = {}
    if is_intact(path):
        columns = read_table(path).to_pydict()
        for side, number, *member in zip(*(columns[name] for name in _TABLE.names)):
            groups = groups_of_side.setdefault(side, [])
            if number == len(groups):
                groups.append([])
            groups[number].append((member[0], member[1]))
    return groups_of_side
