"""Made-up features in which right videos lie nearer to their query than others, written as a library of any size.

Window t of a video is s * (window t of a query) + sqrt(1 - s^2) * noise, all of unit variance: s is drawn around the
strength of the video's label, and for a video without a label, whose query is drawn too, around nothing. So every
task has an AP between 0 and 1, nearer duplicates a higher one, and it says nothing about the method.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ndvr import models
from ndvr.benchmarks.evaluation.annotations import read_annotation, read_ids
from ndvr.operators.library.config import Config
from ndvr.operators.library.library import Library
from ndvr.operators.library.shards import Write
from ndvr.operators.rows import table
from ndvr.operators.storage.store import write_text
from ndvr.pipeline.settings import Setting

# Videos are shuffled once, seeded, queries first: a share is the beginning of that list, so 1 % is part of 10 %, and
# right videos and all others are thinned alike, which leaves precision at each recall about where it was.


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
        """Select all queries and this fraction of the other videos; at least one."""
        if not 0 < fraction <= 1:
            raise ValueError(f"a fraction of {fraction:g} cannot be taken: give numbers above 0, at most 1")
        others = len(self.videos) - len(self.queries)
        return self.videos[: len(self.queries) + max(1, round(fraction * others))]


def read_collection(folder: Path) -> Collection:
    """Read annotation.json and youtube_ids.txt. A query outside the id list is a video here all the same."""
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
    """Write files as FIVR-200K's, in its proportions: labelled videos belong to one query, dealt out at random."""
    rng = random.Random(_MADE_UP)
    ids = [f"v{number:010d}" for number in range(videos)]  # as long as a YouTube id
    query_ids, others = ids[:queries], ids[queries:]
    rng.shuffle(others)
    annotation: dict[str, dict[str, list[str]]] = {query: {} for query in query_ids}
    position = 0
    for label in ("ND", "DS", "CS", "IS"):
        for _ in range(round(LABELS[label] * videos / VIDEOS)):
            query, video = rng.choice(query_ids), others[position]
            annotation[query].setdefault(label, []).append(video)
            if label == "ND" or (label == "DS" and rng.random() < (LABELS["DA"] - LABELS["ND"]) / LABELS["DS"]):
                annotation[query].setdefault("DA", []).append(video)
            position += 1
    write_text(folder / ANNOTATION, json.dumps(annotation))
    write_text(folder / IDS, "".join(f"{video}\n" for video in sorted(ids)))
    return folder


SHARD_BYTES = 64 << 20  # as `ndvr import` writes them
LEDGER_BYTES = 500  # of a video, about: two rows
_STRENGTH = {"ND": 0.8, "DS": 0.6, "CS": 0.45, "IS": 0.3}
_SPREAD, _SPREAD_OF_OTHERS = 0.15, 0.22  # standard deviations
_BLOCK_NUMBERS = 4 << 20  # drawn at a time: 16 MB of float32
_SEED = 20240501


def bytes_per_video(setting: Setting, n_windows: int) -> int:
    """Count the bytes of features in a shard. ValueError for a method whose features cannot be planted."""
    if not setting.card.feature_dtype.startswith("float"):
        raise ValueError(
            f"{setting.method} keeps codes of {setting.card.feature_dtype}, and only numbers can be planted: choose "
            "another --method"
        )
    shape = models.get(setting.method).feature_shape(setting.options)
    return n_windows * int(np.prod(shape)) * np.dtype(setting.card.feature_dtype).itemsize


def write_library(
    path: Path, collection: Collection, videos: Sequence[str], *, setting: Setting, n_windows: int
) -> Library:
    """Write a library of these videos, the first of the collection, in memory for one shard whatever their number."""
    config = setting.config(
        weights="planted noise",
        weights_digest=f"planted:{_SEED}:{n_windows}",
        decoder="planted",
        trained=False,
        features_version=0,
    )
    store = Library.create(path)
    store.add_config(config)
    write = Write(str(store), {config.name: config})
    rows: list[dict[str, Any]] = []
    n_bytes = 0
    for video, features in _features(collection, videos, config, n_windows):
        data = features.tobytes()
        rows += _rows(video, data, config, n_windows)
        n_bytes += len(data)
        if n_bytes >= SHARD_BYTES:
            write(table(rows))
            rows, n_bytes = [], 0
    if rows:
        write(table(rows))
    return store


def _features(
    collection: Collection, videos: Sequence[str], config: Config, n_windows: int
) -> Iterator[tuple[str, np.ndarray]]:
    """(id, (T, *feature_shape) as stored), T = n_windows, every vector of length one. The same video, the same numbers,
    however many follow it.
    """
    shape = (n_windows, *config.feature_shape)
    queries = np.random.default_rng(_SEED).standard_normal((len(collection.queries), *shape), np.float32)
    per_block = max(1, _BLOCK_NUMBERS // int(np.prod(shape)))
    for start in range(0, len(videos), per_block):
        rng, block = np.random.default_rng((_SEED, start)), videos[start : start + per_block]
        near, s = _near(collection, block, per_block, rng)
        s = s.reshape(-1, *[1] * len(shape))
        features = rng.standard_normal((len(block), *shape), np.float32)
        features *= np.sqrt(1 - s * s)
        features += s * queries[near]
        features[: max(0, len(queries) - start)] = queries[start : start + len(block)]  # they come first
        features /= np.sqrt(np.einsum("...d,...d->...", features, features))[..., None]
        yield from zip(block, features.astype(config.feature_dtype))


def _near(
    collection: Collection, block: Sequence[str], per_block: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the number of the query that each video is near, and s in float32; always for a whole block."""
    number = {query: n for n, query in enumerate(collection.queries)}
    near, drawn = rng.integers(0, len(number), per_block), rng.standard_normal(per_block)
    strength = _SPREAD_OF_OTHERS * drawn
    for row, video in enumerate(block):
        if labels := collection.labels.get(video):
            label, query = max(labels, key=lambda pair: _STRENGTH.get(pair[0], 0.0))  # DA only ever joins another
            near[row] = number[query]
            strength[row] = _STRENGTH.get(label, 0.0) + _SPREAD * drawn[row]
    return near[: len(block)], np.clip(np.abs(strength[: len(block)]), 0, 0.95).astype(np.float32)


def _rows(video: str, data: bytes, config: Config, n_windows: int) -> list[dict[str, Any]]:
    """Make the rows of one piece and of the end of a video, see ndvr.operators.rows."""
    rate = config.windows_per_s
    key = {"video_id": video, "method": config.method, "config": config.name, "run": "planted", "attempt": 1}
    start_s = np.arange(n_windows) / rate if rate else np.zeros(n_windows)
    piece = {"kind": "piece", "piece": 0, "windows_count": n_windows, "start_s": start_s, "data": data}
    end = {"kind": "end", "piece": 1, "windows_count": n_windows, "status": "done", "decoder": "planted"}
    end |= {"uri": f"planted/{video}.mp4", "bytes": len(data), "mtime_ns": 0, "partial": False}
    end |= {"sha256": hashlib.sha256(data).hexdigest(), "duration_s": n_windows / rate if rate else None}
    return [key | piece, key | end]
