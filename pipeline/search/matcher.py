"""Queries against an opened index: candidates by votes, each compared, and the answer.

    matcher = Matcher(index, Wanted())
    for answer in matcher.answers(queries.read(ids, index), Here(index, matcher.verifier)): ...

Where the index lies and who compares is the matter of a crew: this process (Here), or a cluster (on_ray.OnRay).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np

from ndvr.models.card import Mel
from ndvr.models.keys import Keys, Place
from ndvr.operators.index import codes, kinds
from ndvr.operators.index.votes import Candidate, Sightings, elect, sight
from ndvr.operators.library.decisions import Decisions, content_key
from ndvr.operators.library.feature_reader import named
from ndvr.pipeline.search.answers import Answer, Match, Status, in_order, shows
from ndvr.pipeline.search.library_index import LibraryIndex
from ndvr.pipeline.search.queries import Query
from ndvr.pipeline.search.verify import Proposed, Verified, Verifier

SHORT_S = 1.0  # below this "not seen" would be saying too much
LEAST_VIDEOS = 3  # that show common material
BATCH = 64  # videos that are compared with a query at a time: what does so decides no score


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a search is asked for."""

    top: int = 10  # matches of a query
    n_candidates: int = 50  # videos that are compared
    false_per_million: float = 200.0  # of a match, at most: one false match in a hundred searches of 50 candidates
    exhaustive: bool = False  # compare all videos: the control
    common: bool = False  # what many videos show votes in full, and is told in its place by score, not last
    fast: bool = False  # look up a tenth of the parts of pictures: some insets and strong crops are lost
    mutual: bool = False  # every indexed video is a query, so that each pair is met twice: a fourth of the work


class Crew(Protocol):
    """Who holds the index and compares; what is begun by one call is fetched by another."""

    ahead: int  # queries that may be on their way at once

    def sight(self, vectors: np.ndarray, plain: int, boxes: np.ndarray | None) -> Any:
        """Begin to look turned vectors of probes up in the index; plain, boxes: see ndvr.operators.index.votes."""

    def sighted(self, begun: Any) -> tuple[list[Sightings], list[int]]:
        """Collect what they look like in each part, and the places of segments that could not be looked into."""

    def verify(self, query: Query, batches: Sequence[Sequence[Proposed]]) -> Any:
        """Begin to compare a query with proposed videos."""

    def verified(self, begun: Any) -> list[Verified]:
        """Collect what came of each batch."""


class Here:
    """This process: what is begun is done."""

    ahead = 0

    def __init__(self, index: LibraryIndex, verifier: Verifier):
        self._index, self._verifier = index, verifier

    def sight(self, vectors: np.ndarray, plain: int, boxes: np.ndarray | None) -> list[Sightings]:
        return [sight(vectors, self._index.segments, plain=plain, boxes=boxes)]

    def sighted(self, begun: list[Sightings]) -> tuple[list[Sightings], list[int]]:
        return begun, []

    def verify(self, query: Query, batches: Sequence[Sequence[Proposed]]) -> list[Verified]:
        return [self._verifier.verify(query, batch) for batch in batches]

    def verified(self, begun: list[Verified]) -> list[Verified]:
        return begun


@dataclass(frozen=True, kw_only=True)
class _UnderWay:
    """A query that is searched for."""

    query: Query
    also: tuple[str, ...]  # videos to compare it with, whatever the index proposes
    began: float
    n_probes: int = 0
    probes: Keys | None = field(default=None, repr=False)
    begun: Any = None  # of the crew
    missed: tuple[int, ...] = ()  # segments that could not be looked into


class Matcher:
    """Finds queries in one index; keeps what serves several of them."""

    def __init__(
        self,
        index: LibraryIndex,
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
        self.index, self.wanted, self.decisions = index, wanted, decisions or Decisions()
        self.unknown = sorted(unknown)
        self.lost: set[str] = set()  # candidates so far
        self.model = index.model
        self.verifier = Verifier(index, false_per_million=wanted.false_per_million, strict=strict)

    @cached_property
    def n_videos(self) -> int:
        return self.index.n_videos

    @cached_property
    def _by_hash(self) -> dict[str, list[str]]:
        """Ids of indexed videos by the hash of their file."""
        ids: dict[str, list[str]] = {}
        for segment in self.index.segments:
            for row in segment.alive:
                video = segment.videos[row]
                if video.sha256:
                    ids.setdefault(video.sha256, []).append(video.video_id)
        return ids

    @cached_property
    def _ids(self) -> list[str]:
        """Ids of all indexed videos, in the order of the index."""
        return [segment.videos[row].video_id for segment in self.index.segments for row in segment.alive]

    def has_keys(self, video_id: str) -> bool | None:
        """Say whether there is something in a video to tell by; None: there is no sound, or no picture, in it."""
        if self._n_keys.get(video_id):
            return True
        entry = self.index.library.lookup([self.index.config], [video_id]).entries[self.index.config].get(video_id)
        return None if entry is not None and entry.status == "skipped" else False

    @cached_property
    def _n_keys(self) -> dict[str, int]:
        """How many keys indexed videos have."""
        counts = {}
        for segment in self.index.segments:
            keys = np.bincount(segment.where(np.arange(len(segment)))[0], minlength=len(segment.rows))
            counts.update({segment.videos[row].video_id: int(keys[row]) for row in segment.alive})
        return counts

    def answers(self, queries: Iterable[Query], crew: Crew) -> Iterator[Answer]:
        """Answer each query, in order; while one is compared, others are looked up."""
        sighted: deque[_UnderWay] = deque()
        compared: deque[_UnderWay] = deque()
        for query in queries:
            sighted.append(self._look_up(query, crew))
            if len(sighted) > crew.ahead:
                compared.append(self._compare(sighted.popleft(), crew))
            if len(compared) > crew.ahead:
                yield self._answer(compared.popleft(), crew)
        compared.extend(self._compare(each, crew) for each in sighted)
        for each in compared:
            yield self._answer(each, crew)

    def answer(self, query: Query, also: Collection[str] = (), crew: Crew | None = None) -> Answer:
        """Answer a query; `also` are compared with it, whatever the index proposes. No crew: this process."""
        crew = crew or Here(self.index, self.verifier)
        return self._answer(self._compare(self._look_up(query, crew, also), crew), crew)

    def _look_up(self, query: Query, crew: Crew, also: Collection[str] = ()) -> _UnderWay:
        under_way = _UnderWay(query=query, also=tuple(also), began=time.monotonic())
        if query.features is None or not len(query.features):
            return under_way
        probes = self.model.probes(query.features, fast=self.wanted.fast)
        under_way = replace(under_way, probes=probes, n_probes=len(probes))
        if self.wanted.exhaustive or not len(probes):
            return under_way
        boxes = probes.boxes if self.wanted.mutual else None
        plain = self._top(query) * self.model.compact
        return replace(under_way, begun=crew.sight(codes.turned(probes.vectors), plain, boxes))

    def _top(self, query: Query) -> int:
        """Say how many candidates a query has, a video of the library one of its own;
        fewer where pairs are met twice.
        """
        wanted = self.wanted.n_candidates
        return (-(-wanted * 3 // 5) if self.wanted.mutual else wanted) + query.own

    def _compare(self, under_way: _UnderWay, crew: Crew) -> _UnderWay:
        """Choose candidates and begin to compare them."""
        query, probes = under_way.query, under_way.probes
        if probes is None:
            return under_way
        missed: list[int] = []
        same, decided = self.same_file(query), self.judged(query, "same")
        # Compared whatever votes say: the same file, those judged the same, what the caller asks.
        named = dict.fromkeys([*same, *sorted(decided), *under_way.also])
        if self.wanted.exhaustive:
            chosen = sorted(self._ids)
            places: dict[str, list[Place]] = {}
        else:
            candidates: list[Candidate] = []
            if under_way.begun is not None:
                parts, missed = crew.sighted(under_way.begun)
                how = {"common": self.wanted.common, "plain": self.model.compact}
                candidates = elect(probes, parts, top=self._top(query), **how)
            places = {self.id_of(candidate): candidate.places for candidate in candidates}
            chosen = [video_id for video_id in named if video_id not in places] + [*places]
        proposed = self._proposed(query, chosen, places, same=same, decided=decided, named=named)
        batches = [proposed[start : start + BATCH] for start in range(0, len(proposed), BATCH)]
        return replace(under_way, begun=crew.verify(query, batches), missed=tuple(missed), probes=None)

    def _proposed(
        self,
        query: Query,
        ids: Sequence[str],
        places: dict[str, list[Place]],
        *,
        same: Collection[str],
        decided: Collection[str],
        named: Collection[str],
    ) -> list[Proposed]:
        """Select what is there of these videos: what left the library since it was indexed is no answer."""
        videos = self.index.lookup(ids)
        return [
            Proposed(
                video=videos[video_id],
                same=video_id in same,
                decided=video_id in decided,
                named=video_id in named,
                places=places.get(video_id, []),
            )
            for video_id in ids
            if video_id in videos and not (query.own and video_id == query.query_id)
        ]

    def same_file(self, query: Query) -> list[str]:
        """Find ids of indexed videos that are the same file."""
        return self._by_hash.get(query.sha256, []) if query.sha256 else []

    def _answer(self, under_way: _UnderWay, crew: Crew) -> Answer:
        """Put together what is known of a query."""
        query = under_way.query
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
        done = crew.verified(under_way.begun)
        rejected = self.judged(query, "different")
        matches = in_order(match for batch in done for match in batch.matches if self.counts(match))
        matches = self._with_common(query, matches)
        kept = [match for match in matches if match.video_id not in rejected]
        left_out = [match for match in matches if match.video_id in rejected]
        also = set(under_way.also)
        doubt = self.doubt(query, under_way.n_probes)
        status: Status = "unsure" if doubt and not any(m.kind == "identical" for m in kept) else "searched"
        missed = sum(len(self.index.segments[number].alive) for number in under_way.missed)
        if not_known := self._not_known(query, done, rejected, missed):
            status, doubt = "partial", "; ".join(filter(None, (doubt, not_known)))
        return replace(
            blank,
            status=status,
            message=doubt,
            matches=[each for rank, each in enumerate(kept) if rank < self.wanted.top or each.video_id in also],
            videos=self.n_videos - missed,
            seconds=round(time.monotonic() - under_way.began, 4),
            rejected=len(left_out),
            left_out=left_out,
        )

    def _with_common(self, query: Query, matches: list[Match]) -> list[Match]:
        """Say which of the shared material is common: several videos show it that are no copies of each other."""
        needed = LEAST_VIDEOS - query.own  # itself one of them
        sharing = [match for match in matches if match.kind in ("shared", "contains")]
        if self.model.compact or len(sharing) < needed:
            return matches
        videos = self.index.lookup(match.video_id for match in sharing)
        told = [
            replace(match, kind="common")
            if match.kind == "shared"
            and self.verifier.differ((videos[each.video_id] for each in sharing if shows(each, match)), needed)
            else match
            for match in matches
        ]
        return told if self.wanted.common else in_order(told)

    def _not_known(self, query: Query, done: Sequence[Verified], rejected: set[str], missed: int) -> str:
        """Say which videos the query may show without anybody having seen them, or "" """
        lost = {video_id for batch in done for video_id in batch.lost}
        self.lost |= lost
        lost |= {*self.unknown} - ({query.query_id} if query.own else set())
        reasons = []
        if lost := lost - rejected:
            reasons.append(f"{len(lost):,} videos that it may show have lost their features: {named(sorted(lost))}")
        if missed:
            reasons.append(
                f"{missed:,} videos were not searched, as the machine that held their part of the index is gone and no "
                "other has taken it over yet"
            )
        return "; ".join(reasons)

    def judged(self, query: Query, verdict: Literal["same", "different"]) -> set[str]:
        """Find the ids of videos of which people said this, and a query."""
        return self.judged_content(content_key(query.sha256, query.query_id), verdict) - {query.query_id}

    def judged_content(self, content: str, verdict: Literal["same", "different"]) -> set[str]:
        """Find the ids of indexed videos of which people said this, and a content."""
        contents = self.decisions.partners(content, verdict)
        ids = {video_id for each in contents for video_id in self._by_hash.get(each, [each.removeprefix("id:")])}
        return ids.intersection(self._ids) if ids else ids

    def counts(self, match: Match) -> bool:
        """Say whether a match is one."""
        return match.kind in ("identical", "decided") or match.score >= self.verifier.least

    def can_judge(self, query: Query) -> bool | None:
        """Say whether there is something in a query to tell by; None: there is no sound, or no picture, in it."""
        if query.features is None or not len(query.features):
            return None if query.skipped else False
        return not self.doubt(query, len(self.model.probes(query.features, fast=True)))

    def doubt(self, query: Query, n_probes: int) -> str:
        """Say why "not seen" would say too much of a query, or ""."""
        assert query.features is not None
        if not n_probes:
            heard = isinstance(self.model.view, Mel)
            return "its sound hardly changes" if heard else "its pictures are too dark or flat"
        length_s = len(query.features) * kinds.hop_s(query.start_s)
        if length_s < SHORT_S:
            return f"it is too short ({length_s:.1f} s)"
        return ""

    def id_of(self, candidate: Candidate) -> str:
        """Look up the id of the video that a candidate is."""
        return self.index.segments[candidate.segment].videos[candidate.row].video_id
