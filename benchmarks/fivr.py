"""FIVR-5K and FIVR-200K (Kordopatis-Zilos et al., IEEE TMM 2019, arXiv 1809.04094): four tasks over one database.

Labels: ND near-duplicate, DS duplicate scene, CS complementary scene, IS incident scene, DA duplicate audio.
Read from annotation.json, youtube_ids.txt, fivr-5k-queries.txt and fivr-5k-database.txt (lines "id" or "id path"),
or, for the 5K lists, from fivr_audio.json ({"5k": {"queries", "database"}, ..., "annotation"}). No pickle is opened.
"""

from __future__ import annotations

from pathlib import Path

from ndvr.benchmarks.protocol import Protocol, Task, read_annotation, read_ids

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


HAS_HARD = True


def protocol(name: str, annotations: Path, *, convention: str, hard: bool) -> Protocol:
    """Queries and relevant sets, intersected with the database.

    hard  also ask every task without S2VS's easy duplicates (fivr_easy_duplicates.txt), as DSVR_h ...
    """
    labels, queries, database = _read(name, annotations)
    lists: dict[str, frozenset[str]] = {"": frozenset()}
    if hard:
        lists["_h"] = read_ids(annotations / "fivr_easy_duplicates.txt")
    tasks = []
    for suffix, easy in lists.items():
        for task, parts in TASKS.items():
            relevant = {}
            for query in queries:
                if any(part in labels[query] for part in parts):
                    videos = database.intersection(video for part in parts for video in labels[query].get(part, ()))
                    # May be empty: such a query has no AP, but its pairs are wrong ones of micro-AP.
                    relevant[query] = videos - easy - ({query} if convention == "s2vs" else set())
            tasks.append(Task(name=task + suffix, relevant=relevant, excluded=easy))
    return Protocol(name=name, tasks=tuple(tasks), database=database, lost_queries_leave=convention == "fivr")


def _read(name: str, folder: Path) -> tuple[dict[str, dict[str, list[str]]], list[str], frozenset[str]]:
    """(labels, queries, database) of the dataset."""
    source = "download it from github.com/MKLab-ITI/FIVR-200K (dataset/annotation.json)"
    bundle = read_annotation(folder, "fivr_audio.json", source="") if (folder / "fivr_audio.json").exists() else None
    if bundle and not (folder / "annotation.json").exists():
        labels = bundle["annotation"]
    else:
        labels = read_annotation(folder, "annotation.json", source=source)
    if name == "fivr-200k":
        return labels, sorted(labels), read_ids(folder / "youtube_ids.txt")
    if bundle and not (folder / "fivr-5k-queries.txt").exists():
        queries, database = sorted(bundle["5k"]["queries"]), frozenset(bundle["5k"]["database"])
    else:
        queries = sorted(read_ids(folder / "fivr-5k-queries.txt"))
        database = read_ids(folder / "fivr-5k-database.txt")
    unknown = [query for query in queries if query not in labels]
    if unknown:
        raise ValueError(f"query {unknown[0]} of {name} has no entry in the annotation of {folder}: files do not match")
    return labels, queries, database
