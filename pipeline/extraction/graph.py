"""The extraction graph on Ray Data: rows of the plan in, receipts of committed rows out.

decode + cut (a pool of actors, each with a child that can be killed) -> embed (a pool; GPUs when there are any)
-> write (shards, then the commit that names them) -> receipts
"""

from __future__ import annotations

import gc
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ndvr.operators.library.config import Config
from ndvr.operators.library.library import Library
from ndvr.operators.library.runs import WorkNote
from ndvr.operators.rows import PLANNED, table
from ndvr.operators.sandbox.walls import on_this_machine
from ndvr.operators.storage.object_store import Access
from ndvr.operators.video.decode import Decode, Job, Limits, this_host
from ndvr.pipeline.cluster.workers import work_in
from ndvr.pipeline.extraction.pools import Pools, Stage, Stages
from ndvr.pipeline.runs.status import Status
from ndvr.pipeline.settings import Setting

if TYPE_CHECKING:
    from ray.data import Dataset


MOST_VIDEOS_PER_BLOCK = 16
MOST_VIDEOS_PER_COMMIT = 64
ROWS_PER_VIDEO = 2  # a piece and an end, of most
TRIES = 4  # of a block
BLOCK_BYTES = 32 << 20  # handed from stage to stage at once
# Between the stages, for every worker and two more: what a decoder may have ready, and what waits for a model. With
# fewer, Ray's equal shares of it for every stage would leave decoders idle.
BLOCKS_PER_WORKER = 4


@dataclass(frozen=True, kw_only=True)
class GraphSettings:
    """What all passes of a run have in common."""

    library: Library
    chosen: dict[str, Setting]  # by method
    configs: dict[str, Config]  # by method
    decoder: str
    limits: Limits
    pools: Pools
    address: str | None  # of a cluster; None: Ray on this machine
    removed_contents: frozenset[str] = frozenset()  # SHA-256 of files to leave out

    @property
    def config_names(self) -> dict[str, str]:
        """The name of each method's configuration."""
        return {method: config.name for method, config in self.configs.items()}


def run_graph(
    settings: GraphSettings,
    todo: list[dict[str, Any]],
    *,
    run: str,
    status: Status,
    most_per_block: int = MOST_VIDEOS_PER_BLOCK,
) -> Iterator[pa.Table]:
    """Build the graph, run it over rows of the plan, and yield committed receipts as they come."""
    from ray.data import DataContext

    from ndvr.pipeline.cluster import cluster

    resources = cluster.join(settings.address)
    stages = settings.pools.fitted(resources, n_videos=len(todo), n_bytes=_bytes_of(todo))
    status.begin_pass(
        {name: stage.most for name, stage in stages._asdict().items()},
        cluster={"cpus": resources.cpus, "gpus": resources.gpus, "nodes": len(resources.nodes)},
    )
    _configure_ray_data(DataContext.get_current(), stages, settings.limits)
    # A block costs Ray some 50 ms of two cores: short videos travel together, few enough to share out evenly.
    per_block = max(1, min(most_per_block, len(todo) // (32 * stages.decode.most)))
    blocks = [table(todo[start : start + per_block], PLANNED) for start in range(0, len(todo), per_block)]
    # Progress and safety come with commits: a small run makes some thirty, a large one fills its shards.
    per_commit = max(1, min(MOST_VIDEOS_PER_COMMIT, len(todo) // 32))
    rows_per_commit = ROWS_PER_VIDEO * per_commit * len(settings.chosen)
    # A video that kills its worker must not take down, time and again, the one that waits behind it.
    waiting = 1 if most_per_block == 1 else 2
    operators = _operators(settings, run, threads=stages.embed.threads)
    with cluster.explained("extraction"):
        walls = cluster.OnEveryNode(_walls_here) if len(resources.nodes) > 1 else None
        try:
            dataset = _dataset(blocks, operators, stages, rows_per_commit=rows_per_commit, waiting=waiting)
            yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
            del dataset
        finally:
            # Ray ends the actors that nothing refers to. After a failure circles of references do, until Python
            # happens to collect them: the next pass would wait for the GPU that an actor of this one still holds.
            gc.collect()
        if walls:
            status.note_walls(walls.answers())


def _bytes_of(todo: list[dict[str, Any]]) -> float:
    """Count the bytes of the videos; without end where a size is not known."""
    return sum(math.inf if row["bytes"] is None else row["bytes"] for row in todo)


def _walls_here() -> tuple[str, list[str]]:
    """Name this machine as its decoders do, and the walls that stand around them."""
    return this_host(), list(on_this_machine())


@dataclass(frozen=True, kw_only=True)
class _Operators:
    """Arguments that the actors of each stage are made with."""

    decode: dict[str, Any]
    embed: dict[str, Any]
    write: dict[str, Any]


def _operators(settings: GraphSettings, run: str, *, threads: int) -> _Operators:
    jobs = {
        method: Job(view=setting.view, config=settings.configs[method].name, min_windows=setting.card.min_windows)
        for method, setting in settings.chosen.items()
    }
    return _Operators(
        decode={
            "library": settings.library.store,
            "access": Access.here(),
            "jobs": jobs,
            "run": run,
            "decoder": settings.decoder,
            "limits": settings.limits,
            "removed": settings.removed_contents,
        },
        embed={"settings": settings.chosen, "threads": threads, "here": os.getcwd()},
        write={
            "library": settings.library.store,
            "configs": {config.name: config for config in settings.configs.values()},
        },
    )


def _dataset(
    blocks: list[pa.Table], operators: _Operators, stages: Stages, *, rows_per_commit: int, waiting: int
) -> Dataset:
    import ray
    from ray.util.annotations import RayDeprecationWarning

    from ndvr.operators.library.shards import CommitOrStop

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of the bounds in _pool()
        return (
            ray.data.from_blocks(blocks)
            .map_batches(
                DecodeActor,
                fn_constructor_kwargs=operators.decode,
                batch_size=1,
                **_pool(stages.decode, waiting),
            )
            # All that a decoder hands over at once. On GPUs Ray wants a number; a larger one would wait for more.
            .map_batches(
                EmbedActor,
                fn_constructor_kwargs=operators.embed,
                batch_size=1 if stages.embed.gpus else None,
                **_pool(stages.embed),
            )
            # Actors, because every task of so small a share would start a process of its own.
            .map_batches(
                CommitOrStop,
                fn_constructor_kwargs=operators.write,
                batch_size=rows_per_commit,
                **_pool(stages.write),
            )
        )


def _pool(stage: Stage, waiting: int = 2) -> dict[str, Any]:
    """Return arguments of map_batches: a pool of actors, with `waiting` blocks sent to each of them.

    Ray 2.64 takes max_restarts and max_task_retries no more (**ray_remote_args): test_ray_traps.py tells.
    """
    from ray.data import ActorPoolStrategy

    return {
        "batch_format": "pyarrow",
        "compute": ActorPoolStrategy(
            min_size=stage.fewest,
            max_size=stage.most,
            initial_size=stage.start,
            max_tasks_in_flight_per_actor=waiting,
            max_concurrent_calls_per_actor=1,
        ),
        "num_cpus": stage.cpus,
        "num_gpus": stage.gpus,
        "label_selector": stage.labels or None,
        # A worker comes back as often as its node is lost; a block that brings its workers down is given up, where
        # Ray would try for ever. Blocks are tried again at the next position of what they had handed over: if the
        # second try hands over fewer or more tables than the first, rows go missing or come twice, without an error.
        # So receipts count each piece once, and the driver has decoded again what they do not settle.
        "max_restarts": -1,
        "max_task_retries": TRIES - 1,
    }


def _configure_ray_data(context: Any, stages: Stages, limits: Limits) -> None:
    """Set every knob we rely on: their defaults moved in four of the last eight Ray releases."""
    from ray.data import ExecutionResources

    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    context.target_max_block_size = BLOCK_BYTES
    context.execution_options.preserve_order = False
    # What is between the stages: at most twice what the next one has in hand, in half of the object store.
    context.downstream_capacity_backpressure_ratio = 2.0
    context.override_object_store_memory_limit_fraction = 0.5
    context.op_resource_reservation_enabled, context.op_resource_reservation_ratio = True, 0.5
    # No more than the pools can use, however large the cluster is, or its autoscaler could make it. Left to itself,
    # Ray lets decoders fill half of the object store before it holds them back.
    workers = stages.decode.most + stages.embed.most + 2
    context.execution_options.resource_limits = ExecutionResources.for_limits(
        cpu=math.ceil(sum(stage.most * stage.cpus for stage in stages)),
        gpu=math.ceil(stages.embed.most * stages.embed.gpus),
        object_store_memory=BLOCK_BYTES * BLOCKS_PER_WORKER * workers,
    )
    # A block that is given up must not stop the others; what was in it is decoded again. Failing to write does not
    # end this way: CommitOrStop hands that to the driver as a row.
    context.max_errored_blocks = -1
    # But a worker that cannot start (no weights on its node, no space) will not do so at the next try.
    context.actor_init_retry_on_errors = False
    context.max_consecutive_actor_init_deaths = 0
    # A slow model load or one very long video is not a stall; the decoder's own deadline catches real ones.
    context.execution_no_progress_timeout_s = int(limits.total_s * 2 + 600)


# --- The operators as Ray actors; writing is done by one that is an actor as it is -----------------------------------


class DecodeActor:
    """Decodes, with a note of the current video in the library, for the case that the worker does not survive it."""

    def __init__(self, *, library: str, run: str, **settings: Any):
        self._note = WorkNote(library, run)
        self._decode = Decode(run=run, on_video=self._note.write, **settings)

    def __call__(self, videos: pa.Table) -> Iterator[pa.Table]:
        yield from self._decode(videos)
        self._note.clear()


class EmbedActor:
    """All models of the run, on this worker's GPU if it was given one.

    threads  batches a CPU computes at once; no feature depends on it, see ndvr.operators.features.embed
    here     the folder in which relative paths of weights begin
    """

    def __init__(self, *, settings: dict[str, Setting], threads: int, here: str):
        import torch

        from ndvr.operators.features.embed import Embed

        work_in(here)
        gpu = torch.cuda.is_available()
        # Before anything starts MKL's and OpenMP's own threads, which would only wait.
        torch.set_num_threads(1)
        # The same kernels for the same shapes, whatever was fastest when they were first met.
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        models = {method: setting.load("cuda" if gpu else "cpu", "embed") for method, setting in settings.items()}
        self._embed = Embed(models, threads=1 if gpu else threads)

    def __call__(self, pieces: pa.Table) -> pa.Table:
        return self._embed(pieces)
