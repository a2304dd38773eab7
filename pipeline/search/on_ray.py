"""A search on a Ray cluster: actors hold parts of the index, say what probes look like there, and compare videos.

    ndvr search VIDEOS LIBRARY --address HOST:PORT

A part is a run of neighbouring segments, so that what the actors say, one behind the other, is what one process would
have seen, and so are the answers. All actors compare; they read features from the library's store. One that dies is
started again, on a machine that is left, and opens its part again; what it was asked is asked again. Where none has
room for it, answers say how many videos were not searched.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ndvr.operators.errors import RunStopped
from ndvr.operators.index.segments import Segment
from ndvr.operators.index.votes import Sightings, sight
from ndvr.pipeline.cluster.workers import TRIES, Workers
from ndvr.pipeline.search.library_index import LibraryIndex, Reopen
from ndvr.pipeline.search.queries import Query
from ndvr.pipeline.search.verify import Proposed, Verified, Verifier

PATIENCE_S = 60.0  # for an actor that is being started again
_PAUSE_S = 0.5  # before an actor that cannot be reached is asked again
_AHEAD = 2  # queries on their way, per actor


class Holder:
    """What an actor is: a part of an index, and somebody who compares. Opened when first asked."""

    def __init__(self, reopen: Reopen, part: Sequence[str], first: int, wanted: dict[str, Any]):
        """
        part    names of its segments, of which `first` is the place of the first one among all
        wanted  settings of a Verifier
        """
        self._reopen, self._part, self._first, self._wanted = reopen, list(part), first, wanted

    @cached_property
    def _index(self) -> LibraryIndex:
        return self._reopen.open()

    @cached_property
    def _segments(self) -> list[Segment]:
        return self._index.files.open(self._index.snapshot.only(self._part))

    @cached_property
    def _verifier(self) -> Verifier:
        return Verifier(self._index, **self._wanted)

    def sight(self, vectors: np.ndarray, among: int, plain: int, boxes: np.ndarray | None) -> Sightings:
        """Find what turned vectors of probes look like in this part."""
        return sight(vectors, self._segments, among=among, plain=plain, first=self._first, boxes=boxes)

    def verify(self, query: Query, proposed: Sequence[Proposed]) -> Verified:
        """Compare a query with proposed videos."""
        return self._verifier.verify(query, proposed)


@dataclass(frozen=True)
class Asked:
    """A question to an actor, and where its answer will be."""

    number: int  # of the actor
    question: str  # a method of Holder
    arguments: tuple[Any, ...]
    reference: Any


class OnRay:
    """A crew of Holders, one a CPU; see ndvr.pipeline.search.matcher.Crew.

    crews  that share the CPUs
    """

    def __init__(self, index: LibraryIndex, workers: Workers, *, crews: int = 1, **wanted: Any):
        import ray

        from ndvr.pipeline.cluster import cluster

        resources = cluster.join(workers.address, show=workers.progress)
        count = workers.workers or resources.cpus
        self._parts = index.files.shares(index.snapshot, count)
        self._firsts = [0, *itertools.accumulate(map(len, self._parts))]
        self._among = sum(map(len, index.segments))
        self._reopen = ray.put(Reopen.of(index))  # kept: an actor that is started again asks for it again
        actor: Any = ray.remote(
            num_cpus=0.9 * resources.cpus / max(count, resources.cpus) / crews,
            max_restarts=-1,
            max_task_retries=TRIES - 1,
        )(Holder)
        parts = itertools.zip_longest(self._parts, self._firsts[:-1], range(count), fillvalue=())
        self._actors = [actor.remote(self._reopen, part, first or 0, wanted) for part, first, _ in parts]
        self._next = itertools.cycle(range(count))
        self.ahead = _AHEAD * count

    def __enter__(self) -> OnRay:
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)

    def _ask(self, number: int, question: str, *arguments: Any) -> Asked:
        reference = getattr(self._actors[number], question).remote(*arguments)
        return Asked(number, question, arguments, reference)

    def sight(self, vectors: np.ndarray, plain: int, boxes: np.ndarray | None) -> list[Asked]:
        import ray

        sent = ray.put(vectors)
        return [self._ask(number, "sight", sent, self._among, plain, boxes) for number in range(len(self._parts))]

    def sighted(self, begun: list[Asked]) -> tuple[list[Sightings], list[int]]:
        parts: list[Sightings] = []
        missed: list[int] = []
        for number, asked in enumerate(begun):
            if (part := self._answer(asked)) is None:
                missed += range(self._firsts[number], self._firsts[number + 1])
            else:
                parts.append(part)
        return parts, missed

    def verify(self, query: Query, batches: Sequence[Sequence[Proposed]]) -> list[Asked]:
        import ray

        sent = ray.put(query)
        return [self._ask(next(self._next), "verify", sent, batch) for batch in batches]

    def verified(self, begun: list[Asked]) -> list[Verified]:
        return [self._verified(asked) for asked in begun]

    def _verified(self, asked: Asked) -> Verified:
        """Wait for what came of a batch; where an actor is gone for long, another one is asked."""
        for _ in self._actors:
            if (done := self._answer(asked)) is not None:
                return done
            asked = self._ask(next(self._next), asked.question, *asked.arguments)
        raise RunStopped(
            "search stopped: no machine of the cluster is left that has room; run the same command again", passing=True
        )

    def _answer(self, asked: Asked) -> Any:
        """Wait for what an actor answers; None when it has died, and has not been started again for PATIENCE_S."""
        import ray

        from ndvr.pipeline.cluster import cluster

        while True:
            if not ray.wait([asked.reference], timeout=PATIENCE_S)[0]:
                if cluster.is_gone(self._actors[asked.number]):
                    return None
                continue
            with cluster.explained("search"):
                try:
                    return ray.get(asked.reference)
                except ray.exceptions.ActorUnavailableError:  # its machine is gone, which Ray takes seconds to notice
                    time.sleep(_PAUSE_S)
                    asked = self._ask(asked.number, asked.question, *asked.arguments)
                except ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, (ValueError, FileNotFoundError)):
                        raise error.cause from None
                    raise
