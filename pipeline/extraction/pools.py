"""Fit to a cluster how many workers decode and embed, what each of them takes, and on which nodes.

Pools(decode_workers=(2, 64), embed_gpus=0.5).fitted(cluster.join("auto"), n_videos=10_000).decode.most
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ndvr.pipeline.cluster.cluster import Node, Resources, gpu_share

# What a stage may take of CPUs that all of them share; the rest is for what Ray itself does.
DECODE_SHARE, EMBED_SHARE, WRITE_SHARE = 0.7, 0.2, 0.05
# A decoder where nothing but decoding happens: less than a CPU, so that the last stage finds a corner.
DECODE_CPUS_ALONE = 0.95
# A decoder takes about as long to start as to decode so much: for less no further one is started.
BYTES_A_DECODER = 4 << 20

ACCELERATOR, NODE_ID = "ray.io/accelerator-type", "ray.io/node-id"  # labels that Ray gives to nodes

Workers = int | tuple[int, int]  # so many, or from .. to, as there is work


def workers_of(text: str) -> Workers:
    """Read "4" as 4 and "2-16" as (2, 16)."""
    fewest, dash, most = text.partition("-")
    if not fewest.isdecimal() or (dash and not most.isdecimal()):
        raise ValueError(f"expected a number of workers or a range such as 2-16, got {text!r}")
    return (int(fewest), int(most)) if dash else int(fewest)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A pool of equal workers."""

    fewest: int
    most: int
    start: int  # with so many; between the two the pool follows its work
    cpus: float  # that a worker counts for
    gpus: float = 0.0
    threads: int = 1  # that it may use
    labels: dict[str, str] = field(default_factory=dict)  # that its node must have, as Ray selects them

    def __str__(self) -> str:
        count = f"{self.most}" if self.fewest == self.most else f"{self.fewest} to {self.most}"
        return f"{count} of {self.cpus:g} CPUs" + (f" and {self.gpus:g} GPUs each" if self.gpus else " each")


class Stages(NamedTuple):
    """The pools of one pass."""

    decode: Stage
    embed: Stage
    write: Stage


@dataclass(frozen=True, kw_only=True)
class Pools:
    """The workers that the user wants; None: as many as suit the cluster."""

    decode_workers: Workers | None = None
    decode_cpus: float | None = None
    embed_workers: Workers | None = None
    embed_cpus: float | None = None
    embed_gpus: float | None = None  # 0.5: two workers share a GPU; 0: none, although the cluster has some

    def __post_init__(self) -> None:
        for name in ("decode_workers", "embed_workers"):
            fewest, most = _range(getattr(self, name), (1, 1))
            if not 1 <= fewest <= most:
                raise ValueError(f"{_flag(name)}: at least 1, and a range must rise, got {fewest}-{most}")
        for name in ("decode_cpus", "embed_cpus", "embed_gpus"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= (0.01 if name == "decode_cpus" else 0)):
                raise ValueError(f"{_flag(name)}: must be positive, got {value:g}")
        if self.embed_gpus is not None and self.embed_gpus > 1 and self.embed_gpus % 1:
            raise ValueError(f"--embed-gpus: a part of one GPU, or whole ones, got {self.embed_gpus:g}")

    def fitted(self, have: Resources, *, n_videos: int, n_bytes: float = math.inf) -> Stages:
        """Fit the pools of a pass over `n_videos` of `n_bytes`. ValueError when the cluster has no place for them."""
        gpus = self._gpus_each(have)
        on_gpus = [node for node in have.all if gpus and node.gpus >= gpus]
        others = [node for node in have.all if node.cpus >= 1 and not (gpus and node.gpus)]
        if not on_gpus and not others:
            raise ValueError(f"no node of the cluster has a CPU for decoding and embedding: {have}")
        # Embedding has nodes of its own: decoding stays away from them, however many CPUs they have.
        apart = bool(on_gpus and others)
        busy = n_videos if self.decode_workers else int(min(n_videos, 1 + n_bytes / BYTES_A_DECODER))
        decode = self._decode(have, others if apart else have.all, max(1, busy), apart=apart)
        embed = self._on_gpus(have, on_gpus, gpus) if on_gpus else self._on_cpus(have, others)
        writers = max(1, have.cpus // 16)
        write = Stage(fewest=writers, most=writers, start=writers, cpus=_down(WRITE_SHARE / writers))
        stages = Stages(decode, embed, write)
        if sum(stage.fewest * stage.cpus for stage in stages) > sum(node.cpus for node in have.all):
            raise ValueError(
                f"decoders ({decode}) and embedding workers ({embed}) find no place side by side in {have}"
            )
        return stages

    def _decode(self, have: Resources, nodes: Sequence[Node], busy: int, *, apart: bool) -> Stage:
        cpus, each = sum(node.cpus for node in nodes), self.decode_cpus
        share = 1.0 if apart else DECODE_SHARE
        if each is None:  # more workers than CPUs share them
            most = _range(self.decode_workers, (1, int(cpus)))[1]
            each = (DECODE_CPUS_ALONE if apart else DECODE_SHARE) * min(1.0, cpus / most)
            room = {node: max(1, int(node.cpus)) for node in nodes if node.cpus}
        else:
            room = {node: int(node.cpus * share / each + 1e-6) for node in nodes}
        places = sum(int(node.cpus / each + 1e-6) for node in nodes)
        fewest, most, start = _count("decode", self.decode_workers, f"{each:g} CPUs", room, places, have)
        most = min(most, busy)
        labels = _away_from_gpus(have) if apart else {}
        return Stage(fewest=min(fewest, most), most=most, start=min(start, most), cpus=_down(each), labels=labels)

    def _on_gpus(self, have: Resources, nodes: Sequence[Node], gpus: float) -> Stage:
        # No CPUs unless asked for: its GPU gives it a place, and decoders on the same node must not keep it out.
        cpus = self.embed_cpus or 0.0
        room = {node: int(min(node.gpus / gpus, node.cpus / cpus if cpus else math.inf) + 1e-6) for node in nodes}
        what = f"{gpus:g} GPUs" + (f" and {cpus:g} CPUs" if cpus else "")
        fewest, most, start = _count("embed", self.embed_workers, what, room, sum(room.values()), have)
        threads = max(1, int(min(node.cpus * gpus / max(node.gpus, gpus) for node in nodes)))
        return Stage(fewest=fewest, most=most, start=start, cpus=cpus, gpus=gpus, threads=threads)

    def _on_cpus(self, have: Resources, nodes: Sequence[Node]) -> Stage:
        cpus, each = sum(node.cpus for node in nodes), self.embed_cpus
        room = {node: max(1, int(node.cpus) // 4) for node in nodes}
        largest = max(node.cpus for node in nodes)
        most = _range(self.embed_workers, (1, sum(room.values())))[1]
        threads = max(1, int(min(cpus / most, largest)))
        if each is None:
            each = EMBED_SHARE * min(cpus / most, largest)
        elif each:
            room = {node: int(node.cpus * (1 - DECODE_SHARE) / each + 1e-6) for node in nodes}
        places = sum(int(node.cpus / each + 1e-6) for node in nodes) if each else 10**6
        fewest, most, start = _count("embed", self.embed_workers, f"{each:g} CPUs", room, places, have)
        return Stage(fewest=fewest, most=most, start=start, cpus=_down(each), threads=threads)

    def _gpus_each(self, have: Resources) -> float:
        """Return how many GPUs an embedding worker takes, or what part of one."""
        if self.embed_gpus is None:
            _, most = _range(self.embed_workers, (1, 1))
            total = sum(node.gpus for node in have.all)
            return gpu_share(most, total)
        if self.embed_gpus > max(node.gpus for node in have.all):
            raise ValueError(f"--embed-gpus {self.embed_gpus:g}: no node has so many; the cluster has {have}")
        return self.embed_gpus


def _range(workers: Workers | None, otherwise: tuple[int, int]) -> tuple[int, int]:
    if workers is None:
        return otherwise
    return workers if isinstance(workers, tuple) else (workers, workers)


def _count(
    stage: str, workers: Workers | None, each: str, room: dict[Node, int], places: int, have: Resources
) -> tuple[int, int, int]:
    """Return the fewest and most workers, and how many to start with.

    room    workers that each node has room for, unless the user says more
    places  workers that all nodes together can have at most
    """
    total = max(1, sum(room.values()))
    # Of a cluster that grows and shrinks no worker is certain but the first.
    fewest, most = _range(workers, (1 if have.more else total, total))
    if fewest > places:
        raise ValueError(f"--{stage}-workers {fewest} of {each} each: there is room for {places} in {have}")
    now = sum(count for node, count in room.items() if node in have.nodes)
    return fewest, min(most, places), max(fewest, min(most, places, now))


def _away_from_gpus(have: Resources) -> dict[str, str]:
    """Select all nodes but those with GPUs: by the kind of GPU, which nodes to come have too, else by name."""
    here, known = [node for node in have.nodes if node.gpus], [node for node in have.all if ACCELERATOR in node.labels]
    label = ACCELERATOR if known and all(ACCELERATOR in node.labels for node in here) else NODE_ID
    values = sorted({node.labels[label] for node in (known if label == ACCELERATOR else here)})
    return {label: f"!in({', '.join(values)})"} if values else {}


def _down(value: float) -> float:
    """Round down to the ten-thousandths that Ray counts in."""
    return math.floor(value * 10_000 + 1e-6) / 10_000


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
