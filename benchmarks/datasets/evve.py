"""EVVE (Revaud et al., CVPR 2013): videos of 13 events; a query finds the other videos of its event.

Read from evve.json, or from evve.pickle as S2VS, DnS, TCA and others bring it along: {"queries", "database",
"annotation": {event: {"queries", "positives", "null"}}}; the pickle has (queries, positives, null) for an event.
AP is the area under the precision-recall curve by trapezoids, as the data set's own script has it; micro-AP is by
steps.
"""

from __future__ import annotations

from pathlib import Path

from ndvr.benchmarks.evaluation.annotations import read_annotation
from ndvr.benchmarks.evaluation.protocol import Convention, Protocol, Task

DATASETS = ("evve",)
_SAYS = "AP by trapezoids, mean over queries, not over events; the other events' videos are wrong"
_DNS = Convention(says=f"{_SAYS}, and so are queries, itself among them, that the query was scored against (DnS, TCA)")
CONVENTIONS = {"s2vs": Convention(says=_SAYS), "visil": _DNS, "dns": _DNS, "tca": _DNS}


def protocol(name: str, annotations: Path, *, convention: str, hard: bool) -> Protocol:
    """Make a task of all queries, then one of the queries of each event."""
    data = read_annotation(annotations, "evve.json", "evve.pickle", source="S2VS and DnS have it in their repositories")
    database = frozenset(data["database"])
    events = {}
    for event, lists in sorted(data["annotation"].items()):
        queries, positives = (lists["queries"], lists["positives"]) if isinstance(lists, dict) else lists[:2]
        events[event] = {query: frozenset(positives) & database for query in queries}
    everything = {query: videos for event in events.values() for query, videos in event.items()}
    tasks = [Task(name="overall", relevant=everything)]
    tasks += [Task(name=event, relevant=relevant) for event, relevant in events.items()]
    scored_queries_are_wrong = CONVENTIONS[convention] is _DNS
    return Protocol(
        name=name,
        tasks=tuple(tasks),
        database=database,
        also_ranked=frozenset(everything) if scored_queries_are_wrong else frozenset(),
        ranks_query=scored_queries_are_wrong,
        ap="trapezoid",
    )
