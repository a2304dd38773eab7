"""VCDB (Jiang et al., ECCV 2014): core videos find those they share a copied segment with.

vcdb-core ranks the 528 core videos, vcdb also the background. Read from TCA's vcdb.pickle ({"index": core then
background ids, "video_pairs": [{"videos": [a, b]}]}, also as vcdb_tca.json), from S2VS's vcdb.pickle ({"queries",
"positives": {query: ids}, "dataset": background ids}) or, for the core, from the segments of label_file.json
({"a-b": segments}).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ndvr.benchmarks.evaluation.annotations import read_annotation
from ndvr.benchmarks.evaluation.protocol import Convention, Protocol, Sets, Task

DATASETS = ("vcdb", "vcdb-core")
CONVENTIONS = {
    "s2vs": Convention(says="a query is not ranked and is not one of its own right videos"),
    "tca": Convention(
        says="a query counts as one of its own right videos though never ranked: a perfect ranking has mAP 0.9305",
        self_right="added",
    ),
}
_CORE = 528
_FILES = ("vcdb_tca.json", "vcdb.json", "vcdb.pickle", "vcdb_tca.pickle")


def protocol(name: str, annotations: Path, *, convention: str, hard: bool) -> Protocol:
    """Make one task over all core videos."""
    relevant, ids = _core_and_ids(annotations, segments=name == "vcdb-core")
    if CONVENTIONS[convention].self_right == "added":
        # TCA asks the first 528 ids of its index, whether they have a partner or not.
        relevant = {query: relevant.get(query, frozenset()) | {query} for query in [*relevant, *ids[:_CORE]]}
    database = frozenset(relevant) | frozenset(ids if name == "vcdb" else ())
    return Protocol(name=name, tasks=(Task(name="overall", relevant=relevant),), database=database)


def _core_and_ids(folder: Path, *, segments: bool) -> tuple[Sets, list[str]]:
    """Return the right videos of each core video, and all ids, the core first (none from the segment file)."""
    if segments and (folder / "label_file.json").is_file():
        return _both_ways(key.split("-", 1) for key in read_annotation(folder, "label_file.json", source="")), []
    data = read_annotation(folder, *_FILES, source="TCA has it in datasets/, S2VS in data/")
    if "positives" in data:
        ids = [*data["queries"], *data["dataset"]]
        known = frozenset(ids)
        return {q: (known & frozenset(data["positives"].get(q, ()))) - {q} for q in data["queries"]}, ids
    return _both_ways(pair["videos"] for pair in data["video_pairs"]), data["index"]


def _both_ways(pairs: Iterable[list[str]]) -> Sets:
    partners: dict[str, set[str]] = defaultdict(set)
    for a, b in pairs:
        partners[a].add(b)
        partners[b].add(a)
    return {video: frozenset(others - {video}) for video, others in partners.items()}
