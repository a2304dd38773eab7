"""Which edits have their original among the candidates, of those that comparing the two finds.

    python -m ndvr.benchmarks.speed.search recall VIDEOS      # [--edited 8] [--keys 1000000]

Some of VIDEOS, a folder, a list or a library, are edited in all the ways of graded.py. The index has all of VIDEOS, and
as distractors so many keys more: each is a mix of those of the same part of two pictures, of videos of VIDEOS that have
nothing to do with what is edited. An edit counts if comparing it with its original gives half of the highest score or
more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from ndvr.benchmarks.demo.graded import GRADED
from ndvr.benchmarks.demo.stress import edited_files, library_of, read_clips
from ndvr.benchmarks.record import record
from ndvr.benchmarks.speed.search.made import KEYS_PER_VIDEO, SEED, out_option, written
from ndvr.models.keys import Keys
from ndvr.models.method import Model, Signature
from ndvr.operators.index.lists import coded
from ndvr.operators.index.segments import IndexedVideo, Segment
from ndvr.operators.index.votes import candidates
from ndvr.operators.library.feature_reader import FeatureReader
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.search.queries import read_queries
from ndvr.pipeline.search.search import Index

TOPS = (10, 50, 200)
_SHARES = (0.35, 0.65)  # of the second of two keys in a mix
_RELATED = 0.25  # score from which on two videos may have a picture in common


def measure_recall(videos: str, folder: Path, *, edited: int, n_keys: int) -> dict[str, Any]:
    """Rank the original of each edit that counts among the candidates; 0: it is none of them."""
    library = library_of(videos, folder, progress=True)
    opened = Index.open(library).update(progress=True).library_index
    clips, left_out = read_clips(opened.library, opened.config, edited)
    n_real = sum(map(len, opened.segments))
    every = opened.lookup(opened.library.entries(opened.config))
    reader = FeatureReader(opened.library.store)
    originals = {video_id: opened.model.signature(reader.read(every[video_id].pieces)) for video_id in clips}
    others = (reader.read(each.pieces) for video_id, each in every.items() if video_id not in clips)
    sources = [opened.model.keys(each) for each in others if _is_apart(opened.model, each, originals.values())]
    segments = [*opened.segments, mixes([keys for keys in sources if len(keys)], n_keys - n_real, folder / "mixes")]
    ranks: dict[str, list[int]] = {}
    fast: list[int] = []
    with Progress("recall", len(clips) * len(GRADED), "edit") as bar:
        for each in edited_files(clips, GRADED, folder=folder, seed=0):
            queries = read_queries(each.path, opened)
            (query,) = queries.read(list(queries.uris), opened)
            each.path.unlink()
            mine = ranks.setdefault(f"{each.graded.edit} {each.graded.strength}".strip(), [])
            if query.features is not None and similar(opened.model, query.features, originals[each.video_id]):
                mine.append(_rank(opened.model.probes(query.features), each.video_id, segments))
                fast.append(_rank(opened.model.probes(query.features, fast=True), each.video_id, segments))
            bar.advance()
    return {
        "videos": opened.n_videos,
        "edited": len(clips),
        "left_out": left_out,
        "real_keys": n_real,
        "keys": sum(map(len, segments)),
        "ranks": ranks,
        "fast": fast,
    }


def similar(model: Model, query: np.ndarray, video: Signature) -> bool:
    """Say whether comparing a query with a video, whatever an index proposes, gives the score of a match."""
    return model.similarity(model.signature(query), video) >= model.card.least_match


def _is_apart(model: Model, features: np.ndarray, edited: Iterable[Signature]) -> bool:
    """Say whether a video has no picture in common with any that is edited."""
    signature = model.signature(features)
    return all(model.similarity(signature, each) < _RELATED for each in edited)


def _rank(probes: Keys, video_id: str, segments: Sequence[Segment]) -> int:
    proposed = candidates(probes, segments, top=max(TOPS))
    ids = [segments[each.segment].videos[each.row].video_id for each in proposed]
    return ids.index(video_id) + 1 if video_id in ids else 0


def mixes(sources: Sequence[Keys], n_keys: int, folder: Path) -> Segment:
    """Write a segment of some n_keys: videos that mix two of some videos."""
    rng = np.random.default_rng(SEED)
    videos: list[IndexedVideo] = []
    parts, left = [], n_keys
    while left > 0:
        first, second = (sources[at] for at in rng.choice(len(sources), 2, replace=False))
        n = min(len(first), len(second), KEYS_PER_VIDEO)
        share = rng.uniform(*_SHARES)
        vectors = (1 - share) * first.vectors[:n] + share * second.vectors[:n]
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        mixed = Keys(
            vectors=vectors,
            windows=first.windows[:n],
            boxes=first.boxes[:n],
            turns=first.turns[:n],
            novelty=first.novelty[:n],
        )
        parts.append(coded(mixed))
        length = int(first.windows[n - 1]) + 1
        videos.append(IndexedVideo(video_id=f"mix/{len(videos)}", content=f"{len(videos)}", windows=length, sha256=""))
        left -= n
    return written(videos, parts, folder)


@click.command("recall")
@click.argument("videos")
@click.option("--edited", default=8, show_default=True, help="Videos that are edited, spread over all.")
@click.option("--keys", "n_keys", default=1_000_000, show_default=True, help="Of the index, with distractors.")
@out_option
def recall_command(videos: str, edited: int, n_keys: int, out: Path | None) -> None:
    """Measure which edits of VIDEOS have their original among the candidates."""
    with tempfile.TemporaryDirectory(prefix="recall-") as folder:
        each = measure_recall(videos, Path(folder), edited=edited, n_keys=n_keys)
    for edit, ranks in each["ranks"].items():
        click.echo(f"{edit:<40}{len(ranks):>4} of {each['edited']} count: {_shares(ranks)}")
    ranks = [rank for mine in each["ranks"].values() for rank in mine]
    click.echo(
        f"{each['videos']:,} videos, {each['real_keys']:,} keys of them among {each['keys']:,}; of {len(ranks):,} "
        f"edits that comparing finds, {_shares(ranks)}; --fast: {_shares(each['fast'])}; "
        f"{record('search_recall', each, out)}"
    )


def _shares(ranks: Sequence[int]) -> str:
    counts = [sum(0 < rank <= top for rank in ranks) for top in TOPS]
    return ", ".join(f"{count / max(len(ranks), 1):.3f} in {top}" for count, top in zip(counts, TOPS))
