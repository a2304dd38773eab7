"""The two walks of an evaluation over scores: in this process, which reads them once, or as Ray tasks near the files.

Each task walks some of the files and hands back counts (a few MB, whatever the number of scores); they are added up
here. Counts are integers and comparisons are of the scores themselves, so the sum is what one process finds, bit for
bit. Ray's start takes longer than 20 million scores: below that, one process is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ndvr.operators.metrics.rank_counts import Counted, Counter, Plan
from ndvr.operators.metrics.survey import Survey, Surveyor, survey
from ndvr.operators.scores.files import Scores


@dataclass(frozen=True, kw_only=True)
class Walks:
    """Where scores are walked. `map` calls a function with each part and a shared argument, and yields the results."""

    parts: Callable[[Scores], list[Scores]]
    map: Callable[[Callable[[Scores, Any], Any], list[Scores], Any], Any]

    def survey(self, scores: Scores, labels: Mapping[str, Set[str]]) -> Survey:
        """Walk all scores a first time; what one process reads it keeps for the second."""
        parts = self.parts(scores)
        if self.map is _one_by_one and parts == [scores]:
            return survey(scores, labels)
        surveyors = self.map(_survey, parts, labels)
        if len(parts) == 1:
            return next(iter(surveyors)).survey(scores)
        surveyor = Surveyor(labels)
        for other in surveyors:
            surveyor.add(other)
        return surveyor.survey(scores)

    def count(self, scores: Scores, plan: Plan) -> Counted:
        """Walk all scores a second time."""
        counter = Counter(plan)
        for counts in self.map(_count, self.parts(scores), plan):
            counter.add(counts)
        return counter.counted()


def _survey(part: Scores, labels: Mapping[str, Set[str]]) -> Surveyor:
    surveyor = Surveyor(labels)
    surveyor.walk(part)
    return surveyor


def _count(part: Scores, plan: Plan) -> list[np.ndarray]:
    counter = Counter(plan)
    counter.walk(part)
    return counter.counts()


def _one_by_one(work: Callable[[Scores, Any], Any], parts: list[Scores], shared: Any):
    return (work(part, shared) for part in parts)


HERE = Walks(parts=lambda scores: [scores], map=_one_by_one)


def on_ray(*, workers: int | None = None, address: str | None = None) -> Walks:
    """Walk with Ray tasks: on the cluster at `address`, or on this machine; `workers` at a time, None for every CPU."""
    from ndvr.pipeline.cluster import cluster

    n = workers or cluster.join(address).cpus
    cluster.join(address)
    return Walks(parts=lambda scores: _cut(scores, n), map=_on_ray)


def _cut(scores: Scores, n: int) -> list[Scores]:
    """Cut into at most n parts of neighbouring files, about as many bytes in each."""
    if len(scores.sources) < 2:
        return [scores]
    sizes = np.cumsum([source.stat().st_size for source in scores.sources])
    at = np.minimum((sizes - 1) * n // sizes[-1], n - 1)
    cuts = [0, *(np.flatnonzero(np.diff(at)) + 1).tolist(), len(at)]
    return [replace(scores, sources=scores.sources[a:b]) for a, b in zip(cuts, cuts[1:])]


def _on_ray(work: Callable[[Scores, Any], Any], parts: list[Scores], shared: Any):
    import ray

    from ndvr.pipeline.cluster import cluster

    kept = ray.put(shared)
    task = ray.remote(num_cpus=1)(work)
    with cluster.explained("evaluation"):
        try:
            # What a task needs of the scores is where they are; who was attempted stays here.
            running = [task.remote(replace(part, queries=None, videos=None), kept) for part in parts]
            for done in running:  # in the order of the files, so that the first bad row is always the same
                yield ray.get(done)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, (ValueError, FileNotFoundError)):
                raise error.cause from None
            raise
