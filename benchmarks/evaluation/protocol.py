"""A benchmark as data: which videos are right for which query, which are neither, and who is asked about what.

A dataset is one file of this folder that assigns `DATASETS = ("name", ...)` and `CONVENTIONS = {"name": Convention}`
(or a sentence, where there is nothing to switch), the first one the default, and defines
`protocol(name, annotations, *, convention, hard) -> Protocol`. It is found by listing the folder.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterable, Set
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Convention:
    """One published way to evaluate. Each dataset's file has a table of them; the first one is the default.

    The defaults here are what we think right; a convention differs only where its authors' script does.
    """

    says: str  # what a reader must know to compare numbers
    labels: tuple[str, ...] = ()  # label files of the authors, tried before the dataset's own (FIVR)
    # The query among its own right videos, though it is never ranked: taken out; kept where it is listed; or put there.
    self_right: Literal["removed", "kept", "added"] = "removed"
    # A query that an id list says is lost: evaluated all the same (its features may exist), or skipped.
    lost_query: Literal["evaluated", "skipped"] = "evaluated"
    no_right_video: Literal["skipped", "perfect"] = "skipped"  # what such a query scores
    # Where the precision-recall curve puts videos without a score: at this score, or None for behind all others.
    unscored_at: float | None = None
    never_ranked: frozenset[str] = frozenset()  # files left out of the ranking, but not of the right videos


Sets = dict[str, frozenset[str]]  # query -> videos


@dataclass(frozen=True, kw_only=True)
class Task:
    """One question asked of the scores. A video of the database that no field names is wrong."""

    name: str
    relevant: Sets  # its queries; one without any right video has no AP, its pairs still count in micro-AP
    ignored: Sets = field(default_factory=dict)  # neither right nor wrong: taken out of the ranking
    excluded: frozenset[str] = frozenset()  # not in the database of this task
    only: Sets | None = None  # where given, no other video is ranked for the query


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """All tasks of a benchmark and what they have in common."""

    name: str
    tasks: tuple[Task, ...]
    convention: str = ""  # one sentence: what a reader must know to compare numbers
    database: frozenset[str] | None = None  # the id list; None: every video that was attempted or has a score
    also_ranked: frozenset[str] = frozenset()  # where they have a score, though nobody expects it
    ap: Literal["sum", "trapezoid", "steps"] = "sum"
    ranks_query: bool = False  # the query may stand in its own ranking
    # When an id list says that right videos are lost, they leave the ranking, and the denominator unless this is set.
    lost_stay_relevant: bool = False
    switches: Convention = Convention(says="")
    notes: tuple[str, ...] = ()

    @property
    def queries(self) -> frozenset[str]:
        return frozenset().union(*(task.relevant for task in self.tasks))

    def right_for_any(self) -> Sets:
        """Map each query to the videos that are right in some task."""
        out: dict[str, set[str]] = {}
        for task in self.tasks:
            for query, videos in task.relevant.items():
                out.setdefault(query, set()).update(videos)
        return {query: frozenset(videos) for query, videos in out.items()}

    def labels(self) -> Sets:
        """Map each query to every video that some task says something about; the query itself among them."""
        out: dict[str, set[str]] = {query: {query} for query in self.queries}
        for task in self.tasks:
            for named in (task.relevant, task.ignored, task.only or {}):
                for query in named.keys() & out.keys():
                    out[query] |= named[query]
            for query in task.relevant if task.excluded else ():
                out[query] |= task.excluded
        return {query: frozenset(videos) for query, videos in out.items()}

    def restricted_to(self, ids: Iterable[str]) -> Protocol:
        """Return the same benchmark when only these videos are left of its database."""
        ids_left = frozenset(ids)
        lost = (self.database or frozenset()) - ids_left if self.switches.lost_query == "skipped" else frozenset()
        database = ids_left if self.database is None else self.database & ids_left
        if not database:
            raise ValueError(f"none of the given ids is in the database of {self.name}: check the id list")
        return replace(self, also_ranked=self.also_ranked & ids_left).on(self.queries - lost, database)

    def on(self, queries: Set[str], database: frozenset[str]) -> Protocol:
        """Return the same benchmark with these queries and this database."""
        tasks = []
        for task in self.tasks:
            relevant = {q: videos for q, videos in task.relevant.items() if q in queries}
            if not self.lost_stay_relevant:
                relevant = {q: videos & database for q, videos in relevant.items()}
            tasks.append(replace(task, relevant=relevant))
        return replace(self, tasks=tuple(tasks), database=database)


@cache
def _owners() -> dict[str, str]:
    """Map each dataset name to its module, without importing any."""
    owners: dict[str, str] = {}
    for path in sorted((Path(__file__).parents[1] / "datasets").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DATASETS":
                owners |= dict.fromkeys(ast.literal_eval(node.value), path.stem)
    return owners


def datasets() -> tuple[str, ...]:
    """Return the names of all datasets, sorted."""
    return tuple(sorted(_owners()))


def load_protocol(name: str, annotations: str | Path, *, convention: str | None = None, hard: bool = False) -> Protocol:
    """Read a benchmark from its official files in the folder `annotations`."""
    if name not in _owners():
        raise ValueError(f"unknown dataset {name!r}; choose one of {', '.join(datasets())}")
    folder = Path(annotations)
    if not folder.is_dir():
        raise FileNotFoundError(f"no annotation folder {folder}: give the folder with the official files of {name}")
    module = importlib.import_module(f"ndvr.benchmarks.datasets.{_owners()[name]}")
    conventions: dict[str, Convention | str] = module.CONVENTIONS
    convention = convention or next(iter(conventions))
    if convention not in conventions:
        raise ValueError(f"unknown convention {convention!r} for {name}; choose one of {', '.join(conventions)}")
    if hard and not getattr(module, "HAS_HARD", False):
        raise ValueError(f"{name} has no hard variant: leave --hard out")
    published = conventions[convention]
    switches = Convention(says=published) if isinstance(published, str) else published
    try:
        protocol: Protocol = module.protocol(name, folder, convention=convention, hard=hard)
    except (LookupError, TypeError, AttributeError) as error:  # of files that are none of that benchmark
        raise ValueError(
            f"the files of {name} in {folder} do not say what they should ({type(error).__name__}: {error}); "
            "take them from its page again"
        ) from error
    if not protocol.queries:
        raise ValueError(f"the annotation of {name} in {folder} asks about no query at all: check its files")
    return replace(protocol, convention=f"{convention}: {switches.says}", switches=switches)
