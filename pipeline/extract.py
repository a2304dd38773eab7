"""Extraction: videos in, a library of features out, streaming on Ray Data.

ndvr extract VIDEOS LIBRARY --method thumbprint --method s2vs

plan -> decode + cut (a pool of actors, each with a child that can be killed) -> embed (a pool; GPUs when there
are any) -> write (shards, then the commit that names them) -> receipts, one per row, back to the driver
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from ndvr.operators.decode import Limits
from ndvr.operators.library import CONFIGS, Library, write_json
from ndvr.operators.manifest import Manifest, read_manifest
from ndvr.pipeline.graph import Graph
from ndvr.pipeline.plan import Plan, count_failures, make_plan
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.receipts import Receipts
from ndvr.pipeline.settings import Setting, choose, describe
from ndvr.pipeline.summary import Summary

MORE_PASSES = 2


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
    decode_workers: int | None = None,
    embed_workers: int | None = None,
    limits: Limits | None = None,
    progress: bool = True,
) -> Summary:
    """Extract the features of VIDEOS into LIBRARY and return what happened to every one of them.

    Running again continues; what is done under the same configuration is skipped, known failures are left unless
    their class is in `retry`. ValueError or FileNotFoundError for a wrong setting, before any work.
    """
    from ndvr.operators import decoders

    decoders.order(decoder)
    chosen = choose(tuple(methods), weights, options)
    manifest = read_manifest(videos)
    store = Library.create(library)
    configs = _configure(store, chosen, decoder)
    plan = make_plan(
        manifest, store, {method: about["name"] for method, about in configs.items()}, retry=frozenset(retry)
    )
    summary = _opening(store, configs, manifest, plan)
    if plan.todo:
        graph = Graph(
            store=store,
            run=f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}",
            chosen=chosen,
            configs=configs,
            decoder=decoder,
            limits=limits or Limits(),
            decode_workers=decode_workers,
            embed_workers=embed_workers,
            address=address,
        )
        began, receipts = time.monotonic(), Receipts(plan.todo)
        with Progress("extract", len(plan.todo), "video", show=progress) as bar:
            receipts.take(graph.receipts(plan.todo), bar)
            for _ in range(MORE_PASSES):  # what went down with a worker, one video a block
                if lost := receipts.unsettled():
                    receipts.take(graph.receipts(lost, most_per_block=1), bar)
        receipts.add_to(summary, began)
    return summary


def _configure(store: Library, chosen: dict[str, Setting], decoder: str) -> dict[str, dict[str, Any]]:
    """Load every model once here, so that a bad setting stops before the first video, and record what it is."""
    configs = {}
    for method, setting in chosen.items():
        about = describe(setting, setting.load("cpu", "embed"), decoder)
        configs[method] = about
        path = store.path / CONFIGS / f"{about['name']}.json"
        if not path.exists():
            write_json(path, about)
    return configs


def _opening(store: Library, configs: dict[str, dict], manifest: Manifest, plan: Plan) -> Summary:
    return Summary(
        library=str(store.path),
        methods=list(configs),
        untrained=[method for method, about in configs.items() if not about["trained"]],
        videos=len(manifest),
        skipped={"already done": len(plan.already)} if plan.already else {},
        failed=count_failures(plan.failed_before.values()),
        ignored=manifest.ignored,
    )
