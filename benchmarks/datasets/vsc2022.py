"""Video Similarity Challenge 2022 (Pizzi et al., CVIU 2024, arXiv 2306.09489): both tracks, on the official files.

python -m ndvr.benchmarks.datasets.vsc2022 matching MATCHES.csv TRUTH.csv [--json]
python -m ndvr.benchmarks.datasets.vsc2022 descriptors QUERIES.npz REFERENCES.npz TRUTH.csv [--json]

The truth is the challenge's CSV of matches (query_id, ref_id, four times); descriptors are npz files with `video_ids`,
`timestamps` and `features` (T, up to 512), one row a frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import click
import numpy as np

from ndvr.benchmarks.datasets.frame_pairs import Descriptors, best_pairs
from ndvr.benchmarks.datasets.match_files import read_matches
from ndvr.benchmarks.plain_command import PlainCommand
from ndvr.operators.metrics.micro_ap import Candidate, MicroAp, Pair, pair_micro_ap
from ndvr.operators.metrics.segment_ap import SegmentAp, segment_ap
from ndvr.operators.metrics.segments import Match

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


def matching_track(found: Iterable[Match], truth: Iterable[Match]) -> MatchingTrack:
    """Both numbers of the track. ValueError for an empty truth; nothing found is 0."""
    found, truth = list(found), list(truth)
    best: dict[Pair, float] = {}
    for match in found:
        # The challenge's script takes scores below zero for zero here.
        best[match.pair] = max(match.score, best.get(match.pair, match.score))
    return MatchingTrack(
        segment=segment_ap(found, truth),
        pairs=pair_micro_ap(((*pair, score) for pair, score in best.items()), _pairs(truth)),
        found=len(found),
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
    """An npz file of the challenge; its ids start with the letter, Q or R, or are numbers without it."""
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
    found = f"{micro.found:,} of {micro.relevant:,} right pairs among {micro.candidates:,}"
    return f"{name:<18} {micro.ap:.4f}   {found}{ties}"


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
    found = read_descriptors(queries, letter="Q"), read_descriptors(references, letter="R")
    _print(descriptor_track(*found, read_matches(truth, scored=False)), as_json)


if __name__ == "__main__":
    main()
