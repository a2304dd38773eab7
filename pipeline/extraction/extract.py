"""Extraction: videos in, a library of features out, streaming on Ray Data.

ndvr extract VIDEOS LIBRARY --method thumbprint --method s2vs

lease -> recover what killed runs left -> plan -> the graph (decode, embed, write and commit) -> once more what went
down with a worker -> the ledger is read back and must balance -> tidy up, fold the ledger, close the run
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ndvr.operators.errors import RunStopped
from ndvr.operators.library.config import Config
from ndvr.operators.library.lease import Lease
from ndvr.operators.library.library import Library
from ndvr.operators.library.receipt_files import COMMITS
from ndvr.operators.library.runs import close_run, new_run, open_run
from ndvr.operators.library.shards import SHARDS, Write
from ndvr.operators.rows import table
from ndvr.operators.storage.manifest import Manifest, read_manifest
from ndvr.operators.video.decode import Limits
from ndvr.pipeline.extraction.graph import Graph
from ndvr.pipeline.extraction.plan import MOST_LOST, Plan, check_retry, count_failures, make_plan
from ndvr.pipeline.extraction.pools import Pools
from ndvr.pipeline.extraction.receipts import Receipts
from ndvr.pipeline.runs.record import RunRecord, Summary, recorded, recover_runs
from ndvr.pipeline.runs.status import Status
from ndvr.pipeline.settings import Setting, choose, config_of

PASSES = 3


def extract(
    videos: str | Path,
    library: str | Path,
    *,
    methods: tuple[str, ...] | list[str] = ("thumbprint",),
    weights: dict[str, str] | None = None,
    options: dict[str, Any] | None = None,
    decoder: str = "auto",
    retry: tuple[str, ...] | frozenset[str] = (),
    address: str | None = None,
    pools: Pools | None = None,
    limits: Limits | None = None,
    progress: bool = True,
) -> Summary:
    """Extract the features of VIDEOS into LIBRARY and return what happened to every one of them.

    Running again continues; what is done under the same configuration is skipped, known failures are left unless
    their class is in `retry`. ValueError or FileNotFoundError for a wrong setting, before any work; Locked when
    somebody else writes to the library; RunStopped when the run broke down, after which it can be run again.
    """
    from ndvr.operators.video import decoders
    from ndvr.pipeline.cluster import cluster

    decoders.order(decoder)
    check_retry(retry)
    chosen = choose(tuple(methods), weights, options)
    manifest = read_manifest(videos)
    if address or pools not in (None, Pools()):  # what the cluster cannot give is said before anything is written
        (pools or Pools()).fitted(cluster.join(address), n_videos=len(manifest))
    configs = _configure(chosen, decoder)
    store = Library.create(library)
    with Lease(store.store, "ndvr extract"):
        for config in configs.values():
            store.add_config(config)
        recover_runs(store)
        names = {method: config.name for method, config in configs.items()}
        plan = make_plan(manifest, store, names, retry=frozenset(retry))
        run = _Run(store, configs, plan, clustered=address is not None)
        summary = _opening(store, configs, manifest, plan)
        if plan.ids:
            status = Status(
                len(plan.todo),
                window_bytes={method: config.window_bytes for method, config in configs.items()},
                show=progress,
            )
            record = run.record(summary, {"videos": str(videos), "decoder": decoder, "retry": sorted(retry)})
            graph = Graph(
                store=store,
                run=run.id,
                chosen=chosen,
                configs=configs,
                decoder=decoder,
                limits=limits or Limits(),
                pools=pools or Pools(),
                address=address,
                record=record,
                status=status,
            )
            began = time.monotonic()
            try:
                with recorded(record, status=status, summary=summary, write=store.store.write):
                    run(graph, summary, status)
                    summary.seconds = time.monotonic() - began
            except KeyboardInterrupt:
                raise RunStopped(
                    "interrupted. What was committed is safe; run the same command again to continue"
                ) from None
        recover_runs(store, patient=True)  # what was killed on a cluster a moment ago: now its workers are gone
    if summary.unaccounted:
        raise RunStopped(
            f"the ledger of {store} does not balance: it says nothing of {summary.unaccounted} of {summary.videos} "
            "videos; run the same command again"
        )
    return summary


def _configure(chosen: dict[str, Setting], decoder: str) -> dict[str, Config]:
    """Load every model once here, so that a bad setting stops before the first video, and say what it is."""
    return {method: config_of(setting.load("cpu", "embed"), decoder) for method, setting in chosen.items()}


def _opening(store: Library, configs: dict[str, Config], manifest: Manifest, plan: Plan) -> Summary:
    skipped = {"already done": len(plan.already), "removed": len(plan.removed)}
    return Summary(
        library=str(store),
        methods=list(configs),
        untrained=[method for method, config in configs.items() if not config.trained],
        videos=len(manifest),
        skipped={why: count for why, count in skipped.items() if count},
        failed=count_failures([*plan.failed_before.values(), *("crash" for _ in plan.lost)]),
        quarantined=len(plan.quarantined) + len(plan.lost),
        ignored=manifest.ignored,
    )


class _Run:
    """The part of an extraction that writes."""

    def __init__(self, store: Library, configs: dict[str, Config], plan: Plan, *, clustered: bool):
        self.id, self.store, self.configs, self.plan, self.clustered = new_run(), store, configs, plan, clustered

    def __call__(self, graph: Graph, summary: Summary, status: Status) -> None:
        receipts = Receipts(self.plan.todo, status)
        open_run(self.store, self.id, clustered=self.clustered)
        if self.plan.lost:
            self._fail(self.plan.lost, f"{MOST_LOST} workers were gone while they had this video at hand")
        for receipt in self._passes(graph, receipts):
            receipts.take(receipt)
        for row in receipts.unsettled():
            reason = f"its worker was gone {PASSES} times; nothing is known of the video itself"
            receipts.take(self._fail([row], reason))
        self._check(receipts)
        folders = [COMMITS, *(f"{SHARDS}/{config.name}" for config in self.configs.values())]
        summary.bytes = sum(sum(self.store.store.sizes(folder, self.id).values()) for folder in folders)
        close_run(self.store, self.id, self.plan.ids)
        receipts.add_to(summary)

    def record(self, summary: Summary, settings: dict[str, Any]) -> RunRecord:
        """What is kept of this run."""
        configs = {method: config.name for method, config in self.configs.items()}
        return RunRecord(run=self.id, library=summary.library, settings=settings, configs=configs)

    def _passes(self, graph: Graph, receipts: Receipts) -> Iterator[pa.Table]:
        """All videos, then those again that went down with a worker, one a block."""
        if self.plan.todo:
            yield from graph.receipts(self.plan.todo)
        for number in range(2, PASSES + 1):
            if left := receipts.unsettled():
                yield from replace(graph, run=f"{self.id}.{number}").receipts(left, most_per_block=1)

    def _fail(self, videos: list[dict[str, Any]], reason: str) -> pa.Table:
        """Commit the end of videos, given as rows of the plan, that no worker could tell us the end of."""
        end = {"run": f"{self.id}.0", "attempt": 1, "kind": "end", "piece": 0, "windows_count": 0}
        end |= {"status": "failed", "error_class": "crash", "message": reason, "quarantined": True}
        rows = [
            {**end, "video_id": video["video_id"], "uri": video["uri"], "bytes": video["bytes"]}
            | {"mtime_ns": video["mtime_ns"], "method": method, "config": self.configs[method].name}
            for video in videos
            for method in video["methods"]
        ]
        return Write(str(self.store), {})(table(rows))

    def _check(self, receipts: Receipts) -> None:
        """The ledger as it was committed must say of every video what the receipts said."""
        found = self.store.lookup([], self.plan.ids).receipts.select(["video_id", "method", "kind", "run"]).to_pylist()
        said = {
            (row["video_id"], row["method"])
            for row in found
            if row["kind"] in ("end", "seen") and row["run"].startswith(self.id)
        }
        if missing := receipts.settled() - said:
            video_id, method = min(missing)
            raise RunStopped(
                f"the ledger of {self.store} does not balance: {len(missing)} results were reported and are not in "
                f"it, {video_id!r} for {method} first; run the same command again"
            )
