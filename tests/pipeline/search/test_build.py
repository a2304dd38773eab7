"""An index follows its library, repeats no work, and survives being killed."""

from __future__ import annotations

import shutil

import clip_library as clips
import pytest

from ndvr.operators.storage.store import Store
from ndvr.pipeline.search import build
from ndvr.pipeline.search.library_index import open_index
from ndvr.pipeline.search.search import Index, index, search
from ndvr.pipeline.upkeep.maintenance import fsck, remove

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(library, tmp_path):
    """The library without an index, to be changed."""
    return shutil.copytree(library, tmp_path / "library", ignore=shutil.ignore_patterns("index"))


def contents(library) -> dict[str, bytes]:
    """What an index's files hold, without the numbers of its commits."""
    root = open_index(library).files.store.folder
    return {path.name: path.read_bytes() for path in (root / "segments").iterdir()}


def test_a_second_update_has_nothing_to_do(copied):
    first = index(copied, progress=False)
    assert (first.videos, first.added, first.removed, first.segments) == (5, 5, 0, 1)
    before = contents(copied)
    again = index(copied, progress=False)
    assert (again.videos, again.added, again.removed) == (5, 0, 0)
    assert contents(copied) == before
    assert fsck(copied, progress=False).sound


def test_new_videos_go_in_and_removed_ones_out_at_once(copied, films, tmp_path):
    index(copied, progress=False)
    new = clips.clip(tmp_path / "film9.mp4", clips.scene(9, 8))
    clips.extract(copied, {"film9": new}, run="r2")
    remove(copied, ["film1"])
    done = index(copied, progress=False)
    assert (done.videos, done.added, done.removed) == (5, 1, 1)
    opened = Index.open(copied)
    assert [m.video_id for m in opened.search(new).answers[0].matches] == ["film9"]
    assert opened.search(clips.clip(tmp_path / "q.mp4", films["film1"])).answers[0].matches == []


def test_what_left_the_library_after_indexing_is_no_answer(copied, films, tmp_path):
    opened = Index.open(copied).update()
    remove(copied, ["film1"])
    path = clips.clip(tmp_path / "q.mp4", films["film1"])
    assert opened.search(path).answers[0].matches == []


def test_what_came_after_the_index_is_said_to_be_not_searched(copied, tmp_path):
    opened = Index.open(copied).update()
    new = clips.clip(tmp_path / "film9.mp4", clips.scene(9, 8))
    clips.extract(copied, {"film9": new}, run="r2")
    result = opened.search(new)
    assert (result.seen, result.not_indexed) == (False, 1)
    assert "1 videos that came after the index" in result.text()
    assert search(new, copied, progress=False).seen, "search brings the index up to date"


@pytest.mark.parametrize("after", range(6))
def test_killed_at_any_write_the_next_update_makes_the_same_index(copied, library, index, monkeypatch, after):
    class Killed(BaseException):
        pass

    count = 0

    def counted(self, name, data):
        nonlocal count
        count += 1
        if count > after:
            raise Killed
        return original(self, name, data)

    original = Store.write
    monkeypatch.setattr(Store, "write", counted)
    with pytest.raises(Killed):
        build.update(open_index(copied), progress=False)
    monkeypatch.undo()
    build.update(open_index(copied), progress=False)
    assert contents(copied) == contents(library)


def test_many_small_segments_are_merged_and_find_the_same(copied, films, tmp_path, monkeypatch):
    opened = Index.open(copied).update()
    path = clips.clip(tmp_path / "q.mp4", films["film1"][10:50])
    before = opened.search(path).answers[0].matches
    monkeypatch.setattr(build, "SEGMENT_VIDEOS", 1)
    monkeypatch.setattr(build, "TIER", 5)
    done = build.update(open_index(copied), progress=False, again=True)
    assert (done.segments, done.merged, done.videos) == (1, 5, 5)
    assert Index.open(copied).search(path).answers[0].matches == before


def test_an_index_of_another_format_is_refused_and_made_anew_when_asked_to(copied):
    first = index(copied, progress=False)
    store = open_index(copied).files.store
    store.write_json("index.json", {"format": "ndvr-index/9"})
    with pytest.raises(ValueError, match="format 'ndvr-index/9', this version reads 'ndvr-index/2'"):
        index(copied, progress=False)
    store.write_json("index.json", {})
    with pytest.raises(ValueError, match=r"index.json.*format"):
        index(copied, progress=False)
    again = index(copied, again=True, progress=False)
    assert (again.added, again.keys) == (first.added, first.keys)


def test_an_index_of_another_library_is_refused_one_of_a_library_that_moved_is_not(copied, films, tmp_path):
    index(copied, to=tmp_path / "indexes", progress=False)
    other = clips.extract(tmp_path / "other", {"a": clips.clip(tmp_path / "a.mp4", clips.scene(50, 3))})
    with pytest.raises(ValueError, match=r"is the index of .*library, and .*other has none of its videos; name anoth"):
        index(other, to=tmp_path / "indexes", progress=False)
    with pytest.raises(ValueError, match="name another folder with --to"):
        search(tmp_path / "a.mp4", other, to=tmp_path / "indexes", update=False, progress=False)
    moved = copied.rename(tmp_path / "moved")
    done = index(moved, to=tmp_path / "indexes", progress=False)
    assert (done.videos, done.added, done.removed) == (5, 0, 0)


def test_a_video_that_the_index_knows_with_another_content_is_not_searched(copied, films, tmp_path):
    index(copied, to=tmp_path / "indexes", progress=False)
    new = clips.clip(tmp_path / "new.mp4", clips.scene(9, 8))
    same = clips.clip(tmp_path / "same.mp4", films["film0"])
    other = clips.extract(tmp_path / "other", {"film0": same, "film1": new})
    result = search(new, other, to=tmp_path / "indexes", update=False, progress=False)
    assert result.not_indexed == 1


@pytest.fixture
def small_segments(monkeypatch):
    """Segments of two videos, three of which are merged."""
    monkeypatch.setattr(build, "SEGMENT_VIDEOS", 2)
    monkeypatch.setattr(build, "TIER", 3)


def test_the_same_bytes_whether_videos_came_at_once_or_one_by_one(copied, films, tmp_path, small_segments):
    index(copied, progress=False)
    for number in range(9, 12):
        new = clips.clip(tmp_path / f"film{number}.mp4", clips.scene(number, 3))
        clips.extract(copied, {f"film{number}": new}, run=f"s{number:02d}")  # a run is named by its time
        done = index(copied, progress=False)
        assert (done.added, done.removed) == (1, 0)
    assert (done.videos, done.segments) == (8, 2)  # three of two, merged, and one of two
    bit_by_bit = contents(copied)
    index(copied, progress=False, again=True)
    at_once = named(copied)
    assert {name: bit_by_bit.get(name) for name in at_once} == at_once


def test_sureness_does_not_hang_on_the_order_of_the_videos(films, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "SAMPLED", 2)
    monkeypatch.setattr(build, "COMPARED", 3)
    films = {name: clips.clip(tmp_path / f"{name}.mp4", frames[:24]) for name, frames in films.items()}
    first, then = ({name: films[name] for name in names} for names in (sorted(films)[:3], sorted(films)[3:]))
    stated, orders = [], []
    for number, parts in enumerate(((first, then), (then, first))):
        for run, part in enumerate(parts):
            library = clips.extract(tmp_path / f"library{number}", part, run=f"r{run}")
        opened = Index.open(library).update().library_index
        orders.append([video.video_id for segment in opened.segments for video in segment.videos])
        stated.append(([opened.segments[n].videos[row].video_id for n, row in build.sampled(opened)], opened.sureness))
    assert orders[0] != orders[1]
    assert stated[0] == stated[1]


def named(library) -> dict[str, bytes]:
    """What the files hold that count now."""
    segments = open_index(library).snapshot.segments
    return {name: data for name, data in contents(library).items() if name.partition(".")[0] in segments}


def test_a_segment_that_lost_videos_is_written_anew_without_them(copied, films, tmp_path, small_segments):
    before = index(copied, progress=False)
    remove(copied, ["film0", "film3"])
    done = index(copied, progress=False)
    assert (done.videos, done.removed) == (3, 2)
    assert done.keys < before.keys
    opened = Index.open(copied)
    assert {v.video_id for s in opened.library_index.segments for v in s.videos} == {"film1", "film2", "film4"}
    for film in ("film1", "film4"):
        path = clips.clip(tmp_path / f"{film}.mp4", films[film][:, :, ::-1])
        assert [m.video_id for m in opened.search(path).answers[0].matches] == [film]


def test_a_lost_segment_is_one_sentence(copied, films, tmp_path):
    index(copied, progress=False)
    store = open_index(copied).files.store
    for path in (store.folder / "segments").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"segment .* is gone; `ndvr index LIBRARY --again`"):
        Index.open(copied).search(clips.clip(tmp_path / "q.mp4", films["film1"]))
