"""Walk over the scores for a protocol, here or in Ray tasks, and put the numbers together."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence, Set

import numpy as np

from ndvr.benchmarks.evaluation._ranks import Counts, evaluated
from ndvr.benchmarks.evaluation._task_result import digest, task_result
from ndvr.benchmarks.evaluation.protocol import Protocol
from ndvr.benchmarks.evaluation.result import Coverage, Evaluation, Share, alike_text
from ndvr.operators.metrics.rank_counts import Plan
from ndvr.operators.metrics.rows_by_query import Codes
from ndvr.operators.metrics.survey import Survey
from ndvr.operators.scores.files import Scores
from ndvr.pipeline.cluster.score_walks import HERE, Walks

_HOLE = "extracted, but without a score"


def coverage_of(scores: Scores, protocol: Protocol, counts: Counts) -> Coverage:
    """Compare what the truth asks about with what has a score."""
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
    compared = {query for query in right if query in scored_queries or (scores.queries or {}).get(query) == "done"}
    return Coverage(
        queries=_share(right.keys(), scored_queries, scores.queries),
        positives=Share(expected=expected_pairs, scored=expected_pairs - len(missing_pairs), missing=missing_pairs),
        videos=_share(database, seen, scores.videos),
        pairs=_scored_pairs(counts, queries=compared, videos=done | seen, self_pairs=self_pairs),
        queries_without_truth=frozenset(scored_queries - right.keys()),
        videos_outside_database=frozenset(seen - database - protocol.also_ranked),
    )


def _why(query: str, video: str, scores: Scores, *, query_scored: bool) -> str:
    """Say which of the two has no score, where the writer of the scores said what was attempted."""
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


def _scored_pairs(counts: Counts, *, queries: Set[str], videos: Set[str], self_pairs: int) -> Share:
    """Count the pairs of a query and a video with features or a score (never the query itself), and those scored.

    Less than all: the comparison is not finished, a file of it is missing, or it kept only the best of each query.
    """
    rows = int(counts.surveyed.rows[counts.surveyed.queries.of(sorted(queries))].sum())
    return Share(expected=len(queries) * len(videos) - len(queries & videos), scored=rows - self_pairs)


def evaluate_protocol(
    scores: Scores, protocol: Protocol, *, walks: Walks = HERE, tie_order: Sequence[str] | None = None
) -> Evaluation:
    """Evaluate opened scores against a protocol made by hand or by one of the dataset files.

    walks      who walks over the scores: this process, or Ray tasks
    tie_order  ids in the order that equal scores take, others behind them; None for sorted ids
    """
    counts = _count(scores, protocol, walks, tie_order)
    results = {task.name: task_result(protocol, task, counts) for task in protocol.tasks}
    queries = protocol.queries
    scored_videos = frozenset(counts.seen & counts.database)
    database_sha256 = digest(counts.database)
    return Evaluation(
        scores=scores.name,
        method=str(scores.meta.get("method", "")),
        weights=str(scores.meta.get("weights", "")),
        untrained=scores.meta.get("trained") is False,
        benchmark=protocol.name,
        convention=protocol.convention,
        tasks=results,
        coverage=coverage_of(scores, protocol, counts),
        n_pairs=counts.surveyed.n_pairs,
        database_sha256=database_sha256,
        videos_sha256=database_sha256 if scored_videos == counts.database else digest(scored_videos),
        queries_sha256=digest({query for result in results.values() for query in result.per_query}),
        scored_queries=frozenset(q for q, n in zip(counts.surveyed.queries.ids, counts.surveyed.rows) if n) & queries,
        scored_videos=scored_videos,
        protocol=protocol,
        notes=protocol.notes,
        alike_ids=_alike_ids(scores, protocol, counts.surveyed),
    )


def _alike_ids(scores: Scores, protocol: Protocol, surveyed: Survey) -> tuple[tuple[str, str], ...]:
    """Find ids that the truth and the scores spell in ways that look the same."""
    right = protocol.right_for_any()
    truth = protocol.queries.union(right, *right.values())
    queries = {query for query, n in zip(surveyed.queries.ids, surveyed.rows) if n}
    videos = {video for video, scored in zip(surveyed.videos.ids, surveyed.scored) if scored}
    return alike_ids(truth, queries.union(videos, scores.queries or (), scores.videos or ()))


def _count(scores: Scores, protocol: Protocol, walks: Walks, tie_order: Sequence[str] | None) -> Counts:
    """Walk over the scores twice: what is there, then how many stand above each right video."""
    surveyed = walks.survey(scores, protocol.labels())
    if not any(evaluated(task, surveyed) for task in protocol.tasks):
        raise ValueError(_no_common_query(scores, protocol, surveyed))
    seen = {video for video, scored in zip(surveyed.videos.ids, surveyed.scored) if scored}
    attempted = scores.videos or {}
    database = protocol.database if protocol.database is not None else frozenset(seen | attempted.keys())
    order = surveyed.videos.order() if tie_order is None else _order(surveyed.videos, tie_order)
    known = database | protocol.also_ranked
    ranked = np.fromiter((video in known for video in surveyed.videos.ids), bool, len(order))
    landmark = protocol.switches.unscored_at
    counted = walks.count(
        scores,
        Plan(
            surveyed=surveyed,
            right=protocol.right_for_any(),
            order=order,
            ranked=ranked,
            groups=list({evaluated(task, surveyed) for task in protocol.tasks if task.only is None}),
            landmark=landmark,
        ),
    )
    return Counts(
        surveyed=surveyed,
        counted=counted,
        order=order,
        ranked=ranked,
        landmark=landmark,
        database=database,
        seen=seen,
        available=(seen | {video for video, status in attempted.items() if status == "done"}) & database,
    )


def _order(videos: Codes, ids: Sequence[str]) -> np.ndarray:
    """Return the place of each code among these ids, (V,); others behind them, in the order of their ids."""
    place = {video: i for i, video in enumerate(dict.fromkeys(ids))}
    by_id = videos.order()
    first = np.array([place.get(video, len(place)) for video in videos.ids], np.int64)
    if len(first) and first.min() == len(place):
        such = f" (such as {next(iter(place))!r})" if place else ""
        raise ValueError(f"no id of the order of equal scores{such} is that of a scored video: check the list")
    out = np.empty(len(first), np.int64)
    out[np.lexsort((by_id, first))] = np.arange(len(first))
    return out


def _no_common_query(scores: Scores, protocol: Protocol, surveyed: Survey) -> str:
    scored = sorted(query for query, n in zip(surveyed.queries.ids, surveyed.rows) if n)
    if not scored:
        return f"{scores.name} holds no scores at all: was `ndvr similarity` given an empty library?"
    if not protocol.queries:
        return f"{protocol.name} asks about no query any more: check the id list"
    return (
        f"no query of {scores.name} (such as {scored[0]!r}) has a truth in {protocol.name} "
        f"(which asks about {min(protocol.queries)!r}): the ids must be written the same way"
        + (f"; {alike_text(alike)}" if (alike := _alike_ids(scores, protocol, surveyed)) else "")
    )


def alike_ids(truth: Set[str], scored: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Pair every id of the truth that has no score with the scored id that differs from it invisibly, if there is one.

    A name typed on one system and read from the disk of another may be composed there and decomposed here.
    """
    scored = set(scored)
    missing = truth - scored
    if not missing:
        return ()
    wanted = {_folded(video_id): video_id for video_id in missing}
    pairs = {wanted[form]: video_id for video_id in scored - truth if (form := _folded(video_id)) in wanted}
    return tuple(sorted(pairs.items()))


def _folded(video_id: str) -> str:
    """Return what is left of an id when all is taken away that cannot be seen."""
    if video_id.isascii() and video_id.isprintable() and " " not in video_id:
        return video_id
    seen = unicodedata.normalize("NFKC", video_id)
    return " ".join("".join(letter for letter in seen if unicodedata.category(letter) not in ("Cf", "Cc")).split())
