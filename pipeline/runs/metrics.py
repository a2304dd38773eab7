"""A run's totals as Ray metrics, which every node of a cluster serves to Prometheus.

They appear as ray_ndvr_* (Ray puts its name in front), pushed every ten seconds, on the port that
`metrics_ports()` says. What Ray exports anyway is not repeated: queues and back-pressure by operator
(ray_data_num_external_inqueue_bytes, ray_data_num_external_inqueue_blocks, ray_data_obj_store_mem_used,
ray_data_task_output_backpressure_time), actors (ray_data_num_active_actors, ray_data_num_idle_actors,
ray_data_num_restarting_actors), the object store and the nodes (ray_object_store_memory, ray_node_cpu_utilization,
ray_node_mem_used).

Ray serves metrics where `ray[default]` is installed; with `ray[data]` alone these calls do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from ndvr.pipeline.runs._totals import STAGES, RunTotals

COUNTERS = {  # name: what it counts, tags
    "ndvr_videos_total": ("Videos settled, by what became of them", ("state", "error_class")),
    "ndvr_windows_total": ("Windows whose features were committed: rows of shards", ("method",)),
    "ndvr_receipts_total": ("Rows of the ledger that were committed", ()),
    "ndvr_frames_total": ("Frames decoded", ()),
    "ndvr_bytes_read_total": ("Bytes of the videos settled", ()),
    "ndvr_bytes_written_total": ("Bytes of features that were committed", ()),
    "ndvr_stage_busy_seconds_total": ("Seconds the workers of a stage were busy; of decode: CPU seconds", ("stage",)),
}


class RunMetrics:
    """Counters and gauges of this process. Make it once Ray is up, and `publish` as often as you like."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Gauge

        self._counters = {name: Counter(name, meaning, tag_keys=tags) for name, (meaning, tags) in COUNTERS.items()}
        self._utilisation = Gauge("ndvr_stage_utilisation", "Busy share of a stage's workers of late", ("stage",))
        self._published: dict[tuple[str, ...], float] = {}

    def publish(self, totals: RunTotals, utilisation: Mapping[str, float]) -> None:
        """Raise the counters to the totals, and set the gauges."""
        self._raise_to("ndvr_videos_total", totals.done, state="done", error_class="")
        self._raise_to("ndvr_videos_total", sum(totals.skipped.values()), state="skipped", error_class="")
        for kind, count in totals.failed.items():
            self._raise_to("ndvr_videos_total", count, state="failed", error_class=kind)
        for method, count in totals.windows.items():
            self._raise_to("ndvr_windows_total", count, method=method)
        self._raise_to("ndvr_receipts_total", totals.receipts)
        self._raise_to("ndvr_frames_total", totals.frames)
        self._raise_to("ndvr_bytes_read_total", totals.bytes_read)
        self._raise_to("ndvr_bytes_written_total", totals.bytes_written)
        for stage in STAGES:
            self._raise_to("ndvr_stage_busy_seconds_total", totals.busy_s[stage], stage=stage)
            self._utilisation.set(utilisation[stage], {"stage": stage})

    def _raise_to(self, name: str, value: float, **tags: str) -> None:
        key = (name, *tags.values())
        more = value - self._published.get(key, 0.0)
        if more > 0:
            self._counters[name].inc(more, tags)
            self._published[key] = value


def metrics_ports() -> list[tuple[str, int]]:
    """List address and port of every node that serves metrics; none where `ray[default]` is not installed."""
    import ray

    alive = (node for node in ray.nodes() if node["Alive"])
    return [(node["NodeManagerAddress"], node["MetricsExportPort"]) for node in alive if node["MetricsExportPort"] > 0]


def object_store_used() -> int:
    """Count the bytes in the cluster's object stores: blocks between the stages and in them, and other jobs'."""
    import ray

    try:
        total, free = (of().get("object_store_memory", 0) for of in (ray.cluster_resources, ray.available_resources))
    except ray.exceptions.RayError:
        return 0  # the cluster is going; the run will say so
    return max(0, int(total - free))
