"""What VIDEOS may be, and what is said when it is something else."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ndvr.operators.manifest import read_manifest


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
    with pytest.raises(ValueError, match="no videos in folder .*; ignored 1 files that are no videos by name"):
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
    with pytest.raises(ValueError, match="row 2: empty video_id"):
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
