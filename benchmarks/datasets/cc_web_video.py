"""CC_WEB_VIDEO (Wu et al., ACM MM 2007): 24 query sets; labels E, S, L, M and V are near-duplicates, X is not.

Read from cc_web_video.json, or from cc_web_video.pickle as S2VS, DnS and others bring it along: {"index": {id: number},
"queries", "ground_truth": [{number: label}], "excluded": [numbers]}; TCA calls its index "vid2index".
The four published variants: cc_web ranks only the videos labelled in the query's own set, cc_web* the whole database;
the suffix _c leaves out the numbers that a later cleaning excluded.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ndvr.benchmarks.evaluation.annotations import read_annotation
from ndvr.benchmarks.evaluation.protocol import Convention, Protocol, Task

DATASETS = ("cc_web_video",)
_SAYS = "a query is ranked and is one of its own right videos; lost right videos stay in the denominator"
_ALL = Convention(says=_SAYS)
CONVENTIONS = {
    "s2vs": _ALL,
    "visil": _ALL,
    "dns": _ALL,
    "tca": _ALL,
    "csl3d": Convention(
        says=f"{_SAYS}; five files are not ranked, where the index has file names and not numbers (3D-CSL)",
        never_ranked=frozenset(
            {"8/8_271_Y.avi", "6/6_563_Y.avi", "6/6_498_Y.avi", "4/4_160_Y.wmv", "6/6_526_Y.avi"},
        ),
    ),
}
_POSITIVE = frozenset("ESLMV")


def protocol(name: str, annotations: Path, *, convention: str, hard: bool) -> Protocol:
    """Make the four tasks cc_web, cc_web*, cc_web_c, cc_web*_c."""
    source = "S2VS and DnS have it in their repositories"
    data = read_annotation(annotations, "cc_web_video.json", "cc_web_video.pickle", source=source)
    index = data["vid2index"] if "vid2index" in data else data["index"]
    video_of = {str(number): video for video, number in index.items()}

    def ids(numbers: Iterable) -> frozenset[str]:
        # A number without a file (the paper's videos that are lost) keeps its place among the right ones.
        return frozenset(video_of.get(str(number), f"lost file {number}") for number in numbers)

    relevant, labelled, excluded = {}, {}, {}
    for query, labels, left_out in zip(data["queries"], data["ground_truth"], data["excluded"]):
        relevant[query] = ids(number for number, label in labels.items() if label in _POSITIVE)
        labelled[query] = ids(labels)
        excluded[query] = ids(left_out)
    cleaned = {query: videos - excluded[query] for query, videos in relevant.items()}
    never_ranked = CONVENTIONS[convention].never_ranked
    return Protocol(
        name=name,
        tasks=(
            Task(name="cc_web", relevant=relevant, only=labelled),
            Task(name="cc_web*", relevant=relevant),
            Task(name="cc_web_c", relevant=cleaned, only=labelled, ignored=excluded),
            Task(name="cc_web*_c", relevant=cleaned, ignored=excluded),
        ),
        database=frozenset(video for video, number in index.items() if number not in never_ranked),
        ranks_query=True,
        lost_stay_relevant=True,
    )
