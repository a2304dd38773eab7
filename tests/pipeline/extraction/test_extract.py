"""Extraction on a real Ray: every video accounted for, running again continues, the same rows however it ran."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from clips import numbered_clip

from ndvr.operators.library.library import Library
from ndvr.operators.storage.manifest import read_manifest
from ndvr.pipeline.cli import main
from ndvr.pipeline.comparison.similarity import similarity
from ndvr.pipeline.extraction.extract import extract
from ndvr.pipeline.extraction.pools import Pools

pytestmark = pytest.mark.usefixtures("ray_cluster")
FEW = Pools(decode_workers=1, embed_workers=1)  # where the number does not matter: each is a process to start


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two good clips, one damaged, one that is a web page, and a note."""
    folder = tmp_path_factory.mktemp("videos")
    numbered_clip(folder / "a.mp4", n_frames=80, fps=25)
    (folder / "sub").mkdir()
    numbered_clip(folder / "sub" / "b.webm", n_frames=60, fps=12)
    numbered_clip(folder / "whole.mkv", n_frames=250, fps=25)
    data = (folder / "whole.mkv").read_bytes()
    (folder / "half.mkv").write_bytes(data[: len(data) // 2])
    (folder / "page.mp4").write_bytes(b"<html>not found</html>" * 20)
    (folder / "notes.txt").write_text("bought in 1998")
    return folder


@pytest.fixture(scope="module")
def library(videos, tmp_path_factory):
    """The videos extracted once, through the command."""
    path = tmp_path_factory.mktemp("library") / "lib"
    done = run("extract", videos, path, "--json")
    assert done.exit_code == 1, done.output  # one failed
    return path, json.loads(done.stdout)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def features(path) -> dict[str, np.ndarray]:
    opened = Library(path)
    (config,) = opened.configs
    return {video_id: found for video_id, _, found in opened.read(opened.entries(config).values())}


def files(path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def test_every_video_is_done_or_failed_with_a_class_and_the_totals_reconcile(library):
    _, found = library
    assert (found["videos"], found["done"], found["skipped"], found["failed"]) == (5, 4, 0, {"corrupt": 1})
    assert found["partial"] == 1 and found["ignored"] == {".txt": 1}
    assert found["windows"] > 0 and found["seconds"] > 0 and found["windows_per_s"] > 0
    assert sum(found["stage_share"].values()) == pytest.approx(1, abs=0.01)


def test_the_library_holds_the_features_of_exactly_the_done_videos(library):
    path, found = library
    by_id = features(path)
    assert sorted(by_id) == ["a.mp4", "half.mkv", "sub/b.webm", "whole.mkv"]
    assert sum(map(len, by_id.values())) == found["windows"]
    assert len(by_id["a.mp4"]) == 6  # 3.2 s at 2 windows/s
    assert len(by_id["whole.mkv"]) == 20


def test_shards_are_plain_parquet_with_their_provenance(library):
    path, _ = library
    for shard in (path / "shards").rglob("*.parquet"):
        table = pq.read_table(shard)
        assert table.column_names == ["video_id", "content", "start_s", "feature"]
        kind = table.schema.field("feature").type
        assert pa.types.is_fixed_size_binary(kind) or pa.types.is_fixed_size_list(kind)
        about = json.loads(table.schema.metadata[b"ndvr"])
        assert about["method"] == "thumbprint" and about["view"]["fps"] == 2


def test_running_a_finished_job_again_does_nothing(library, videos):
    path, _ = library
    before = files(path)
    done = run("extract", videos, path, "--json")
    again = json.loads(done.stdout)
    assert (again["done"], again["skipped_why"], again["failed"]) == (0, {"already done": 4}, {"corrupt": 1})
    assert done.exit_code == 1  # the failure still stands
    assert files(path) == before


@pytest.fixture(scope="module")
def place(videos, tmp_path_factory):
    """The videos again, in a folder of their own, extracted by two decoders beside each other."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(videos, folder / "videos")
    extract(folder / "videos", folder / "lib", pools=Pools(decode_workers=2), progress=False)
    return folder


def test_the_rows_do_not_depend_on_the_number_of_workers(library, place):
    two, one = features(place / "lib"), features(library[0])
    assert sorted(two) == sorted(one)
    for video_id in two:
        np.testing.assert_array_equal(two[video_id], one[video_id])


@pytest.fixture(scope="module")
def changed(place, tmp_path_factory):
    """The library and what happened, after one video was added, one changed and one touched."""
    library = shutil.copytree(place / "lib", tmp_path_factory.mktemp("changed") / "lib")
    numbered_clip(place / "videos" / "long.mp4", n_frames=1300, fps=2)  # added: 1300 windows of 16 KB: three pieces
    numbered_clip(place / "videos" / "a.mp4", n_frames=50, fps=25)  # changed
    (place / "videos" / "whole.mkv").touch()  # touched: the same bytes
    return library, extract(place / "videos", library, pools=FEW, progress=False)


def test_added_and_changed_videos_are_noticed_touched_and_other_ones_are_not(changed):
    library, summary = changed
    assert (summary.done, summary.skipped, summary.failed) == (2, {"already done": 3}, {"corrupt": 1})
    by_id = features(library)
    assert {video_id: len(found) for video_id, found in by_id.items()} == {
        "a.mp4": 4, "half.mkv": len(by_id["half.mkv"]), "long.mp4": 1300, "sub/b.webm": 10, "whole.mkv": 20
    }  # fmt: skip


def test_a_video_longer_than_a_piece_is_whole_and_in_order(changed):
    opened = Library(changed[0])
    entry = opened.entries(next(iter(opened.configs)))["long.mp4"]
    assert len(entry.pieces) > 1
    ((_, start_s, found),) = opened.read([entry])
    assert start_s.tolist() == [k / 2 for k in range(1300)]
    assert len(found) == 1300


@pytest.fixture(scope="module")
def second(library, videos, tmp_path_factory):
    """A folder with the library and another a.mp4 of the same size, what a run over that and the damaged file said,
    and the names of the folders in which it left a file."""
    folder = tmp_path_factory.mktemp("second")
    shutil.copytree(library[0], folder / "lib")  # its a.mp4 is that of another folder
    before = files(folder / "lib")
    (folder / "day3").mkdir()
    numbered_clip(folder / "day3" / "a.mp4", n_frames=20, fps=25, numbers=range(300, 320))
    size = (videos / "a.mp4").stat().st_size
    assert (folder / "day3" / "a.mp4").stat().st_size < size
    os.truncate(folder / "day3" / "a.mp4", size)  # zeros at the end disturb no decoder
    (folder / "list.txt").write_text(f"a.mp4 {folder / 'day3' / 'a.mp4'}\npage.mp4 {videos / 'page.mp4'}\n")
    done = run("extract", folder / "list.txt", folder / "lib", "--retry", "corrupt", "--json", "--quiet")
    assert done.exit_code == 1, done.output
    left = {name.partition("/")[0] for name in files(folder / "lib") - before}
    return folder, json.loads(done.stdout)["failed"], left


def test_another_video_under_a_known_id_is_never_taken_for_it_or_put_in_its_place(library, videos, second, tmp_path):
    folder, failed, _ = second
    path, before = folder / "lib", features(library[0])
    numbered_clip(tmp_path / "a.mp4", n_frames=250, fps=25, numbers=range(300, 550))
    assert (videos / "a.mp4").stat().st_size < (tmp_path / "a.mp4").stat().st_size
    refused = run("extract", tmp_path, path, "--quiet")
    assert refused.exit_code == 2 and "is another video: give --prefix TEXT" in refused.stderr
    assert failed["conflict"] == 1  # of the same size: only its content tells
    np.testing.assert_array_equal(features(path)["a.mp4"], before["a.mp4"])
    assert run("extract", folder / "day3", path, "--prefix", "day3/", "--quiet").exit_code == 0
    assert sorted(features(path)) == sorted([*before, "day3/a.mp4"])


def test_failures_are_retried_only_when_asked(library, videos, second, tmp_path):
    shutil.copytree(library[0], tmp_path / "lib")
    before = files(tmp_path / "lib")
    assert extract(videos, tmp_path / "lib", retry=("timeout",), pools=FEW, progress=False).failed == {"corrupt": 1}
    assert files(tmp_path / "lib") == before
    _, failed, left = second
    assert failed == {"conflict": 1, "corrupt": 1}
    assert left == {"commits", "runs"}  # the same verdicts, and the record of the run


def test_a_commit_that_names_no_end_makes_nothing_visible(library, tmp_path):
    """As after a kill between two commits: pieces are there, the end row is not."""
    path = tmp_path / "lib"
    shutil.copytree(library[0], path)
    for commit in (path / "commits").glob("*.parquet"):
        table = pq.read_table(commit)
        pq.write_table(table.filter(pa.compute.field("kind") == "piece"), commit)
    assert features(path) == {}


def test_show_lists_videos_as_the_references_do_and_the_list_is_a_manifest(library, videos, tmp_path):
    path, _ = library
    done = run("show", path, "--list")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == f"a.mp4 {videos / 'a.mp4'}"
    (tmp_path / "list.txt").write_text(done.stdout)
    assert list(read_manifest(tmp_path / "list.txt").uris) == ["a.mp4", "half.mkv", "sub/b.webm", "whole.mkv"]


def test_show_lists_failures_with_their_reason(library):
    text = run("show", library[0], "--failures").stdout
    assert "4 videos done (1 partial)" in text
    assert "corrupt     page.mp4  cannot open" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "lib"], "VIDEOS does not exist: nowhere"),
        (["VIDEOS", "lib", "--method", "nonesuch"], "unknown method 'nonesuch'; choose one of "),
        (["VIDEOS", "lib", "--decoder", "vlc"], "unknown decoder 'vlc'; choose one of auto, pyav, decord"),
        (["VIDEOS", "lib", "--retry", "tired"], "unknown error class 'tired'; choose one of io, corrupt"),
        (["VIDEOS", "lib", "--option", "colour=blue"], "unknown option 'colour' of thumbprint"),
        (["VIDEOS", "VIDEOS"], "exists and is not a library; name a new folder for LIBRARY"),
    ],
)
def test_wrong_settings_are_one_sentence_and_exit_code_2_before_any_work(videos, tmp_path, arguments, sentence):
    names = {"VIDEOS": videos, "lib": tmp_path / "lib"}
    done = run("extract", *(names.get(argument, argument) for argument in arguments))
    assert done.exit_code == 2
    assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "lib" / "shards").exists()


class TestSimilarity:
    def test_scores_of_all_pairs_with_the_copy_on_top(self, library, tmp_path):
        done = run("similarity", library[0], library[0], tmp_path / "scores", "--json", "--format", "json")
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert (found["queries"], found["videos"], found["pairs"]) == (4, 4, 16)
        assert (found["missing_queries"], found["missing_videos"]) == (1, 1)
        scores = json.loads((tmp_path / "scores" / "similarities.json").read_text())
        assert sorted(scores) == ["a.mp4", "half.mkv", "sub/b.webm", "whole.mkv"]
        others = {video: score for video, score in scores["half.mkv"].items() if video != "half.mkv"}
        assert max(others, key=others.get) == "whole.mkv"

    def test_query_ids_pick_queries_and_missing_ones_are_named(self, library, tmp_path):
        (tmp_path / "ids.txt").write_text("a.mp4\npage.mp4\n")
        done = similarity(library[0], library[0], tmp_path / "s", query_ids=tmp_path / "ids.txt", workers=0)
        assert (done.queries, done.missing_queries, done.pairs) == (1, 1, 4)
        queries = pq.read_table(next((tmp_path / "s").glob("queries-*.parquet"))).to_pylist()
        assert queries[1] == {"video_id": "page.mp4", "status": "failed", "reason": "corrupt"}

    def test_a_killed_run_continues_with_the_cells_that_are_missing(self, library, tmp_path):
        settings = {"workers": 1, "progress": False}
        similarity(library[0], library[0], tmp_path / "s", **settings)
        part, *others = (tmp_path / "s" / "parts").glob("*.parquet")
        whole = pq.read_table(part)
        assert similarity(library[0], library[0], tmp_path / "s", **settings).cells_resumed == 1 + len(others)
        part.unlink()
        assert similarity(library[0], library[0], tmp_path / "s", **settings).cells_resumed == len(others)
        assert pq.read_table(part).equals(whole)

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["nowhere", "LIB", "SCORES"], "no library at nowhere; `ndvr extract VIDEOS nowhere` makes one"),
            (["LIB", "LIB", "LIB"], "exists and holds no scores; name a new folder for SCORES"),
            (["LIB", "LIB", "SCORES", "--method", "s2vs"], "holds features of thumbprint, not of s2vs"),
            (["LIB", "LIB", "SCORES", "--query-ids", "nowhere.txt"], "no id list nowhere.txt: give a text file"),
            (["LIB", "LIB", "SCORES", "--query-ids", "IDS"], "query 'zebra.mp4' is not in "),
        ],
    )
    def test_wrong_settings_are_one_sentence_and_exit_code_2(self, library, tmp_path, arguments, sentence):
        (tmp_path / "ids").write_text("zebra.mp4\n")
        names = {"LIB": library[0], "SCORES": tmp_path / "s", "IDS": tmp_path / "ids"}
        done = run("similarity", *(names.get(argument, argument) for argument in arguments))
        assert done.exit_code == 2
        assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1

    def test_features_made_otherwise_are_refused_naming_both(self, library, tmp_path):
        other = tmp_path / "other"
        shutil.copytree(library[0], other)
        (config,) = (other / "configs").glob("*.json")
        about = json.loads(config.read_text())
        config.write_text(json.dumps(about | {"weights_digest": "0" * 64}))
        done = run("similarity", library[0], other, tmp_path / "s")
        assert done.exit_code == 2 and f"{config} is damaged" in done.stderr
        config.with_suffix(".sha256").unlink()  # as another program would have made it
        done = run("similarity", library[0], other, tmp_path / "s")
        assert done.exit_code == 2
        assert "cannot be compared: their weights_digest differ" in done.stderr
        assert str(library[0]) in done.stderr and str(other) in done.stderr


def test_compare_scores_a_copy_above_another_video_and_draws_it(videos, tmp_path):
    done = run("compare", videos / "half.mkv", videos / "whole.mkv", "--json", "--plot", tmp_path / "p.png")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["trained"] and 0 <= found["score"] <= 1 and not found["identical"]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_compare_says_first_that_two_files_are_identical(tmp_path):
    numbered_clip(tmp_path / "dark.mp4", n_frames=30, fps=25, numbers=[0] * 30)
    shutil.copy(tmp_path / "dark.mp4", tmp_path / "copy.mp4")
    done = run("compare", tmp_path / "dark.mp4", tmp_path / "copy.mp4")
    assert done.stdout.startswith("identical: the same bytes (SHA-256)\n")


def test_compare_says_why_a_video_cannot_be_compared(videos):
    done = run("compare", videos / "page.mp4", videos / "a.mp4")
    assert done.exit_code == 2
    assert "page.mp4: corrupt: cannot open" in done.stderr
