"""FIVR-200K as a collection to be filled: its ids and labels, or made-up ones of the same numbers, and shares of it.

Videos are shuffled once, seeded, queries first: a share is the beginning of that list, so 1 % is part of 10 %, and
right videos and all others are thinned alike, which leaves precision at each recall about where it was.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from ndvr.benchmarks.evaluation.annotations import read_annotation, read_ids
from ndvr.operators.storage.store import write_text

QUERIES, VIDEOS = 100, 225_960
# Pairs of each label in annotation.json. Every DA pair has another label too.
LABELS = {"ND": 1325, "DS": 6133, "CS": 1887, "IS": 3523, "DA": 3397}
ANNOTATION, IDS = "annotation.json", "youtube_ids.txt"
_SHUFFLED, _MADE_UP = 20190101, 20190102  # seeds
_SOURCE = "download it from github.com/MKLab-ITI/FIVR-200K (dataset/annotation.json)"


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Queries, which are videos too, and what is right for them."""

    queries: tuple[str, ...]  # sorted
    videos: tuple[str, ...]  # shuffled, the queries first
    labels: dict[str, list[tuple[str, str]]] = field(repr=False)  # video -> (label, query) of each of its labels

    def share(self, fraction: float) -> tuple[str, ...]:
        """All queries and this fraction of the other videos; at least one."""
        if not 0 < fraction <= 1:
            raise ValueError(f"a fraction of {fraction:g} cannot be taken: give numbers above 0, at most 1")
        others = len(self.videos) - len(self.queries)
        return self.videos[: len(self.queries) + max(1, round(fraction * others))]


def read_collection(folder: Path) -> Collection:
    """From annotation.json and youtube_ids.txt. A query outside the id list is a video here all the same."""
    annotation = read_annotation(folder, ANNOTATION, source=_SOURCE)
    labels: dict[str, list[tuple[str, str]]] = {}
    for query, by_label in annotation.items():
        for label, videos in by_label.items():
            for video in videos:
                labels.setdefault(video, []).append((label, query))
    queries = sorted(annotation)
    others = sorted(read_ids(folder / IDS) - set(queries))
    random.Random(_SHUFFLED).shuffle(others)
    return Collection(queries=tuple(queries), videos=(*queries, *others), labels=labels)


def write_made_up(folder: Path, *, queries: int = QUERIES, videos: int = VIDEOS) -> Path:
    """Files as FIVR-200K's, in its proportions: labelled videos belong to one query, dealt out at random."""
    rng = random.Random(_MADE_UP)
    ids = [f"v{number:010d}" for number in range(videos)]  # as long as a YouTube id
    asked, others = ids[:queries], ids[queries:]
    rng.shuffle(others)
    annotation: dict[str, dict[str, list[str]]] = {query: {} for query in asked}
    position = 0
    for label in ("ND", "DS", "CS", "IS"):
        for _ in range(round(LABELS[label] * videos / VIDEOS)):
            query, video = rng.choice(asked), others[position]
            annotation[query].setdefault(label, []).append(video)
            if label == "ND" or (label == "DS" and rng.random() < (LABELS["DA"] - LABELS["ND"]) / LABELS["DS"]):
                annotation[query].setdefault("DA", []).append(video)
            position += 1
    write_text(folder / ANNOTATION, json.dumps(annotation))
    write_text(folder / IDS, "".join(f"{video}\n" for video in sorted(ids)))
    return folder
