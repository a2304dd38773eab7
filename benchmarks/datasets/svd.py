"""SVD (Jiang et al., ICCV 2019): short videos; each query has its own labelled candidates, all the rest is unlabelled.

Read from the data set's own files: test_groundtruth, lines "query candidate 1" or "... 0", and unlabeled-data-id,
one id a line. AP is scikit-learn's, where equal scores are one step.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from ndvr.benchmarks.evaluation.annotations import read_ids
from ndvr.benchmarks.evaluation.protocol import Convention, Protocol, Task

DATASETS = ("svd",)
_ALL = Convention(says="AP by steps over a query's own candidates and all unlabelled videos, not others' candidates")
CONVENTIONS = {"dns": _ALL, "visil": _ALL}


def protocol(name: str, annotations: Path, *, convention: str, hard: bool) -> Protocol:
    """Make one task over the queries of the test split."""
    path = annotations / "test_groundtruth"
    if not path.exists():
        raise FileNotFoundError(f"no test_groundtruth in {annotations}: ask the authors of SVD (svdbase.github.io)")
    labels: dict[str, dict[str, bool]] = defaultdict(dict)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if len(words) != 3 or words[2] not in ("0", "1"):
            raise ValueError(f"{path}, line {number}: expected 'query candidate 0' or '... 1', found {line!r}")
        labels[words[0]][words[1]] = words[2] == "1"
    candidates = frozenset(video for marks in labels.values() for video in marks)
    task = Task(
        name="overall",
        relevant={query: frozenset(v for v, right in marks.items() if right) for query, marks in labels.items()},
        ignored={query: candidates - marks.keys() for query, marks in labels.items()},
    )
    database = candidates | read_ids(annotations / "unlabeled-data-id")
    return Protocol(name=name, tasks=(task,), database=database, ap="steps")
