"""Tables and lists as spreadsheets and editors save them are read, or refused with the file and the line."""

import pytest

from ndvr.operators.storage.text_files import quoted_id, read_ids, read_table, split_pair


def rows_of(path, data: bytes, needs=("query_id", "video_id")):
    path.write_bytes(data)
    return [row for _, row in read_table(path, needs=needs, purpose="truth file")[1]]


@pytest.mark.parametrize(
    "data",
    [
        "query_id,video_id\nq,Größe.mp4\n".encode(),
        "query_id,video_id\r\nq,Größe.mp4\r\n".encode("utf-8-sig"),
        "query_id,video_id\nq,Größe.mp4\n".encode("utf-16"),
        "query_id;video_id\nq;Größe.mp4\n".encode(),
        "query_id\tvideo_id\nq\tGröße.mp4".encode(),
        "query_id, video_id\nq, Größe.mp4\n\n".encode(),
        '"query_id","video_id"\n"q","Größe.mp4"\n'.encode(),
        "query_id,video_id\rq,Größe.mp4\r".encode(),
        "sep=;\r\nquery_id;video_id\r\nq;Größe.mp4\r\n".encode("utf-8-sig"),
        "\n \nquery_id,video_id\nq,Größe.mp4\n".encode(),
    ],
    ids=["plain", "mark", "utf-16", "semicolons", "tabs", "spaces after commas", "quotes", "lines of an old Mac"]
    + ["Excel's sep=", "empty lines"],
)
def test_the_ways_people_save_a_table_say_the_same(tmp_path, data):
    assert rows_of(tmp_path / "t.csv", data) == [{"query_id": "q", "video_id": "Größe.mp4"}]


def test_a_code_page_is_not_guessed_but_named_with_its_line(tmp_path):
    with pytest.raises(ValueError, match=r'truth file .*t.csv, line 2: byte 0xe9 is not UTF-8; .* "CSV UTF-8"'):
        rows_of(tmp_path / "t.csv", "query_id,video_id\nq,café\n".encode("cp1252"))
    with pytest.raises(ValueError, match="t.csv, line 1: a zero byte"):
        rows_of(tmp_path / "t.csv", "query_id,video_id\nq,a\n".encode("utf-16-le"))


def test_a_comma_in_a_cell_without_quotes_is_refused_and_one_in_quotes_read(tmp_path):
    with pytest.raises(ValueError, match="t.csv, line 3: 3 cells where the first line names 2 columns"):
        rows_of(tmp_path / "t.csv", b"query_id,video_id\nq,a\nq,b, the second\n")
    assert rows_of(tmp_path / "t.csv", b'query_id,video_id\nq,"b, the second"\n')[0]["video_id"] == "b, the second"


def test_a_short_row_is_refused_where_a_needed_cell_is_missing_and_filled_up_elsewhere(tmp_path):
    with pytest.raises(ValueError, match="t.csv, line 2: 1 cells, too few"):
        rows_of(tmp_path / "t.csv", b"query_id,video_id,note\nq\n")
    assert rows_of(tmp_path / "t.csv", b"query_id,video_id,note\nq,a\n") == [
        {"query_id": "q", "video_id": "a", "note": ""}
    ]


def test_missing_and_doubled_columns_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"has no column video_id \(it has query_id, ref\): its first line must name"):
        rows_of(tmp_path / "t.csv", b"query_id,ref\nq,a\n")
    with pytest.raises(ValueError, match="names the column video_id twice"):
        rows_of(tmp_path / "t.csv", b"query_id,video_id,video_id\nq,a,b\n")


def test_a_quote_that_never_ends_is_refused_instead_of_swallowing_the_rest(tmp_path):
    with pytest.raises(ValueError, match="t.csv, line 2: "):
        rows_of(tmp_path / "t.csv", b'query_id,video_id\nq,"a\nq,b\nq,c\n')


@pytest.mark.parametrize("data", [b'"query_id,video_id\nq,a\n', b'query_id,"x"y,video_id\n'])
def test_a_first_line_that_cannot_be_taken_apart_is_named(tmp_path, data):
    with pytest.raises(ValueError, match=r"truth file .*t.csv(, line 1: | has no column)"):
        rows_of(tmp_path / "t.csv", data)


def test_spaces_inside_a_table_without_them_after_commas_belong_to_the_cells(tmp_path):
    assert rows_of(tmp_path / "t.csv", b"query_id,video_id\nq, a\n")[0]["video_id"] == " a"


def test_ids_are_read_from_lists_with_and_without_paths(tmp_path):
    (tmp_path / "ids.txt").write_bytes(
        'a\r\n\r\n"my clip.mp4" videos/my clip.mp4\r\nb /x/b.mp4\r\n'.encode("utf-8-sig")
    )
    assert read_ids(tmp_path / "ids.txt") == ["a", "my clip.mp4", "b"]


@pytest.mark.parametrize(
    "video_id", ["a.mp4", "my clip.mp4", '"quoted"', 'half "quoted.mp4', " leading", "tab\there", '"']
)
def test_a_written_id_is_read_back(video_id):
    assert split_pair(f"{quoted_id(video_id)} some/path with spaces.mp4") == (video_id, "some/path with spaces.mp4")
    assert split_pair(quoted_id(video_id)) == (video_id, "")
