"""The closer look at what is proposed for a query: compared, aligned and named; it needs the library, not its index."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ndvr.models.keys import Judged, Place
from ndvr.models.method import Model
from ndvr.operators.index import kinds
from ndvr.operators.index.common import mostly_shown
from ndvr.operators.index.lines import Line, find_lines
from ndvr.operators.library.feature_reader import FeatureReader
from ndvr.operators.scores.groups import Video
from ndvr.operators.storage.sealed import Damaged
from ndvr.pipeline.search.answers import Match, placement_words
from ndvr.pipeline.search.library_index import LibraryIndex
from ndvr.pipeline.search.queries import Query

_MOST_KNOWN = 1 << 20  # pairs that are known to be no matches


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """A video that may be compared."""

    video: Video
    same: bool = False  # its file is that of the query
    decided: bool = False  # people judged the two the same: it is a match at any score
    named: bool = False  # it is compared whatever the rough look says
    places: list[Place] = field(default_factory=list, repr=False)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A video that was compared."""

    judged: Judged = field(repr=False)
    lines: list[Line]
    match: Match


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What the closer look left of some proposed videos."""

    matches: list[Match]  # whatever they score
    lost: list[str]  # ids of videos whose features are missing or damaged


class ReadyQuery:
    """A query, made ready to be compared when it is."""

    def __init__(self, model: Model, query: Query):
        assert query.features is not None
        self.query, self._model, self._features = query, model, query.features

    @cached_property
    def signature(self) -> Any:
        return self._model.bounded_signature(self._features)

    @cached_property
    def own_layer(self) -> float:
        return kinds.own_layer(self._model, self._features, self.signature)


class Verifier:
    """Compares queries with videos of one library; keeps what serves several of them."""

    def __init__(self, index: LibraryIndex, *, false_per_million: float, strict: bool = False):
        """
        false_per_million  of a match, at most
        strict             Damaged where features of a video are lost; otherwise it is named
        """
        self.model, self.sureness = index.model, index.sureness
        self._false_per_million, self._strict = false_per_million, strict
        self._read = FeatureReader(index.library.store)
        self._features: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # of the candidates that were looked at last
        self._unlike: set[tuple[str, str]] = set()  # videos of the library that were compared, and are no match

    @cached_property
    def least(self) -> float:
        """The score of a match: what the wanted rate asks for, and never below a half."""
        least = self.model.card.least_match
        if self.sureness is None:
            return least
        return max(least, self.sureness.score_at(self._false_per_million, self.model.card.range))

    def verify(self, query: Query, proposed: Sequence[Proposed]) -> Verified:
        """Compare what the rough look leaves of some proposed videos."""
        assert query.features is not None
        lost: list[str] = []
        proposed = [each for each in proposed if self._pair(query, each) not in self._unlike]
        chosen = self.spotted(query, proposed, lost)
        asked = ReadyQuery(self.model, query)
        matches = []
        for each in chosen:
            with self._losing(each.video.video_id, lost):
                shown = each.same or each.decided or each.named
                match = self.judge(asked, each, -math.inf if shown else self.least).match
                matches.append(match)
                if match.score < self.least and len(self._unlike) < _MOST_KNOWN and (pair := self._pair(query, each)):
                    self._unlike.add(pair)
        return Verified(matches=matches, lost=lost)

    def _pair(self, query: Query, proposed: Proposed) -> tuple[str, str] | None:
        """Name both ids, when the other one of the two may have been the query, with the same score; otherwise None."""
        if not query.own or proposed.named or not self.model.card.symmetric:
            return None
        first, second = sorted((query.query_id, proposed.video.video_id))
        return first, second

    @contextlib.contextmanager
    def _losing(self, video_id: str, lost: list[str]) -> Iterator[None]:
        """Add a video to those that are lost when its features turn out to be missing or damaged; Damaged if strict."""
        try:
            yield
        except (Damaged, FileNotFoundError):
            if self._strict:
                raise
            lost.append(video_id)

    def spotted(self, query: Query, proposed: Sequence[Proposed], lost: list[str]) -> list[Proposed]:
        """Keep those that a rough look at the proposed placements leaves; what was not proposed by votes stays.

        Those whose features are missing or damaged are added to `lost`.
        """
        assert query.features is not None
        self._features = {}
        for each in sorted((each for each in proposed if each.places), key=lambda each: each.video.pieces[0][:2]):
            with self._losing(each.video.video_id, lost):
                self._features[each.video.video_id] = self._read.timed(each.video.pieces)
        chosen = [each for each in proposed if each.video.video_id not in lost]
        by_votes = [each for each in chosen if each.places]
        worth = self.model.spot(
            query.features,
            [self._features[each.video.video_id][1] for each in by_votes],
            [each.places for each in by_votes],
        )
        dropped = {each.video.video_id for each, keep in zip(by_votes, worth) if not keep}
        return [each for each in chosen if each.video.video_id not in dropped or each.named]

    def judge(self, asked: ReadyQuery, proposed: Proposed, least: float = -math.inf) -> Compared:
        """Look closer at one video; a score below `least` may be another one below it."""
        kept = self._features.get(proposed.video.video_id)
        start_s, features = self._read.timed(proposed.video.pieces) if kept is None else kept
        target = self.model.bounded_signature(features)
        judged = self.model.judge(asked.signature, target, least)
        lines: list[Line] = []
        setting = False
        enough = judged.score >= self.least
        if enough or proposed.decided:
            lines = find_lines(judged.matrix) or _patch(judged.matrix)
            layers = (asked.own_layer, kinds.own_layer(self.model, features, target))
            setting = kinds.is_setting(judged.matrix, lines, layers)
        match = self._match(asked.query, proposed, judged, start_s=start_s, lines=lines, setting=setting)
        if proposed.decided and not enough and not proposed.same:
            match = replace(match, kind="decided")
        return Compared(judged=judged, lines=lines, match=match)

    def differ(self, videos: Iterable[Video], enough: int) -> bool:
        """Say whether so many of these videos are there of which none is largely shown by another."""
        apart: list[np.ndarray] = []
        for video in videos:
            keys = self._whole_keys(video)
            if not any(mostly_shown(keys, other) for other in apart):
                apart.append(keys)
            if len(apart) >= enough:
                return True
        return False

    def _whole_keys(self, video: Video) -> np.ndarray:
        """Make unit vectors of whole pictures (K, D)."""
        keys = self.model.keys(self._read.read(video.pieces))
        vectors = keys.vectors[(keys.boxes == (0, 0, 1, 1)).all(1)]
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def _match(
        self, query: Query, proposed: Proposed, judged: Judged, *, start_s: np.ndarray, lines: Sequence[Line],
        setting: bool,
    ) -> Match:  # fmt: skip
        times = (query.start_s[:: judged.step], start_s[:: judged.step])
        stretches = kinds.stretches(lines, *times) if len(judged.matrix) else []
        lengths = (len(query.start_s) * kinds.hop_s(query.start_s), len(start_s) * kinds.hop_s(start_s))
        cover = kinds.covered(stretches, *lengths)
        if proposed.same:
            kind: kinds.Kind = "identical"
        elif not stretches:
            kind = "copy" if self.model.compact else "unsure"
        else:
            kind = kinds.kind_of(cover, lengths, setting=setting)
        low, high = self.model.card.range
        score = high if proposed.same else judged.score
        rate = None if self.sureness is None else self.sureness.false_per_million(score, (low, high))
        return Match(
            video_id=proposed.video.video_id,
            kind=kind,
            score=round(score, 6),
            false_per_million=rate,
            query_covered=round(cover[0], 3),
            video_covered=round(cover[1], 3),
            placement=placement_words(judged.box, judged.turn) if stretches else "",
            segments=stretches,
        )


def _patch(matrix: np.ndarray) -> list[Line]:
    """Find where windows agree at all, when no line stands out: a patch of the matrix, as one line."""
    strong = matrix >= max(0.35, 0.6 * float(matrix.max(initial=0)))
    rows, columns = np.flatnonzero(strong.any(1)), np.flatnonzero(strong.any(0))
    if not len(rows):
        return []
    mean = float(matrix[strong].mean())
    first, last = int(rows[0]), int(rows[-1])
    begin, end = float(columns[0]), float(columns[-1])
    return [Line(first=first, last=last, begin=begin, end=end, agreement=mean, gain=0.0)]
