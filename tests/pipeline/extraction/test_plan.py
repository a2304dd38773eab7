"""What a run will do: every video of the manifest once, by what the ledger says and what its file looks like now."""

import os
from datetime import datetime, timezone

import pytest
from made_configs import made_config

from ndvr.operators.library.library import Library
from ndvr.operators.library.runs import WorkNote, new_run, open_run, recover
from ndvr.operators.library.shards import Write
from ndvr.operators.rows import EVERY_CONFIG, table
from ndvr.operators.storage.manifest import read_manifest
from ndvr.pipeline.extraction.plan import MOST_LOST, make_plan
from ndvr.pipeline.upkeep.maintenance import remove

CONFIG = "s2vs-0"


@pytest.fixture
def videos(tmp_path):
    """Four files that nobody will open here."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate(("a.mp4", "b.mp4", "c.mp4", "d.mp4")):
        (folder / name).write_bytes(b"x" * (10 + number))
    return folder


@pytest.fixture
def library(tmp_path):
    return Library.create(tmp_path / "lib")


def say(library, videos, video_id, status="done", **values):
    """Commit an end row for the file as it is now."""
    found = os.stat(videos / video_id)
    end = {"video_id": video_id, "method": "s2vs", "config": CONFIG, "run": new_run(), "attempt": 1, "kind": "end"}
    end |= {"piece": 0, "windows_count": 0, "status": status, "uri": str(videos / video_id), "sha256": video_id}
    end |= {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns}
    Write(str(library), {})(table([end | values]))


def plan_of(library, videos, *retry, methods=("s2vs",)):
    configs = {method: f"{method}-0" for method in methods}
    return make_plan(read_manifest(videos), library, configs, retry=frozenset(retry))


def todo(plan) -> list[str]:
    return [row["video_id"] for row in plan.todo]


def test_new_videos_are_done_the_largest_first(library, videos):
    plan = plan_of(library, videos)
    assert todo(plan) == ["d.mp4", "c.mp4", "b.mp4", "a.mp4"]
    assert plan.todo[0]["methods"] == ["s2vs"] and plan.todo[0]["contents"] == [None] and plan.todo[0]["bytes"] == 13


def test_done_and_skipped_ones_are_settled_and_failures_are_known(library, videos):
    say(library, videos, "a.mp4")
    say(library, videos, "b.mp4", "skipped", message="no picture: sound only")
    say(library, videos, "c.mp4", "failed", error_class="timeout")
    plan = plan_of(library, videos)
    assert (plan.already, plan.failed_before, todo(plan)) == (["a.mp4", "b.mp4"], {"c.mp4": "timeout"}, ["d.mp4"])
    assert todo(plan_of(library, videos, "timeout")) == ["d.mp4", "c.mp4"]
    assert todo(plan_of(library, videos, "io")) == ["d.mp4"]


def test_only_the_methods_that_lack_a_video_are_run_on_it(library, videos):
    say(library, videos, "a.mp4")
    by_id = {row["video_id"]: row["methods"] for row in plan_of(library, videos, methods=("s2vs", "tca")).todo}
    assert by_id["a.mp4"] == ["tca"] and by_id["b.mp4"] == ["s2vs", "tca"]


def test_a_touched_file_is_verified_by_its_bytes_and_one_of_another_size_is_new(library, videos):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        say(library, videos, name)
    os.utime(videos / "a.mp4", ns=(1, 1))
    (videos / "b.mp4").write_bytes(b"another size")
    contents = {row["video_id"]: row["contents"] for row in plan_of(library, videos).todo}
    assert contents == {"a.mp4": ["a.mp4"], "b.mp4": [None], "d.mp4": [None]}


def test_a_quarantined_file_is_tried_again_only_by_that_word_or_when_it_changes(library, videos):
    say(library, videos, "a.mp4", "failed", error_class="crash", quarantined=True, deaths=2)
    assert "a.mp4" not in todo(plan_of(library, videos, "crash"))
    assert plan_of(library, videos, "crash").quarantined == ["a.mp4"]
    assert "a.mp4" in todo(plan_of(library, videos, "quarantined"))
    (videos / "a.mp4").write_bytes(b"mended")
    assert "a.mp4" in todo(plan_of(library, videos))


def test_removed_videos_stay_out_whatever_happens_to_their_files(library, videos):
    say(library, videos, "a.mp4")
    library.add_config(made_config(name=CONFIG))
    remove(str(library), ["a.mp4"])
    (videos / "a.mp4").write_bytes(b"another size")
    plan = plan_of(library, videos, methods=("s2vs", "tca"))
    assert plan.removed == ["a.mp4"] and "a.mp4" not in todo(plan)
    remove(str(library), ["a.mp4"], undo=True)
    assert "a.mp4" in todo(plan_of(library, videos))


def test_a_file_is_out_by_its_content_only_while_it_holds_that(library, videos):
    say(library, videos, "a.mp4", sha256="bad")
    say(library, videos, "b.mp4", sha256="bad")
    library.add_config(made_config(name=CONFIG))
    remove(str(library), ["a.mp4"], content=True)
    plan = plan_of(library, videos)
    assert plan.removed == ["a.mp4", "b.mp4"] and plan.removed_contents == {"bad"}
    for name in ("a.mp4", "b.mp4"):
        (videos / name).write_bytes(b"another size")
    assert plan_of(library, videos).removed == ["a.mp4"] and "b.mp4" in todo(plan_of(library, videos))


def test_a_video_that_lost_its_worker_comes_last_and_is_given_up_after_some(library, videos):
    for lost in range(MOST_LOST):
        plan = plan_of(library, videos)
        assert not plan.lost and (todo(plan)[-1] == "d.mp4") == bool(lost)
        run = new_run()
        open_run(library, run)
        WorkNote(str(library), run).write("d.mp4")  # and the worker is killed
        assert recover(library) == [run]
    assert [row["video_id"] for row in plan_of(library, videos).lost] == ["d.mp4"]
    assert "d.mp4" in todo(plan_of(library, videos, "quarantined"))
    say(library, videos, "d.mp4", finished=datetime.now(timezone.utc))
    os.utime(videos / "d.mp4", ns=(1, 1))
    assert "d.mp4" in todo(plan_of(library, videos)), "it was done since: what was before does not count"


def test_a_file_that_is_gone_is_one_failure_and_not_tried_at_every_run(library, videos, tmp_path):
    listed = tmp_path / "videos.txt"
    listed.write_text("gone videos/gone.mp4\n")
    assert todo(plan_of(library, listed)) == ["gone"]
    end = {"video_id": "gone", "method": "s2vs", "config": CONFIG, "run": "r", "attempt": 1, "kind": "end", "piece": 0}
    Write(str(library), {})(table([end | {"status": "failed", "error_class": "io"}]))
    assert plan_of(library, listed).failed_before == {"gone": "io"}
    assert todo(plan_of(library, listed, "io")) == ["gone"]


def test_unknown_classes_to_retry_are_an_error(library, videos):
    with pytest.raises(ValueError, match=r"unknown error class 'tmeout'; choose from io, .*, quarantined"):
        plan_of(library, videos, "tmeout")


def test_rows_that_hold_for_all_configurations_are_no_videos_of_any(library, videos):
    row = {"video_id": "stranger", "config": EVERY_CONFIG, "run": "r", "attempt": 0, "kind": "lost", "piece": 0}
    Write(str(library), {})(table([row]))
    assert Library(str(library)).entries(CONFIG) == {}
