"""How much of what a truth asks about was scored, and why the rest was not."""

from __future__ import annotations

from collections.abc import Set

from ndvr.benchmarks.evaluation.protocol import Protocol
from ndvr.benchmarks.evaluation.ranks import Counts
from ndvr.benchmarks.evaluation.result import Coverage, Share
from ndvr.operators.scores.files import Scores

_HOLE = "extracted, but without a score"


def coverage_of(scores: Scores, protocol: Protocol, counts: Counts) -> Coverage:
    """What the truth asks about and what has a score."""
    surveyed, database, seen = counts.surveyed, counts.database, counts.seen
    right = protocol.right_for_any()
    scored_queries = {query for query, n in zip(surveyed.queries.ids, surveyed.rows) if n}
    missing_pairs, expected_pairs, self_pairs = {}, 0, 0
    for query, videos in right.items():
        videos = videos if protocol.ranks_query else videos - {query}
        codes = surveyed.labelled[query][0]
        scored = {surveyed.videos.ids[code] for code in codes}
        expected_pairs += len(videos)
        self_pairs += query in scored
        for video in videos - scored:
            missing_pairs[f"{query} -> {video}"] = _why(query, video, scores, query_scored=query in scored_queries)
    done = {video for video, status in (scores.videos or {}).items() if status == "done"}
    asked = {query for query in right if query in scored_queries or (scores.queries or {}).get(query) == "done"}
    return Coverage(
        queries=_share(right.keys(), scored_queries, scores.queries),
        positives=Share(expected=expected_pairs, scored=expected_pairs - len(missing_pairs), missing=missing_pairs),
        videos=_share(database, seen, scores.videos),
        pairs=_scored_pairs(counts, asked=asked, videos=done | seen, self_pairs=self_pairs),
        queries_without_truth=frozenset(scored_queries - right.keys()),
        videos_outside_database=frozenset(seen - database - protocol.also_ranked),
    )


def _why(query: str, video: str, scores: Scores, *, query_scored: bool) -> str:
    """Which of the two has no score, where the writer of the scores said what was attempted."""
    if not query_scored:
        return "query " + (scores.queries or {}).get(query, "without scores")
    if scores.videos is None:
        return ""
    return _reason(scores.videos.get(video))


def _reason(status: str | None) -> str:
    return {None: "never attempted", "done": _HOLE}.get(status) or str(status)


def _share(expected: Set[str], scored: Set[str], attempted: dict[str, str] | None) -> Share:
    missing = {i: "" if attempted is None else _reason(attempted.get(i)) for i in expected if i not in scored}
    return Share(expected=len(expected), scored=len(expected) - len(missing), missing=missing)


def _scored_pairs(counts: Counts, *, asked: Set[str], videos: Set[str], self_pairs: int) -> Share:
    """Of all pairs of a query and a video that have features or a score (never the query itself), those with a score.

    Less than all: the comparison is not finished, a file of it is missing, or it kept only the best of each query.
    """
    rows = int(counts.surveyed.rows[counts.surveyed.queries.of(sorted(asked))].sum())
    return Share(expected=len(asked) * len(videos) - len(asked & videos), scored=rows - self_pairs)
