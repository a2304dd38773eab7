"""FIVR-5K and FIVR-200K (Kordopatis-Zilos et al., IEEE TMM 2019, arXiv 1809.04094): four tasks over one database.

Labels: ND near-duplicate, DS duplicate scene, CS complementary scene, IS incident scene, DA duplicate audio.
Read from annotation.json, youtube_ids.txt, fivr-5k-queries.txt and fivr-5k-database.txt (lines "id" or "id path"),
or from what S2VS, DnS, ViSiL and 3D-CSL bring along, as JSON or pickle: {"5k": {"queries", "database"}, "200k": ...,
"annotation": {query: {label: [video]}}}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ndvr.benchmarks.evaluation.annotations import find_annotation, read_annotation, read_ids
from ndvr.benchmarks.evaluation.protocol import Convention, Protocol, Sets, Task

DATASETS = ("fivr-200k", "fivr-5k")

TASKS = {
    "DSVR": ("ND", "DS"),
    "CSVR": ("ND", "DS", "CS"),
    "ISVR": ("ND", "DS", "CS", "IS"),
    "DAVR": ("DA",),
}
_FIVR = Convention(
    says="a query listed in its own relevant set stays in the denominator though it is never ranked, a query lost from "
    "the id list is not evaluated, and the precision-recall curve puts videos without a score at 0 (FIVR-200K "
    "evaluation.py, AuSiL)",
    self_right="kept",
    lost_query="skipped",
    unscored_at=0.0,
)
_DNS = Convention(
    says="a query listed in its own relevant set stays in the denominator though it is never ranked; labels of the "
    "authors' fivr file where it is there, in which DA is broken (ViSiL, DnS)",
    labels=("fivr.json", "fivr.pickle", "dns_fivr.json", "dns_fivr.pickle"),
    self_right="kept",
)
CONVENTIONS = {
    "s2vs": Convention(says="a query is not in its own relevant set (S2VS)"),
    "fivr": _FIVR,
    "ausil": _FIVR,
    "visil": _DNS,
    "dns": _DNS,
    "csl3d": Convention(
        says="a query listed in its own relevant set stays in the denominator though it is never ranked, and a query "
        "without any right video scores 1 (3D-CSL)",
        labels=("fivr.pkl",),
        self_right="kept",
        no_right_video="perfect",
    ),
    "tca": Convention(
        says="a query listed in its own relevant set stays in the denominator though it is never ranked (TCA)",
        labels=("fivr.json", "fivr.pickle"),
        self_right="kept",
    ),
}
HAS_HARD = True
_LABELS = ("annotation.json", "fivr_audio.json", "fivr_audio.pickle", "fivr.json", "fivr.pickle", "fivr.pkl")
_SOURCE = "download it from github.com/MKLab-ITI/FIVR-200K (dataset/annotation.json)"


def protocol(name: str, annotations: Path, *, convention: str, hard: bool) -> Protocol:
    """Make the tasks: queries and relevant sets, intersected with the database.

    hard  also ask every task without S2VS's easy duplicates (fivr_easy_duplicates.txt), as DSVR_h ...
    """
    switches = CONVENTIONS[convention]
    labels, file = _labels(annotations, switches)
    queries, database = _lists(name, annotations, labels)
    if switches.lost_query == "skipped" and name == "fivr-200k":  # most queries of fivr-5k are not in its database
        queries = [query for query in queries if query in database]
    lists: dict[str, frozenset[str]] = {"": frozenset()}
    if hard:
        lists["_h"] = read_ids(annotations / "fivr_easy_duplicates.txt")
    notes = [f"labels read from {file}"] if file != _LABELS[0] else []
    notes += _about_selves(labels, queries, database, switches)
    tasks = []
    for suffix, easy in lists.items():
        for task, parts in TASKS.items():
            relevant: Sets = {}
            for query in queries:
                if switches.no_right_video == "perfect" or any(part in labels[query] for part in parts):
                    videos = database.intersection(video for part in parts for video in labels[query].get(part, ()))
                    # May be empty: such a query has no AP, but its pairs are wrong ones of micro-AP.
                    relevant[query] = videos - easy - ({query} if switches.self_right == "removed" else set())
            tasks.append(Task(name=task + suffix, relevant=relevant, excluded=easy))
    return Protocol(name=name, tasks=tuple(tasks), database=database, notes=tuple(notes))


def _labels(folder: Path, switches: Convention) -> tuple[dict[str, dict[str, list[str]]], str]:
    """Return the labels and the file they come from."""
    file = find_annotation(folder, *switches.labels, *_LABELS)
    data = read_annotation(folder, file.name if file else _LABELS[0], source=_SOURCE)
    return data.get("annotation", data), file.name if file else ""


def _lists(name: str, folder: Path, labels: dict[str, Any]) -> tuple[list[str], frozenset[str]]:
    """Return (queries, database) of the dataset: the text files, or else what the authors' bundles hold."""
    if name == "fivr-200k":
        return sorted(labels), read_ids(folder / "youtube_ids.txt")
    if (folder / "fivr-5k-queries.txt").exists():
        queries = sorted(read_ids(folder / "fivr-5k-queries.txt"))
        database = read_ids(folder / "fivr-5k-database.txt")
    else:
        source = "the lists of FIVR-5K are needed; 3D-CSL and S2VS have them in data/"
        data = read_annotation(folder, *_LABELS[1:], source=source)
        queries, database = sorted(data["5k"]["queries"]), frozenset(data["5k"]["database"])
    unknown = [query for query in queries if query not in labels]
    if unknown:
        raise ValueError(f"query {unknown[0]} of {name} has no entry in the annotation of {folder}: files do not match")
    return queries, database


def _about_selves(
    labels: dict[str, dict[str, list[str]]], queries: list[str], database: frozenset[str], switches: Convention
) -> list[str]:
    """Return a sentence if queries are listed among their own right videos: FIVR's eCrhXArKE24 is, for ISVR."""
    listed = [q for q in queries if q in database and any(q in videos for videos in labels[q].values())]
    if not listed:
        return []
    done = "taken out" if switches.self_right == "removed" else "kept in the denominator, though it is never ranked"
    return [f"{', '.join(listed)} is listed among its own right videos: {done}"]
