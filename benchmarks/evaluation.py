"""The result of an evaluation: numbers, the ids they stand on, and what was missing; a table and a dictionary of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ndvr.benchmarks.protocol import Protocol

FORMAT = "ndvr-evaluation/1"
_SHOWN_IDS = 20  # of each list of missing ids; the counts are always whole


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """One query of one task. `low` and `high` put every tie in the worst and best order."""

    ap: float
    low: float
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
    map_high: float | None
    micro_ap: float | None  # all pairs in one ranking; equal scores are one step
    queries: int
    expected_queries: int
    relevant: int  # right pairs of all expected queries
    found: int  # of them, those with a score
    map_available: float | None  # as if lost videos had left the id list
    queries_available: int
    # Over all expected queries, with every right video that has no score never found, and ranked on top.
    possible_low: float | None
    possible_high: float | None
    tied_queries: int  # queries whose AP depends on the order of ties
    relevant_sha256: str
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
    queries_without_truth: int  # scored queries that no row of the truth names
    videos_outside_database: int  # scored videos that are not in the id list, and so are not ranked

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
            "queries_without_truth": self.queries_without_truth,
            "videos_outside_database": self.videos_outside_database,
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
    queries_sha256: str  # of the queries that were evaluated
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
            "ties": "score, then video id; map_low and map_high are the worst and best order",
            "pairs": self.n_pairs,
            "database": {"size": self.coverage.videos.expected, "sha256": self.database_sha256},
            "queries_sha256": self.queries_sha256,
            "tasks": {name: task.to_json(per_query=per_query) for name, task in self.tasks.items()},
            "coverage": self.coverage.to_json(),
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """For people: a few lines, then one line a task."""
        from ndvr.benchmarks.evaluation_table import table

        return table(self)
