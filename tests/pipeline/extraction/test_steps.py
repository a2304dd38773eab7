"""The steps of an extraction around its graph: who is given up, whether the ledger balances, how records close."""

import json

import pyarrow as pa
import pytest
from receipt_rows import end

from ndvr.operators.errors import RunStopped
from ndvr.operators.library.library import Library
from ndvr.operators.library.runs import WorkNote, new_run, open_run, recover
from ndvr.operators.rows import LEDGER
from ndvr.operators.video.decode import Limits
from ndvr.pipeline.extraction import extract as steps
from ndvr.pipeline.extraction._receipts import Receipts
from ndvr.pipeline.extraction.graph import GraphSettings
from ndvr.pipeline.extraction.plan import MOST_LOST, make_plan
from ndvr.pipeline.extraction.pools import Pools
from ndvr.pipeline.progress import interruptible
from ndvr.pipeline.settings import choose


@pytest.fixture
def videos(tmp_path):
    """Two files that nobody will open here."""
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "videos" / name).write_bytes(b"x")
    return tmp_path / "videos"


@pytest.fixture
def settings(tmp_path):
    chosen = choose(("thumbprint",))
    return GraphSettings(
        library=Library.create(tmp_path / "lib"), chosen=chosen, configs=steps.configure(chosen, "auto"),
        decoder="auto", limits=Limits(), pools=Pools(), address=None,
    )  # fmt: skip


def recording(settings, videos):
    manifest = steps.read_manifest(videos)
    plan = make_plan(manifest, settings.library, settings.config_names, retry=frozenset())
    summary = steps.summarise(settings, manifest, plan)
    return summary, steps.recording(settings, plan, summary, arguments={"videos": str(videos)}, progress=False)


def record_of(settings) -> dict:
    (path,) = settings.library.store.folder.glob("runs/*.json")
    return json.loads(path.read_text())


@pytest.mark.slow
def test_videos_that_took_worker_after_worker_down_are_failures_and_need_no_worker(videos, tmp_path):
    library = Library.create(tmp_path / "lib")
    for _ in range(MOST_LOST):
        for name in ("a.mp4", "b.mp4"):
            run = new_run()
            open_run(library, run)
            WorkNote(str(library), run).write(name)  # and the worker is killed
            recover(library)
    summary = steps.extract(videos, tmp_path / "lib", progress=False)
    assert (summary.failed, summary.quarantined, summary.unaccounted) == ({"crash": 2}, 2, 0)
    again = steps.extract(videos, tmp_path / "lib", progress=False)
    assert (again.failed, again.record) == ({"crash": 2}, None)


def test_videos_that_no_pass_could_settle_are_given_up_and_the_ledger_balances(videos, settings):
    summary, opened = recording(settings, videos)
    with opened as run:
        receipts = Receipts(run.plan.todo, run.status)
        steps.give_up_unsettled(run, receipts)
        steps.check_balance(run, receipts)
        steps.close(run, receipts, summary)
    assert summary.failed == {"crash": 2} and summary.bytes > 0
    (entries,) = settings.library.lookup(settings.config_names.values(), ["a.mp4"]).entries.values()
    assert "its worker was gone 3 times" in entries["a.mp4"].end["message"]
    assert record_of(settings)["outcome"] == "finished"


def test_a_video_with_nothing_for_a_method_that_was_added_later_is_skipped_with_that_reason(videos, settings):
    """It was skipped for the method that the library has, too: nothing new comes of that one."""
    summary, opened = recording(settings, videos)
    with opened as run:
        todo = [row | {"methods": ["soundprint", "thumbprint"]} for row in run.plan.todo[:1]]
        receipts = Receipts(todo, run.status)
        nothing = {"status": "skipped", "message": "no sound: no sound stream"}
        rows = [end("a.mp4", kind="seen", status=None, message=None), end("a.mp4", method="soundprint", **nothing)]
        receipts.take(pa.Table.from_pylist(rows, LEDGER))
        receipts.add_to(summary)
        assert summary.skipped == {"no sound: no sound stream": 1}


def test_a_result_that_was_reported_and_is_not_in_the_ledger_stops_the_run(videos, settings):
    _, opened = recording(settings, videos)
    with pytest.raises(RunStopped, match="does not balance: 2 results were reported .* 'a.mp4' for thumbprint first"):
        with opened as run:
            receipts = Receipts(run.plan.todo, run.status)
            steps.give_up_unsettled(run, receipts)
            settings.library.store.remove(*(f"commits/{name}" for name in settings.library.store.names("commits")))
            steps.check_balance(run, receipts)
    assert record_of(settings)["outcome"].startswith("stopped: the ledger of ")


def test_an_interrupted_run_says_how_to_go_on_and_its_record_says_why_it_ended(videos, settings):
    _, opened = recording(settings, videos)
    with pytest.raises(RunStopped, match="interrupted; run the same command again to continue"):
        with interruptible(), opened:
            raise KeyboardInterrupt
    assert record_of(settings)["outcome"] == "stopped: interrupted"
    assert record_of(settings)["counts"]["open"] == 2
