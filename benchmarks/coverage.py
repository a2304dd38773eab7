"""How much of what a truth asks about was scored, and why the rest was not."""

from __future__ import annotations

from collections.abc import Set

from ndvr.benchmarks.evaluation import Coverage, Share
from ndvr.benchmarks.protocol import Protocol
from ndvr.benchmarks.rank import Counts
from ndvr.operators.score_files import Scores


def coverage_of(scores: Scores, protocol: Protocol, counts: Counts) -> Coverage:
    """What the truth asks about and what has a score."""
    surveyed, database = counts.surveyed, counts.database
    right = protocol.right_for_any()
    scored_queries = {query for query, n in zip(surveyed.queries.ids, surveyed.rows) if n}
    seen = {video for video, scored in zip(surveyed.videos.ids, surveyed.scored) if scored}
    missing_pairs, expected_pairs, self_pairs = {}, 0, 0
    for query, videos in right.items():
        videos = videos if protocol.ranks_query else videos - {query}
        codes = surveyed.labelled[query][0]
        scored = {surveyed.videos.ids[code] for code in codes}
        expected_pairs += len(videos)
        self_pairs += query in scored
        for video in videos - scored:
            missing_pairs[f"{query} -> {video}"] = _why(query, video, scores, query_scored=query in scored_queries)
    return Coverage(
        queries=_share(right.keys(), scored_queries, scores.queries),
        positives=Share(expected=expected_pairs, scored=expected_pairs - len(missing_pairs), missing=missing_pairs),
        videos=_share(database, seen, scores.videos),
        pairs=_scored_pairs(counts, asked=right.keys() & scored_queries, self_pairs=self_pairs),
        queries_without_truth=len(scored_queries - right.keys()),
        videos_outside_database=len(seen - database),
    )


def _why(query: str, video: str, scores: Scores, *, query_scored: bool) -> str:
    """Which of the two has no score, where the writer of the scores said what was attempted."""
    if not query_scored:
        return "query " + (scores.queries or {}).get(query, "without scores")
    status = "never attempted" if scores.videos is None else scores.videos.get(video, "never attempted")
    return "" if scores.videos is None or status == "done" else status


def _share(expected: Set[str], scored: Set[str], attempted: dict[str, str] | None) -> Share:
    known = attempted or {}
    unknown = "" if attempted is None else "never attempted"
    missing = {i: known.get(i, unknown) for i in expected if i not in scored}
    return Share(expected=len(expected), scored=len(expected) - len(missing), missing=missing)


def _scored_pairs(counts: Counts, *, asked: Set[str], self_pairs: int) -> Share:
    """Of all pairs of an evaluated query and a scored video (never the query itself), those with a score."""
    surveyed = counts.surveyed
    n_videos = int(surveyed.scored.sum())
    seen = surveyed.scored[surveyed.videos.of(sorted(asked))]
    rows = int(surveyed.rows[surveyed.queries.of(sorted(asked))].sum())
    return Share(expected=len(asked) * n_videos - int(seen.sum()), scored=rows - self_pairs)
