"""FIVR-5K and FIVR-200K (Kordopatis-Zilos et al., IEEE TMM 2019, arXiv 1809.04094): four tasks over one database.

Labels: ND near-duplicate, DS duplicate scene, CS complementary scene, IS incident scene, DA duplicate audio.
Read from annotation.json, youtube_ids.txt, fivr-5k-queries.txt and fivr-5k-database.txt (lines "id" or "id path"),
or, for the 5K lists, from fivr_audio.json ({"5k": {"queries", "database"}, ..., "annotation"}). No pickle is opened.
"""

from __future__ import annotations

import json
from pathlib import Path

from ndvr.benchmarks.protocol import Protocol, Task

DATASETS = ("fivr-200k", "fivr-5k")

TASKS = {
    "DSVR": ("ND", "DS"),
    "CSVR": ("ND", "DS", "CS"),
    "ISVR": ("ND", "DS", "CS", "IS"),
    "DAVR": ("DA",),
}
CONVENTIONS = {
    "s2vs": "a query is not in its own relevant set (S2VS)",
    "fivr": "a query listed in its own relevant set stays in the denominator though it is never ranked, and a query "
    "lost from the database is not evaluated (FIVR-200K evaluation.py)",
}


def protocol(name: str, annotations: Path, *, convention: str | None = None, hard: bool = False) -> Protocol:
    """Queries and relevant sets, intersected with the database.

    hard  also ask every task without S2VS's easy duplicates (fivr_easy_duplicates.txt), as DSVR_h ...
    """
    convention = convention or "s2vs"
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r} for {name}; choose one of {', '.join(CONVENTIONS)}")
    labels, queries, database = _read(name, annotations)
    excluded = _ids(annotations / "fivr_easy_duplicates.txt") if hard else frozenset()
    tasks = []
    for suffix, easy in [("", frozenset()), ("_h", excluded)][: 2 if hard else 1]:
        for task, parts in TASKS.items():
            relevant = {}
            for query in queries:
                videos = database.intersection(video for part in parts for video in labels[query].get(part, ()))
                if convention == "s2vs":
                    videos -= {query}
                if any(part in labels[query] for part in parts):
                    relevant[query] = videos - easy  # may be empty: such a query only adds wrong pairs to micro-AP
            tasks.append(Task(name=task + suffix, relevant=relevant, excluded=easy))
    return Protocol(
        name=name,
        convention=f"{convention}: {CONVENTIONS[convention]}",
        tasks=tuple(tasks),
        database=database,
        lost_queries_leave=convention == "fivr",
    )


def _read(name: str, folder: Path) -> tuple[dict[str, dict[str, list[str]]], list[str], frozenset[str]]:
    """(labels, queries, database) of the dataset."""
    combined = folder / "fivr_audio.json"
    bundle = json.loads(combined.read_text(encoding="utf-8")) if combined.exists() else None
    if (folder / "annotation.json").exists():
        labels = json.loads((folder / "annotation.json").read_text(encoding="utf-8"))
    elif bundle:
        labels = bundle["annotation"]
    else:
        raise FileNotFoundError(
            f"no annotation.json in {folder}: download it from github.com/MKLab-ITI/FIVR-200K (dataset/annotation.json)"
        )
    if name == "fivr-200k":
        return labels, sorted(labels), _ids(folder / "youtube_ids.txt")
    if (folder / "fivr-5k-queries.txt").exists() or not bundle:
        queries = sorted(_ids(folder / "fivr-5k-queries.txt"))
        database = _ids(folder / "fivr-5k-database.txt")
    else:
        queries, database = sorted(bundle["5k"]["queries"]), frozenset(bundle["5k"]["database"])
    unknown = [query for query in queries if query not in labels]
    if unknown:
        raise ValueError(f"query {unknown[0]} of {name} has no entry in the annotation of {folder}: files do not match")
    return labels, queries, database


def _ids(path: Path) -> frozenset[str]:
    """The first word of every line."""
    if not path.exists():
        raise FileNotFoundError(f"no {path.name} in {path.parent}: the official id list is needed")
    return frozenset(line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
