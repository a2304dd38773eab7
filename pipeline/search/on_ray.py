"""A search on a Ray cluster: actors hold parts of the index, say what probes look like there, and compare videos.

    ndvr search VIDEOS LIBRARY --address HOST:PORT

A part is a run of neighbouring segments, so that what the actors say, one behind the other, is what one process would
have seen, and so are the answers. All actors compare; they read features from the library's store. One that dies is
started again, on a machine that is left, and opens its part again; what it was asked is asked again. Where none has
room for it, answers say how many videos were not searched.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ndvr.operators.errors import RunStopped
from ndvr.operators.index.segments import Segment
from ndvr.operators.index.votes import Sightings, is_small, sight
from ndvr.pipeline.cluster.workers import TRIES, Workers
from ndvr.pipeline.search.opened import Opened, Reopen
from ndvr.pipeline.search.queries import Query
from ndvr.pipeline.search.verify import Proposed, Verified, Verifier

PATIENCE_S = 60.0  # for an actor that is being started again
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
    def _opened(self) -> Opened:
        return self._reopen.opened()

    @cached_property
    def _segments(self) -> list[Segment]:
        return self._opened.files.open(self._opened.snapshot.only(self._part))

    @cached_property
    def _verifier(self) -> Verifier:
        return Verifier(self._opened, **self._wanted)

    def sight(self, vectors: np.ndarray, every: bool) -> Sightings:
        """What turned vectors of probes look like in this part."""
        return sight(vectors, self._segments, every=every, first=self._first)

    def verify(self, query: Query, proposed: Sequence[Proposed]) -> Verified:
        """Compare a query with proposed videos."""
        return self._verifier.verify(query, proposed)


class OnRay:
    """A crew of Holders, one a CPU; see ndvr.pipeline.search.matcher.Crew."""

    def __init__(self, opened: Opened, workers: Workers, **wanted: Any):
        import ray

        from ndvr.pipeline.cluster import cluster

        resources = cluster.join(workers.address, show=workers.progress)
        count = workers.workers or resources.cpus
        self._parts = opened.files.shares(opened.snapshot, count)
        self._firsts = [0, *itertools.accumulate(map(len, self._parts))]
        self._every = is_small(sum(map(len, opened.segments)))
        self._reopen = ray.put(Reopen.of(opened))  # kept: an actor that is started again asks for it again
        actor: Any = ray.remote(
            num_cpus=0.9 * resources.cpus / max(count, resources.cpus), max_restarts=-1, max_task_retries=TRIES - 1
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

    def sight(self, vectors: np.ndarray) -> list[Any]:
        import ray

        sent = ray.put(vectors)
        return [actor.sight.remote(sent, self._every) for actor, _ in zip(self._actors, self._parts)]

    def sighted(self, begun: list[Any]) -> tuple[list[Sightings], list[int]]:
        parts: list[Sightings] = []
        missed: list[int] = []
        for number, reference in enumerate(begun):
            if (part := self._answer(number, reference)) is None:
                missed += range(self._firsts[number], self._firsts[number + 1])
            else:
                parts.append(part)
        return parts, missed

    def verify(self, query: Query, batches: Sequence[Sequence[Proposed]]) -> list[tuple[int, Any, tuple]]:
        import ray

        sent = ray.put(query)
        return [self._verify(sent, batch) for batch in batches]

    def _verify(self, *arguments: Any) -> tuple[int, Any, tuple]:
        number = next(self._next)
        return number, self._actors[number].verify.remote(*arguments), arguments

    def verified(self, begun: list[tuple[int, Any, tuple]]) -> list[Verified]:
        return [self._verified(*each) for each in begun]

    def _verified(self, number: int, reference: Any, arguments: tuple) -> Verified:
        """What came of a batch; where an actor is gone for long, another one is asked."""
        for _ in self._actors:
            if (done := self._answer(number, reference)) is not None:
                return done
            number, reference, _ = self._verify(*arguments)
        raise RunStopped(
            "search stopped: no machine of the cluster is left that has room; run the same command again", passing=True
        )

    def _answer(self, number: int, reference: Any) -> Any:
        """What an actor answers; None when it has died, and has not been started again for PATIENCE_S."""
        import ray

        from ndvr.pipeline.cluster import cluster

        while not ray.wait([reference], timeout=PATIENCE_S)[0]:
            if cluster.is_gone(self._actors[number]):
                return None
        with cluster.explained("search"):
            try:
                return ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, (ValueError, FileNotFoundError)):
                    raise error.cause from None
                raise
