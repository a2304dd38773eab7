"""A benchmark as data: which videos are right for which query, which are neither, and who is asked about what.

A dataset is one file of this folder that assigns `DATASETS = ("name", ...)` and `CONVENTIONS = {"name": sentence}`,
the first one the default, and defines `protocol(name, annotations, *, convention, hard) -> Protocol`. It is found by
listing the folder.
"""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

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
    ap: Literal["sum", "trapezoid", "steps"] = "sum"
    ranks_query: bool = False  # the query may stand in its own ranking
    # What happens when an id list says that videos are lost (they always leave the ranking):
    lost_stay_relevant: bool = False  # they still count in the denominator (CC_WEB_VIDEO)
    lost_queries_leave: bool = False  # a query that was in the database and is lost is not evaluated
    notes: tuple[str, ...] = ()

    @property
    def queries(self) -> frozenset[str]:
        return frozenset().union(*(task.relevant for task in self.tasks))

    def right_for_any(self) -> Sets:
        """query -> videos that are right in some task."""
        out: dict[str, set[str]] = {}
        for task in self.tasks:
            for query, videos in task.relevant.items():
                out.setdefault(query, set()).update(videos)
        return {query: frozenset(videos) for query, videos in out.items()}

    def labels(self) -> Sets:
        """query -> every video that some task says something about; the query itself among them."""
        out: dict[str, set[str]] = {query: {query} for query in self.queries}
        for task in self.tasks:
            for named in (task.relevant, task.ignored, task.only or {}):
                for query in named.keys() & out.keys():
                    out[query] |= named[query]
            for query in task.relevant if task.excluded else ():
                out[query] |= task.excluded
        return {query: frozenset(videos) for query, videos in out.items()}

    def restricted_to(self, ids: Iterable[str]) -> Protocol:
        """The same benchmark when only these videos are left of its database."""
        kept = frozenset(ids)
        lost = (self.database or frozenset()) - kept if self.lost_queries_leave else frozenset()
        tasks = []
        for task in self.tasks:
            relevant = {q: videos for q, videos in task.relevant.items() if q not in lost}
            if not self.lost_stay_relevant:
                relevant = {q: videos & kept for q, videos in relevant.items()}
            tasks.append(replace(task, relevant=relevant))
        database = kept if self.database is None else self.database & kept
        if not database:
            raise ValueError(f"none of the given ids is in the database of {self.name}: check the id list")
        return replace(self, tasks=tuple(tasks), database=database)


@cache
def _owners() -> dict[str, str]:
    """Dataset name -> its module, read without importing."""
    found: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DATASETS":
                found |= dict.fromkeys(ast.literal_eval(node.value), path.stem)
    return found


def datasets() -> tuple[str, ...]:
    """All benchmark names, sorted."""
    return tuple(sorted(_owners()))


def load_protocol(name: str, annotations: str | Path, *, convention: str | None = None, hard: bool = False) -> Protocol:
    """The benchmark, from its official files in the folder `annotations`."""
    if name not in _owners():
        raise ValueError(f"unknown dataset {name!r}; choose one of {', '.join(datasets())}")
    folder = Path(annotations)
    if not folder.is_dir():
        raise FileNotFoundError(f"no annotation folder {folder}: give the folder with the official files of {name}")
    module = importlib.import_module(f"ndvr.benchmarks.{_owners()[name]}")
    conventions = module.CONVENTIONS
    convention = convention or next(iter(conventions))
    if convention not in conventions:
        raise ValueError(f"unknown convention {convention!r} for {name}; choose one of {', '.join(conventions)}")
    if hard and not getattr(module, "HAS_HARD", False):
        raise ValueError(f"{name} has no hard variant: leave --hard out")
    asked = module.protocol(name, folder, convention=convention, hard=hard)
    return replace(asked, convention=f"{convention}: {conventions[convention]}")


def read_annotation(folder: Path, name: str, *, source: str) -> Any:
    """A JSON file of the folder; FileNotFoundError says where it comes from."""
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(f"no {name} in {folder}: {source}")
    return json.loads(path.read_text(encoding="utf-8"))


def read_ids(path: Path) -> frozenset[str]:
    """The first word of every line of an id list."""
    if not path.exists():
        raise FileNotFoundError(f"no {path.name} in {path.parent}: the official id list is needed")
    return frozenset(line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
