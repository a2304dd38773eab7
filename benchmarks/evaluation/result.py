"""The result of an evaluation: numbers, the ids they stand on, and what was missing; a table and a dictionary of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ndvr.benchmarks.evaluation.bootstrap import LEVEL, RESAMPLES, Interval
from ndvr.benchmarks.evaluation.protocol import Protocol

FORMAT = "ndvr-evaluation/1"
_SHOWN_IDS = 20  # of each list of missing ids; the counts are always whole


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """One query of one task. `low` and `high` put every tie in the worst and best order, `expected` is their mean."""

    ap: float
    low: float
    expected: float
    high: float
    relevant: int
    found: int  # right videos that have a score
    wrong: int  # wrong videos that have a score
    available_ap: float | None  # with right videos that nobody could score taken out of the denominator


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """Means over the evaluated queries, None when there is none."""

    name: str
    map: float | None  # equal scores in the order of their ids
    map_low: float | None  # every tie in the worst order
    map_expected: float | None  # the mean over all orders of ties
    map_high: float | None
    map_interval: Interval | None  # 95 %, by resampling the queries
    micro_ap: float | None  # all pairs in one ranking; equal scores are one step
    micro_ap_low: float | None
    micro_ap_expected: float | None
    micro_ap_high: float | None
    micro_ap_interval: Interval | None
    queries: int
    expected_queries: int
    queries_without_right: int  # asked about, without a right video in the database
    relevant: int  # right pairs of all expected queries
    found: int  # of them, those with a score
    map_available: float | None  # as if lost videos had left the id list
    queries_available: int
    # Over all expected queries, with what has no score at its worst (wrong videos on top, right ones never found) and
    # at its best (right ones on top, wrong ones behind all others).
    possible_low: float | None
    possible_high: float | None
    micro_ap_possible_low: float | None
    micro_ap_possible_high: float | None
    ceiling: float | None  # mAP of a perfect ranking: below 1 where right videos can never be ranked
    tied_queries: int  # queries whose AP depends on the order of ties
    relevant_sha256: str
    queries_sha256: str  # of the evaluated queries, sorted, one a line
    per_query: dict[str, QueryResult] = field(repr=False)
    precision_at_recall: tuple[float, ...] = field(default=(), repr=False)  # at 0, 0.05 ... 1, mean over queries

    def to_json(self, *, per_query: bool = False) -> dict[str, Any]:
        out = asdict(self)
        if not per_query:
            del out["per_query"]
        del out["name"]
        return out


@dataclass(frozen=True, kw_only=True)
class Share:
    """How much of something was there. `missing` maps ids to why, where that is known."""

    expected: int
    scored: int
    missing: dict[str, str] = field(default_factory=dict, repr=False)

    def some_missing(self, shown: int) -> str:
        """The first ids in order, each with why, and how many more there are."""
        names = [f"{name} ({why})" if why else name for name, why in sorted(self.missing.items())[:shown]]
        more = len(self.missing) - shown
        return ", ".join(names) + (f" and {more:,} more" if more > 0 else "")

    def to_json(self) -> dict[str, Any]:
        shown = dict(sorted(self.missing.items())[:_SHOWN_IDS])
        n_missing = self.expected - self.scored
        return {"expected": self.expected, "scored": self.scored, "missing": n_missing, "missing_ids": shown}


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Queries, right pairs and database videos: expected by the truth, and scored."""

    queries: Share
    positives: Share
    videos: Share
    pairs: Share  # of every evaluated query with every scored video
    queries_without_truth: frozenset[str]  # scored queries that no row of the truth names
    videos_outside_database: frozenset[str]  # scored videos that are not in the id list, and so are not ranked

    @property
    def complete(self) -> bool:
        return all(part.expected == part.scored for part in (self.queries, self.positives, self.videos, self.pairs))

    def to_json(self) -> dict[str, Any]:
        return {
            "complete": self.complete,
            "queries": self.queries.to_json(),
            "positives": self.positives.to_json(),
            "videos": self.videos.to_json(),
            "pairs": self.pairs.to_json(),
            "queries_without_truth": len(self.queries_without_truth),
            "queries_without_truth_ids": sorted(self.queries_without_truth)[:_SHOWN_IDS],
            "videos_outside_database": len(self.videos_outside_database),
            "videos_outside_database_ids": sorted(self.videos_outside_database)[:_SHOWN_IDS],
        }


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All tasks of one benchmark on one set of scores."""

    scores: str
    method: str
    weights: str
    untrained: bool
    benchmark: str
    convention: str
    tasks: dict[str, TaskResult]
    coverage: Coverage
    n_pairs: int
    database_sha256: str  # over the sorted ids, one a line
    videos_sha256: str  # of its videos that have a score
    queries_sha256: str  # of the queries that were evaluated
    # What was scored of what is asked about, for comparing with other runs.
    scored_queries: frozenset[str] = field(repr=False)
    scored_videos: frozenset[str] = field(repr=False)
    protocol: Protocol = field(repr=False)
    notes: tuple[str, ...] = ()

    def to_json(self, *, per_query: bool = False) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "scores": self.scores,
            "method": self.method,
            "weights": self.weights,
            "untrained": self.untrained,
            "benchmark": self.benchmark,
            "convention": self.convention,
            "ties": "score, then video id; map_low and map_high are the worst and best order, map_expected their mean",
            "intervals": f"{LEVEL:.0%} by resampling the queries {RESAMPLES} times, seeded",
            "pairs": self.n_pairs,
            "database": {"size": self.coverage.videos.expected, "sha256": self.database_sha256},
            "scored_videos": {"size": len(self.scored_videos), "sha256": self.videos_sha256},
            "queries": {"size": len(self.scored_queries), "sha256": self.queries_sha256},
            "queries_sha256": self.queries_sha256,
            "tasks": {name: task.to_json(per_query=per_query) for name, task in self.tasks.items()},
            "coverage": self.coverage.to_json(),
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """For people: a few lines, then one line a task."""
        from ndvr.benchmarks.evaluation.evaluation_table import table

        return table(self)
