"""The result of an evaluation: numbers, the ids they stand on, and what was missing; a table and a dictionary of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ndvr.benchmarks.evaluation._bootstrap import LEVEL, RESAMPLES, Interval
from ndvr.benchmarks.evaluation.protocol import Protocol
from ndvr.pipeline.notebook import as_html

FORMAT = "ndvr-evaluation/1"
_SHOWN_ALIKE = 5  # pairs of ids that look the same
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
        """Name the first missing ids in order, each with why, and how many more there are."""
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
    alike_ids: tuple[tuple[str, str], ...] = ()  # (truth, scores): without a score, and invisibly different from one

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
            "alike_ids": [list(pair) for pair in self.alike_ids],
        }

    def _repr_html_(self) -> str:
        return as_html(self.table())

    def table(self) -> str:
        """Return plain text at most about 120 wide: a few lines, one line a task, then what was missing."""
        return _table(self)


# The text of an evaluation. Comparisons and pages use the pieces that have no underscore.

TIES = "ties: worst, mean, best"


def _table(evaluation: Evaluation) -> str:
    made_by = f"{evaluation.method}, weights {evaluation.weights}" if evaluation.method else "method not recorded"
    coverage = evaluation.coverage
    lines = [
        *warnings(evaluation),
        f"{evaluation.benchmark}   {made_by}",
        f"{evaluation.n_pairs:,} pairs, database of {coverage.videos.expected:,} videos "
        f"(sha256 of its ids {evaluation.database_sha256[:12]})",
        f"{evaluation.convention}.",
        "",
    ]
    lines += grid(_header(evaluation), [_row(evaluation, task) for task in evaluation.tasks.values()])
    lines += ["", *_coverage_lines(evaluation), *(f"Note: {note}" for note in notes(evaluation))]
    return "\n".join(lines).rstrip()


def warnings(evaluation: Evaluation) -> list[str]:
    """Return what must be read before any number, and an empty line."""
    lines = []
    if evaluation.untrained:
        lines.append(f"UNTRAINED WEIGHTS ({evaluation.weights}): these numbers say nothing about {evaluation.method}.")
    pairs = evaluation.coverage.pairs
    if pairs.scored < pairs.expected:
        lines.append(
            f"SCORES ARE INCOMPLETE: {pairs.expected - pairs.scored:,} of {pairs.expected:,} pairs have none "
            "(unfinished, a file is missing, or only the best were kept)."
        )
    return [*lines, ""] if lines else []


def notes(evaluation: Evaluation) -> list[str]:
    """Return what the protocol says about its files, and name tasks with queries that nothing is right for."""
    empty = [
        f"{task.queries_without_right:,} of {task.name}"
        for task in evaluation.tasks.values()
        if task.queries_without_right
    ]
    lines = list(evaluation.notes)
    if empty:
        done = "score 1" if evaluation.protocol.switches.no_right_video == "perfect" else "are not in the mean"
        lines.append(f"queries without a right video in the database {done}: {', '.join(empty)}")
    unreachable = [
        f"{task.ceiling:.5f} in {task.name}" for task in evaluation.tasks.values() if (task.ceiling or 1) < 1
    ]
    if unreachable:
        lines.append(f"a perfect ranking has mAP {', '.join(unreachable)}: some right videos can never be ranked")
    return lines


def _header(evaluation: Evaluation) -> list[str]:
    header = ["task", "mAP", "95 %", TIES, "micro-AP", "queries", "right pairs"]
    return header if evaluation.coverage.complete else [*header, "if lost left", "could be"]


def _row(evaluation: Evaluation, task: TaskResult) -> list[str]:
    row = [
        task.name,
        number(task.map),
        span(task.map_interval),
        ties(task),
        number(task.micro_ap),
        part(task.queries, task.expected_queries),
        part(task.found, task.relevant),
    ]
    if not evaluation.coverage.complete:
        row += [number(task.map_available), span((task.possible_low or 0, task.possible_high or 0))]
    return row


def _coverage_lines(evaluation: Evaluation) -> list[str]:
    coverage = evaluation.coverage
    if coverage.complete:
        lines = ["Coverage: every query, right pair and database video has a score."]
    else:
        lines = ["Coverage is incomplete. A query without scores is left out of the means; a right video without a"]
        lines += ["score counts as never found. 'if lost left': lost videos leave the id list. 'could be': the means"]
        lines += ["over all queries with what is missing at its worst, and at its best."]
        if coverage.pairs.scored < coverage.pairs.expected:
            lines += ["Pairs without a score are not ranked: wrong videos among them make every number too high."]
        for name, share in (
            ("queries", coverage.queries),
            ("right pairs", coverage.positives),
            ("videos", coverage.videos),
            ("pairs of these queries and videos", coverage.pairs),
        ):
            if share.scored < share.expected:
                lines.append(f"  {name}: {part(share.scored, share.expected)} scored{_examples(share)}")
    if coverage.queries_without_truth:
        n, shown = len(coverage.queries_without_truth), _some(coverage.queries_without_truth)
        lines.append(f"  {n:,} scored queries have no truth, not evaluated: {shown}")
    if coverage.videos_outside_database:
        n, shown = len(coverage.videos_outside_database), _some(coverage.videos_outside_database)
        lines.append(f"  {n:,} scored videos are not in the id list, not ranked: {shown}")
    return lines


def _examples(share: Share, shown: int = 3) -> str:
    return f"; missing {share.some_missing(shown)}" if share.missing else ""


def _some(ids: Iterable[str], shown: int = 3) -> str:
    ordered = sorted(ids)
    return ", ".join(ordered[:shown]) + (" ..." if len(ordered) > shown else "")


def grid(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lay out a table, its first column aligned left, the others right."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    out = []
    for line in [header, *rows]:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]
        out.append("  ".join(cells).rstrip())
    return [out[0], "-" * len(out[0]), *out[1:]]


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def span(ends: Interval | None) -> str:
    return "-" if ends is None else f"{number(ends[0])} to {number(ends[1])}"


def ties(task: TaskResult) -> str:
    """Write mAP with every tie in the worst order, its mean over all orders, and in the best."""
    if not task.tied_queries:
        return "none"
    return " ".join(number(value) for value in (task.map_low, task.map_expected, task.map_high))


def part(count: int, total: int) -> str:
    """Write a count, and of how many where that is more."""
    return f"{count:,}" if count == total else f"{count:,}/{total:,}"


def alike_text(pairs: tuple[tuple[str, str], ...]) -> str:
    """Name both spellings, with what cannot be seen written as escapes."""
    shown = ", ".join(f"{ascii(truth)} and {ascii(scored)}" for truth, scored in pairs[:_SHOWN_ALIKE])
    more = f" and {len(pairs) - _SHOWN_ALIKE:,} more" if len(pairs) > _SHOWN_ALIKE else ""
    return (
        f"{len(pairs):,} ids of the truth have no score, and differ from a scored id only in Unicode form, in "
        f"invisible characters or in spaces: {shown}{more} (truth, scores); write them the same way"
    )
