"""The record of a run: kept from its first moment, closed whatever happens, adding up, and saying what bounded it."""

import json
import re

import pytest
from click.testing import CliRunner
from receipt_rows import end, piece

from ndvr.operators.errors import RunStopped
from ndvr.operators.library.library import Library
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cli import main
from ndvr.pipeline.runs._bottleneck import RunSeconds, StageUse, bounded_by
from ndvr.pipeline.runs.record import RunRecord, Summary, close_killed, recorded, runs, runs_text, summary_text
from ndvr.pipeline.runs.status import Status

STORE_FULL = OSError(28, "No space left on device")


def summary_of(videos, **counts) -> Summary:
    return Summary(library="library", methods=["thumbprint"], untrained=[], videos=videos, **counts)


def record_of(run="20261121T120000-abc123", **values) -> RunRecord:
    given = {"library": "library", "settings": {"decoder": "auto"}, "configs": {"thumbprint": "thumbprint-1a2b3c4d"}}
    return RunRecord(run=run, **(given | values))


def feed(status, *rows):
    """Receipts of which each settles its video."""
    for row in rows:
        status.row(piece(row["video_id"]))
        status.row(row)
        status.settle([row])


def seconds_of(**values) -> RunSeconds:
    return RunSeconds(**({"elapsed_s": 58.0, "start_s": 11.0, "work_s": 46.5, "end_s": 0.5} | values))


def stages_of(decode, embed, write) -> list[StageUse]:
    return [
        StageUse(stage=stage, workers=2, busy_s=1, utilisation=busy, share=0.3, count=9, unit="MB", per_s=1)
        for stage, busy in (("decode", decode), ("embed", embed), ("write", write))
    ]


def test_a_finished_run_leaves_a_record_that_adds_up(tmp_path):
    store, summary, status = Store(tmp_path), summary_of(5, skipped={"already done": 2}), Status(3, show=False)
    with recorded(record_of(), status=status, summary=summary, write=store.write):
        status.begin_pass({"decode": 2, "embed": 1, "write": 1}, on_ray=False)
        feed(status, end("a", frames=100), end("b"), end("c", status="failed", error_class="corrupt"))
        summary.done, summary.failed = 2, {"corrupt": 1}
    (found,) = runs(store)
    assert found.outcome == "finished" and found.finished >= found.started
    assert found.counts["videos"] == 5 and found.counts["open"] == 0 and found.reconciles
    assert (found.counts["done"], found.counts["failed"], found.counts["windows"]) == (2, {"corrupt": 1}, 12)
    seconds = found.seconds
    assert seconds.elapsed_s == pytest.approx(seconds.start_s + seconds.work_s + seconds.end_s)
    assert [use.stage for use in found.stages] == ["decode", "embed", "write"]
    assert found.stages[0].busy_s == pytest.approx(3 * 0.2) and found.stages[0].count == 200
    assert {"ray", "torch", "ndvr", "python"} <= found.versions.keys() and found.host and found.command
    assert summary.record.run == found.run


def test_the_record_is_there_while_the_run_goes_on(tmp_path):
    store = Store(tmp_path)
    with recorded(record_of(), status=Status(1, show=False), summary=summary_of(0), write=store.write):
        (found,) = runs(store)
        assert found.outcome == "running" and found.finished is None


def test_a_run_that_broke_down_says_why_and_what_is_still_open(tmp_path):
    store, summary, status = Store(tmp_path), summary_of(10, skipped={"already done": 4}), Status(6, show=False)
    with pytest.raises(RunStopped, match="disk full"):
        with recorded(record_of(), status=status, summary=summary, write=store.write):
            feed(status, end("a"), end("b", status="failed", error_class="timeout"))
            raise RunStopped("extraction stopped: disk full. What was committed is safe; run the same command again")
    (found,) = runs(store)
    assert found.outcome == "stopped: disk full"
    assert (found.counts["done"], found.counts["failed"], found.counts["open"]) == (1, {"timeout": 1}, 4)
    assert found.reconciles


def test_a_run_that_fails_at_once_has_a_record_without_stages(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        with recorded(record_of(), status=Status(1, show=False), summary=summary_of(1), write=store.write):
            raise KeyboardInterrupt
    (found,) = runs(store)
    assert found.outcome == "stopped: interrupted" and found.stages == [] and found.counts["open"] == 1
    assert re.match(r"nothing was committed in \d", found.text())


def test_a_store_that_takes_no_record_does_not_hide_what_stopped_the_run():
    written = []

    def write(name, data):
        if written:
            raise STORE_FULL
        written.append(name)

    with pytest.raises(RuntimeError, match="worker lost"):
        with recorded(record_of(), status=Status(1, show=False), summary=summary_of(1), write=write):
            raise RuntimeError("worker lost")


def test_a_finished_run_whose_record_cannot_be_written_says_so():
    def write(name, data):
        if b'"finished"' in data:
            raise STORE_FULL

    with pytest.raises(OSError, match="No space left"):
        with recorded(record_of(), status=Status(0, show=False), summary=summary_of(0), write=write):
            pass


def test_recovery_closes_the_record_of_a_killed_run_and_no_other(tmp_path):
    store = Store(tmp_path)
    for record in (record_of("r1"), record_of("r2", outcome="finished")):
        store.write(record.name, record.data())
    for run in ("r1", "r2", "never-written"):
        close_killed(store, run)
    assert {found.run: found.outcome for found in runs(store)} == {"r1": "killed", "r2": "finished"}


def test_a_record_of_a_later_version_can_be_read(tmp_path):
    store = Store(tmp_path)
    found = record_of().to_json() | {"colour": "blue"}
    store.write("runs/r1.json", json.dumps(found).encode())
    store.write("runs/r1.open", b"{}")
    assert runs(store) == [record_of(started=found["started"])]


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"[" * 100_000])
def test_what_is_no_record_is_named_and_set_aside(tmp_path, data):
    library = Library.create(tmp_path / "library")
    library.store.write("runs/r1.json", data)
    shown = CliRunner().invoke(main, ["show", str(library), "--runs"])
    assert shown.exit_code == 2 and "runs/r1.json is damaged" in shown.output and "--repair` mends" in shown.output
    assert CliRunner().invoke(main, ["fsck", str(library), "--repair", "--quiet"]).exit_code == 0
    assert CliRunner().invoke(main, ["show", str(library), "--runs"]).exit_code == 0


def test_the_stage_that_was_always_busy_bounded_the_run():
    name, why = bounded_by(stages_of(0.93, 0.31, 0.02), seconds_of())
    assert name == "decode"
    assert why == (
        "decode bounded this run: its 2 workers were busy 93 % of the 46.5 s of work; embed 31 %, write 2 %; "
        "start of Ray and models 11.0 s of 58.0 s"
    )


def test_a_run_that_was_mostly_start_was_bounded_by_it():
    name, why = bounded_by(stages_of(0.93, 0.31, 0.02), seconds_of(elapsed_s=14.0, start_s=11.0, work_s=2.5))
    assert name == "start" and why.startswith(
        "start and end bounded this run: start of Ray and models 11.0 s of 14.0 s"
    )


@pytest.mark.parametrize(
    ("seconds", "name", "evidence"),
    [
        ({"driver_cpu_s": 52.2}, "driver", "the driver used 0.90 of a core to schedule"),
        ({"driver_cpu_s": 5.8, "machine_busy": 0.97}, "cores", "kept them 97 % busy"),
        ({"driver_cpu_s": 5.8, "machine_busy": 0.4}, "none", "waited for files or for Ray"),
        ({"driver_cpu_s": 5.8, "machine_busy": None}, "none", "the driver used 0.10 of a core"),
    ],
)
def test_where_no_stage_was_busy_none_is_blamed(seconds, name, evidence):
    found, why = bounded_by(stages_of(0.55, 0.31, 0.02), seconds_of(**seconds))
    assert found == name and evidence in why and "decode 55 %" in why


def test_the_table_says_what_each_stage_did_and_could_have_done():
    use = StageUse(
        stage="decode", workers=2, busy_s=80, utilisation=0.8, share=0.9, count=12345, unit="frames", per_s=246.9
    )
    header, row, why = record_of(stages=[use], because="decode bounded this run").text().splitlines()
    assert row.split() == ["decode", "2", "80.0", "80", "%", "90", "%", "12,345", "frames", "247", "309"]
    assert len(header) == len(row) and why == "decode bounded this run"


def test_the_summary_of_an_extraction_ends_with_its_table():
    summary = summary_of(
        1, done=1, record=record_of(stages=stages_of(0.9, 0.1, 0.1), because="decode bounded this run")
    )
    assert "decode bounded this run" in summary_text(summary)
    assert summary.to_json()["run"]["run"] == summary.record.run
    assert summary_of(1).to_json()["run"] is None


def test_a_library_lists_its_runs_the_latest_first(tmp_path):
    library = Library.create(tmp_path / "library")
    for number, outcome in ((1, "killed"), (2, "finished")):
        record = record_of(f"r{number}", started=f"2026-11-21T12:0{number}:00+00:00", outcome=outcome)
        library.store.write(record.name, record.data())
    shown = CliRunner().invoke(main, ["show", str(library), "--runs"])
    assert shown.exit_code == 0, shown.output
    _, second, first = shown.stdout.splitlines()
    assert second.startswith("r2 ") and second.endswith("finished") and first.endswith("killed")
    as_json = CliRunner().invoke(main, ["show", str(library), "--runs", "--json"])
    assert [found["run"] for found in json.loads(as_json.stdout)] == ["r2", "r1"]
    assert runs_text([]) == "no run is recorded"
