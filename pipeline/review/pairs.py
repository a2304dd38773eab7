"""Pairs of videos that were found alike, whoever found them, with what is known of the videos.

pairs_of_answers(library, answers)          # the matches of a search
standing_of(pairs, library)                 # without those that people judged to be no match
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from ndvr.operators.index.kinds import WORDS, Kind, Stretch
from ndvr.operators.library.decisions import Decisions, content_key, decisions_of
from ndvr.operators.library.library import Entry, Library
from ndvr.pipeline.search.answers import Answer, Match, rate_text
from ndvr.pipeline.search.verdict import Verdict

What = Literal["matches", "pairs", "scores"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """A video as it is shown: where its file is, and what that file was when it was read."""

    video_id: str
    content: str  # see ndvr.operators.library.decisions
    uri: str = ""
    bytes: int | None = None
    mtime_ns: int | None = None
    sha256: str = ""
    duration_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two videos that were found alike. What the kind says, it says of `a`: a copy of b, a part of it ..."""

    a: Video
    b: Video
    kind: str  # of a search; "alike" where only the score is known, "sound" where only the sound is the same
    score: float
    false_per_million: float | None = None
    a_covered: float | None = None
    b_covered: float | None = None
    placement: str = ""
    segments: tuple[Stretch, ...] | None = None  # of a: q, of b: v; None: not known, see evidence.py
    verdict: Verdict | None = None  # of picture and sound, where both were searched

    @property
    def words(self) -> str:
        """The kind, as people read it."""
        return "the same sound" if self.kind == "sound" else WORDS.get(cast(Kind, self.kind), self.kind)

    @property
    def sure(self) -> str | None:
        """How sure it is, as people read it; None where that is not known."""
        return None if self.false_per_million is None else f"{rate_text(self.false_per_million)} false per million"

    def to_json(self) -> dict[str, Any]:
        known = {name: getattr(self, name) for name in ("kind", "score", "false_per_million", "placement")}
        known |= {"a_id": self.a.video_id, "b_id": self.b.video_id, "a_covered": self.a_covered}
        known |= {"b_covered": self.b_covered, "a_duration_s": self.a.duration_s, "b_duration_s": self.b.duration_s}
        known |= {"segments": None if self.segments is None else [asdict(each) for each in self.segments]}
        return known | {"picture_and_sound": None if self.verdict is None else self.verdict.words}


@dataclass(frozen=True, kw_only=True)
class Found:
    """All pairs of a folder, in its order, and where they come from."""

    source: str
    what: What
    library: str  # where b lies
    query_library: str  # where a lies; "" for files
    config: str
    weights: str
    options: dict[str, Any]
    pairs: list[Pair] = field(repr=False)
    rejected: int  # how many are left out, as people judged them to be no match
    left_out: list[Pair] = field(default_factory=list, repr=False)  # those of them that are still known
    seen: frozenset[str] = frozenset()  # ids of queries of a search that have a pair
    answers: list[Answer] = field(default_factory=list, repr=False)  # of a search: also those without matches


def videos_of_library(library: Library | None, ids: Iterable[str]) -> dict[str, Video]:
    """Look up what a library says of videos, by id; ids alone where there is no such library or video any more."""
    wanted = sorted(set(ids))
    entries: dict[str, Entry] = {}
    if library is not None:
        for of_config in library.lookup(library.configs, wanted).entries.values():
            for video_id in wanted:
                if video_id in of_config and (video_id not in entries or of_config[video_id].status == "done"):
                    entries[video_id] = of_config[video_id]
    return {video_id: _video(video_id, entries.get(video_id)) for video_id in wanted}


def _video(video_id: str, entry: Entry | None) -> Video:
    if entry is None:
        return Video(video_id=video_id, content=content_key(None, video_id))
    end = entry.end
    return Video(
        video_id=video_id,
        content=content_key(end["sha256"], video_id),
        uri=end["uri"] or "",
        bytes=end["bytes"],
        mtime_ns=end["mtime_ns"],
        sha256=end["sha256"] or "",
        duration_s=end["duration_s"],
    )


def opened(library: str | Path) -> Library | None:
    """Open the library, or return None where it is not here any more."""
    try:
        return Library(library)
    except (FileNotFoundError, ValueError):
        return None


def decisions_there(library: Library | None) -> Decisions:
    return Decisions() if library is None else decisions_of(library)


def standing_of(pairs: list[Pair], library: Library | None) -> dict[str, Any]:
    """Split the pairs: those that people judged to be no match are left out and counted."""
    decisions = decisions_there(library)
    standing, left_out = [], []
    for pair in pairs:
        if not decisions.leaves_out(pair.a.content, pair.b.content, pair.kind):
            standing.append(pair)
        elif pair.kind != "decided":
            left_out.append(pair)
    return {"pairs": standing, "left_out": left_out, "rejected": len(left_out)}


def pairs_of_answers(library: Library | None, answers: Sequence[Answer]) -> list[Pair]:
    """Turn the matches of a search into pairs: queries are `a`."""
    return pairs_of(videos_of_library(library, ids_found(answers)), answers)


def ids_found(answers: Sequence[Answer]) -> set[str]:
    return {match.video_id for answer in answers for match in (*answer.matches, *answer.left_out)}


def pairs_of(videos: Mapping[str, Video], answers: Sequence[Answer]) -> list[Pair]:
    return [
        pair_of(query_video(answer), videos[match.video_id], match) for answer in answers for match in answer.matches
    ]


def pair_of(query: Video, video: Video, match: Match) -> Pair:
    return Pair(
        a=query,
        b=video,
        kind=match.kind,
        score=match.score,
        false_per_million=match.false_per_million,
        a_covered=match.query_covered,
        b_covered=match.video_covered,
        placement=match.placement,
        segments=tuple(match.segments),
    )


def query_video(answer: Answer) -> Video:
    facts = {name: getattr(answer, name) for name in ("uri", "bytes", "mtime_ns", "duration_s")}
    content = content_key(answer.sha256, answer.query_id)
    return Video(video_id=answer.query_id, content=content, sha256=answer.sha256 or "", **facts)
