"""How long a run takes on some machines, given what its stages have to do: numbers, or arrays of possible numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ndvr.pipeline.cluster import cluster
from ndvr.pipeline.cluster.cluster import Node, Resources
from ndvr.pipeline.estimate import costs
from ndvr.pipeline.extraction.graph import MOST_VIDEOS_PER_BLOCK, MOST_VIDEOS_PER_COMMIT, ROWS_PER_VIDEO
from ndvr.pipeline.extraction.pools import ACCELERATOR, Pools

# Of the cores that a run asks for it gets so much: stages wait for each other at the start and at the end.
USED = 0.95
_MANY = 1 << 40  # videos: no pool is smaller for want of them


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What a run is to have."""

    cpus: int
    gpus: int
    decoders: int
    embedders: float  # GPUs at work, without any cores
    where: str  # "this machine", "the cluster at ...", "as given"

    @classmethod
    def given(cls, *, cpus: int | None, gpus: int | None, address: str | None, pools: Pools) -> Machines:
        """As the user said, or the cluster at `address`, or this machine."""
        where = "as given"
        if cpus is None and address:
            where, have = f"the cluster at {address}", cluster.join(address)
        elif cpus is None:
            import torch

            where, cpus = "this machine", os.cpu_count() or 1
            have = Resources(nodes=(Node(cpus=cpus, gpus=torch.cuda.device_count() if gpus is None else gpus),))
        else:
            on_gpus = [Node(cpus=0, gpus=gpus, labels={ACCELERATOR: "as given"})] if gpus else []
            have = Resources(nodes=(Node(cpus=cpus), *on_gpus))
        found = pools.fitted(have, n_videos=_MANY)
        embed = found.embed
        return cls(
            cpus=have.cpus,
            gpus=have.gpus if embed.gpus else 0,
            decoders=found.decode.most,
            embedders=embed.most * (embed.gpus or embed.threads),
            where=where,
        )


def blocks_of(n_videos: int, machines: Machines) -> int:
    """Blocks that the graph sends through its stages."""
    workers = max(1, min(n_videos, machines.decoders))
    return -(-n_videos // max(1, min(MOST_VIDEOS_PER_BLOCK, n_videos // (32 * workers))))


def commits_of(n_videos: int, n_rows: float, n_methods: int) -> float:
    """Commits that so many receipts make."""
    per_commit = ROWS_PER_VIDEO * max(1, min(MOST_VIDEOS_PER_COMMIT, n_videos // 32)) * n_methods
    return max(1.0, n_rows / per_commit) if n_rows else 0.0


def stages(busy_s: dict[str, Any], machines: Machines, *, n_videos: int, idle_s: float = 0.0) -> list[dict[str, Any]]:
    """One entry a stage: `stage`, `busy_s`, `workers`, `wall_s` if it had its workers to itself.

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
        {
            "stage": stage,
            "busy_s": seconds,
            "workers": workers[stage],
            "wall_s": (seconds + (idle_s if stage == "decode" else 0.0)) / workers[stage],
        }
        for stage, seconds in busy_s.items()
    ]


def wall_s(
    table: list[dict[str, Any]], machines: Machines, *, start_s: Any, longest_s: Any, others: Any = 0.0
) -> tuple[Any, dict[str, Any]]:
    """Seconds of the run, and of everything that could bound it alone, `start` not included.

    longest_s  the most expensive video, which one core has to decode
    others     cores that other programs take
    """
    on_cpu = [row for row in table if not (row["stage"] == "embed" and machines.gpus)]
    slower = machines.cpus / np.maximum(machines.cpus / 8, machines.cpus - others)
    cores = machines.cpus / slower * USED
    bounds = {row["stage"]: row["wall_s"] for row in table}
    bounds["cores"] = sum(row["busy_s"] for row in on_cpu if row["stage"] != "driver") / cores
    bounds["longest video"] = longest_s
    return start_s * slower + np.maximum.reduce(list(np.broadcast_arrays(*bounds.values()))), bounds


def driver_s(n_blocks: int) -> float:
    """What the driver has to do, of the work of "ray"."""
    return n_blocks * costs.DRIVER_BLOCK_S
