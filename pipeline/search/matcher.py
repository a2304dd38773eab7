"""One query against an opened index: candidates by votes, each compared, aligned and named."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ndvr.models.card import Mel
from ndvr.models.keys import Judged, Keys, Place
from ndvr.operators.index import kinds
from ndvr.operators.index.lines import Line, find_lines
from ndvr.operators.index.votes import Candidate, candidates
from ndvr.operators.library.decisions import Decisions, content_key
from ndvr.operators.library.feature_reader import FeatureReader, named
from ndvr.operators.scores.groups import Video
from ndvr.operators.storage.sealed import Damaged
from ndvr.pipeline.search.answers import Answer, Match, Status, in_order, placement_words
from ndvr.pipeline.search.opened import Opened
from ndvr.pipeline.search.queries import Query

LEAST_SCORE = 0.5  # of a match, as a share of the method's range
SHORT_S = 1.0  # below this "not seen" would be saying too much


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a search is asked for."""

    top: int = 10  # matches of a query
    n_candidates: int = 50  # videos that are compared
    false_per_million: float = 200.0  # of a match, at most: one false match in a hundred searches of 50 candidates
    exhaustive: bool = False  # compare all videos: the control
    fast: bool = False  # look up whole pictures only: insets and strong crops are lost, one fortieth of the work


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A candidate that was compared."""

    video: Video
    rank: int  # among the candidates, from 1; 0: only by its file hash, or all were compared
    votes: float
    judged: Judged = field(repr=False)
    lines: list[Line]
    match: Match


@dataclass(frozen=True)
class Proposed:
    """A video that may be compared."""

    video_id: str
    named: bool  # its file is that of the query, people judged the two the same, or the caller wants to know
    rank: int = 0  # by votes, from 1; 0: without votes
    votes: float = 0.0
    places: list[Place] = field(default_factory=list, repr=False)


class Matcher:
    """Finds queries in one index; keeps what serves several of them."""

    def __init__(
        self,
        opened: Opened,
        wanted: Wanted,
        decisions: Decisions | None = None,
        *,
        unknown: Collection[str] = (),
        strict: bool = False,
    ):
        """
        decisions  pairs that people judged to be no match are left out; those judged the same are answers at any score
        unknown    ids of videos that lost their features before they were indexed: nothing is known of them
        strict     Damaged where features of a candidate are lost; otherwise the answer says so
        """
        self.opened, self.wanted, self.decisions = opened, wanted, decisions or Decisions()
        self.unknown, self.strict = sorted(unknown), strict
        self.lost: set[str] = set()  # candidates so far
        self.model, self.sureness = opened.model, opened.sureness
        self._read = FeatureReader(opened.library.store)

    @cached_property
    def n_videos(self) -> int:
        return self.opened.n_videos

    @cached_property
    def least(self) -> float:
        """The score of a match: what the wanted rate asks for, and never below a half."""
        low, high = self.model.card.range
        least = low + LEAST_SCORE * (high - low)
        if self.sureness is None:
            return least
        return max(least, self.sureness.score_at(self.wanted.false_per_million, self.model.card.range))

    @cached_property
    def _by_hash(self) -> dict[str, list[str]]:
        """Ids of indexed videos by the hash of their file."""
        ids: dict[str, list[str]] = {}
        for segment in self.opened.segments:
            for row in segment.alive:
                video = segment.videos[row]
                if video.sha256:
                    ids.setdefault(video.sha256, []).append(video.video_id)
        return ids

    def has_keys(self, video_id: str) -> bool | None:
        """Whether there is something in a video to tell by; None: there is no sound, or no picture, in it."""
        if self._n_keys.get(video_id):
            return True
        entry = self.opened.library.lookup([self.opened.config], [video_id]).entries[self.opened.config].get(video_id)
        return None if entry is not None and entry.status == "skipped" else False

    @cached_property
    def _n_keys(self) -> dict[str, int]:
        """How many keys indexed videos have."""
        counts = {}
        for segment in self.opened.segments:
            keys = np.bincount(segment.where(np.arange(len(segment)))[0], minlength=len(segment.rows))
            counts.update({segment.videos[row].video_id: int(keys[row]) for row in segment.alive})
        return counts

    def answer(self, query: Query, also: Collection[str] = ()) -> Answer:
        """What is known of a query; `also` are compared with it, whatever the index proposes."""
        began = time.monotonic()
        blank = Answer(
            query_id=query.query_id,
            uri=query.uri,
            status="searched",
            duration_s=query.duration_s,
            bytes=query.bytes,
            mtime_ns=query.mtime_ns,
            videos=self.n_videos,
            sha256=query.sha256,
        )
        if query.features is None or not len(query.features):
            failed: Status = "unsure" if query.skipped else "failed"
            return replace(blank, status=failed, message=query.message or "it has no features")
        compared, doubt, lost = self.compare(query, also)
        rejected = self.judged(query, "different")
        lost = [video_id for video_id in lost if video_id not in rejected]
        matches = in_order(each.match for each in compared if self.counts(each))
        found = [match for match in matches if match.video_id not in rejected]
        left_out = [match for match in matches if match.video_id in rejected]
        status: Status = "unsure" if doubt and not any(m.kind == "identical" for m in found) else "searched"
        if lost:
            are = f"{len(lost):,} videos that it may show have lost their features: {named(lost)}"
            status, doubt = "partial", "; ".join(filter(None, (doubt, are)))
        seconds = round(time.monotonic() - began, 4)
        answer = replace(blank, status=status, message=doubt, matches=found[: self.wanted.top], seconds=seconds)
        return replace(answer, rejected=len(left_out), left_out=left_out)

    def judged(self, query: Query, verdict: Literal["same", "different"]) -> set[str]:
        """The ids of videos of which people said this, and a query."""
        return self.judged_content(content_key(query.sha256, query.query_id), verdict) - {query.query_id}

    def judged_content(self, content: str, verdict: Literal["same", "different"]) -> set[str]:
        """The same of a content; only of videos that are indexed."""
        contents = self.decisions.partners(content, verdict)
        ids = {video_id for each in contents for video_id in self._by_hash.get(each, [each.removeprefix("id:")])}
        return ids & self._n_keys.keys() if ids else ids

    def counts(self, compared: Compared) -> bool:
        """Whether it is a match."""
        return compared.match.kind in ("identical", "decided") or compared.match.score >= self.least

    def compare(self, query: Query, also: Collection[str] = ()) -> tuple[list[Compared], str, list[str]]:
        """All candidates, compared; why a query cannot be judged, or ""; and the videos that could not be compared."""
        assert query.features is not None
        probes = self.model.probes(query.features, whole=self.wanted.fast)
        chosen = self.candidates(query, probes, also)
        videos = self.opened.lookup(each.video_id for each in chosen)
        # What left the library since it was indexed is no answer.
        there = [c for c in chosen if c.video_id in videos and not (query.own and c.video_id == query.query_id)]
        lost = {*self.unknown} - ({query.query_id} if query.own else set())
        there = self.spotted(query, there, videos, lost)
        same = self.judged(query, "same")
        signature = self.model.signature(query.features) if there else None
        own_layer = self.layer(signature) if there else 1.0
        compared = []
        for c in there:
            with self._losing(c.video_id, lost):
                compared.append(
                    self.judge(
                        query, signature, own_layer, video=videos[c.video_id], rank=c.rank, votes=c.votes,
                        decided=c.video_id in same,
                    )
                )  # fmt: skip
        return compared, self.doubt(query, len(probes)), sorted(lost)

    @contextlib.contextmanager
    def _losing(self, video_id: str, lost: set[str]) -> Iterator[None]:
        """Add a video to those that are lost when its features turn out to be missing or damaged; Damaged if strict."""
        try:
            yield
        except (Damaged, FileNotFoundError):
            if self.strict:
                raise
            lost.add(video_id)
            self.lost.add(video_id)

    def spotted(
        self, query: Query, chosen: list[Proposed], videos: Mapping[str, Video], lost: set[str]
    ) -> list[Proposed]:
        """Those that a rough look at the proposed placements leaves; what was not proposed by votes stays.

        Those whose features are missing or damaged are added to `lost`.
        """
        assert query.features is not None
        features: dict[str, np.ndarray] = {}
        for each in (each for each in chosen if each.places):
            with self._losing(each.video_id, lost):
                features[each.video_id] = self._read.read(videos[each.video_id].pieces)
        chosen = [each for each in chosen if each.video_id not in lost]
        by_votes = [each for each in chosen if each.places]
        worth = self.model.spot(
            query.features, [features[each.video_id] for each in by_votes], [each.places for each in by_votes]
        )
        dropped = {each.video_id for each, keep in zip(by_votes, worth) if not keep}
        return [each for each in chosen if each.video_id not in dropped or each.named]

    def can_judge(self, query: Query) -> bool | None:
        """Whether there is something in a query to tell by; None: there is no sound, or no picture, in it."""
        if query.features is None or not len(query.features):
            return None if query.skipped else False
        return not self.doubt(query, len(self.model.probes(query.features, whole=True)))

    def doubt(self, query: Query, n_probes: int) -> str:
        """Why "not seen" would say too much of a query, or ""."""
        assert query.features is not None
        if not n_probes:
            heard = isinstance(self.model.view, Mel)
            return "its sound hardly changes" if heard else "its pictures are too dark or flat"
        length_s = len(query.features) * kinds.hop_s(query.start_s)
        if length_s < SHORT_S:
            return f"it is too short ({length_s:.1f} s)"
        return ""

    def candidates(self, query: Query, probes: Keys, also: Collection[str] = ()) -> list[Proposed]:
        """What may be compared: those that are named first, then by votes; all videos for the control."""
        named = list(self._by_hash.get(query.sha256, [])) if query.sha256 else []
        named += [*sorted(self.judged(query, "same")), *also]
        if self.wanted.exhaustive:
            ids = [segment.videos[row].video_id for segment in self.opened.segments for row in segment.alive]
            return [Proposed(video_id, video_id in named) for video_id in sorted(ids)]
        voted = candidates(probes, self.opened.segments, top=self.wanted.n_candidates + query.own)
        ranked = [
            Proposed(self.id_of(candidate), self.id_of(candidate) in named, rank, candidate.votes, candidate.places)
            for rank, candidate in enumerate(voted, 1)
        ]
        there = {each.video_id for each in ranked}
        return [Proposed(video_id, True) for video_id in dict.fromkeys(named) if video_id not in there] + ranked

    def id_of(self, candidate: Candidate) -> str:
        """The id of the video that a candidate is."""
        return self.opened.segments[candidate.segment].videos[candidate.row].video_id

    def judge(
        self, query: Query, signature, own_layer: float, *, video: Video, rank: int = 0, votes: float = 0.0,
        decided: bool = False,
    ) -> Compared:  # fmt: skip
        """The closer look at one video; `decided`: people judged it the same, it is a match at any score."""
        start_s, features = self._read.timed(video.pieces)
        target = self.model.signature(features)
        judged = self.model.judge(signature, target)
        lines: list[Line] = []
        setting = False
        enough = judged.score >= self.least
        if enough or decided:
            lines = find_lines(judged.matrix) or _patch(judged.matrix)
            setting = kinds.is_setting(judged.matrix, lines, (own_layer, self.layer(target)))
        same = bool(query.sha256) and video.video_id in self._by_hash.get(query.sha256, [])
        match = self._match(query, video, judged, start_s=start_s, lines=lines, setting=setting, same=same)
        if decided and not enough and not same:
            match = replace(match, kind="decided")
        return Compared(video=video, rank=rank, votes=votes, judged=judged, lines=lines, match=match)

    def layer(self, signature: Any) -> float:
        """How much distant windows of a video agree; see ndvr.operators.index.kinds."""
        return 1.0 if self.model.compact else kinds.layer(self.model.own_matrix(signature))

    def _match(
        self, query: Query, video: Video, judged: Judged, *, start_s: np.ndarray, lines: Sequence[Line],
        setting: bool, same: bool,
    ) -> Match:  # fmt: skip
        stretches = kinds.stretches(lines, query.start_s, start_s) if len(judged.matrix) else []
        lengths = (len(query.start_s) * kinds.hop_s(query.start_s), len(start_s) * kinds.hop_s(start_s))
        cover = kinds.covered(stretches, *lengths)
        if same:
            kind: kinds.Kind = "identical"
        elif not stretches:
            kind = "copy" if self.model.compact else "unsure"
        else:
            kind = kinds.kind_of(cover, lengths, setting=setting)
        low, high = self.model.card.range
        score = high if same else judged.score
        rate = None if self.sureness is None else self.sureness.false_per_million(score, (low, high))
        return Match(
            video_id=video.video_id,
            kind=kind,
            score=round(score, 6),
            false_per_million=rate,
            query_covered=round(cover[0], 3),
            video_covered=round(cover[1], 3),
            placement=placement_words(judged.box, judged.turn) if stretches else "",
            segments=stretches,
        )


def _patch(matrix: np.ndarray) -> list[Line]:
    """Where windows agree at all, when no line stands out: a patch of the matrix, as one line."""
    strong = matrix >= max(0.35, 0.6 * float(matrix.max(initial=0)))
    rows, columns = np.flatnonzero(strong.any(1)), np.flatnonzero(strong.any(0))
    if not len(rows):
        return []
    mean = float(matrix[strong].mean())
    first, last = int(rows[0]), int(rows[-1])
    begin, end = float(columns[0]), float(columns[-1])
    return [Line(first=first, last=last, begin=begin, end=end, agreement=mean, gain=0.0)]
