"""Video Similarity Challenge 2022 (Pizzi et al., CVIU 2024, arXiv 2306.09489): both tracks, on the official files.

python -m ndvr.benchmarks.datasets.vsc2022 matching MATCHES.csv TRUTH.csv [--json]
python -m ndvr.benchmarks.datasets.vsc2022 descriptors QUERIES.npz REFERENCES.npz TRUTH.csv [--json]

The truth is the challenge's CSV of matches (query_id, ref_id, four times); descriptors are npz files with `video_ids`,
`timestamps` and `features` (T, up to 512), one row a frame.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import click
import numpy as np

from ndvr.benchmarks.record import PlainCommand
from ndvr.operators.metrics.average_precision import Candidate, MicroAp, Pair, pair_micro_ap
from ndvr.operators.metrics.segments import Match, Segment, SegmentAp, segment_ap
from ndvr.operators.storage.text_files import read_table

# Matches are the challenge's CSV, predictions and ground truth alike.
# Columns, in any order: query_id, ref_id, query_start, query_end, ref_start, ref_end (seconds), and score, which a
# ground truth need not have. Query ids start with Q and reference ids with R, as the challenge's do.


_IDS = ("query_id", "ref_id")
_TIMES = ("query_start", "query_end", "ref_start", "ref_end")


def read_matches(path: str | Path, *, scored: bool) -> list[Match]:
    """Read all rows in order; ValueError names the line that is no match. scored=False ignores a score column."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no matches at {path}: give a CSV with the columns {', '.join(_IDS + _TIMES)}")
    needed = _IDS + _TIMES + (("score",) if scored else ())
    out = []
    for line, row in read_table(path, needs=needed, purpose="matches")[1]:
        try:
            out.append(_match(row, scored))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    return out


def _match(row: dict[str, str], scored: bool) -> Match:
    for name, letter in zip(_IDS, "QR"):
        if not (row[name] or "").startswith(letter):
            raise ValueError(f"{name} is {row[name]!r}, but ids of this column start with {letter}")
    query_start, query_end, ref_start, ref_end = (float(row[name]) for name in _TIMES)
    return Match(
        query_id=row["query_id"],
        video_id=row["ref_id"],
        query=Segment(start_s=query_start, end_s=query_end),
        video=Segment(start_s=ref_start, end_s=ref_end),
        score=float(row["score"]) if scored else 1.0,
    )


def write_matches(path: str | Path, matches: Iterable[Match]) -> None:
    """Write what read_matches gives back unchanged, and what the challenge's own script reads."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*_IDS, *_TIMES, "score"])
        for match in matches:
            times = [time for segment in match.axes for time in (segment.start_s, segment.end_s)]
            writer.writerow([*match.pair, *times, match.score])


# The best video pairs by the best inner product of their vectors, under the limits of the Video Similarity Challenge
#
# The challenge keeps the best frame pairs of all queries together, then the best video pairs among them (the score of a
# video pair is its best frame pair). Here a video pair is judged as soon as its block of products is there, so memory
# is bounded: a block, about twice the frame limit in scores, about twice the video limit in pairs.


_BLOCK_FRAMES = 1024, 8192  # of queries, of videos: products of 32 MB


@dataclass(frozen=True, kw_only=True)
class Descriptors:
    """Vectors of many videos, one video after the other: the first counts[0] of them are of ids[0]."""

    ids: tuple[str, ...]
    counts: np.ndarray  # (V,) integer, at least 1
    vectors: np.ndarray = field(repr=False)  # (T, D) float32

    def __post_init__(self) -> None:
        if len(set(self.ids)) != len(self.ids):
            twice = next(i for n, i in enumerate(self.ids) if i in self.ids[:n])
            raise ValueError(f"video {twice!r} is there twice, or its vectors do not stand together")
        if self.vectors.ndim != 2 or len(self.counts) != len(self.ids) or np.sum(self.counts) != len(self.vectors):
            raise ValueError(
                f"{len(self.ids)} videos with {np.sum(self.counts)} vectors in all, but vectors of shape "
                f"{self.vectors.shape}: one row a vector is needed"
            )
        if np.any(self.counts < 1):
            raise ValueError(f"video {self.ids[int(np.argmin(self.counts))]!r} has no vector: leave it out")
        bad = np.flatnonzero(~np.isfinite(self.vectors).all(axis=1))
        if len(bad):
            owner = self.ids[int(np.searchsorted(np.cumsum(self.counts), bad[0], side="right"))]
            raise ValueError(f"video {owner!r} has a vector with a value that is not finite, and so cannot be compared")

    def blocks(self, frames: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield (number of the first video, counts of it and the next ones, vectors): whole videos, about `frames`."""
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        first = 0
        while first < len(self.ids):
            last = max(first + 1, int(np.searchsorted(starts, starts[first] + frames, side="right")) - 1)
            yield first, self.counts[first:last], self.vectors[starts[first] : starts[last]]
            first = last


def best_pairs(
    queries: Descriptors, videos: Descriptors, *, frame_pairs: int, video_pairs: int, block=_BLOCK_FRAMES
) -> list[Candidate]:
    """Return at most video_pairs candidates, best first, among the best frame_pairs frame pairs.

    Where the last places are tied: all frame pairs with the score of the last one are kept; of video pairs those with
    the smaller query id, then the smaller video id.
    """
    if queries.vectors.shape[1] != videos.vectors.shape[1]:
        sizes = queries.vectors.shape[1], videos.vectors.shape[1]
        raise ValueError(f"vectors of {sizes[0]} and of {sizes[1]} numbers cannot be compared")
    frames, best = _HighestScores(frame_pairs), _BestPairs(video_pairs, _order(queries.ids), _order(videos.ids))
    for q, query_counts, query_vectors in queries.blocks(block[0]):
        for v, video_counts, video_vectors in videos.blocks(block[1]):
            scores = query_vectors @ video_vectors.T  # (query frames, video frames)
            frames.add(scores)
            highest = np.maximum.reduceat(scores, _starts(query_counts), axis=0)
            best.add(np.maximum.reduceat(highest, _starts(video_counts), axis=1), q, v)
    return [(queries.ids[q], videos.ids[v], float(score)) for score, q, v in best.rows(at_least=frames.last())]


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts) - counts


def _order(ids: tuple[str, ...]) -> np.ndarray:
    """Return the place of each id among the sorted ids."""
    order = np.empty(len(ids), np.int64)
    order[np.argsort(np.array(ids, object), kind="stable")] = np.arange(len(ids))
    return order


class _HighestScores:
    """The n highest of any number of scores."""

    def __init__(self, n: int):
        self.n, self.parts, self.waiting = n, [np.zeros(0, np.float32)], 0
        self.floor = -np.inf  # what does not exceed it cannot change the n-th highest

    def add(self, scores: np.ndarray) -> None:
        above = scores[scores > self.floor]
        self.parts.append(above)
        self.waiting += len(above)
        if self.waiting > self.n:
            self._shrink()

    def _shrink(self) -> None:
        scores = np.concatenate(self.parts)
        if len(scores) >= self.n:
            scores = np.partition(scores, len(scores) - self.n)[-self.n :]
            self.floor = float(scores[0])
        self.parts, self.waiting = [scores], 0

    def last(self) -> float:
        """Return the n-th highest score; -inf if there are fewer."""
        self._shrink()
        return self.floor


class _BestPairs:
    """The n best (score, query, video), ties by the order of ids."""

    def __init__(self, n: int, query_order: np.ndarray, video_order: np.ndarray):
        self.n, self.orders = n, (query_order, video_order)
        self.scores, self.pairs = np.zeros(0, np.float32), np.zeros((0, 2), np.int64)
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self.n_waiting = 0
        self.floor = -np.inf

    def add(self, scores: np.ndarray, first_query: int, first_video: int) -> None:
        above = scores >= self.floor
        self.waiting.append((scores[above], np.argwhere(above) + (first_query, first_video)))
        self.n_waiting += int(above.sum())
        if self.n_waiting > self.n:
            self._shrink()

    def _shrink(self) -> None:
        scores, pairs = (np.concatenate(parts) for parts in zip((self.scores, self.pairs), *self.waiting))
        query, video = (order[column] for order, column in zip(self.orders, pairs.T))
        best = np.lexsort((video, query, -scores))[: self.n]
        self.scores, self.pairs, self.waiting, self.n_waiting = scores[best], pairs[best], [], 0
        if len(best) == self.n:
            self.floor = float(self.scores[-1])

    def rows(self, *, at_least: float) -> list[tuple[float, int, int]]:
        """Return the pairs kept so far, best first."""
        self._shrink()
        above = self.scores >= at_least
        return [(float(score), int(q), int(v)) for score, (q, v) in zip(self.scores[above], self.pairs[above])]


# The challenge's limits, times the number of query videos: about 20 neighbours for each second of a one-minute query.
FRAME_PAIRS_PER_QUERY = 1200
VIDEO_PAIRS_PER_QUERY = 25
MAX_NUMBERS = 512  # in a descriptor


@dataclass(frozen=True, kw_only=True)
class MatchingTrack:
    """How well found matches say where something is copied, and which pairs hold a copy at all."""

    segment: SegmentAp  # the track's number
    pairs: MicroAp  # without the times: a pair has the score of its best match
    found: int
    true: int

    def to_json(self) -> dict[str, Any]:
        sizes = {"matches": self.found, "true_matches": self.true}
        return {"segment_ap": self.segment.ap, "pairwise": _micro_json(self.pairs), **sizes}

    def table(self) -> str:
        return "\n".join(
            [
                f"VSC2022 matching: {self.found:,} matches against {self.true:,} true ones",
                f"segment AP         {self.segment.ap:.4f}",
                _micro_line("pairwise micro-AP", self.pairs),
            ]
        )


def matching_track(matches: Iterable[Match], truth: Iterable[Match]) -> MatchingTrack:
    """Compute both numbers of the track. ValueError for an empty truth; nothing found is 0."""
    matches, truth = list(matches), list(truth)
    best: dict[Pair, float] = {}
    for match in matches:
        # The challenge's script takes scores below zero for zero here.
        best[match.pair] = max(match.score, best.get(match.pair, match.score))
    return MatchingTrack(
        segment=segment_ap(matches, truth),
        pairs=pair_micro_ap(((*pair, score) for pair, score in best.items()), _pairs(truth)),
        found=len(matches),
        true=len(truth),
    )


@dataclass(frozen=True, kw_only=True)
class DescriptorTrack:
    """Micro-AP of the candidates that the challenge's exhaustive search would keep."""

    pairs: MicroAp
    candidates: list[Candidate] = field(repr=False)  # best first
    queries: int
    videos: int

    def to_json(self) -> dict[str, Any]:
        return {"micro_ap": self.pairs.ap, **_micro_json(self.pairs), "queries": self.queries, "videos": self.videos}

    def table(self) -> str:
        head = f"VSC2022 descriptors: {self.queries:,} queries, {self.videos:,} references"
        return "\n".join([head, _micro_line("micro-AP", self.pairs)])


def descriptor_track(queries: Descriptors, videos: Descriptors, truth: Iterable[Match]) -> DescriptorTrack:
    """Search with the challenge's limits, then micro-AP. The truth's times do not matter here."""
    candidates = best_pairs(
        queries,
        videos,
        frame_pairs=FRAME_PAIRS_PER_QUERY * len(queries.ids),
        video_pairs=VIDEO_PAIRS_PER_QUERY * len(queries.ids),
    )
    return DescriptorTrack(
        pairs=pair_micro_ap(candidates, _pairs(truth)),
        candidates=candidates,
        queries=len(queries.ids),
        videos=len(videos.ids),
    )


def read_descriptors(path: str | Path, *, letter: str) -> Descriptors:
    """Read an npz file of the challenge; its ids start with the letter, Q or R, or are numbers without it."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no descriptors at {path}: give an npz file with video_ids, timestamps and features")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            ids, vectors = arrays["video_ids"], arrays["features"]
    except (BadZipFile, KeyError, OSError, ValueError) as error:
        raise ValueError(f"{path} is no npz file with video_ids and features ({error})") from None
    if ids.ndim != 1 or vectors.ndim != 2 or len(ids) != len(vectors) or not len(ids):
        raise ValueError(f"{path}: video_ids {ids.shape} and features {vectors.shape} must have one row for each frame")
    if vectors.shape[1] > MAX_NUMBERS or vectors.dtype != np.float32:
        raise ValueError(
            f"{path}: descriptors of {vectors.shape[1]} numbers of {vectors.dtype}, but the challenge takes float32 "
            f"and at most {MAX_NUMBERS} of them"
        )
    starts = np.append(0, np.flatnonzero(ids[1:] != ids[:-1]) + 1)
    numbers = np.issubdtype(ids.dtype, np.integer)
    names = tuple(f"{letter}{i:06d}" if numbers else str(i) for i in ids[starts].tolist())
    for name in names:
        if not name.startswith(letter):
            raise ValueError(f"{path}: video {name!r}, but ids of this file start with {letter}")
    try:
        return Descriptors(ids=names, counts=np.diff(np.append(starts, len(ids))), vectors=vectors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _pairs(matches: Iterable[Match]) -> frozenset[Pair]:
    return frozenset(match.pair for match in matches)


def _micro_json(micro: MicroAp) -> dict[str, Any]:
    names = ("ap", "low", "high", "found", "relevant", "candidates")
    return {name: getattr(micro, name) for name in names}


def _micro_line(name: str, micro: MicroAp) -> str:
    ties = f", ties {micro.low:.4f} to {micro.high:.4f}" if micro.low != micro.high else ""
    counts = f"{micro.found:,} of {micro.relevant:,} right pairs among {micro.candidates:,}"
    return f"{name:<18} {micro.ap:.4f}   {counts}{ties}"


@click.group()
def main() -> None:
    """Both tracks of the Video Similarity Challenge 2022."""


def _print(result: MatchingTrack | DescriptorTrack, as_json: bool) -> None:
    click.echo(json.dumps(result.to_json(), indent=1) if as_json else result.table())


@main.command(cls=PlainCommand)
@click.argument("matches", type=click.Path())
@click.argument("truth", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="For programs, on stdout.")
def matching(matches: str, truth: str, as_json: bool) -> None:
    """Segment AP of MATCHES against TRUTH."""
    _print(matching_track(read_matches(matches, scored=True), read_matches(truth, scored=False)), as_json)


@main.command(cls=PlainCommand)
@click.argument("queries", type=click.Path())
@click.argument("references", type=click.Path())
@click.argument("truth", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="For programs, on stdout.")
def descriptors(queries: str, references: str, truth: str, as_json: bool) -> None:
    """Micro-AP of the descriptors in QUERIES and REFERENCES against TRUTH."""
    descriptors = read_descriptors(queries, letter="Q"), read_descriptors(references, letter="R")
    _print(descriptor_track(*descriptors, read_matches(truth, scored=False)), as_json)


if __name__ == "__main__":
    main()
