"""Videos in, rows out: what a file is known by, what is seen again, how real odd and broken files end."""

import ast
import csv
import hashlib
import os
import re
import shutil
import socket
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from clips import clip_with_cover, numbered_clip, read_number
from places import GOLDEN_FOLDER, ROOT

from ndvr.models.card import Frames
from ndvr.operators.video.decode import Decode, Job, Limits

VIEW = Frames(fps=1, resize=(96, 96), crop=96)


@pytest.fixture(scope="module")
def decode():
    made = Decode(jobs={"m": Job(view=VIEW, config="m-1")}, run="r", limits=Limits(stall_s=20))
    yield made
    made.close()


def rows_of(decode: Decode, path, **columns) -> list[dict]:
    video = {"video_id": "v", "uri": str(path), "methods": list(decode.jobs)} | columns
    return [row for table in decode(pa.Table.from_pylist([video])) for row in table.to_pylist()]


def test_a_video_becomes_pieces_and_an_end_row_that_says_how(decode, tmp_path):
    numbered_clip(tmp_path / "a.mp4", n_frames=80, fps=25)
    piece, end = rows_of(decode, tmp_path / "a.mp4")
    windows = np.frombuffer(piece["data"], np.uint8).reshape(-1, 96, 96, 3)
    assert [read_number(window) for window in windows] == [12, 37, 62]
    assert piece["start_s"] == [0, 1, 2]
    assert (end["status"], end["frames"], end["piece"], end["windows_count"]) == ("done", 80, 1, 3)
    assert end["decoder"].startswith("pyav ") and not end["partial"] and end["duration_s"] == pytest.approx(3.2)
    assert end["bytes"] == os.path.getsize(tmp_path / "a.mp4") and len(end["sha256"]) == 64


@pytest.mark.parametrize(
    ("name", "codec", "cover_first"), [("a.mkv", "mjpeg", True), ("a.mp4", "png", False), ("b.mp4", "mjpeg", True)]
)
def test_a_cover_marked_as_the_default_track_is_not_the_video(decode, tmp_path, name, codec, cover_first):
    path = clip_with_cover(tmp_path / name, n_frames=80, codec=codec, cover_first=cover_first)
    piece, end = rows_of(decode, path)
    windows = np.frombuffer(piece["data"], np.uint8).reshape(-1, 96, 96, 3)
    assert [read_number(window) for window in windows] == [12, 37, 62]
    assert (end["status"], end["frames"], end["windows_count"]) == ("done", 80, 3)


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("zero.mp4", b"", "empty", "zero bytes"),
        ("page.mp4", b"<html>not found</html>" * 20, "corrupt", "cannot open"),
        ("gone.mp4", None, "io", "No such file"),
    ],
)
def test_what_is_no_video_is_a_failed_row_with_class_and_reason(decode, tmp_path, name, content, kind, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    end = rows_of(decode, tmp_path / name)[-1]
    assert (end["status"], end["error_class"]) == ("failed", kind)
    assert message in end["message"]


def test_a_damaged_file_is_done_and_marked_partial(decode, tmp_path):
    numbered_clip(tmp_path / "whole.mkv", n_frames=250, fps=25)
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "half.mkv").write_bytes(data[: len(data) // 2])
    end = rows_of(decode, tmp_path / "half.mkv")[-1]
    assert end["status"] == "done" and end["partial"]


def test_every_row_says_from_which_bytes_where_and_when(decode, tmp_path):
    numbered_clip(tmp_path / "a.mp4", n_frames=30)
    piece, end = rows_of(decode, tmp_path / "a.mp4")
    content = hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest()
    assert piece["sha256"] == end["sha256"] == content
    assert piece["mtime_ns"] == end["mtime_ns"] == os.stat(tmp_path / "a.mp4").st_mtime_ns
    assert piece["host"] == end["host"] == socket.gethostname().split(".")[0]
    assert piece["started"] == end["started"]
    assert timedelta(0) < datetime.now(timezone.utc) - end["started"] < timedelta(minutes=5)
    assert (end["deaths"], end["quarantined"]) == (0, False)


def test_a_text_file_has_its_hash_too(decode, tmp_path):
    (tmp_path / "page.mp4").write_text("not found")
    first, end = rows_of(decode, tmp_path / "page.mp4")
    assert (first["kind"], first["attempt"], first["decoder"], first["error_class"]) == (
        "attempt",
        1,
        "pyav",
        "corrupt",
    )
    assert (end["kind"], end["attempt"], end["decoder"]) == ("end", 2, "decord")
    assert first["sha256"] == end["sha256"] == hashlib.sha256(b"not found").hexdigest()
    assert "then decord" in end["message"] and "then decord" not in first["message"]


@pytest.fixture(scope="module")
def two():
    jobs = {name: Job(view=VIEW, config=f"{name}-1") for name in ("a", "b")}
    made = Decode(jobs=jobs, run="r", limits=Limits(stall_s=20))
    yield made
    made.close()


def test_the_same_bytes_at_another_place_are_seen_and_not_decoded(two, tmp_path):
    numbered_clip(tmp_path / "a.mp4", n_frames=30)
    content = hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest()
    shutil.copy(tmp_path / "a.mp4", tmp_path / "moved.mp4")
    rows = rows_of(two, tmp_path / "moved.mp4", contents=[content, content])
    assert [(row["kind"], row["method"], row["sha256"]) for row in rows] == [
        ("seen", "a", content),
        ("seen", "b", content),
    ]
    assert {row["uri"] for row in rows} == {str(tmp_path / "moved.mp4")}
    assert {row["bytes"] for row in rows} == {os.path.getsize(tmp_path / "a.mp4")}


def test_each_method_is_seen_or_decoded_on_its_own(two, tmp_path):
    numbered_clip(tmp_path / "a.mp4", n_frames=30)
    content = hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest()
    rows = rows_of(two, tmp_path / "a.mp4", contents=[content, "of other bytes"])
    assert [(row["kind"], row["method"]) for row in rows] == [("seen", "a"), ("piece", "b"), ("end", "b")]


def test_what_was_seen_is_settled_when_the_rest_fails(two, tmp_path):
    (tmp_path / "page.mp4").write_text("not found")
    content = hashlib.sha256(b"not found").hexdigest()
    rows = rows_of(two, tmp_path / "page.mp4", contents=[None, content])
    assert [(row["kind"], row["method"]) for row in rows] == [("seen", "b"), ("attempt", "a"), ("end", "a")]


@pytest.mark.slow
def test_a_file_that_changes_while_it_is_read_is_no_content(tmp_path):
    clip = numbered_clip(tmp_path / "a.mp4", n_frames=400)
    # Every frame is a window and a piece holds 55, so that the child is still at work when the first one is here.
    decode = Decode(jobs={"m": Job(view=Frames(fps=25), config="m-1")}, run="r")
    video = {"video_id": ["v"], "uri": [str(clip)], "methods": [["m"]]}
    tables = decode(pa.table(video))
    assert next(tables)["kind"].to_pylist() == ["piece"]
    os.utime(clip, ns=(1, 1))
    end = [row for table in tables for row in table.to_pylist()][-1]
    decode.close()
    assert (end["status"], end["error_class"]) == ("failed", "io") and "changed" in end["message"]


@pytest.mark.slow
def test_a_generator_that_is_closed_early_leaves_no_child(tmp_path):
    clip = numbered_clip(tmp_path / "a.mp4", n_frames=400)
    decode = Decode(jobs={"m": Job(view=Frames(fps=25), config="m-1")}, run="r")
    tables = decode(pa.table({"video_id": ["v"], "uri": [str(clip)], "methods": [["m"]]}))
    next(tables)
    child = decode.sandbox.pid
    assert child is not None and os.path.exists(f"/proc/{child}")
    tables.close()
    assert decode.sandbox.pid is None and not os.path.exists(f"/proc/{child}")


@pytest.mark.slow
def test_no_file_stays_open_after_many_broken_videos(decode, tmp_path):
    whole = numbered_clip(tmp_path / "whole.mkv", n_frames=10).read_bytes()
    for number in range(30):
        (tmp_path / f"{number}.mkv").write_bytes(whole[: 40 + 14 * number] if number % 2 else b"text %d" % number)

    def opened() -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), decode.sandbox.pid))

    counts = []
    for number in range(30):
        rows_of(decode, tmp_path / f"{number}.mkv")
        counts.append(opened())
    assert max(counts[15:]) <= max(counts[:10])


TABLE = GOLDEN_FOLDER / "odd_and_broken.csv"


@pytest.mark.slow
def test_odd_and_broken_files_end_as_the_table_says(shared, decode):
    """Real files of all kinds; two that take tens of seconds each are left out."""
    with open(TABLE) as file:
        expected = {row["file"]: row for row in csv.DictReader(file)}
    media = shared / "media"
    here = [str(path.relative_to(media)) for sub in ("odd", "broken") for path in (media / sub).iterdir()]
    assert sorted(expected) == sorted(name for name in here if "long_" not in name)
    wrong = []
    for name, row in expected.items():
        end = rows_of(decode, media / name)[-1]
        found = {key: "" if end[key] is None else str(end[key]) for key in row if key != "file"}
        if found != {key: value for key, value in row.items() if key != "file"}:
            wrong.append((name, found, end["message"]))
    assert not wrong


def test_the_table_agrees_with_ffmpeg(shared):
    """Done where ffmpeg finds a frame, with as many; else failed or skipped."""
    from_ffmpeg = _frames_by_ffmpeg(shared / "spec" / "decoders.md")
    with open(TABLE) as file:
        ours = {row["file"]: row for row in csv.DictReader(file)}
    assert len(ours) == len(from_ffmpeg) - 2 > 120
    for name, row in ours.items():
        frames = from_ffmpeg[name]
        if "vvc" in name:
            continue  # FFmpeg 5.1 has no VVC decoder, PyAV's has
        assert (row["status"] == "done") == bool(frames), name
        # A torn transport stream: ffmpeg also shows frames before the first key frame, PyAV does not. In a
        # damaged file the frames left out are counted as packets, some of which would have given none.
        if frames and "loewe" not in name:
            assert abs(int(row["frames"]) - frames) <= (0.1 * frames if name.startswith("broken") else 0), name


def _frames_by_ffmpeg(spec) -> dict[str, int]:
    """File -> frames that ffmpeg decodes, out of the table; None counts as 0."""
    found = {}
    for line in spec.read_text().splitlines():
        if line.startswith(("| odd/", "| broken/")):
            name, frames = (cell.strip() for cell in line.split("|")[1:3])
            first = frames.split()[0]
            found[name] = 0 if first == "None" else int(first)
    return found


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    numbered_clip(tmp_path / "a.mp4", n_frames=80, fps=25)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "operators" / "README.md").read_text(), re.DOTALL)
    exec(example, {})
    piece, end = map(ast.literal_eval, capsys.readouterr().out.splitlines())
    assert (piece[0]["kind"], piece[0]["windows_count"]) == ("piece", 3)
    assert (end[0]["kind"], end[0]["status"], end[0]["message"]) == ("end", "done", None)


def test_a_file_under_the_id_of_another_video_has_to_have_its_bytes(decode, tmp_path):
    numbered_clip(tmp_path / "a.mp4", n_frames=30, fps=25)
    sha256 = hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest()
    (end,) = rows_of(decode, tmp_path / "a.mp4", expected="0" * 64, elsewhere="/day1/a.mp4")
    assert (end["status"], end["error_class"], end["piece"], end["sha256"]) == ("failed", "conflict", 0, sha256)
    assert "another video than /day1/a.mp4" in end["message"]
    *_, end = rows_of(decode, tmp_path / "a.mp4", expected=sha256, elsewhere="/day1/a.mp4")
    assert end["status"] == "done"
    (seen,) = rows_of(decode, tmp_path / "a.mp4", expected=sha256, elsewhere="/day1/a.mp4", contents=[sha256])
    assert seen["kind"] == "seen" and seen["uri"] == str(tmp_path / "a.mp4")


def test_a_file_whose_content_was_removed_is_skipped_before_it_is_decoded(tmp_path):
    numbered_clip(tmp_path / "a.mp4", n_frames=30, fps=25)
    sha256 = hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest()
    decode = Decode(jobs={"m": Job(view=VIEW, config="m-1")}, run="r", removed=frozenset({sha256}))
    try:
        (end,) = rows_of(decode, tmp_path / "a.mp4")
    finally:
        decode.close()
    assert (end["status"], end["message"], end["sha256"]) == ("skipped", "removed by its content", sha256)


def test_what_pyav_refuses_goes_to_the_old_ffmpeg_of_decord_only_behind_walls_and_that_is_recorded(
    decode, tmp_path, monkeypatch
):
    (tmp_path / "a.mp4").write_bytes(b"a page, not a video\n" * 50)
    assert [row["decoder"] for row in rows_of(decode, tmp_path / "a.mp4")] == ["pyav", "decord"]
    monkeypatch.setattr("ndvr.operators.video.decode.missing", lambda walls: ("landlock",))
    assert [row["decoder"] for row in rows_of(decode, tmp_path / "a.mp4")] == ["pyav"], "as on a machine without it"
