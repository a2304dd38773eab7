"""Looking after a library: whole, cleared up, videos taken out, and each one's history."""

import json
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from made_configs import made_config

from ndvr.operators.library.feature_reader import FeatureReader
from ndvr.operators.library.library import Library
from ndvr.operators.library.receipt_files import LedgerFiles
from ndvr.operators.library.runs import WorkNote, close_run, new_run, open_run, recover
from ndvr.operators.library.shards import Write
from ndvr.operators.rows import table
from ndvr.operators.scores.groups import videos_of
from ndvr.operators.storage.sealed import Damaged
from ndvr.pipeline.cli import main

CONFIG = made_config(name="s2vs-0")


def run(*arguments, code=0):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def features(video_id: str, content: str, windows: int) -> np.ndarray:
    """What this content of this video always has."""
    seed = np.frombuffer(f"{video_id} {content}".encode(), np.uint8)
    return np.random.default_rng(seed).standard_normal((windows, 4)).astype(np.float16)


def rows(video_id, *, run, content="x", windows=4, attempt=1, pieces=2, ends=True, **end):
    """The rows of a video in pieces of equal size."""
    key = {
        "video_id": video_id,
        "method": "s2vs",
        "config": "s2vs-0",
        "run": run,
        "attempt": attempt,
        "sha256": content,
    }
    found, each = features(video_id, content, windows), windows // pieces
    for piece in range(pieces):
        mine = slice(piece * each, (piece + 1) * each)
        data = {"start_s": np.arange(windows)[mine].astype(float), "data": found[mine].tobytes()}
        yield key | {"kind": "piece", "piece": piece, "windows_count": each} | data
    if ends:
        facts = {"kind": "end", "piece": pieces, "windows_count": windows, "status": "done", "decoder": "pyav 1"}
        yield key | facts | {"bytes": 10, "mtime_ns": 1, "uri": f"{video_id}.mp4"} | end


@pytest.fixture
def library(tmp_path):
    made = Library.create(tmp_path / "lib")
    made.add_config(CONFIG)
    return made


def commit(library, *found, run=None):
    Write(str(library), {"s2vs-0": CONFIG})(table([row for some in found for row in some]))


def held(library) -> dict[str, np.ndarray]:
    opened = Library(str(library))
    return {video_id: found for video_id, _, found in opened.read(opened.entries("s2vs-0").values())}


def physical(library) -> list[tuple[str, str, float]]:
    """Every row in shards/, as another tool would see it."""
    files = sorted((library.store.folder / "shards").rglob("*.parquet"))
    read = [pq.read_table(file).to_pylist() for file in files]
    return sorted((row["video_id"], row["content"], row["start_s"]) for some in read for row in some)


def expected(**contents) -> list[tuple[str, str, float]]:
    return sorted((video, content, float(at)) for video, content in contents.items() for at in range(4))


def test_a_run_that_ended_leaves_every_row_once_whatever_happened_on_the_way(library):
    run = new_run()
    open_run(library, run)
    commit(library, rows("a", run=run), rows("b", run=run, ends=False))  # b's worker is lost
    commit(library, rows("b", run=run, attempt=2), rows("c", run=run))
    commit(library, rows("c", run=run, attempt=2))  # a block decoded twice
    before = held(library)
    assert len(physical(library)) == 20
    close_run(library, run, ["a", "b", "c"])
    assert physical(library) == expected(a="x", b="x", c="x")
    assert {video: found.tobytes() for video, found in held(library).items()} == {
        v: f.tobytes() for v, f in before.items()
    }
    assert "sound" in run_fsck(library)


def run_fsck(library, code=0):
    return run("fsck", library, "--quiet", code=code)


def test_what_a_killed_run_left_is_cleared_up_by_the_next_one(library, tmp_path):
    killed = new_run()
    open_run(library, killed)
    commit(library, rows("a", run=killed), rows("b", run=killed, ends=False))
    (orphan,) = [file for file in (library.store.folder / "shards").rglob("*.parquet")]
    orphan.with_name(f"{killed}-ffff.parquet").write_bytes(orphan.read_bytes())  # killed between shard and commit
    orphan.with_name(".half.parquet.1234.tmp").write_bytes(b"PAR1")
    WorkNote(str(library), killed).write("b")
    leftovers = json.loads(run("fsck", library, "--json", "--quiet"))["leftovers"]
    assert any("ffff" in name for name in leftovers) and any(".tmp" in name for name in leftovers)
    np.savez(tmp_path / "new.npz", features=np.zeros((3, 9, 512), np.float16))
    run("import", tmp_path / "new.npz", library, "--method", "s2vs", "--quiet")  # any writer
    assert [row for row in physical(library) if row[0] != "new"] == expected(a="x")
    assert "no receipt" not in run_fsck(library)
    assert "the worker was gone while it had this video at hand" in run("explain", library, "b")


@pytest.mark.slow
def test_what_a_run_on_a_cluster_left_waits_until_its_workers_are_gone(library, monkeypatch):
    monkeypatch.setattr("ndvr.operators.library.runs.LINGER_S", 1.0)
    killed = new_run()
    open_run(library, killed, clustered=True)
    commit(library, rows("a", run=killed), rows("b", run=killed, ends=False))
    assert recover(library) == [] and len(physical(library)) == 8, "a worker may be about to commit"
    assert recover(library, patient=True) == [killed]
    assert physical(library) == expected(a="x")


def test_a_changed_file_keeps_its_older_features_until_they_are_cleared_away(library):
    commit(library, rows("a", run="r1", content="x"))
    commit(library, rows("a", run="r2", content="y"))
    opened = Library(str(library))
    assert held(library)["a"].tobytes() == features("a", "y", 4).tobytes()
    older = opened.versions("s2vs-0")["a", "x"]
    assert next(opened.read([older]))[2].tobytes() == features("a", "x", 4).tobytes()
    assert "content x" in run("explain", library, "a") and "content y" in run("explain", library, "a")
    run("gc", library)
    assert len(physical(library)) == 8, "without --old-versions they stay"
    assert "removed" in run("gc", library, "--old-versions")
    assert physical(library) == expected(a="y") and list(Library(str(library)).versions("s2vs-0")) == [("a", "y")]
    run_fsck(library)


def test_gc_dry_run_only_says_what_it_would_do(library):
    commit(library, rows("a", run="r1", ends=False))
    assert "would remove 1 files and 4 rows" in run("gc", library, "--dry-run")
    assert len(physical(library)) == 4
    assert "removed 1 files and 4 rows" in run("gc", library)
    assert physical(library) == []


def test_removed_videos_are_invisible_at_once_and_gone_after_gc(library):
    commit(library, rows("a", run="r1"), rows("b", run="r1"))
    run("remove", library, "a", "--reason", "court order 17")
    assert list(held(library)) == ["b"]
    assert "removed: court order 17" in run("explain", library, "a")
    assert "0 videos" in run("remove", library, "a")
    run("remove", library, "a", "--undo")
    assert sorted(held(library)) == ["a", "b"]
    run("remove", library, "a")
    run("gc", library)
    assert physical(library) == expected(b="x")
    run("remove", library, "a", "--undo")
    assert list(held(library)) == ["b"], "its features are gone; it may be extracted again"
    assert "sound" in run_fsck(library)


def test_what_is_removed_by_content_is_out_under_every_name(library):
    commit(library, rows("a", run="r1", content="x"), rows("copy", run="r1", content="x"))
    commit(library, rows("b", run="r1", content="y"))
    out = run("remove", library, "a", "--content", "--reason", "court order 17")
    assert out.startswith("2 videos removed") and list(held(library)) == ["b"]
    assert "removed by its content: court order 17" in run("explain", library, "copy")
    assert "removed: court order 17" in run("explain", library, "a")
    assert "court order" not in run("explain", library, "b")
    commit(library, rows("later", run="r3", content="x"), rows("copy", run="r4", content="z"))
    assert list(held(library)) == ["b", "copy"], "a name stands for what its file holds now"
    assert run("remove", library, "a", "--content").startswith("0 videos removed")
    assert Library(str(library)).lookup([], []).removed_contents == {"x"}
    run("gc", library)
    assert physical(library) == expected(b="y", copy="z")
    assert "sound" in run_fsck(library)


def test_what_was_removed_by_content_comes_back_under_every_name(library):
    commit(library, rows("a", run="r1", content="x"), rows("copy", run="r1", content="x"))
    run("remove", library, "a", "--content")
    skipped = {"status": "skipped", "message": "removed by its content", "kind": "end", "attempt": 1, "piece": 0}
    commit(library, [{"video_id": "new", "method": "s2vs", "config": "s2vs-0", "run": "r2", "sha256": "x"} | skipped])
    assert held(library) == {} and Library(str(library)).entries("s2vs-0")["new"].removed
    run("fsck", library, "--quiet")
    run("remove", library, "copy", "--undo")
    assert sorted(held(library)) == ["copy"], "a is out by its id as well"
    assert "new" not in Library(str(library)).entries("s2vs-0"), "nothing is known of it: it is read when it is met"
    run("remove", library, "a", "--undo")
    assert sorted(held(library)) == ["a", "copy"]


def test_removing_a_video_that_is_not_there_is_an_error_and_removes_nothing(library):
    commit(library, rows("a", run="r1"))
    done = CliRunner().invoke(main, ["remove", str(library), "a", "nobody"])
    assert done.exit_code == 2 and "has no video 'nobody'" in done.output
    assert list(held(library)) == ["a"]


@pytest.mark.parametrize("harm", ["flip", "missing", "cut", "swap", "times"])
def test_fsck_finds_every_kind_of_damage(library, harm):
    commit(library, rows("a", run="r1"))
    commit(library, rows("b", run="r1"))
    first, second = sorted((library.store.folder / "shards").rglob("*.parquet"))
    if harm == "flip":
        stored = pq.read_table(first)["feature"][0].as_py()
        data = bytearray(first.read_bytes())
        data[data.index(np.array(stored, np.float16).tobytes())] ^= 1
        first.write_bytes(data)
    elif harm == "missing":
        first.unlink()
    elif harm == "times":
        stored = pq.read_table(first)
        moved = pa.array([1000.0 + at for at in range(len(stored))])
        pq.write_table(stored.set_column(stored.column_names.index("start_s"), "start_s", moved), first)
    elif harm == "cut":
        first.write_bytes(first.read_bytes()[:-20])
    else:
        one, two = first.read_bytes(), second.read_bytes()
        first.write_bytes(two)
        second.write_bytes(one)
    assert "PROBLEM" in run_fsck(library, code=1)


def test_readers_hand_out_no_features_or_times_but_those_that_were_written(library):
    commit(library, rows("a", run="r1"))
    (shard,) = (library.store.folder / "shards").rglob("*.parquet")
    whole, stored = shard.read_bytes(), pq.read_table(shard)
    changed = {"start times": ("start_s", pa.array([1000.0 + at for at in range(4)]))}
    changed["features"] = ("feature", pa.array([[0.0, 1.0, 2.0, 3.0]] * 4, stored.schema.field("feature").type))
    for what, (column, values) in changed.items():  # in files that are Parquet to the last byte
        pq.write_table(stored.set_column(stored.column_names.index(column), column, values), shard)
        for read in (held, read_piece_by_piece):
            with pytest.raises(Damaged, match=f"{shard} is damaged .it has other {what} than were written.; `ndvr"):
                read(library)
    shard.write_bytes(whole)
    assert held(library)["a"].tobytes() == read_piece_by_piece(library).tobytes() == features("a", "x", 4).tobytes()


def read_piece_by_piece(library) -> np.ndarray:
    entry = Library(str(library)).entries("s2vs-0")["a"]
    return FeatureReader(str(library)).read(videos_of([entry], "s2vs-0")[0].pieces)


def test_digests_of_earlier_versions_speak_of_features_only(library):
    commit(library, rows("a", run="r1"))
    (path,) = (library.store.folder / "commits").iterdir()
    receipts = pq.read_table(path)
    short = [digest and digest[:32] for digest in receipts["digest"].to_pylist()]
    pq.write_table(receipts.set_column(receipts.column_names.index("digest"), "digest", pa.array(short)), path)
    assert held(library)["a"].tobytes() == features("a", "x", 4).tobytes()
    assert "sound" in run_fsck(library)


@pytest.mark.parametrize("folder", ["commits", "ledger", "snapshots", "configs"])
def test_a_byte_that_changed_in_the_ledger_or_a_configuration_is_refused_with_the_remedy(library, folder):
    commit(library, rows("a", run="r1"), rows("b", run="r1"))
    if folder in ("ledger", "snapshots"):
        run("gc", library)
    (path,) = (path for path in (library.store.folder / folder).iterdir() if path.suffix in (".parquet", ".json"))
    whole, shown = path.read_bytes(), run("show", library)
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        done = CliRunner().invoke(main, ["show", str(library)])
        if done.exit_code == 0:  # the name of a seal, which then is none
            assert done.stdout == shown
            continue
        assert done.exit_code == 2 and ("damaged" in done.output or "format" in done.output), (at, done.output)
        assert path.name in done.output or "the configuration " in done.output


@pytest.mark.slow
def test_one_digest_for_the_same_library_however_it_came_to_be(tmp_path):
    digests = set()
    for order in (["a", "b", "c"], ["c", "a", "b"]):
        made = Library.create(tmp_path / "".join(order))
        made.add_config(CONFIG)
        for number, video in enumerate(order):
            commit(made, rows(video, run=f"r{number}", ends=False), rows("z", run=f"r{number}", attempt=number + 1))
            commit(made, rows(video, run=f"s{number}"))
        digests.add(run("fsck", made, "--digest", "--quiet"))
        run("gc", made)
        digests.add(run("fsck", made, "--digest", "--quiet"))
    (one,) = digests
    commit(made, rows("a", run="t", content="other"))
    assert run("fsck", made, "--digest", "--quiet") != one


@pytest.mark.slow
def test_folding_changes_nothing_that_is_read_and_looking_up_reads_little(library):
    stop = datetime.now(timezone.utc) + timedelta(minutes=5)
    videos = [f"v{number:03d}" for number in range(120)]
    for start in range(0, len(videos), 3):
        one = new_run()
        open_run(library, one)
        commit(library, *(rows(video, run=one) for video in videos[start : start + 3]))
        close_run(library, one)
        assert datetime.now(timezone.utc) < stop
    files = LedgerFiles.now(library.store)
    assert len(files.commits) < 20 and 1 <= len(files.snapshot.ledger) <= 4
    opened = Library(str(library))
    assert list(opened.entries("s2vs-0")) == videos and len(held(library)) == len(videos)
    found = opened.lookup(["s2vs-0"], ["v007", "v099", "nobody"])
    assert list(found.entries["s2vs-0"]) == ["v007", "v099"] and len(found.receipts) == 6
    assert "sound" in run_fsck(library)
