"""EVVE (Revaud et al., CVPR 2013): videos of 13 events; a query finds the other videos of its event.

Read from evve.json: {"queries", "database", "annotation": {event: {"queries", "positives", "null"}}}. AP is the area
under the precision-recall curve by trapezoids, as the data set's own script has it; micro-AP is by steps.
"""

from __future__ import annotations

from pathlib import Path

from ndvr.benchmarks.protocol import Protocol, Task, read_annotation

DATASETS = ("evve",)
CONVENTIONS = {
    "s2vs": "AP by trapezoids, mean over queries, not over events; the other events' videos are wrong",
}


def protocol(name: str, annotations: Path, *, convention: str, hard: bool) -> Protocol:
    """All queries, then the queries of each event."""
    data = read_annotation(annotations, "evve.json", source="convert the pickle of S2VS or DnS with a tool you trust")
    database = frozenset(data["database"])
    events = {
        event: {query: frozenset(lists["positives"]) & database for query in lists["queries"]}
        for event, lists in sorted(data["annotation"].items())
    }
    everything = {query: videos for event in events.values() for query, videos in event.items()}
    tasks = [Task(name="overall", relevant=everything)]
    tasks += [Task(name=event, relevant=relevant) for event, relevant in events.items()]
    return Protocol(name=name, tasks=tuple(tasks), database=database, ap="trapezoid")
