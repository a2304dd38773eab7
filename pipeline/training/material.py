"""What is trained on, and what is held out: features or frames, and files that say which videos show the same.

    query_id,video_id         a row for each pair that shows the same: a truth table, of `ndvr evaluate`
    video_id,class            or the class of each video; also without a first line: "id class" a line

All that is wrong with them is a sentence before the first step.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ndvr.models.training.recipe import Videos
from ndvr.operators.connected import families
from ndvr.operators.library.config import Config
from ndvr.operators.library.feature_reader import without_lost
from ndvr.operators.library.library import Library
from ndvr.operators.scores.files import open_scores
from ndvr.operators.storage.text_files import MissingColumns, read_lines, read_table

Sets = Mapping[str, frozenset[str]]


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Which videos show the same, as a file says it."""

    name: str
    related: Sets  # both ways
    groups: Mapping[str, frozenset[str]]  # by id: all that are connected with it, itself included
    classes: bool  # the file names classes, not pairs


def read_alike(path: str | Path) -> Alike:
    """Read pairs or classes. ValueError or FileNotFoundError in one sentence when the file has neither."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}: give a CSV with the columns query_id and video_id, or video_id and class"
        )
    related: dict[str, set[str]] = defaultdict(set)
    try:
        for _, row in read_table(path, needs=("query_id", "video_id"), purpose="file of pairs")[1]:
            if row["query_id"] != row["video_id"]:
                related[row["query_id"]].add(row["video_id"])
                related[row["video_id"]].add(row["query_id"])
        classes = False
    except MissingColumns:
        related, classes = _of_classes(path), True
    if not related:
        raise ValueError(f"{path} names no videos that show the same")
    pairs = {video_id: frozenset(others) for video_id, others in related.items()}
    return Alike(name=str(path), related=pairs, groups=_connected(pairs), classes=classes)


def _of_classes(path: Path) -> dict[str, set[str]]:
    members: dict[str, set[str]] = defaultdict(set)
    try:
        rows = read_table(path, needs=("video_id", "class"), purpose="class list")[1]
        for _, row in rows:
            members[row["class"]].add(row["video_id"])
    except MissingColumns:
        for number, line in read_lines(path):
            video_id, _, name = line.rpartition(" ")
            if not video_id:
                raise ValueError(
                    f"{path}, line {number}: give a CSV with the columns query_id and video_id, or video_id and class, "
                    'or lines "id class"'
                ) from None
            members[name].add(video_id.strip())
    for name, ids in members.items():
        if len(ids) < 2:
            raise ValueError(
                f"class {name!r} of {path} has one video, {min(ids)!r}: nothing is alike in it; give it another, or "
                "take it out"
            )
    twice = [
        video_id for video_id, count in Counter(each for ids in members.values() for each in ids).items() if count > 1
    ]
    if twice:
        raise ValueError(f"{path} puts {twice[0]!r} into several classes")
    return {video_id: ids - {video_id} for ids in members.values() for video_id in ids}


def _connected(related: Sets) -> dict[str, frozenset[str]]:
    """Find, by id, all videos that a chain of pairs leads to, itself included."""
    chains = map(frozenset, families([(a, b) for a, others in related.items() for b in others]))
    return {video_id: chain for chain in chains for video_id in chain}


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features of a library, in memory: by id, sorted, (T, *feature_shape) as stored.

    Of videos that are trained on by their frames these are the ones that are held out.
    """

    library: str  # or VIDEOS
    config: Config
    by_id: Mapping[str, np.ndarray]
    contents: Mapping[str, str | None]  # by id: the SHA-256 of the file
    lost: tuple[str, ...] = ()  # ids that were left out: their features are gone or damaged

    def fill(self, videos: Videos) -> Videos:
        """Give videos to train on their features."""
        return replace(videos, features={video_id: self.by_id[video_id] for video_id in videos.groups})

    def part(self, ids: Collection[str]) -> Features:
        """Select the features of some of these videos."""
        return replace(self, by_id={video_id: self.by_id[video_id] for video_id in ids})


def read_features(library: str | Path, method: str, *, config: str | None, memory_gb: float, strict: bool) -> Features:
    """Read the features of a method. ValueError when they do not fit into the memory given, or are not finite."""
    opened = Library(library)
    name = opened.config_of(method, config)
    made_with = opened.config(name)
    every, lost = without_lost(opened, opened.entries(name), strict=strict, read=True)
    entries = [entry for entry in every.values() if entry.pieces]
    size_gb = sum(entry.windows for entry in entries) * made_with.window_bytes / 1e9
    if size_gb > memory_gb:
        raise ValueError(
            f"the features of {len(entries):,} videos of {opened} take {size_gb:.1f} GB, more than "
            f"memory_gb={memory_gb:g}; give --memory-gb {size_gb * 1.05:.1f}, or train on fewer videos"
        )
    by_id = {video_id: features for video_id, _, features in opened.read(entries)}
    for video_id, features in by_id.items():
        if features.dtype.kind == "f" and not np.isfinite(features).all():
            raise ValueError(
                f"the features of {video_id!r} in {opened} are not finite; extract it again, or remove it "
                f"(`ndvr remove {opened} ID`)"
            )
    return Features(
        library=str(opened),
        config=made_with,
        by_id={video_id: by_id[video_id] for video_id in sorted(by_id)},
        contents=dict(sorted((entry.video_id, entry.end["sha256"]) for entry in entries)),
        lost=tuple(lost),
    )


def training_videos(ids: Collection[str], place: str, alike: Alike | None, held_out: set[str]) -> Videos:
    """Choose what is trained on: all videos that are not held out; of classes, those that are in one.

    What is known of each, features or frames, is still to be filled in. ValueError when that is too little.
    """
    chosen = {video_id: None for video_id in ids if video_id not in held_out}.keys()
    if alike is not None and alike.classes:  # of what class a video is that the file does not name, nobody knows
        chosen = {video_id: None for video_id in chosen if video_id in alike.related}.keys() or chosen
    if len(chosen) < 2:
        beside = f" beside the {len(held_out):,} that are held out" if held_out else ""
        raise ValueError(f"{place} has {len(chosen)} videos to train on{beside}; give at least two")
    related: dict[str, tuple[str, ...]] = {}
    if alike is not None:
        _check_members(alike, chosen, place)
        related = {
            video_id: tuple(sorted(others & chosen)) for video_id, others in alike.related.items() if video_id in chosen
        }
    groups: dict[str, int] = {}
    numbers: dict[frozenset[str], int] = {}
    for video_id in chosen:
        group = alike.groups.get(video_id, frozenset({video_id})) if alike else frozenset({video_id})
        groups[video_id] = numbers.setdefault(group, len(numbers))
    return Videos(features={}, related=related, groups=groups)


def _check_members(alike: Alike, ids: Set[str], library: str) -> None:
    """Raise ValueError when no two videos that show the same are there, or a class has a single one left."""
    there = [video_id for video_id in alike.related if video_id in ids]
    if not there:
        raise ValueError(
            f"none of the videos in {alike.name}, such as {next(iter(alike.related))!r}, are in {library} and not held "
            "out; ids must be those of `ndvr show --list`"
        )
    alone = [video_id for video_id in there if not alike.related[video_id] & ids]
    if alone and (alike.classes or len(alone) == len(there)):
        what = "class" if alike.classes else "pair"
        raise ValueError(
            f"{alone[0]!r} is the only video of its {what} in {alike.name} that {library} has to train on; extract "
            "another, or take it out of the file"
        )


def read_pair_scores(path: str, ids: Sequence[str], *, memory_gb: float) -> np.ndarray:
    """Read the scores of N videos with each other, (N, N) float32: rows are queries, NaN where there is none.

    Where only one direction was scored it stands for both; of a video with itself there is none. ValueError in one
    sentence for what no teacher gives: scores that are not finite, or outside [-1, 1].
    """
    size_gb = len(ids) ** 2 * 4 / 1e9
    if size_gb > memory_gb:
        raise ValueError(f"scores of {len(ids):,} videos with each other take {size_gb:.1f} GB; give --memory-gb more")
    places = {video_id: place for place, video_id in enumerate(ids)}
    matrix = np.full((len(ids), len(ids)), np.nan, np.float32)
    for batch in open_scores(path).batches():
        sides = (batch.queries, batch.query), (batch.videos, batch.video)
        rows, columns = (np.array([places.get(each, -1) for each in names.to_pylist()])[at] for names, at in sides)
        known = (rows >= 0) & (columns >= 0)
        scores = batch.score[known]
        bad = scores[~(np.abs(scores) <= 1.00001)]  # NaN is no score
        if len(bad):
            raise ValueError(f"{path} has a score of {bad[0]:g}: a teacher's scores lie between -1 and 1")
        matrix[rows[known], columns[known]] = scores
    matrix = np.where(np.isnan(matrix), matrix.T, matrix)
    np.fill_diagonal(matrix, np.nan)
    if np.isnan(matrix).all():
        raise ValueError(f"{path} has no scores of two of the videos to train on, such as {ids[0]!r} and {ids[1]!r}")
    return matrix
