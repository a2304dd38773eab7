"""VCDB (Jiang et al., ECCV 2014): core videos find those they share a copied segment with.

vcdb-core ranks the 528 core videos, vcdb also the background. Read from vcdb_tca.json ({"index": core then background
ids, "video_pairs": [{"videos": [a, b]}]}) or, for the core, from the segment file label_file.json ({"a-b": segments}).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ndvr.benchmarks.protocol import Protocol, Task, read_annotation

DATASETS = ("vcdb", "vcdb-core")
CONVENTIONS = {
    "s2vs": "a query is not ranked and is not one of its own right videos",
    "tca": "a query counts as one of its own right videos though it is never ranked: a perfect ranking has mAP 0.9305",
}


def protocol(name: str, annotations: Path, *, convention: str, hard: bool) -> Protocol:
    """One task over all core videos."""
    if name == "vcdb-core" and (annotations / "label_file.json").exists():
        pairs = [key.split("-", 1) for key in read_annotation(annotations, "label_file.json", source="")]
        background: list[str] = []
    else:
        data = read_annotation(annotations, "vcdb_tca.json", source="convert the pickle of TCA with a tool you trust")
        pairs = [pair["videos"] for pair in data["video_pairs"]]
        background = data["index"] if name == "vcdb" else []
    relevant = _both_ways(pairs)
    if convention == "tca":
        relevant = {query: videos | {query} for query, videos in relevant.items()}
    database = frozenset(relevant) | frozenset(background)
    return Protocol(name=name, tasks=(Task(name="overall", relevant=relevant),), database=database)


def _both_ways(pairs: Iterable[list[str]]) -> dict[str, frozenset[str]]:
    partners: dict[str, set[str]] = defaultdict(set)
    for a, b in pairs:
        partners[a].add(b)
        partners[b].add(a)
    return {video: frozenset(mine - {video}) for video, mine in partners.items()}
