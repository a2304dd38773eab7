"""An evaluation as text: what was asked, one line for each task, and what was missing."""

from __future__ import annotations

from collections.abc import Iterable

from ndvr.benchmarks.evaluation.bootstrap import Interval
from ndvr.benchmarks.evaluation.result import Evaluation, Share, TaskResult

TIES = "ties: worst, mean, best"


def table(evaluation: Evaluation) -> str:
    """Lines of plain text, at most about 120 wide."""
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
    """What must be read before any number, and an empty line."""
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
    """What the protocol says about its files, and tasks with queries that nothing is right for."""
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
    """First column left, the others right aligned."""
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
    """mAP with every tie in the worst order, its mean over all orders, and in the best."""
    if not task.tied_queries:
        return "none"
    return " ".join(number(value) for value in (task.map_low, task.map_expected, task.map_high))


def part(some: int, of: int) -> str:
    return f"{some:,}" if some == of else f"{some:,}/{of:,}"
