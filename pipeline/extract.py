"""Extraction: videos in, a library of features out, streaming on Ray Data.

ndvr extract VIDEOS LIBRARY --method thumbprint --method s2vs

plan -> decode + cut (a pool of actors, each with a child that can be killed) -> embed (a pool; GPUs when there
are any) -> write (shards, then the commit that names them) -> receipts, one per row, back to the driver
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ndvr.operators.decode import Decode, Job, Limits
from ndvr.operators.library import CONFIGS, Library, write_json
from ndvr.operators.manifest import Manifest, read_manifest
from ndvr.pipeline.plan import Plan, count_failures, make_plan
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.settings import Setting, choose, describe
from ndvr.pipeline.summary import Summary

MOST_VIDEOS_PER_BLOCK = 16
MOST_VIDEOS_PER_COMMIT = 64


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
        run = _Run(store, chosen, configs, decoder, limits or Limits(), decode_workers, embed_workers, address)
        with Progress("extract", len(plan.todo), "video", show=progress) as bar:
            _consume(run.receipts(plan.todo), plan, summary, bar)
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


def _consume(receipts: Iterator[pa.Table], plan: Plan, summary: Summary, bar: Progress) -> None:
    """Count every receipt; a planned video that no receipt settles is a failure, never a silence."""
    began = time.monotonic()
    waiting = {row["video_id"]: len(row["methods"]) for row in plan.todo}
    ends: dict[str, list[dict]] = {}
    failed_pieces: dict[str, dict] = {}
    stages = {"decode": 0.0, "embed": 0.0, "write": 0.0}
    for table in receipts:
        for row in table.to_pylist():
            stages["embed"] += row["embed_s"] or 0.0
            stages["write"] += row["write_s"] or 0.0
            if row["kind"] == "piece":
                summary.windows += row["windows_count"]
                if row["status"] == "failed":
                    failed_pieces[row["video_id"]] = row
                continue
            ends.setdefault(row["video_id"], []).append(row)
            waiting[row["video_id"]] -= 1
            if waiting[row["video_id"]] == 0:
                mine = ends[row["video_id"]]  # methods share the passes over a video
                stages["decode"] += sum({end["attempt"]: end["decode_s"] or 0.0 for end in mine}.values())
                summary.frames += max(end["frames"] or 0 for end in mine)
                bar.advance(failed=row["status"] == "failed", windows=summary.windows)
    _settle(ends, failed_pieces, waiting, summary)
    summary.stage_seconds = {stage: round(seconds, 3) for stage, seconds in stages.items()}
    summary.seconds = time.monotonic() - began


def _settle(
    ends: dict[str, list[dict]], failed_pieces: dict[str, dict], waiting: dict[str, int], summary: Summary
) -> None:
    kinds = []
    for video_id, left in waiting.items():
        rows = [*ends.get(video_id, []), *([failed_pieces[video_id]] if video_id in failed_pieces else [])]
        failures = [row["error_class"] for row in rows if row["status"] == "failed"]
        if left:
            kinds.append("crash")
        elif failures:
            kinds.append(failures[0])
        elif any(row["status"] == "done" for row in rows):
            summary.done += 1
            summary.partial += any(row["partial"] for row in rows)
            for row in rows:
                if row["status"] == "skipped":
                    what = f"{row['method']} ({row['message']})"
                    summary.without[what] = summary.without.get(what, 0) + 1
        else:
            reason = rows[0]["message"]
            summary.skipped[reason] = summary.skipped.get(reason, 0) + 1
    for kind, count in count_failures(kinds).items():
        summary.failed[kind] = summary.failed.get(kind, 0) + count


@dataclass
class _Run:
    """One pass over the todo list as a Ray Data graph."""

    store: Library
    chosen: dict[str, Setting]
    configs: dict[str, dict[str, Any]]
    decoder: str
    limits: Limits
    decode_workers: int | None
    embed_workers: int | None
    address: str | None

    def receipts(self, todo: list[dict]) -> Iterator[pa.Table]:
        """Build the graph, run it, yield committed receipts as they come."""
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        from ndvr.operators.write import Write
        from ndvr.pipeline import cluster
        from ndvr.pipeline.stages import EmbedActor

        have = cluster.join(self.address)
        _configure_ray_data(DataContext.get_current(), self.limits)
        run = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"
        jobs = {
            method: Job(view=setting.view, config=self.configs[method]["name"], min_windows=setting.card.min_windows)
            for method, setting in self.chosen.items()
        }
        n_decode = min(len(todo), self.decode_workers or have.cpus)
        n_embed = self.embed_workers or have.gpus or max(1, have.cpus // 4)
        # A block costs Ray some 50 ms of two cores: short videos travel together, few enough to share out evenly.
        per_block = max(1, min(MOST_VIDEOS_PER_BLOCK, len(todo) // (32 * n_decode)))
        blocks = [pa.Table.from_pylist(todo[start : start + per_block]) for start in range(0, len(todo), per_block)]
        # Progress and safety come with commits: a small run makes some thirty, a large one fills its shards.
        per_commit = max(1, min(MOST_VIDEOS_PER_COMMIT, len(todo) // 32))
        graph = (
            ray.data.from_arrow(blocks)
            .map_batches(
                Decode,
                fn_constructor_kwargs={"jobs": jobs, "run": run, "decoder": self.decoder, "limits": self.limits},
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
                Write,
                fn_constructor_kwargs={
                    "library": self.store.path,
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
