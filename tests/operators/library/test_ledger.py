"""What receipts add up to: the latest word on a video, whatever the order and number of commits."""

from datetime import datetime, timezone

import numpy as np
import pytest
from published_features import imported

from ndvr.operators.library._ledger import latest
from ndvr.operators.library.library import Library
from ndvr.operators.rows import LEDGER, table


def piece(number=0, *, video="a", run="r1", attempt=1, shard="s1", windows=2, status=None, message=None):
    key = {"video_id": video, "run": run, "attempt": attempt, "kind": "piece", "piece": number}
    where = {"shard": shard, "shard_row": 10 * number, "windows_count": windows}
    return key | where | {"status": status, "error_class": status and "oom", "message": message}


def end(status="done", *, pieces=1, video="a", run="r1", attempt=1, at_s=1, size=100, mtime_ns=5, sha256="x", **more):
    key = {"video_id": video, "run": run, "attempt": attempt, "kind": "end", "piece": pieces, "status": status}
    file = {"bytes": size, "mtime_ns": mtime_ns, "sha256": sha256}
    return key | file | {"finished": datetime.fromtimestamp(at_s, timezone.utc)} | more


def entries(*rows):
    return latest(table(list(rows), LEDGER))


def test_a_video_is_done_with_all_its_pieces_in_order():
    (entry,) = entries(piece(2), end(pieces=3, decoder="pyav"), piece(0), piece(1)).values()
    assert (entry.video_id, entry.status, entry.windows, entry.end["decoder"]) == ("a", "done", 6, "pyav")
    assert [row["shard_row"] for row in entry.pieces] == [0, 10, 20]
    assert dict(entry.end)["bytes"] == 100 and entry.end.get("no such column") is None


def test_videos_are_sorted_by_id_and_do_not_share_pieces():
    rows = [row for video in "cab" for row in (piece(video=video, shard=video), end(video=video))]
    found = entries(*rows)
    assert list(found) == ["a", "b", "c"]
    assert [entry.pieces[0]["shard"] for entry in found.values()] == ["a", "b", "c"]


def test_an_end_without_all_its_pieces_says_nothing():
    assert entries(piece(0), end(pieces=2)) == {}
    assert entries(piece(0), piece(0), end(pieces=2)) == {}  # the same one twice
    assert entries(piece(0, run="r1"), piece(1, run="r2"), end(pieces=2)) == {}
    assert entries(piece(0, attempt=1), end(pieces=1, attempt=2)) == {}


def test_of_a_piece_that_was_committed_twice_the_later_row_counts():
    (entry,) = entries(piece(0, shard="first"), piece(0, shard="second"), end()).values()
    assert [row["shard"] for row in entry.pieces] == ["second"]


def test_a_failed_piece_makes_a_failed_video_with_its_reason():
    (entry,) = entries(piece(0), piece(1, status="failed", message="no memory"), end(pieces=2)).values()
    assert (entry.status, entry.end["error_class"], entry.end["message"]) == ("failed", "oom", "no memory")
    assert entry.windows == 0 and entry.end["bytes"] == 100


def test_a_video_can_fail_without_pieces_and_be_done_later():
    failed = end("failed", pieces=7, at_s=1)
    assert entries(failed)["a"].status == "failed"
    assert entries(end(run="r2", at_s=2), piece(run="r2"), failed)["a"].status == "done"


GONE = {"size": None, "mtime_ns": None, "sha256": None}


@pytest.mark.parametrize("status", ["failed", "skipped"])
@pytest.mark.parametrize(
    "later, then",
    [
        (GONE, "done"),
        ({"size": 100, "mtime_ns": 5, "sha256": None}, "done"),  # nothing has changed: it failed for another reason
        ({"size": 100, "mtime_ns": 6, "sha256": "x"}, "done"),  # touched: the same bytes
        ({"size": 101, "mtime_ns": 6, "sha256": None}, "changed"),
        ({"size": 100, "mtime_ns": 6, "sha256": "y"}, "changed"),
        ({"size": 100, "mtime_ns": 6, "sha256": None}, "changed"),
    ],
)
def test_what_was_done_stays_done_unless_the_content_has_changed(status, later, then):
    (entry,) = entries(piece(), end(), end(status, pieces=0, run="r2", at_s=2, **later)).values()
    assert entry.status == (status if then == "changed" else then)
    assert entry.windows == (0 if then == "changed" else 2)


def test_a_file_that_is_mended_is_done_again():
    broken = end("failed", pieces=0, run="r2", at_s=2, size=50, mtime_ns=6, sha256=None)
    gone = end("failed", pieces=0, run="r4", at_s=4, **GONE)
    mended = [piece(run="r3", shard="s3"), end(run="r3", at_s=3, size=100, mtime_ns=7)]
    (entry,) = entries(piece(), end(), broken, gone, *mended).values()
    assert entry.status == "done" and entry.pieces[0]["shard"] == "s3"


def test_sorted_out_as_arrays_or_one_by_one_the_same_videos_are_done():
    rng = np.random.default_rng(3)
    rows = []
    for n in range(600):
        key = {"video": f"v{rng.integers(50)}", "run": f"r{rng.integers(2)}", "attempt": int(rng.integers(1, 3))}
        if rng.random() < 0.6:
            rows.append(piece(int(rng.integers(3)), **key, shard=f"s{n}", status=rng.choice([None, None, "failed"])))
        else:
            status = str(rng.choice(["done", "done", "failed", "skipped"]))
            rows.append(end(status, pieces=int(rng.integers(3)), at_s=int(rng.integers(20)), **key))
    found = {video: (entry.status, [p["shard"] for p in entry.pieces]) for video, entry in entries(*rows).items()}
    assert found == one_by_one(rows)
    assert {status for status, _ in found.values()} == {"done", "failed", "skipped"}


def one_by_one(rows):
    """The rule in words: same content throughout, so that what is done stays done."""
    said = {}
    for row in sorted((row for row in rows if row["kind"] == "end"), key=lambda row: (row["finished"], row["run"])):
        attempt = [row[key] for key in ("video_id", "run", "attempt")]
        mine = {
            other["piece"]: other
            for other in rows
            if other["kind"] == "piece" and [other[key] for key in ("video_id", "run", "attempt")] == attempt
        }
        status, shards = row["status"], []
        if status == "done":
            if len(mine) != row["piece"]:
                continue
            broken = any(other["status"] == "failed" for other in mine.values())
            status = "failed" if broken else "done"
            shards = [] if broken else [mine[number]["shard"] for number in sorted(mine)]
        if said.get(row["video_id"], ("",))[0] != "done" or status == "done":
            said[row["video_id"]] = (status, shards)
    return said


def test_a_file_replaced_by_one_that_cannot_be_read_is_a_failed_video(tmp_path):
    features = np.ones((3, 512), np.float32)
    folder = tmp_path / "features"
    folder.mkdir()
    for video in "ab":
        np.save(folder / f"{video}.npy", features)
    assert imported(folder, tmp_path / "lib", method="c3dhash").done == 2
    (folder / "a.npy").write_bytes(b"not found")
    for _ in range(2):  # the second time it is known
        found = imported(folder, tmp_path / "lib", method="c3dhash")
        assert (found.done, found.skipped, found.failed) == (0, {"already done": 1}, {"corrupt": 1})
    (folder / "b.npy").unlink()
    imported(folder, tmp_path / "lib", method="c3dhash")
    library = Library(tmp_path / "lib")
    states = {video: entry.status for video, entry in library.entries(library.config_of("c3dhash")).items()}
    assert states == {"a": "failed", "b": "done"}  # b's features are still right for the b that was
