"""Why a video is found in another or not: every gate of a search with its value, its limit and its verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.models.keys import Keys
from ndvr.operators.index.kinds import WORDS
from ndvr.operators.index.votes import candidates
from ndvr.operators.library.decisions import content_key, contents_of, decisions_of
from ndvr.operators.scores.groups import Video
from ndvr.operators.storage.object_store import is_remote
from ndvr.pipeline.search.answers import Match, clock
from ndvr.pipeline.search.library_index import LibraryIndex
from ndvr.pipeline.search.matcher import Matcher, Wanted
from ndvr.pipeline.search.queries import Queries, Query, read_queries
from ndvr.pipeline.search.verdict import Judgeable
from ndvr.pipeline.search.verify import Compared, Proposed, ReadyQuery


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One step that a pair has to pass."""

    name: str
    value: str
    limit: str
    passed: bool

    def text(self) -> str:
        limit = f" ({self.limit})" if self.limit else ""
        return f"  {'yes' if self.passed else 'NO ':3} {self.name}: {self.value}{limit}"


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """All gates of a pair, in order; those behind one that was not passed too, as far as they can be told."""

    a: str
    b: str
    verdict: str
    gates: list[Gate]
    match: Match | None = None  # where it is found
    compared: Match | None = None  # what the comparison says, whatever the index proposes; None: it is no match
    can: Judgeable = Judgeable(query=True, video=True)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        return "\n".join([f"{self.a} in {self.b}: {self.verdict}", *(gate.text() for gate in self.gates)])


def explain(index: LibraryIndex, a: str, b: str) -> Explanation:
    """Explain why A, a video of the library or a file, is or is not found in video B.
    ValueError when the library has no B.
    """
    entry = index.library.lookup([index.config], [b]).entries[index.config].get(b)
    if entry is None:
        raise ValueError(f"{index.library} has no features of a video {b!r}; `ndvr show LIBRARY --list` lists them")
    query, video = _query(index, a), index.lookup([b]).get(b)
    matcher = Matcher(index, Wanted(), decisions_of(index.library), strict=True)
    can = Judgeable(query=matcher.can_judge(query), video=matcher.has_keys(b))
    if query.features is None:
        missing = [Gate(name="features of the query", value=query.message, limit="", passed=False)]
        return Explanation(a=a, b=b, verdict="cannot be searched for", gates=missing, can=can)
    if video is None:
        message = entry.end["message"] or entry.status
        missing = [Gate(name="features of the video", value=message, limit="", passed=False)]
        return Explanation(a=a, b=b, verdict="cannot be found", gates=missing, can=can)
    probes = index.model.probes(query.features)
    gates = [Gate(name="query can be looked up", value=f"{len(probes):,} probes", limit="> 0", passed=len(probes) > 0)]
    gates += [_indexed(index, video.video_id, video.content), *_candidate(matcher, query, probes, video)]
    of_query, of_video = content_key(query.sha256, query.query_id), contents_of(index.library, [b]).get(b, "")
    decision = matcher.decisions.verdict(of_query, of_video)
    compared = _compared(matcher, query, video, decided=decision == "same")
    match, passed = _as_told(matcher, query, compared.match), compared.judged.score >= matcher.verifier.least
    gates += [*_gates_of(match, compared.judged.score, matcher), *_decided(decision), _segments(match)]
    is_found = decision == "same" or all(gate.passed for gate in gates if gate.name != "segments")
    return Explanation(
        a=a,
        b=b,
        verdict=WORDS[match.kind] if is_found else "not found",
        gates=gates,
        match=match if is_found else None,
        compared=match if passed and decision != "different" else None,
        can=can,
    )


def _compared(matcher: Matcher, query: Query, video: Video, *, decided: bool) -> Compared:
    verifier = matcher.verifier
    proposed = Proposed(video=video, same=video.video_id in matcher.same_file(query), decided=decided)
    return verifier.judge(ReadyQuery(verifier.model, query), proposed)


def _as_told(matcher: Matcher, query: Query, match: Match) -> Match:
    """Tell the match as a search does: whether shared material is common the other matches say."""
    if match.kind != "shared":
        return match
    answer = matcher.answer(query, [match.video_id])
    return next((each for each in answer.matches if each.video_id == match.video_id), match)


def _gates_of(match: Match, score: float, matcher: Matcher) -> list[Gate]:
    """Judge whether the score, and how sure it is, suffice."""
    least, sureness = matcher.verifier.least, matcher.index.sureness
    gates = [Gate(name="score", value=f"{score:.4f}", limit=f">= {least:.4f}", passed=score >= least)]
    if match.false_per_million is not None:
        fitted = "" if sureness and sureness.fitted else ", assumed: the library is too small to tell"
        limit = matcher.wanted.false_per_million
        value = f"{match.false_per_million:g} false matches per million pairs{fitted}"
        gates.append(Gate(name="sureness", value=value, limit=f"<= {limit:g}", passed=match.false_per_million <= limit))
    return gates


def _decided(decision: str | None) -> list[Gate]:
    if not decision:
        return []
    words = {"same": "judged the same", "different": "judged not a match"}
    return [Gate(name="decision", value=words[decision], limit="", passed=decision == "same")]


def _segments(match: Match) -> Gate:
    times = "; ".join(
        f"{clock(s.q_start_s)}-{clock(s.q_end_s)} at {clock(s.v_start_s)}-{clock(s.v_end_s)}" for s in match.segments
    )
    return Gate(name="segments", value=times or "none", limit="", passed=bool(times))


def _query(index: LibraryIndex, a: str) -> Query:
    entries = index.library.lookup([index.config], [a]).entries[index.config]
    if a in entries:
        queries = Queries(str(index.library), {a: ""}, {a: None}, index.library)
    elif is_remote(a) or Path(a).exists():
        queries = read_queries(a, index)
    else:
        raise ValueError(f"{a!r} is neither a video of {index.library} nor a file")
    return next(iter(queries.read(list(queries.uris), index)))


def _indexed(index: LibraryIndex, video_id: str, content: str) -> Gate:
    for segment in index.segments:
        for row in segment.alive:
            if (segment.videos[row].video_id, segment.videos[row].content) == (video_id, content):
                count = int((segment.where(np.arange(len(segment)))[0] == row).sum())
                value = f"{count:,} keys in segment {segment.name}"
                return Gate(name="video is indexed", value=value, limit="> 0 keys", passed=count > 0)
    return Gate(name="video is indexed", value="no; run `ndvr index` again", limit="", passed=False)


def _candidate(matcher: Matcher, query: Query, probes: Keys, video: Video) -> list[Gate]:
    """Find its rank by votes, and take the rough look at the placements that they propose."""
    n = matcher.wanted.n_candidates
    limit = f"among the first {n}"
    others = candidates(probes, matcher.index.segments, top=1 << 30, plain=matcher.model.compact)
    others = [each for each in others if not query.own or matcher.id_of(each) != query.query_id]
    rank = next((rank for rank, each in enumerate(others, 1) if matcher.id_of(each) == video.video_id), 0)
    if not rank:
        return [Gate(name="candidate", value="no votes", limit=limit, passed=False)]
    votes = f"rank {rank:,} of {len(others):,}, {others[rank - 1].votes:.1f} votes"
    proposed = Proposed(video=video, places=others[rank - 1].places)
    worth = bool(matcher.verifier.spotted(query, [proposed], []))
    return [
        Gate(name="candidate", value=votes, limit=limit, passed=rank <= n),
        Gate(name="rough look", value="worth comparing" if worth else "nothing alike", limit="", passed=worth),
    ]
