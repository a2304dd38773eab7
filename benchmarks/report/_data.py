"""What a report shows, gathered from score files: the best matches of each query, and a matrix of all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ndvr.benchmarks.evaluation.protocol import Task
from ndvr.benchmarks.evaluation.result import Evaluation
from ndvr.operators.metrics.rows_by_query import Codes
from ndvr.operators.scores.files import ScoreSource, open_scores

Mark = Literal["right", "wrong", "neither"]


@dataclass(frozen=True, kw_only=True)
class Match:
    """One line of a result list. `rank` is None for a video that is not ranked: neither right nor wrong."""

    video_id: str
    score: float
    rank: int | None
    mark: Mark


@dataclass(frozen=True, kw_only=True)
class Results:
    """What one query found. `missed` are right videos further down, `unscored` right ones without a score."""

    query_id: str
    ap: float
    best: tuple[Match, ...]
    missed: tuple[Match, ...]
    unscored: int


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Scores of queries x videos, NaN where there is none; neighbours are related."""

    queries: tuple[str, ...]
    videos: tuple[str, ...]
    values: np.ndarray  # (Q, V) float64
    right: tuple[tuple[int, int], ...]  # row and column of every right pair
    n_videos: int  # in the database; more than are shown when it is large


Rows = dict[str, dict[str, float]]


def read_rows(evaluation: Evaluation, scores: ScoreSource, queries: Sequence[str]) -> Rows:
    """Read the scores of these queries in one walk: {query: {video: score}}."""
    wanted = set(queries)
    rows: Rows = {query: {} for query in queries}
    codes = Codes()
    for batch in open_scores(scores).batches():
        names = batch.queries.to_pylist()
        of_interest = np.array([name in wanted for name in names], bool)[batch.query]
        codes.of_array(batch.videos)
        ids = batch.videos.to_pylist()
        for q, v, score in zip(
            batch.query[of_interest].tolist(), batch.video[of_interest].tolist(), batch.score[of_interest].tolist()
        ):
            rows[names[q]][ids[v]] = score
    database = evaluation.protocol.database
    if database is not None:
        rows = {query: {v: s for v, s in row.items() if v in database} for query, row in rows.items()}
    return rows


def mark_of(task: Task, query: str, video: str) -> Mark:
    """Return what a task says about a pair."""
    if video in task.relevant.get(query, ()):
        return "right"
    if video == query or video in task.ignored.get(query, ()) or video in task.excluded:
        return "neither"
    if task.only is not None and video not in task.only.get(query, ()):
        return "neither"
    return "wrong"


def results_of(evaluation: Evaluation, task: Task, rows: Rows, *, shown: int) -> dict[str, Results]:
    """Return the `shown` best matches of each query, and at most three right ones that came later."""
    out = {}
    for query, row in rows.items():
        result = evaluation.tasks[task.name].per_query.get(query)
        if result is None:
            continue
        matches, rank = [], 0
        for video, score in sorted(row.items(), key=lambda item: (-item[1], item[0])):
            if video == query and not evaluation.protocol.ranks_query:
                continue
            mark = mark_of(task, query, video)
            rank += mark != "neither"
            matches.append(Match(video_id=video, score=score, rank=None if mark == "neither" else rank, mark=mark))
        later = [match for match in matches[shown:] if match.mark == "right"]
        out[query] = Results(
            query_id=query,
            ap=result.ap,
            best=tuple(matches[:shown]),
            missed=tuple(later[:3]),
            unscored=result.relevant - result.found,
        )
    return out


def matrix_of(task: Task, rows: Rows, *, max_videos: int) -> Matrix:
    """Return the scores of all pairs, rows and columns grouped by who is related to whom."""
    videos = {video for row in rows.values() for video in row}
    n_videos = len(videos)
    right = {(query, video) for query in rows for video in task.relevant.get(query, ()) if video in videos}
    if n_videos > max_videos:  # right videos, then those that come closest to any query
        peak: dict[str, float] = {}
        for row in rows.values():
            for video, score in row.items():
                peak[video] = max(score, peak.get(video, -np.inf))
        right_videos = {video for _, video in right}
        videos = set(sorted(videos, key=lambda v: (v not in right_videos, -peak[v], v))[:max_videos])
    place = _walk(right)
    query_list, video_list = (sorted(ids, key=lambda i: (place.get(i, len(place)), i)) for ids in (rows, videos))
    column = {video: j for j, video in enumerate(video_list)}
    values = np.full((len(query_list), len(video_list)), np.nan)
    for i, query in enumerate(query_list):
        for video, score in rows[query].items():
            if video in column:
                values[i, column[video]] = score
    row_of = {query: i for i, query in enumerate(query_list)}
    return Matrix(
        queries=tuple(query_list),
        videos=tuple(video_list),
        values=values,
        right=tuple(sorted((row_of[q], column[v]) for q, v in right if v in column)),
        n_videos=n_videos,
    )


def _walk(pairs: set[tuple[str, str]]) -> dict[str, int]:
    """Number the videos by a walk from partner to partner, so that related ones stand together."""
    partners: dict[str, set[str]] = {}
    for a, b in pairs:
        partners.setdefault(a, set()).add(b)
        partners.setdefault(b, set()).add(a)
    place: dict[str, int] = {}
    for start in sorted(partners):
        stack = [start]
        while stack:
            video = stack.pop()
            if video not in place:
                place[video] = len(place)
                # The last one is visited next: first those with few partners, the copies of this original.
                stack += sorted(partners[video] - place.keys(), key=lambda v: (-len(partners[v]), v))
    return place
