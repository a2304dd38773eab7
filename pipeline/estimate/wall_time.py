"""How long a run takes on some machines, given what its stages have to do: numbers, or arrays of possible numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ndvr.pipeline.cluster import cluster
from ndvr.pipeline.cluster.cluster import Node, Resources
from ndvr.pipeline.estimate import _costs as costs
from ndvr.pipeline.extraction.graph import MOST_VIDEOS_PER_BLOCK, MOST_VIDEOS_PER_COMMIT, ROWS_PER_VIDEO
from ndvr.pipeline.extraction.pools import ACCELERATOR, Pools

# Of the cores that a run asks for it gets so much: stages wait for each other at the start and at the end.
USED = 0.95
_MANY = 1 << 40  # videos: no pool is smaller for want of them

Number = Any  # one number, or an array of possible numbers (B,)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The machines to plan for, as the user names them; None: those of the cluster at `address`, else this one's."""

    cpus: int | None = None
    gpus: int | None = None
    gpu_cores: float = 40  # cores that a GPU stands for when embedding, where there is none here to be measured
    address: str | None = None  # of a Ray cluster
    pools: Pools = Pools()

    def machines(self) -> Machines:
        """Count what the run would have; joins the cluster at `address` when `cpus` is not given."""
        if self.cpus is not None:
            where = "as given"
            on_gpus = [Node(cpus=0, gpus=self.gpus, labels={ACCELERATOR: where})] if self.gpus else []
            resources = Resources(nodes=(Node(cpus=self.cpus), *on_gpus))
        elif self.address:
            where, resources = f"the cluster at {self.address}", cluster.join(self.address)
        else:
            import torch

            gpus = torch.cuda.device_count() if self.gpus is None else self.gpus
            where, resources = "this machine", Resources(nodes=(Node(cpus=os.cpu_count() or 1, gpus=gpus),))
        pools = self.pools.fitted(resources, n_videos=_MANY)
        return Machines(
            cpus=resources.cpus,
            gpus=resources.gpus if pools.embed.gpus else 0,
            decoders=pools.decode.most,
            embedders=pools.embed.most * (pools.embed.gpus or pools.embed.threads),
            where=where,
        )


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What a run would have to work with."""

    cpus: int
    gpus: int
    decoders: int
    embedders: float  # GPUs at work, without any cores
    where: str  # "this machine", "the cluster at ...", "as given"


@dataclass(frozen=True, kw_only=True)
class StageLoad:
    """The work of one stage; times are numbers, or arrays of possible numbers."""

    stage: str
    busy_s: Number
    workers: float
    wall_s: Number  # if the stage had its workers to itself


def blocks_of(n_videos: int, machines: Machines) -> int:
    """Count the blocks that the graph sends through its stages."""
    workers = max(1, min(n_videos, machines.decoders))
    return -(-n_videos // max(1, min(MOST_VIDEOS_PER_BLOCK, n_videos // (32 * workers))))


def commits_of(n_videos: int, n_rows: float, n_methods: int) -> float:
    """Count the commits that so many receipts make."""
    per_commit = ROWS_PER_VIDEO * max(1, min(MOST_VIDEOS_PER_COMMIT, n_videos // 32)) * n_methods
    return max(1.0, n_rows / per_commit) if n_rows else 0.0


def stages(busy_s: dict[str, Number], machines: Machines, *, n_videos: int, idle_s: float = 0.0) -> list[StageLoad]:
    """Spread the work of each stage over its workers.

    idle_s  what decoders wait for files that hang
    """
    workers = {
        "decode": max(1, min(n_videos, machines.decoders)),
        "embed": machines.embedders,
        "write": max(1, machines.cpus // 16),
        "ray": machines.cpus,
        "driver": 1,
    }
    return [
        StageLoad(
            stage=stage,
            busy_s=seconds,
            workers=workers[stage],
            wall_s=(seconds + (idle_s if stage == "decode" else 0.0)) / workers[stage],
        )
        for stage, seconds in busy_s.items()
    ]


def wall_s(
    loads: Sequence[StageLoad],
    machines: Machines,
    *,
    start_s: Number,
    longest_s: Number,
    others: Number = 0.0,
) -> tuple[Number, dict[str, Number]]:
    """Compute the seconds of the run, and of everything that could bound it alone, `start_s` not included.

    longest_s  the most expensive video, which one core has to decode
    others     cores that other programs take
    """
    on_cpu = [load for load in loads if not (load.stage == "embed" and machines.gpus)]
    slower = machines.cpus / np.maximum(machines.cpus / 8, machines.cpus - others)
    cores = machines.cpus / slower * USED
    bounds = {load.stage: load.wall_s for load in loads}
    bounds["cores"] = sum(load.busy_s for load in on_cpu if load.stage != "driver") / cores
    bounds["longest video"] = longest_s
    return start_s * slower + np.maximum.reduce(list(np.broadcast_arrays(*bounds.values()))), bounds


def driver_s(n_blocks: int) -> float:
    """Estimate seconds that the driver needs for so many blocks, which are part of the work of "ray"."""
    return n_blocks * costs.DRIVER_BLOCK_S
