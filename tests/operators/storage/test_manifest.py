"""What VIDEOS may be, and what is said when it is something else."""

import hashlib
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ndvr.operators.storage.fetch import Fetcher, content_of
from ndvr.operators.storage.manifest import read_manifest, stat_files
from ndvr.operators.storage.store import Store
from ndvr.operators.storage.video_files import local_path


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_gives_every_file_that_may_be_a_video_by_its_relative_path(tmp_path):
    touch(tmp_path / "a.mp4", tmp_path / "sub" / "ü b.webm", tmp_path / "no_extension", tmp_path / "sub" / "notes.txt")
    manifest = read_manifest(tmp_path)
    assert list(manifest.uris) == ["a.mp4", "no_extension", "sub/ü b.webm"]
    assert manifest.ignored == {".txt": 1}


def test_a_text_list_holds_id_and_path_and_the_path_may_hold_spaces(tmp_path):
    touch(tmp_path / "my clips" / "one 1.mp4")
    (tmp_path / "list.txt").write_text("first my clips/one 1.mp4\n\nsecond /elsewhere/b.mp4\n")
    uris = read_manifest(tmp_path / "list.txt").uris
    assert uris == {"first": str(tmp_path / "my clips" / "one 1.mp4"), "second": "/elsewhere/b.mp4"}


@pytest.mark.parametrize("column", ["uri", "path"])
def test_csv_and_parquet_tables_say_the_same(tmp_path, column):
    (tmp_path / "t.csv").write_text(f"video_id,title,{column}\nv1,x,a.mp4\nv2,y,b.mp4\n")
    pq.write_table(pa.table({"video_id": ["v2", "v1"], column: ["b.mp4", "a.mp4"]}), tmp_path / "t.parquet")
    assert read_manifest(tmp_path / "t.csv").uris == read_manifest(tmp_path / "t.parquet").uris
    assert list(read_manifest(tmp_path / "t.csv").uris) == ["v1", "v2"]


def test_one_video_is_a_manifest_of_one(tmp_path):
    touch(tmp_path / "clip.mp4")
    assert read_manifest(tmp_path / "clip.mp4").uris == {"clip.mp4": str(tmp_path / "clip.mp4")}


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="VIDEOS does not exist: .*nowhere; give a folder, a list"):
        read_manifest(tmp_path / "nowhere")


def test_an_empty_folder_is_refused_and_says_what_it_passed_over(tmp_path):
    touch(tmp_path / "readme.md")
    with pytest.raises(ValueError, match="no videos in folder .*; ignored 1 files that are no videos"):
        read_manifest(tmp_path)


def test_a_table_without_ids_names_the_columns_it_needs_and_has(tmp_path):
    (tmp_path / "t.csv").write_text("name,path\nx,a.mp4\n")
    with pytest.raises(ValueError, match=r"needs the columns video_id and uri .*; its columns are: name, path"):
        read_manifest(tmp_path / "t.csv")


def test_a_line_without_a_path_is_named(tmp_path):
    (tmp_path / "list.txt").write_text("a a.mp4\nlonely\n")
    with pytest.raises(ValueError, match="list.txt, line 2: expected \"id path\", got 'lonely'"):
        read_manifest(tmp_path / "list.txt")


def test_an_id_used_twice_is_named(tmp_path):
    (tmp_path / "list.txt").write_text("a a.mp4\nb b.mp4\na c.mp4\n")
    with pytest.raises(ValueError, match="lists id 'a' twice; every video needs an id of its own"):
        read_manifest(tmp_path / "list.txt")


def test_a_row_with_an_empty_id_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("video_id,uri\nv1,a.mp4\n,b.mp4\n")
    with pytest.raises(ValueError, match=r"t.csv, line 3: empty video_id"):
        read_manifest(tmp_path / "t.csv")


def test_an_empty_list_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(ValueError, match="lists no videos"):
        read_manifest(tmp_path / "list.txt")


def test_folders_of_a_list_may_be_spelled_in_another_case(tmp_path):
    (tmp_path / "Videos" / "Part").mkdir(parents=True)
    (tmp_path / "Videos" / "Part" / "x.npy").touch()
    (tmp_path / "list.txt").write_text("x videos/part/x.npy\ny Videos/part/Y.npy\nz nowhere/z.npy\n")
    assert read_manifest(tmp_path / "list.txt").uris == {
        "x": str(tmp_path / "Videos" / "Part" / "x.npy"),
        "y": str(tmp_path / "Videos" / "Part" / "Y.npy"),  # file names stay as they are
        "z": str(tmp_path / "nowhere" / "z.npy"),
    }


# In an object store


@pytest.fixture
def store(request, s3):
    return Store(f"s3://bucket/{request.node.name.partition('[')[0]}")


@pytest.fixture
def videos(store):
    for name in ("b.mp4", "sub/ü #1.webm", "sub/.hidden/c.mp4", ".d.mp4", "notes.txt", "no_extension"):
        store.write(f"videos/{name}", name.encode())
    return f"{store}/videos"


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_gives_every_object_that_may_be_a_video_with_size_and_time(s3, videos, slash):
    before = len(s3.requests())
    manifest = read_manifest(videos + slash)
    asked = len(s3.requests()) - before
    ids = ["b.mp4", "no_extension", "sub/ü #1.webm"]
    assert manifest.uris == {video_id: f"{videos}/{video_id}" for video_id in ids}
    assert manifest.ignored == {".mp4": 1, ".txt": 1}
    assert [manifest.stats[video_id][0] for video_id in ids] == [len(video_id.encode()) for video_id in ids]
    assert asked <= 3  # what it is, and one list


def test_a_list_in_the_store_is_read_from_its_own_folder(store, videos):
    store.write("lists/list.txt", b"first ../videos/b.mp4\nsecond /elsewhere/b.mp4\nthird ../videos/gone.mp4\n")
    manifest = read_manifest(f"{store}/lists/list.txt")
    assert manifest.uris == {
        "first": f"{videos}/b.mp4",
        "second": "/elsewhere/b.mp4",
        "third": f"{videos}/gone.mp4",
    }
    assert manifest.stats["first"][0] == 5 and manifest.stats["second"] is manifest.stats["third"] is None


def test_tables_may_name_objects_and_files(tmp_path, store, videos):
    (tmp_path / "here.mp4").write_bytes(b"12")
    rows = {"video_id": ["near", "far", "q"], "uri": ["here.mp4", f"{videos}/b.mp4", f"{videos}/sub/ü #1.webm"]}
    pq.write_table(pa.table(rows), tmp_path / "list.parquet")
    manifest = read_manifest(tmp_path / "list.parquet")
    assert manifest.uris["near"] == str(tmp_path / "here.mp4") and manifest.uris["far"] == f"{videos}/b.mp4"
    at = os.stat(tmp_path / "here.mp4")
    assert manifest.stats["near"] == (2, at.st_mtime_ns) and manifest.stats["far"][0] == 5
    store.write_parquet("list.parquet", pa.table({key: values[1:] for key, values in rows.items()}))
    assert read_manifest(f"{store}/list.parquet").stats == {id: manifest.stats[id] for id in ("far", "q")}
    (tmp_path / "wrong.csv").write_text("video_id,uri\na,http://host/a.mp4\n")
    with pytest.raises(ValueError, match="cannot use http://host/a.mp4"):
        read_manifest(tmp_path / "wrong.csv")


def test_one_object_is_a_manifest_of_one(videos):
    manifest = read_manifest(f"{videos}/b.mp4")
    assert manifest.uris == {"b.mp4": f"{videos}/b.mp4"} and manifest.stats["b.mp4"][0] == 5


def test_what_is_not_there_and_what_holds_no_videos_is_said(store, videos):
    with pytest.raises(FileNotFoundError, match="VIDEOS does not exist: s3://bucket/.*/nowhere; give a folder"):
        read_manifest(f"{store}/nowhere")
    store.write("notes/a.txt", b"")
    with pytest.raises(ValueError, match="no videos in folder s3://bucket/.*; ignored 1 files"):
        read_manifest(f"{store}/notes")


def test_a_list_and_the_object_itself_say_the_same_of_its_time(store, videos):
    folder, alone = read_manifest(videos), read_manifest(f"{videos}/b.mp4")
    assert folder.stats["b.mp4"] == alone.stats["b.mp4"]


# --- What lies in ordinary folders ---------------------------------------------------------------------------------


def test_a_folder_that_links_to_itself_is_entered_once(tmp_path):
    touch(tmp_path / "a.mp4", tmp_path / "sub" / "b.mp4")
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "here").symlink_to(".")
    assert list(read_manifest(tmp_path).uris) == ["a.mp4", "sub/b.mp4"]


def test_one_file_under_several_names_is_one_video_with_its_other_names(tmp_path):
    touch(tmp_path / "films" / "a.mp4", tmp_path / "films" / "b.mp4")
    (tmp_path / "a_link.mp4").symlink_to("films/a.mp4")
    (tmp_path / "zz.mp4").hardlink_to(tmp_path / "films" / "b.mp4")
    manifest = read_manifest(tmp_path)
    assert list(manifest.uris) == ["films/a.mp4", "films/b.mp4"]
    assert manifest.other_names == {"films/a.mp4": ("a_link.mp4",), "films/b.mp4": ("zz.mp4",)}


def test_links_to_nothing_and_to_themselves_cost_a_row_each_and_no_more(tmp_path):
    touch(tmp_path / "a.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    assert list(read_manifest(tmp_path).uris) == ["a.mp4", "gone.mp4", "loop.mp4"]


def test_a_name_that_is_not_utf8_has_a_printable_id_and_can_be_opened(tmp_path):
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9.mp4")
    with open(name, "wb") as file:
        file.write(b"x")
    manifest = read_manifest(tmp_path)
    (video_id,) = manifest.uris
    assert video_id == "caf\\xe9.mp4"
    assert os.fsencode(local_path(manifest.uris[video_id])) == name
    assert stat_files(manifest.uris)[video_id][0] == 1
    pa.array([manifest.uris[video_id]])  # fits into a table
    with Fetcher().fetch(manifest.uris[video_id]) as file:
        assert Path(file.path).read_bytes() == b"x", "what decodes it opens it"
    assert content_of(manifest.uris[video_id]) == hashlib.sha256(b"x").hexdigest()
    listed = tmp_path / "list.txt"
    listed.write_text(f"a {manifest.uris[video_id]}\n")
    assert read_manifest(listed).uris == {"a": manifest.uris[video_id]}


def test_what_lies_beside_videos_is_counted_and_not_taken(tmp_path):
    beside = ["a.AAE", "a.xmp", "a.THM", "a.avif", "a.heic", "old.7z", "old.rar", "Thumbs.db", "list.m3u8", ".DS_Store"]
    touch(tmp_path / "a.mov", *(tmp_path / name for name in beside))
    touch(tmp_path / "$RECYCLE.BIN" / "b.mov", tmp_path / "@eaDir" / "c.mov", tmp_path / "stream" / "d.mov")
    touch(tmp_path / "stream" / "index.m3u8", tmp_path / "stream" / "segment_1.ts")
    (tmp_path / "README").write_text("What this folder is for.\n")
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    manifest = read_manifest(tmp_path)
    assert list(manifest.uris) == ["a.mov", "stream/d.mov"]
    assert manifest.ignored["no video inside"] == 2 and manifest.ignored["segment of a stream"] == 1
    assert sum(manifest.ignored.values()) == len(beside) + 4


def test_a_pipe_is_no_video(tmp_path):
    touch(tmp_path / "a.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    manifest = read_manifest(tmp_path)
    assert list(manifest.uris) == ["a.mp4"] and manifest.ignored == {"no regular file": 1}


def test_a_list_may_quote_ids_that_hold_spaces(tmp_path):
    (tmp_path / "list.txt").write_text('"my clip.mp4" my clip.mp4\nb b.mp4\n')
    assert set(read_manifest(tmp_path / "list.txt").uris) == {"my clip.mp4", "b"}


def test_a_folder_that_may_not_be_looked_into_is_named():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        touch(folder / "open" / "a.mp4", folder / "closed" / "b.mp4")
        (folder / "closed").chmod(0)
        user = os.geteuid()
        try:
            if user == 0:  # who may look everywhere
                os.seteuid(65534)
            manifest = read_manifest(folder)
        finally:
            os.seteuid(user)
            (folder / "closed").chmod(0o755)
    assert list(manifest.uris) == ["open/a.mp4"]
    assert manifest.unreadable == {str(folder / "closed"): "Permission denied"}


@pytest.mark.parametrize("data", [b"", b"PAR1", b"hello", b"PAR1" + bytes(90) + b"PAR1", bytes(1000)])
def test_a_damaged_parquet_list_is_named(tmp_path, data):
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(ValueError, match="a.parquet is not a whole Parquet file"):
        read_manifest(tmp_path / "a.parquet")


def test_a_parquet_list_that_unpacks_to_far_more_is_refused_before_it_is_copied(tmp_path):
    zeros = pa.array([0] * 100_000, pa.int32())
    long = pa.DictionaryArray.from_arrays(zeros, pa.array(["x" * 10_000]))
    ids = pa.array(range(100_000)).cast(pa.string())
    pq.write_table(pa.table({"video_id": ids, "uri": long}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="a.parquet unpacks to far more text than a list of videos has"):
        read_manifest(tmp_path / "a.parquet")
