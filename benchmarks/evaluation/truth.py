"""A truth table as a benchmark: a CSV with one row for each pair of videos that are related.

    query_id,video_id,relation,edit        any further columns; rows may be written once, from copy to source

What is right, wrong and neither:
    a pair with a row                                                   right
    a pair whose rows all fail `where` (visual=1)                       neither: true, but not what is asked
    read both ways: a pair without a row whose videos share a partner   neither: two edits of one original
    a pair without a row inside one family of `families`                neither
    everything else, but never the query itself                         wrong
For one value of a column (`by`), right pairs of the other values are neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ndvr.benchmarks.evaluation.protocol import Protocol, Sets, Task
from ndvr.operators.storage.text_files import read_table

OVERALL = "overall"
Siblings = Literal["ignore", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Rows of a truth file, as written."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]


def read_truth(path: str | Path) -> Truth:
    """Read a truth table; ValueError or FileNotFoundError in one sentence when it is none."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no truth file {path}: give a CSV with the columns query_id, video_id, relation")
    layout, lines = read_table(path, needs=("query_id", "video_id"), purpose="truth file")
    rows = []
    for number, row in lines:
        if not row["query_id"] or not row["video_id"]:
            raise ValueError(f"truth file {path}, line {number}: query_id and video_id must both be filled")
        rows.append(row)
    if not rows:
        raise ValueError(f"truth file {path} has no rows: without a related pair nothing can be measured")
    return Truth(name=str(path), columns=layout.columns, rows=tuple(rows))


def protocol(
    truth: Truth,
    *,
    by: Sequence[str] | None = None,
    where: Sequence[str] = (),
    symmetric: bool = False,
    siblings: Siblings | None = None,
    families: str | Path | None = None,
) -> Protocol:
    """Make the tasks: all rows, then one for each value of each column in `by`.

    by         columns; None for `relation` where there is one, () for none
    where      conditions column=value or column!=value that a row must meet to be asked about
    symmetric  every row also the other way round
    siblings   pairs without a row that share a partner: "ignore" (the default when symmetric) or "wrong"
    families   CSV family,path: pairs of one family without a row are ignored
    """
    by = tuple(by) if by is not None else ("relation",) if "relation" in truth.columns else ()
    _check_columns(truth, by)
    asked_rows = [row for row in truth.rows if _meets(truth, row, where)]
    if not asked_rows:
        raise ValueError(f"no row of {truth.name} meets {' and '.join(where)}: check --where")
    relevant = _pairs(asked_rows, symmetric)
    neither = _pairs(truth.rows, symmetric)  # true pairs that are not asked about
    siblings = siblings or ("ignore" if symmetric else "wrong")
    if siblings == "ignore":
        neither = _union(_union(neither, _pairs(truth.rows, True)), share_a_partner(truth.rows))
    if families is not None:
        neither = _union(neither, _family_pairs(Path(families)))
    tasks = [Task(name=OVERALL, relevant=relevant, ignored=_without(neither, relevant))]
    for column in by:
        for value in sorted({row[column] for row in asked_rows if row[column]}):
            right = _pairs([row for row in asked_rows if row[column] == value], symmetric)
            name = value if value not in {task.name for task in tasks} else f"{column}={value}"
            tasks.append(Task(name=name, relevant=right, ignored=_without(_union(neither, relevant), right)))
    sentences = [
        f"rows are read {'both ways' if symmetric else 'from query_id to video_id'}",
        f"two edits of one original without a row are {'neither right nor wrong' if siblings == 'ignore' else 'wrong'}",
    ]
    if where:
        sentences.append(f"rows outside {' and '.join(where)} are neither right nor wrong")
    return Protocol(name=truth.name, convention="; ".join(sentences), tasks=tuple(tasks))


def share_a_partner(rows: Iterable[dict[str, str]]) -> Sets:
    """Map each video to those that have a row with one of its partners.

    Not whole connected components: one concatenation of four clips would make all copies of all four "related".
    """
    partners: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        partners[row["query_id"]].add(row["video_id"])
        partners[row["video_id"]].add(row["query_id"])
    return {
        video: frozenset().union(*(partners[partner] for partner in direct)) - {video}
        for video, direct in partners.items()
    }


def _check_columns(truth: Truth, by: Sequence[str]) -> None:
    for column in by:
        if column not in truth.columns:
            raise ValueError(
                f"--by {column}: {truth.name} has no such column; choose one of {', '.join(truth.columns)}"
            )


def _meets(truth: Truth, row: dict[str, str], where: Sequence[str]) -> bool:
    for condition in where:
        column, equals, value = condition.partition("=")
        wanted = not column.endswith("!")
        column = column.removesuffix("!").strip()
        if not equals or column not in truth.columns:
            raise ValueError(
                f"--where {condition}: write column=value or column!=value with one of {', '.join(truth.columns)}"
            )
        if ((row[column] or "") == value.strip()) != wanted:
            return False
    return True


def _pairs(rows: Iterable[dict[str, str]], symmetric: bool) -> Sets:
    out: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["query_id"] != row["video_id"]:
            out[row["query_id"]].add(row["video_id"])
            if symmetric:
                out[row["video_id"]].add(row["query_id"])
    return {query: frozenset(videos) for query, videos in out.items()}


def _family_pairs(path: Path) -> Sets:
    if not path.is_file():
        raise FileNotFoundError(f"no families file {path}: give a CSV with the columns family, path")
    members: dict[str, set[str]] = defaultdict(set)
    for _, row in read_table(path, needs=("family", "path"), purpose="families file")[1]:
        members[row["family"]].add(row["path"])
    out: Sets = {}
    for family in members.values():
        out = _union(out, {video: frozenset(family - {video}) for video in family})
    return out


def _union(a: Sets, b: Sets) -> Sets:
    none: frozenset[str] = frozenset()
    return {query: a.get(query, none) | b.get(query, none) for query in a.keys() | b.keys()}


def _without(a: Sets, b: Sets) -> Sets:
    return {query: videos - b.get(query, frozenset()) for query, videos in a.items()}
