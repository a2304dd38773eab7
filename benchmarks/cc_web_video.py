"""CC_WEB_VIDEO (Wu et al., ACM MM 2007): 24 query sets; labels E, S, L, M and V are near-duplicates, X is not.

Read from cc_web_video.json: {"index": {id: number}, "queries", "ground_truth": [{number: label}], "excluded"}.
The four published variants: cc_web ranks only the videos labelled in the query's own set, cc_web* the whole database;
the suffix _c leaves out the numbers that a later cleaning excluded.
"""

from __future__ import annotations

from pathlib import Path

from ndvr.benchmarks.protocol import Protocol, Task, read_annotation

DATASETS = ("cc_web_video",)
CONVENTIONS = {
    "s2vs": "a query is ranked and is one of its own right videos; lost right videos stay in the denominator",
}
_POSITIVE = frozenset("ESLMV")


def protocol(name: str, annotations: Path, *, convention: str, hard: bool) -> Protocol:
    """cc_web, cc_web*, cc_web_c, cc_web*_c."""
    data = read_annotation(
        annotations, "cc_web_video.json", source="convert the pickle of S2VS or DnS with a tool you trust"
    )
    video_of = {str(number): video for video, number in data["index"].items()}

    def ids(numbers) -> frozenset[str]:
        # A number without a file (the paper's videos that are lost) keeps its place among the right ones.
        return frozenset(video_of.get(str(number), f"lost file {number}") for number in numbers)

    relevant, labelled, excluded = {}, {}, {}
    for query, labels, left_out in zip(data["queries"], data["ground_truth"], data["excluded"]):
        relevant[query] = ids(number for number, label in labels.items() if label in _POSITIVE)
        labelled[query] = ids(labels)
        excluded[query] = ids(left_out)
    cleaned = {query: videos - excluded[query] for query, videos in relevant.items()}
    return Protocol(
        name=name,
        tasks=(
            Task(name="cc_web", relevant=relevant, only=labelled),
            Task(name="cc_web*", relevant=relevant),
            Task(name="cc_web_c", relevant=cleaned, only=labelled, ignored=excluded),
            Task(name="cc_web*_c", relevant=cleaned, ignored=excluded),
        ),
        database=frozenset(data["index"]),
        ranks_query=True,
        lost_stay_relevant=True,
    )
