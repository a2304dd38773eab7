"""An evaluation as text: what was asked, one line for each task, and what was missing."""

from __future__ import annotations

from ndvr.benchmarks.evaluation import Evaluation, Share, TaskResult


def table(evaluation: Evaluation) -> str:
    """Lines of plain text, at most about 110 wide."""
    lines = []
    if evaluation.untrained:
        lines += [f"UNTRAINED WEIGHTS ({evaluation.weights}): these numbers say nothing about {evaluation.method}.", ""]
    made_by = f"{evaluation.method}, weights {evaluation.weights}" if evaluation.method else "method not recorded"
    coverage = evaluation.coverage
    lines += [
        f"{evaluation.benchmark}   {made_by}",
        f"{evaluation.n_pairs:,} pairs, database of {coverage.videos.expected:,} videos "
        f"(sha256 of its ids {evaluation.database_sha256[:12]})",
        f"{evaluation.convention}.",
        "",
    ]
    lines += _grid(_header(evaluation), [_row(evaluation, task) for task in evaluation.tasks.values()])
    lines += ["", *_coverage_lines(evaluation), *(f"Note: {note}" for note in evaluation.notes)]
    return "\n".join(lines).rstrip()


def _header(evaluation: Evaluation) -> list[str]:
    header = ["task", "mAP", "ties", "micro-AP", "queries", "right pairs"]
    return header if evaluation.coverage.complete else [*header, "if lost left", "could be"]


def _row(evaluation: Evaluation, task: TaskResult) -> list[str]:
    ties = "none"
    if task.tied_queries:
        ties = f"{_number(task.map_low)} to {_number(task.map_high)}"
    row = [
        task.name,
        _number(task.map),
        ties,
        _number(task.micro_ap),
        _part(task.queries, task.expected_queries),
        _part(task.found, task.relevant),
    ]
    if not evaluation.coverage.complete:
        row += [_number(task.map_available), f"{_number(task.possible_low)} to {_number(task.possible_high)}"]
    return row


def _coverage_lines(evaluation: Evaluation) -> list[str]:
    coverage = evaluation.coverage
    if coverage.complete:
        lines = ["Coverage: every query, right pair and database video has a score."]
    else:
        lines = ["Coverage is incomplete. A query without scores is left out of the means; a right video without a"]
        lines += ["score counts as never found. 'if lost left': lost videos leave the id list. 'could be': the means"]
        lines += ["over all queries with the missing right videos never found, and ranked on top."]
        if coverage.pairs.scored < coverage.pairs.expected:
            lines += ["Pairs without a score are not ranked: wrong videos among them make every number too high."]
        for name, share in (
            ("queries", coverage.queries),
            ("right pairs", coverage.positives),
            ("videos", coverage.videos),
            ("pairs of these queries and videos", coverage.pairs),
        ):
            if share.scored < share.expected:
                lines.append(f"  {name}: {_part(share.scored, share.expected)} scored{_examples(share)}")
    if coverage.queries_without_truth:
        lines.append(f"  {coverage.queries_without_truth:,} scored queries have no truth and are not evaluated.")
    if coverage.videos_outside_database:
        lines.append(f"  {coverage.videos_outside_database:,} scored videos are not in the id list: not ranked.")
    return lines


def _examples(share: Share, shown: int = 3) -> str:
    return f"; missing {share.some_missing(shown)}" if share.missing else ""


def _grid(header: list[str], rows: list[list[str]]) -> list[str]:
    """First column left, the others right aligned."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    out = []
    for line in [header, *rows]:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]
        out.append("  ".join(cells).rstrip())
    return [out[0], "-" * len(out[0]), *out[1:]]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _part(some: int, of: int) -> str:
    return f"{some:,}" if some == of else f"{some:,}/{of:,}"
