"""The extraction graph on Ray Data: rows of the plan in, receipts of committed rows out.

decode + cut (a pool of actors, each with a child that can be killed) -> embed (a pool; GPUs when there are any)
-> write (shards, then the commit that names them) -> receipts
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ndvr.operators.decode import Decode, Job, Limits
from ndvr.operators.library import Library
from ndvr.operators.rows import PLANNED, table
from ndvr.pipeline.settings import Setting

MOST_VIDEOS_PER_BLOCK = 16
MOST_VIDEOS_PER_COMMIT = 64


@dataclass(kw_only=True)
class Graph:
    """One pass over rows of the plan."""

    store: Library
    run: str
    chosen: dict[str, Setting]
    configs: dict[str, dict[str, Any]]
    decoder: str
    limits: Limits
    decode_workers: int | None
    embed_workers: int | None
    address: str | None

    def receipts(self, todo: list[dict], *, most_per_block: int = MOST_VIDEOS_PER_BLOCK) -> Iterator[pa.Table]:
        """Build the graph, run it, yield committed receipts as they come."""
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        from ndvr.operators.write import CommitOrStop
        from ndvr.pipeline import cluster
        from ndvr.pipeline.stages import EmbedActor

        have = cluster.join(self.address)
        _configure_ray_data(DataContext.get_current(), self.limits)
        jobs = {
            method: Job(view=setting.view, config=self.configs[method]["name"], min_windows=setting.card.min_windows)
            for method, setting in self.chosen.items()
        }
        n_decode = min(len(todo), self.decode_workers or have.cpus)
        n_embed = self.embed_workers or have.gpus or max(1, have.cpus // 4)
        # A block costs Ray some 50 ms of two cores: short videos travel together, few enough to share out evenly.
        per_block = max(1, min(most_per_block, len(todo) // (32 * n_decode)))
        blocks = [table(todo[start : start + per_block], PLANNED) for start in range(0, len(todo), per_block)]
        # Progress and safety come with commits: a small run makes some thirty, a large one fills its shards.
        per_commit = max(1, min(MOST_VIDEOS_PER_COMMIT, len(todo) // 32))
        graph = (
            ray.data.from_arrow(blocks)
            .map_batches(
                Decode,
                fn_constructor_kwargs={"jobs": jobs, "run": self.run, "decoder": self.decoder, "limits": self.limits},
                batch_size=1,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(size=n_decode),
                num_cpus=0.7 * have.cpus / n_decode,
            )
            .map_batches(
                EmbedActor,
                fn_constructor_kwargs={"settings": self.chosen, "threads": max(1, have.cpus // n_embed)},
                batch_size=None,  # what a decoder hands over at once, at most 32 MB
                batch_format="pyarrow",
                compute=ActorPoolStrategy(size=n_embed),
                num_cpus=0.2 * have.cpus / n_embed,
                num_gpus=min(1.0, have.gpus / n_embed),
            )
            .map_batches(
                CommitOrStop,
                fn_constructor_kwargs={
                    "library": str(self.store),
                    "configs": {about["name"]: about for about in self.configs.values()},
                },
                batch_size=per_commit * len(self.chosen),
                batch_format="pyarrow",
                # Actors, because every task of so small a share would start a process of its own.
                compute=ActorPoolStrategy(size=max(1, have.cpus // 16)),
                num_cpus=0.05 / max(1, have.cpus // 16),
            )
        )
        with cluster.explained("extraction"):
            yield from graph.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def _configure_ray_data(context: Any, limits: Limits) -> None:
    """Every knob we rely on, set here: their defaults moved in four of the last eight Ray releases."""
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    context.target_max_block_size = 32 << 20
    context.execution_options.preserve_order = False
    # A slow model load or one very long video is not a stall; the decoder's own deadline catches real ones.
    context.execution_no_progress_timeout_s = int(limits.total_s * 2 + 600)
