"""Extraction: videos in, a library of features out, streaming on Ray Data.

ndvr extract VIDEOS LIBRARY --method thumbprint --method s2vs

lease -> recover what killed runs left -> plan -> settle every video: the graph (decode, embed, write and commit), and
once more for those that went down with a worker -> give up the rest -> the ledger is read back and must balance ->
close the run: tidy up, fold the ledger
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
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
from ndvr.operators.sandbox.walls import on_this_machine
from ndvr.operators.storage.manifest import Manifest, read_manifest
from ndvr.operators.video import decoders
from ndvr.operators.video.decode import Limits
from ndvr.pipeline.extraction._receipts import Receipts
from ndvr.pipeline.extraction.gone import Gone, check_gone, find_gone, note_back, note_gone
from ndvr.pipeline.extraction.graph import GraphSettings, run_graph
from ndvr.pipeline.extraction.plan import MOST_LOST, Plan, check_retry, count_failures, make_plan
from ndvr.pipeline.extraction.pools import Pools
from ndvr.pipeline.extraction.video_ids import IdFrom, renamed
from ndvr.pipeline.progress import interruptible
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
    prefix: str = "",
    id_from: IdFrom | None = None,
    gone: Gone = "keep",
    address: str | None = None,
    pools: Pools | None = None,
    limits: Limits | None = None,
    progress: bool = True,
) -> Summary:
    """Extract the features of VIDEOS into LIBRARY and return what happened to every one of them.

    Running again continues; what is done under the same configuration is skipped, known failures are left unless
    their class is in `retry`. A known id whose file lies elsewhere and is another video is refused: `prefix` and
    `id_from` make ids that sources do not share (ndvr.pipeline.extraction.video_ids). What a folder gave before and
    has no more is counted; gone="mark" keeps it out of new pairs. ValueError or FileNotFoundError for a wrong setting,
    before any work; Locked when somebody else writes to the library; RunStopped when the run broke down, after which
    it can be run again.
    """
    check_words(decoder, retry, gone)
    chosen, manifest = choose(tuple(methods), weights, options), read_manifest(videos)
    machines: dict[str, Any] = {"limits": limits or Limits(), "pools": pools or Pools(), "address": address}
    check_room(machines["pools"], address, n_videos=len(manifest))
    configs = configure(chosen, decoder)
    opened = Library.create(library)
    manifest = renamed(manifest, prefix=prefix, id_from=id_from, library=opened)
    settings = GraphSettings(library=opened, chosen=chosen, configs=configs, decoder=decoder, **machines)
    arguments = {"videos": str(videos), "decoder": decoder, "retry": sorted(retry), "prefix": prefix}
    with interruptible(), Lease(opened.store, "ndvr extract"):
        recover_runs(opened)
        plan = make_plan(manifest, opened, settings.config_names, retry=frozenset(retry))
        settings = replace(settings, removed_contents=plan.removed_contents)
        add_configs(opened, configs)
        summary = summarise(settings, manifest, plan)
        note_back(opened, plan.back)
        summary.gone = note_gone(opened, find_gone(manifest, opened), manifest.source, mark=gone == "mark")
        if plan.ids:
            with recording(settings, plan, summary, arguments | {"id_from": id_from}, progress=progress) as run:
                carry_out(run, summary)
        recover_runs(opened, patient=True)  # what was killed on a cluster a moment ago: now its workers are gone
    check_complete(summary)
    return summary


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run that writes to a library."""

    id: str
    settings: GraphSettings
    plan: Plan
    status: Status


def check_words(decoder: str, retry: Collection[str], gone: str) -> None:
    """Raise ValueError for a decoder, a class of failures or a way with gone videos that does not exist."""
    decoders.order(decoder)
    check_retry(retry)
    check_gone(gone)


def check_room(pools: Pools, address: str | None, *, n_videos: int) -> None:
    """Raise ValueError when the cluster cannot give what the user asks of it, before anything is written."""
    from ndvr.pipeline.cluster import cluster

    if address or pools != Pools():
        pools.fitted(cluster.join(address), n_videos=n_videos)


def configure(chosen: dict[str, Setting], decoder: str) -> dict[str, Config]:
    """Load every model once, so that a bad setting stops before the first video, and describe its features."""
    return {method: config_of(setting.load("cpu", "embed"), decoder) for method, setting in chosen.items()}


def add_configs(library: Library, configs: dict[str, Config]) -> None:
    """Write down under which configurations the library holds features."""
    for config in configs.values():
        library.add_config(config)


def summarise(settings: GraphSettings, manifest: Manifest, plan: Plan) -> Summary:
    """Count what is settled before the run."""
    skipped = {"already done": len(plan.already), "removed": len(plan.removed)}
    return Summary(
        library=str(settings.library),
        methods=list(settings.configs),
        untrained=[method for method, config in settings.configs.items() if not config.trained],
        videos=len(manifest),
        skipped={why: count for why, count in skipped.items() if count},
        failed=count_failures([*plan.failed_before.values(), *("crash" for _ in plan.lost)]),
        quarantined=len(plan.quarantined) + len(plan.lost),
        ignored=manifest.ignored,
        other_names=manifest.other_names,
        unlisted=manifest.unreadable,
    )


@contextlib.contextmanager
def recording(
    settings: GraphSettings, plan: Plan, summary: Summary, arguments: dict[str, Any], *, progress: bool
) -> Iterator[Run]:
    """Open a run, show its status and keep its record while the block runs."""
    window_bytes = {method: config.window_bytes for method, config in settings.configs.items()}
    status = Status(len(plan.todo), window_bytes=window_bytes, show=progress)
    run = Run(id=new_run(), settings=settings, plan=plan, status=status)
    record = RunRecord(
        run=run.id,
        library=summary.library,
        settings=arguments,
        configs=settings.config_names,
        walls=list(on_this_machine()),
    )
    began = time.monotonic()
    with recorded(record, status=status, summary=summary, write=settings.library.store.write):
        open_run(settings.library, run.id, clustered=settings.address is not None)
        yield run
        summary.seconds = time.monotonic() - began


def carry_out(run: Run, summary: Summary) -> None:
    """Settle every video of the plan, look that the ledger says so, and count what became of each."""
    give_up(run, run.plan.lost, f"{MOST_LOST} workers were gone while they had this video at hand")
    receipts = settle(run)
    give_up_unsettled(run, receipts)
    check_balance(run, receipts)
    close(run, receipts, summary)


def settle(run: Run) -> Receipts:
    """Run the graph over all videos, then over those again that went down with a worker, one a block."""
    receipts = Receipts(run.plan.todo, run.status)
    if run.plan.todo:
        receipts.take_all(run_graph(run.settings, run.plan.todo, run=run.id, status=run.status))
    for number in range(2, PASSES + 1):
        if unsettled := receipts.unsettled():
            again = run_graph(run.settings, unsettled, run=f"{run.id}.{number}", status=run.status, most_per_block=1)
            receipts.take_all(again)
    return receipts


def give_up_unsettled(run: Run, receipts: Receipts) -> None:
    """End the videos whose worker was gone in every pass."""
    for video in receipts.unsettled():
        reason = f"its worker was gone {PASSES} times; nothing is known of the video itself"
        receipts.take(give_up(run, [video], reason))


def give_up(run: Run, videos: list[dict[str, Any]], reason: str) -> pa.Table:
    """Commit the failure of videos, given as rows of the plan, and return the receipts."""
    end = {"run": f"{run.id}.0", "attempt": 1, "kind": "end", "piece": 0, "windows_count": 0}
    end |= {"status": "failed", "error_class": "crash", "message": reason, "quarantined": True}
    rows = [
        {**end, "video_id": video["video_id"], "uri": video["uri"], "bytes": video["bytes"]}
        | {"mtime_ns": video["mtime_ns"], "method": method, "config": run.settings.configs[method].name}
        for video in videos
        for method in video["methods"]
    ]
    return Write(run.settings.library.store, {})(table(rows)) if rows else table([])


def check_balance(run: Run, receipts: Receipts) -> None:
    """Raise RunStopped unless the ledger, as it was committed, says of every video what the receipts said."""
    lookup = run.settings.library.lookup([], run.plan.ids)
    committed = {
        (row["video_id"], row["method"])
        for row in lookup.receipts.select(["video_id", "method", "kind", "run"]).to_pylist()
        if row["kind"] in ("end", "seen") and row["run"].startswith(run.id)
    }
    if missing := receipts.settled() - committed:
        video_id, method = min(missing)
        raise RunStopped(
            f"the ledger of {run.settings.library} does not balance: {len(missing)} results were reported and are not "
            f"in it, {video_id!r} for {method} first; run the same command again"
        )


def close(run: Run, receipts: Receipts, summary: Summary) -> None:
    """Weigh what was written, tidy up, fold the ledger, and count what became of every video."""
    library = run.settings.library
    folders = [COMMITS, *(f"{SHARDS}/{name}" for name in run.settings.config_names.values())]
    summary.bytes = sum(sum(library.store.sizes(folder, run.id).values()) for folder in folders)
    close_run(library, run.id, run.plan.ids)
    receipts.add_to(summary)


def check_complete(summary: Summary) -> None:
    """Raise RunStopped when the summary says nothing of some videos."""
    if summary.unaccounted:
        raise RunStopped(
            f"the ledger of {summary.library} does not balance: it says nothing of {summary.unaccounted} of "
            f"{summary.videos} videos; run the same command again"
        )
