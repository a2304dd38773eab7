"""What Prometheus gets to see of a run, scraped from a real Ray of its own."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from places import python_path

pytestmark = pytest.mark.ray

# Settles four videos, sends blocks through a slow stage meanwhile, then prints what the node's endpoint serves.
RUN = """
import json, sys, time, urllib.request
import ray
from receipt_rows import end, piece
from ndvr.pipeline.runs.metrics import metrics_ports, object_store_used
from ndvr.pipeline.runs.status import Status

# Pushed every half second in place of every ten: the test shall not wait.
ray.init(include_dashboard=False, num_cpus=2, object_store_memory=100 << 20, log_to_driver=False,
         _system_config={"metrics_report_interval_ms": 500})
kept = ray.put(b"x" * 10_000_000)

def slow(batch):
    time.sleep(0.5)
    return batch

with Status(4, window_bytes={"thumbprint": 512}, show=False) as status:
    status.begin_pass({"decode": 2, "embed": 1, "write": 1})
    for name in "ab":
        status.row(piece(name, windows_count=20, embed_s=0.5, write_s=0.25))
        status.settle([end(name, frames=100, decode_s=2.0)])
    status.settle([end("c", status="failed", error_class="timeout", decode_s=0.5, frames=None)])
    status.settle([end("d", status="skipped", message="no picture", decode_s=0.0, frames=0)])
    rows = ray.data.range(12, override_num_blocks=12).map_batches(slow, num_cpus=1)
    for _ in rows.iter_batches(batch_size=None):
        pass
    stored = status.most_queued_bytes
    address = metrics_ports()
    deadline, text = time.monotonic() + 30, ""
    while time.monotonic() < deadline and not ("ndvr_stage_utilisation" in text and "ray_data_" in text):
        time.sleep(0.5)
        for _, port in address:
            text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
print(json.dumps({"ports": address, "text": text, "stored": stored}))
"""


@pytest.fixture(scope="module")
def scraped():
    """{name: {labels of ours: value}} of what the endpoint serves, and what the script saw besides."""
    if importlib.util.find_spec("prometheus_client") is None:
        pytest.skip("needs Ray's exporter: pip install 'ray[default]'")
    from prometheus_client.parser import text_string_to_metric_families

    tests = python_path()
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": tests},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    metrics = {}
    for family in text_string_to_metric_families(found["text"]):
        for sample in family.samples:
            ours = [sample.labels[key] for key in ("state", "error_class", "method", "stage") if key in sample.labels]
            metrics.setdefault(sample.name, {})[tuple(ours)] = sample.value
    return metrics, found


def test_videos_are_counted_by_what_became_of_them_and_failures_by_class(scraped):
    metrics, _ = scraped
    assert metrics["ray_ndvr_videos_total"] == {("done", ""): 2, ("failed", "timeout"): 1, ("skipped", ""): 1}


def test_rows_windows_frames_and_bytes_are_counted(scraped):
    metrics, _ = scraped
    assert metrics["ray_ndvr_windows_total"] == {("thumbprint",): 40}
    assert metrics["ray_ndvr_bytes_written_total"] == {(): 40 * 512}
    assert metrics["ray_ndvr_receipts_total"] == {(): 2}
    assert metrics["ray_ndvr_frames_total"] == {(): 200}
    assert metrics["ray_ndvr_bytes_read_total"] == {(): 4000}


def test_every_stage_says_how_long_it_was_busy_and_how_busy_it_is(scraped):
    metrics, _ = scraped
    assert metrics["ray_ndvr_stage_busy_seconds_total"] == {("decode",): 4.5, ("embed",): 1.0, ("write",): 0.5}
    utilisation = metrics["ray_ndvr_stage_utilisation"]
    assert utilisation.keys() == {("decode",), ("embed",), ("write",)}
    assert all(0 <= value <= 1 for value in utilisation.values()) and utilisation["decode",] > 0


@pytest.mark.parametrize(
    "name",
    [
        "ray_data_num_external_inqueue_bytes",
        "ray_data_num_external_inqueue_blocks",
        "ray_data_obj_store_mem_used",
        "ray_data_task_output_backpressure_time",
        "ray_data_num_active_actors",
        "ray_data_num_idle_actors",
        "ray_data_num_restarting_actors",
        "ray_object_store_memory",
        "ray_node_cpu_utilization",
        "ray_node_mem_used",
    ],
)
def test_what_we_leave_to_ray_is_served_by_it(scraped, name):
    metrics, _ = scraped
    assert name in metrics


def test_what_lies_in_the_object_store_is_seen_while_the_run_goes_on(scraped):
    _, found = scraped
    assert found["stored"] >= 10_000_000
