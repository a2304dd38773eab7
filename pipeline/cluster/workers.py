"""Equal workers that do the tasks of several lanes: a worker stays in its lane, where neighbouring tasks share what it
has read, and helps in another one when there is no lane left.

`with worker_pool(make, Workers(), n_tasks=9) as pool: pool.run("similarity", lanes, bar)`
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ndvr.operators.storage.store import Store
from ndvr.pipeline.progress import Progress

# A worker that dies is started again and tries its task again: a machine may be lost, or memory short for a moment.
TRIES = 4

Task = tuple[Any, ...]  # name of the worker's method, then its arguments
Make = Callable[[str], Any]  # device -> what works


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many workers there are to be, and where, as the user says."""

    workers: int | None = None  # how many; None: one per GPU of the cluster, or per CPU; 0: this process, without Ray
    memory_gb: float = 2.0  # what each keeps and compares at a time, beside the model
    address: str | None = None  # of the Ray cluster; None: this machine
    progress: bool = True
    on_cpu: bool = False  # what they compute gains nothing from a GPU: one per CPU, whatever else the cluster has
    lease: Store | None = None  # under which they write into a folder of scores; RunStopped once it was taken over


def work_in(folder: str) -> None:
    """Let relative paths begin where they do for who asks: Ray may have been started in another folder."""
    if os.path.isdir(folder):  # on another machine there may be none of that name
        os.chdir(folder)


def worker_pool(make: Make, workers: Workers, *, n_tasks: int) -> InProcess | OnRay:
    """Start as many workers as asked for, but no more than tasks."""
    return InProcess(make, workers) if workers.workers == 0 else OnRay(make, workers, n_tasks=n_tasks)


class InProcess:
    """One worker in this process: for a few pairs, before Ray would have started."""

    def __init__(self, make: Make, workers: Workers):
        import torch

        self._threads = torch.get_num_threads()
        self._work = _one_thread(make, on_cpu=workers.on_cpu)

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_num_threads(self._threads)

    def share(self, value: Any) -> Any:
        """Make what stands for a value among the arguments of many tasks."""
        return value

    def run(self, work: str, lanes: Iterable[Sequence[Task]], bar: Progress) -> int:
        """Do the tasks of all lanes; a task returns how far the bar moves. Returns how far in all."""
        total = 0
        for lane in lanes:
            for method, *arguments in lane:
                done = getattr(self._work, method)(*arguments)
                total += done
                bar.advance(done)
        return total


class OnRay:
    """Workers that are Ray actors, started again when they die."""

    def __init__(self, make: Make, workers: Workers, *, n_tasks: int):
        import ray

        from ndvr.pipeline.cluster import cluster

        resources = cluster.join(workers.address, show=workers.progress)
        on_cpu = workers.on_cpu
        gpus = 0 if on_cpu else resources.gpus
        wanted = workers.workers or gpus or resources.cpus
        count = max(1, min(n_tasks, wanted))
        folder = os.getcwd()

        class Worker:
            def __init__(self) -> None:
                work_in(folder)
                self._work = _one_thread(make, on_cpu=on_cpu)

            def ready(self) -> None:
                pass

            def run(self, method: str, *arguments: Any) -> int:
                return getattr(self._work, method)(*arguments)

        actor: Any = ray.remote(
            num_cpus=0.9 * resources.cpus / max(wanted, resources.cpus),
            num_gpus=cluster.gpu_share(count, gpus),
            max_restarts=-1,
            max_task_retries=TRIES - 1,
        )(Worker)
        self._actors = [actor.remote() for _ in range(count)]
        with cluster.explained("starting workers"):
            ray.wait([actor.ready.remote() for actor in self._actors])

    def __enter__(self) -> OnRay:
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)

    def share(self, value: Any) -> Any:
        """Make what stands for a value among the arguments of many tasks."""
        import ray

        return ray.put(value)

    def run(self, work: str, lanes: Iterable[Sequence[Task]], bar: Progress) -> int:
        """Do the tasks of all lanes; a task returns how far the bar moves. Returns how far in all.

        cluster.RunStopped when a task fails for good.
        """
        import ray

        from ndvr.pipeline.cluster import cluster

        waiting, taken = deque(deque(lane) for lane in lanes), [deque[Task]() for _ in self._actors]
        running: dict[Any, int] = {}
        total = 0
        with cluster.explained(work):
            idle = list(range(len(self._actors)))
            while idle or running:
                for number in idle:
                    if task := _next(number, taken, waiting):
                        running[self._actors[number].run.remote(*task)] = number
                if not running:
                    break
                (done,), _ = ray.wait(list(running), num_returns=1)
                idle = [running.pop(done)]
                total += (count := ray.get(done))
                bar.advance(count)
        return total


def _one_thread(make: Make, *, on_cpu: bool) -> Any:
    """Make what works, on one CPU core or a GPU.

    Sums of several threads would differ in their last bits with their number, and a core each is the fastest anyway.
    """
    import torch

    if torch.cuda.is_available() and not on_cpu:
        return make("cuda")
    torch.set_num_threads(1)
    return make("cpu")


def _next(number: int, taken: Sequence[deque[Task]], waiting: deque[deque[Task]]) -> Task | None:
    """Take the next task of a worker: from its lane, else from a new one, else from the end of the longest.

    taken    what is left of the lane of each worker
    waiting  lanes that no worker has
    """
    while not taken[number] and waiting:
        taken[number].extend(waiting.popleft())
    if taken[number]:
        return taken[number].popleft()
    longest = max(taken, key=len)
    return longest.pop() if longest else None
