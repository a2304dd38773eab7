"""The same id and another video: refused naming both, never replaced in silence; ids that two sources do not share."""

import hashlib
import os
import shutil

import pytest
from made_configs import made_config

from ndvr.operators.library.library import Library
from ndvr.operators.library.runs import new_run
from ndvr.operators.library.shards import Write
from ndvr.operators.rows import table
from ndvr.operators.storage.manifest import read_manifest
from ndvr.pipeline.extraction.plan import make_plan
from ndvr.pipeline.extraction.video_ids import renamed

CONFIG = "s2vs-0"
SOME_TIME = 1_700_000_000_123_456_789


@pytest.fixture
def library(tmp_path):
    made = Library.create(tmp_path / "lib")
    made.add_config(made_config(name=CONFIG))
    return made


def write(path, data: bytes, *, mtime_ns: int = SOME_TIME):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def extracted(library, path, video_id="clip.mp4", **values):
    """Commit that a file was read where it is, as it is."""
    status = path.stat()
    end = {"video_id": video_id, "method": "s2vs", "config": CONFIG, "run": new_run(), "attempt": 1, "kind": "end"}
    end |= {"piece": 0, "windows_count": 0, "status": "done", "uri": str(path), "decoder": "pyav 1"}
    end |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    Write(str(library), {})(table([end | {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns} | values]))


def plan_of(library, videos, *, configs=None):
    return make_plan(read_manifest(videos), library, configs or {"s2vs": CONFIG}, retry=frozenset())


def test_another_video_under_a_known_id_is_refused_naming_both_places_and_the_ways_out(library, tmp_path):
    first, second = write(tmp_path / "day1" / "clip.mp4", b"a" * 50), write(tmp_path / "day2" / "clip.mp4", b"b" * 60)
    extracted(library, first)
    with pytest.raises(ValueError, match="is another video") as refused:
        plan_of(library, tmp_path / "day2")
    sentence = str(refused.value)
    assert str(first) in sentence and str(second) in sentence
    assert "--prefix TEXT" in sentence and "--id-from path, name or hash" in sentence and "\n" not in sentence


def test_another_method_does_not_make_it_the_same_video(library, tmp_path):
    extracted(library, write(tmp_path / "day1" / "clip.mp4", b"a" * 50))
    write(tmp_path / "day2" / "clip.mp4", b"b" * 60)
    with pytest.raises(ValueError, match="is another video"):
        plan_of(library, tmp_path / "day2", configs={"tca": "tca-0"})


def test_features_that_others_extracted_say_nothing_of_files(tmp_path):
    made = Library.create(tmp_path / "lib")
    made.add_config(made_config(name=CONFIG, decoder="imported"))
    extracted(made, write(tmp_path / "clip.npy", b"a" * 50))
    write(tmp_path / "day2" / "clip.mp4", b"b" * 60)
    assert [row["video_id"] for row in plan_of(made, tmp_path / "day2", configs={"tca": "tca-0"}).todo] == ["clip.mp4"]


def test_a_file_of_the_same_size_elsewhere_has_to_have_the_known_bytes(library, tmp_path):
    first = write(tmp_path / "day1" / "clip.mp4", b"a" * 50)
    extracted(library, first)
    write(tmp_path / "day2" / "clip.mp4", b"b" * 50, mtime_ns=SOME_TIME + 5)
    (row,) = plan_of(library, tmp_path / "day2").todo
    sha256 = hashlib.sha256(b"a" * 50).hexdigest()
    assert (row["expected"], row["elsewhere"], row["contents"]) == (sha256, str(first), [sha256])


def test_a_moved_file_is_known_by_its_time_unless_that_is_of_whole_seconds(library, tmp_path):
    extracted(library, write(tmp_path / "day1" / "clip.mp4", b"a" * 50))
    shutil.copytree(tmp_path / "day1", tmp_path / "moved")
    assert plan_of(library, tmp_path / "moved").already == ["clip.mp4"]
    coarse = SOME_TIME // 10**9 * 10**9
    extracted(library, write(tmp_path / "day1" / "clip.mp4", b"a" * 50, mtime_ns=coarse))
    write(tmp_path / "day2" / "clip.mp4", b"b" * 50, mtime_ns=coarse)
    assert plan_of(library, tmp_path / "day1").already == ["clip.mp4"]
    assert [row["video_id"] for row in plan_of(library, tmp_path / "day2").todo] == ["clip.mp4"]


def test_a_file_changed_in_place_is_a_new_version_by_whatever_link_it_is_reached(library, tmp_path):
    extracted(library, write(tmp_path / "day1" / "clip.mp4", b"a" * 50))
    write(tmp_path / "day1" / "clip.mp4", b"b" * 60)
    (tmp_path / "link").symlink_to("day1")
    (tmp_path / "list.txt").write_text("clip.mp4 link/clip.mp4\n")
    for videos in (tmp_path / "day1", tmp_path / "list.txt"):
        (row,) = plan_of(library, videos).todo
        assert "expected" not in row


def test_what_failed_or_is_removed_stands_in_nobodys_way(library, tmp_path):
    extracted(library, write(tmp_path / "day1" / "clip.mp4", b"a" * 50), status="failed", error_class="corrupt")
    write(tmp_path / "day2" / "clip.mp4", b"b" * 60)
    assert [row["video_id"] for row in plan_of(library, tmp_path / "day2").todo] == ["clip.mp4"]


def test_a_conflict_that_the_decoder_finds_leaves_what_was_done(library, tmp_path):
    extracted(library, write(tmp_path / "day1" / "clip.mp4", b"a" * 50))
    second = write(tmp_path / "day2" / "clip.mp4", b"b" * 50)
    extracted(library, second, status="failed", error_class="conflict", message="another video")
    (entry,) = Library(str(library)).entries(CONFIG).values()
    assert entry.status == "done" and entry.end["uri"] == str(tmp_path / "day1" / "clip.mp4")


def ids(videos, *, library=None, prefix="", id_from=None):
    return renamed(read_manifest(videos), prefix=prefix, id_from=id_from, library=library)


def test_ids_with_a_prefix_or_of_paths_names_and_hashes(tmp_path):
    folder = tmp_path / "v"
    write(folder / "sub" / "a.mp4", b"a" * 50)
    write(folder / "b.mp4", b"b" * 60)
    write(folder / "copy.mp4", b"b" * 60)
    assert list(ids(folder, prefix="day2/").uris) == ["day2/b.mp4", "day2/copy.mp4", "day2/sub/a.mp4"]
    assert list(ids(folder, id_from="name").uris) == ["a.mp4", "b.mp4", "copy.mp4"]
    assert ids(folder, id_from="path").uris == {uri: uri for uri in read_manifest(folder).uris.values()}
    by_hash = ids(folder, id_from="hash", prefix="x:")
    one, two = (hashlib.sha256(data).hexdigest() for data in (b"a" * 50, b"b" * 60))
    assert by_hash.uris == {f"x:{one}": str(folder / "sub" / "a.mp4"), f"x:{two}": str(folder / "b.mp4")}
    assert by_hash.other_names == {f"x:{two}": ("copy.mp4",)}


def test_two_files_of_one_name_are_refused_as_ids(tmp_path):
    write(tmp_path / "v" / "one" / "a.mp4", b"a" * 50)
    write(tmp_path / "v" / "two" / "a.mp4", b"b" * 50)
    with pytest.raises(ValueError, match=r"one/a.mp4 and .*two/a.mp4 would both be 'a.mp4': give --id-from path or"):
        ids(tmp_path / "v", id_from="name")


def test_a_hash_is_taken_from_the_library_where_the_file_is_known_and_of_no_file_that_cannot_be_read(library, tmp_path):
    known = write(tmp_path / "v" / "a.mp4", b"a" * 50)
    extracted(library, known, sha256="f" * 64)
    (tmp_path / "v" / "gone.mp4").symlink_to("nowhere")
    made = ids(tmp_path / "v", id_from="hash", library=Library(str(library)))
    assert list(made.uris) == [str(tmp_path / "v" / "gone.mp4"), "f" * 64]
