"""The totals of a run, the status line they make, and how it is shown in a terminal and in a log."""

import io
import os
import pty
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

from receipt_rows import end, piece

from ndvr.pipeline.progress import Line, Progress
from ndvr.pipeline.runs._totals import RunTotals
from ndvr.pipeline.runs.status import Status


def working(total=10, **settings) -> Status:
    """A status ten seconds after its start, with two decoders that began two seconds after it."""
    status = Status(total, show=False, **settings)
    status.began_s -= 10
    status.begin_pass({"decode": 2, "embed": 1, "write": 1}, on_ray=False)
    status._staff[0] = (status.began_s + 1, status.workers)
    return status


def ago(seconds):
    return datetime.now(timezone.utc) - timedelta(seconds=seconds)


def test_videos_are_counted_once_by_what_became_of_them():
    totals = RunTotals()
    totals.settle([end("a", decode_s=1.5, frames=100)])
    totals.settle([end("b", status="failed", error_class="corrupt")])
    totals.settle([end("c", method="s2vs"), end("c", method="ausil", status="skipped", message="no sound")])
    totals.settle([end("d", status="skipped", message="no picture")])
    totals.settle([end("e", kind="seen", status=None)])
    assert totals.done == 2 and totals.failed == {"corrupt": 1}
    assert totals.skipped == {"no picture": 1, "already done": 1}
    assert totals.settled == 5


def test_a_pass_over_a_video_that_methods_share_is_counted_once():
    totals = RunTotals()
    totals.row(end("a", kind="attempt", method="s2vs", attempt=1, decode_s=2.0))
    totals.row(end("a", kind="attempt", method="visil", attempt=1, decode_s=2.0))
    totals.settle([
        end("a", method="ausil", attempt=1, decode_s=2.0),
        end("a", method="s2vs", attempt=2, decode_s=3.0),
        end("a", method="visil", attempt=2, decode_s=3.0),
    ])  # fmt: skip
    assert totals.busy_s["decode"] == 5.0


def test_windows_and_bytes_are_those_that_were_committed():
    totals = RunTotals(window_bytes={"thumbprint": 512})
    totals.row(piece("a", windows_count=20, embed_s=0.5, write_s=0.25))
    totals.row(piece("b", windows_count=7, status="failed", error_class="oom", embed_s=None, write_s=None))
    assert totals.windows == {"thumbprint": 20} and totals.bytes_written == 20 * 512
    assert totals.busy_s["embed"] == 0.5 and totals.busy_s["write"] == 0.25
    assert totals.receipts == 2


def test_the_slowest_videos_are_named_with_where_they_are():
    totals = RunTotals()
    for number in range(20):
        totals.settle([end(f"v{number}", decode_s=float(number), uri=f"/videos/v{number}.mp4")])
    assert [video["decode_s"] for video in totals.slowest] == [19, 18, 17, 16, 15]
    assert totals.slowest[0] == {"video_id": "v19", "uri": "/videos/v19.mp4", "decode_s": 19.0}


def test_a_video_begun_in_the_future_by_the_clock_of_its_machine_was_begun_now():
    totals = RunTotals()
    totals.row(piece("a", started=ago(-3600)))
    assert totals.first_s <= time.monotonic()


def test_the_line_says_how_far_how_fast_how_long_and_what_failed():
    status = working(total=10)
    status.row(piece("a", windows_count=80, embed_s=4.0, write_s=0.08, started=ago(8)))
    for name in "abc":
        status.settle([end(name, decode_s=5.0)])
    status.settle([end("d", status="failed", error_class="timeout", decode_s=0.2)])
    status._tick()
    line = status.text(None)
    assert line.startswith("extract 4/10 videos | 0.5/s, 00:12 left | failed: 1 timeout | ")
    # 15.2 s of decoding in 8 s of two workers, 4 s of embedding in 8 s of one
    assert line.endswith("decode 95 % embed 50 % write 1 % | 10 windows/s")


def test_the_line_fits_the_terminal_by_leaving_its_last_parts_out():
    status = working(total=1000)
    status.row(piece("a", started=ago(8)))
    status.settle([end("a", status="failed", error_class="corrupt")])
    status._tick()
    for width in range(10, 140):
        assert len(status.text(width)) <= width
    assert status.text(60).startswith("extract 1/1,000 videos | 0.1/s") and "windows/s" not in status.text(60)


def test_a_total_that_nobody_knows_is_not_guessed():
    status = working(total=None)
    status.row(piece("a", started=ago(8)))
    status.settle([end("a")])
    status._tick()
    assert status.text(None).startswith("extract 1 videos | 0.1/s | decode")


def test_before_anything_was_committed_the_line_says_what_it_waits_for():
    status = Status(10, show=False)
    status._tick()
    assert status.text(None) == "extract 0/10 videos | starting Ray, 00:00"
    status.begin_pass({"decode": 2}, on_ray=False)
    assert status.text(None) == "extract 0/10 videos | at work, nothing committed yet, 00:00"


def test_a_later_pass_of_fewer_workers_counts_for_as_long_as_it_lasts():
    status = Status(10, show=False)
    status._staff = [(100.0, {"decode": 8}), (110.0, {"decode": 1})]
    assert status.worker_s("decode", 100, 120) == 8 * 10 + 1 * 10
    assert status.worker_s("decode", 105, 112) == 8 * 5 + 1 * 2
    assert status.worker_s("decode", 90, 100) == 0


def test_a_status_may_be_fed_while_its_line_is_drawn():
    status = Status(2000, show=False)
    with status:
        feeders = [threading.Thread(target=_feed, args=(status, name)) for name in ("a", "b")]
        for feeder in feeders:
            feeder.start()
        for feeder in feeders:
            feeder.join()
    assert status.totals.settled == 2000 and sum(status.totals.failed.values()) == 2000


def _feed(status, name):
    for number in range(1000):
        status.row(piece(f"{name}{number}"))
        status.settle([end(f"{name}{number}", status="failed", error_class=f"class{number % 50}")])


def test_a_log_gets_whole_lines_and_the_last_state(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with Progress("dedupe", 80, "video") as bar:
        for _ in range(79):
            bar.advance(windows=3)
        bar.advance(failed=True, windows=3)
    (line,) = log.getvalue().splitlines()
    assert line.startswith("dedupe: 100%") and "80/80" in line and line.endswith("failed=1, windows=3]")
    assert "\r" not in log.getvalue()


def test_quiet_work_shows_nothing(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with Progress("dedupe", 1, "video", show=False) as bar, Status(1, show=False):
        bar.advance()
    assert log.getvalue() == ""


def test_a_terminal_gets_one_line_in_place(monkeypatch):
    ours, theirs = pty.openpty()
    with open(theirs, "w") as terminal, monkeypatch.context() as context:
        context.setattr(sys, "stderr", terminal)
        line = Line()
        line.show(lambda width: "a longer line")
        line.show(lambda width: "short")
        line.show(lambda width: "last", last=True)
    shown = b""
    while not shown.endswith(b"\n"):
        shown += os.read(ours, 1000)
    os.close(ours)
    assert shown.decode() == "\ra longer line\rshort        \rlast \r\n"


def test_a_log_that_was_closed_does_not_stop_the_work(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with Progress("dedupe", 1, "video") as bar:
        log.close()
        bar.advance()
    assert bar.done == 1
