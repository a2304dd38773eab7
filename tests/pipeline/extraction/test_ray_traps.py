"""What Ray does that our design works around, on the Ray in use: an upgrade that changes it shall be noticed.

A test that fails here says that a reason for a part of the graph is gone, or that another one has come.
"""

import contextlib
import inspect
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from own_processes import ours

CHANGED = "Ray changed: {} See pipeline/graph.py"

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(autouse=True)
def context():
    """Ray Data's settings, as they were afterwards."""
    from ray.data import DataContext

    before = DataContext.get_current().copy()
    DataContext._set_current(context := before.copy())
    context.enable_progress_bars = False
    yield context
    DataContext._set_current(before)


@pytest.fixture
def manifest(tmp_path):
    pq.write_table(pa.table({"video_id": ["v0", "v1", "v2", "v3"]}), tmp_path / "manifest.parquet")
    return tmp_path / "manifest.parquet"


def checkpointed(context, folder, *, keep: bool) -> None:
    from ray.data.checkpoint import CheckpointConfig

    context.checkpoint_config = CheckpointConfig("video_id", str(folder), delete_checkpoint_on_success=not keep)


def rows_in(folder) -> int:
    return pa.dataset.dataset(folder, format="parquet").count_rows()


def test_the_ray_of_one_machine_has_no_autoscaler_no_dashboard_and_nothing_that_sends_us_the_output_of_workers():
    commands = []
    for process in ours(""):
        with contextlib.suppress(OSError):  # gone meanwhile
            commands.append(Path(f"/proc/{process}/cmdline").read_text())
    assert [command for command in commands if "gcs_server" in command]
    unused = [command for command in commands if "monitor.py" in command or "dashboard.py" in command]
    assert not unused, CHANGED.format("it starts them anyway.")


class TestCheckpoint:
    """Ray Data's own resume. Ours: receipts per piece and an end per video, ndvr.operators.rows."""

    def test_1_a_video_is_done_with_the_first_block_of_its_rows_and_loses_the_others(self, context, manifest, tmp_path):
        import ray

        checkpointed(context, tmp_path / "checkpoint", keep=True)
        context.target_max_block_size = 1000  # every clip is a block

        def clips(fail):
            def of(row):
                for clip in range(3):
                    if fail and (row["video_id"], clip) == ("v3", 2):
                        raise OSError("disk full")
                    yield {**row, "clip": clip, "data": bytes(2000)}

            return of

        def run(fail):
            context.max_errored_blocks = -1 if fail else 0
            # Other CPUs than the sink asks for: the two are not made one task.
            found = ray.data.read_parquet(str(manifest)).flat_map(clips(fail), num_cpus=0.5)
            found.write_parquet(str(tmp_path / "out"))
            return rows_in(tmp_path / "out")

        assert run(fail=True) == 11, CHANGED.format("what came before an error in a block is not written.")
        assert run(fail=False) == 11, CHANGED.format("a half written video is finished when its run goes on.")

    @pytest.mark.parametrize("source", ["items", "arrow"])
    def test_2_what_is_in_memory_is_done_again(self, context, tmp_path, source):
        import ray

        checkpointed(context, tmp_path / "checkpoint", keep=True)
        for _ in range(2):
            videos = pa.table({"video_id": ["v0", "v1", "v2", "v3"]})
            read = ray.data.from_items(videos.to_pylist()) if source == "items" else ray.data.from_arrow(videos)
            read.write_parquet(str(tmp_path / "out"))
        assert rows_in(tmp_path / "out") == 8, CHANGED.format(f"from_{source} resumes.")

    def test_3_a_finished_job_run_again_doubles_its_rows(self, context, manifest, tmp_path):
        import ray

        checkpointed(context, tmp_path / "checkpoint", keep=False)
        for _ in range(2):
            ray.data.read_parquet(str(manifest)).write_parquet(str(tmp_path / "out"))
        assert rows_in(tmp_path / "out") == 8, CHANGED.format("a checkpoint outlives a success by default.")

    def test_4_writing_twice_appends(self, tmp_path):
        import ray

        for _ in range(2):
            ray.data.range(10).write_parquet(str(tmp_path / "out"))
        assert rows_in(tmp_path / "out") == 20, CHANGED.format("write_parquet does not append by default.")


class TestLosses:
    """What goes with a row that raises, or that brings its worker down."""

    def test_5_one_bad_row_takes_its_block_along(self, context):
        import ray

        context.max_errored_blocks = -1

        def work(batch):
            if 500 in batch["id"]:
                raise ValueError("bad row")
            return batch

        left = ray.data.range(1000, override_num_blocks=10).map_batches(work, batch_size=1).count()
        assert left == 900, CHANGED.format("an error costs less, or more, than its block.")

    def test_6_without_a_bound_it_would_be_tried_for_ever(self):
        from ray.data import DataContext
        from ray.data._internal.execution.operators.actor_pool_map_operator import ActorPoolMapOperator

        found = ActorPoolMapOperator._apply_default_remote_args({}, DataContext.get_current())
        assert (found["max_restarts"], found["max_task_retries"]) == (-1, -1), CHANGED.format(
            "tries of actors are bounded by default."
        )

    def test_7_bounded_it_is_given_up_and_the_other_rows_come_through(self, context, tmp_path):
        context.max_errored_blocks = -1
        rows, tries = replay(tmp_path, deadly=(3,), always=True)
        assert tries[3] == 3, CHANGED.format("max_task_retries=2 is not three tries.")
        assert {row["video"] for row in rows} - {3} == {0, 1, 2, 4}, CHANGED.format(
            "other blocks go with a deadly one."
        )

    def test_the_bounds_can_still_be_given(self):
        from ray.data import Dataset

        kinds = {parameter.kind for parameter in inspect.signature(Dataset.map_batches).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD in kinds, CHANGED.format("map_batches takes no max_task_retries.")


class TestReplay:
    """A worker killed while it hands over the tables of a block, which is tried again elsewhere."""

    @pytest.mark.parametrize(
        ("second", "added"),
        # as many: each table once, from either try; fewer: the rest is missing, without an error; more: a longer tail
        [(6, [(4, 2), (5, 2)]), (2, []), (8, [(4, 2), (5, 2), (6, 2), (7, 2)])],
    )
    def test_tables_are_counted_not_compared(self, context, tmp_path, second, added):
        """The first n that arrived stand; of the second try those from the n-th on are taken."""
        context.target_max_block_size = 50_000  # every table is a block
        rows, _ = replay(tmp_path, deadly=(1,), second=second, n_videos=3)
        found = sorted((row["table"], row["attempt"]) for row in rows if row["video"] == 1)
        expected = [(0, 1), (1, 1), (2, 1), (3, 1), *added]
        assert found == expected, CHANGED.format("what is left of a try whose worker died is put together otherwise.")
        assert len(rows) == 12 + len(expected)

    def test_tables_that_share_a_block_are_all_of_one_try(self, context, tmp_path):
        context.target_max_block_size = 32 << 20
        rows, _ = replay(tmp_path, deadly=(1,), second=6, n_videos=3)
        found = [(row["table"], row["attempt"]) for row in rows if row["video"] == 1]
        assert found == [(number, 2) for number in range(6)]


def yielder():
    """A class made here, which travels to workers as it is; they cannot import a test."""

    class Yielder:
        """Six tables of each video; `deadly` ones kill their worker after four."""

        def __init__(self, folder, deadly, always, second):
            self.folder, self.deadly, self.always, self.second = folder, deadly, always, second

        def __call__(self, videos):
            for video in videos["video"].to_pylist():
                tries = self.folder / str(video)
                with open(tries, "a") as file:
                    file.write("x")
                attempt = tries.stat().st_size
                for number in range(6 if attempt == 1 else self.second):
                    yield pa.table(
                        {"video": [video], "table": [number], "attempt": [attempt], "data": [bytes(100_000)]}
                    )
                    if number == 3 and video in self.deadly and (attempt == 1 or self.always):
                        time.sleep(0.5)  # what was handed over shall arrive
                        os.kill(os.getpid(), signal.SIGKILL)

    return Yielder


def replay(folder, *, deadly, always=False, second=6, n_videos=5):
    """Rows that came through, and how often each video was tried."""
    import ray
    from ray.data import ActorPoolStrategy

    dataset = ray.data.from_arrow([pa.table({"video": [video]}) for video in range(n_videos)]).map_batches(
        yielder(),
        fn_constructor_kwargs={"folder": folder, "deadly": deadly, "always": always, "second": second},
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=1, max_tasks_in_flight_per_actor=1),
        num_cpus=0.5,
        max_restarts=-1,
        max_task_retries=2,
    )
    tables = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    rows = [row for table in tables for row in table.drop_columns(["data"]).to_pylist()]
    return rows, {video: (folder / str(video)).stat().st_size for video in range(n_videos)}


class TestFormats:
    """Why blocks are made by us, batches are pyarrow, and features are lists of a fixed size."""

    def test_8_a_manifest_is_one_block_however_many_are_asked_for(self, tmp_path):
        import ray

        pq.write_table(pa.table({"video_id": [f"{number}" for number in range(400)]}), tmp_path / "m.parquet")
        read = ray.data.read_parquet(str(tmp_path / "m.parquet"), override_num_blocks=64)
        assert read.materialize().num_blocks() == 1, CHANGED.format("override_num_blocks splits a small file.")
        small = read.repartition(target_num_rows_per_block=8).materialize().num_blocks()
        assert small == 50, CHANGED.format("repartition makes other blocks.")

    def test_9_numpy_features_reach_the_disk_without_their_shape(self, tmp_path):
        import ray

        made = ray.data.range(10).map_batches(lambda batch: {"feature": np.zeros((len(batch["id"]), 4), np.float16)})
        made.write_parquet(str(tmp_path / "out"))
        kind = pa.dataset.dataset(tmp_path / "out", format="parquet").schema.field("feature").type
        assert not pa.types.is_fixed_size_list(kind), CHANGED.format(f"numpy features are written as {kind}.")

    def test_10_lists_of_a_fixed_size_reach_it_as_they_are(self, tmp_path):
        import ray

        def embed(batch):
            flat = pa.array(np.zeros(4 * len(batch), np.float16))
            return pa.table({"feature": pa.FixedSizeListArray.from_arrays(flat, 4)})

        ray.data.range(10).map_batches(embed, batch_format="pyarrow").write_parquet(str(tmp_path / "out"))
        kind = pa.dataset.dataset(tmp_path / "out", format="parquet").schema.field("feature").type
        assert kind == pa.list_(pa.float16(), 4), CHANGED.format(f"fixed lists are written as {kind}.")

    def test_a_model_on_a_gpu_must_name_a_batch_size(self):
        import ray

        with pytest.raises(ValueError, match="must provide `batch_size`"):
            ray.data.range(1).map_batches(dict, num_gpus=1)
