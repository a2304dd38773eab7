"""UCF101, HMDB51 and JHMDB as retrieval (C3DHash, github.com/zhongzhh8/Video-Retrieval-C3D): equal classes are right.

Videos of the test list ask, the whole training list is ranked, every video of the same class is right. Split 1. The
files are described in class_lists.py. Scores of codes are few, so ties decide: look at their interval.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from ndvr.benchmarks.datasets.class_lists import ClassLists, read_class_lists
from ndvr.benchmarks.evaluation.protocol import Protocol, Task

DATASETS = ("hmdb51", "jhmdb", "ucf101")
CONVENTIONS = {
    "lists": "ids are paths as in the split lists; a query that is in the database is neither ranked nor right",
    "c3dhash": "ids are paths cut after their first dot; a query that is in the database is ranked and right",
}


def protocol(name: str, annotations: Path, *, convention: str, hard: bool) -> Protocol:
    """One task over the queries of split 1."""
    lists = read_class_lists(name, annotations, cut=convention == "c3dhash")
    members: defaultdict[str, set[str]] = defaultdict(set)
    for video, label in lists.database.items():
        members[label].add(video)
    whole = {label: frozenset(videos) for label, videos in members.items()}
    relevant = {query: whole.get(label, frozenset()) for query, label in lists.queries.items()}
    if convention == "lists":
        relevant = {query: videos - {query} if query in videos else videos for query, videos in relevant.items()}
    return Protocol(
        name=name,
        tasks=(Task(name="class", relevant=relevant),),
        database=frozenset(lists.database),
        ranks_query=convention == "c3dhash",
        notes=_notes(lists, relevant),
    )


def _notes(lists: ClassLists, relevant: dict[str, frozenset[str]]) -> tuple[str, ...]:
    notes = []
    lonely = sorted(query for query, videos in relevant.items() if not videos)
    if lonely:
        notes.append(
            f"{len(lonely):,} of {len(relevant):,} queries (such as {lonely[0]}) have a class that no other video "
            "of the database has: they have no AP and are not in the mean, which would be NaN with them"
        )
    if lists.repeated:
        notes.append(f"{lists.repeated:,} lines of the lists repeat another and count once")
    return tuple(notes)
