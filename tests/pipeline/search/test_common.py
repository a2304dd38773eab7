"""What many videos show is learned from the index, and what an index holds is told."""

from __future__ import annotations

import json

import clip_library as clips
import numpy as np
import pytest
from click.testing import CliRunner

from ndvr.pipeline.cli import main
from ndvr.pipeline.search.common import common
from ndvr.pipeline.search.library_index import show_index
from ndvr.pipeline.search.search import index, search

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Four episodes with one intro of three seconds, which two have at their end; three copies of a film."""
    folder = tmp_path_factory.mktemp("series")
    intro = clips.scene(70, 3)
    frames = {
        "first": np.concatenate([intro, clips.scene(71, 9)]),
        "second": np.concatenate([intro, clips.scene(72, 9)]),
        "third": np.concatenate([clips.scene(73, 9), intro]),
        "fourth": np.concatenate([clips.scene(74, 9), intro]),
        "film": clips.scene(75, 8),
        "copy": np.clip(clips.scene(75, 8) * 0.8 + 20, 0, 255).astype(np.uint8),
        "excerpt": clips.scene(75, 8)[16:48],
        "dark": np.zeros((40, 96, 128, 3), np.uint8),
    }
    videos = {name: clips.clip(folder / f"{name}.mp4", each, crf=24) for name, each in frames.items()}
    library = clips.extract(folder / "library", videos)
    index(library, progress=False)
    return library


def test_an_intro_is_common_material_and_copies_are_not(series):
    (material,) = common(series).materials
    assert material.videos == 4
    assert material.seconds == pytest.approx(3, abs=0.6)
    where = {e.video_id: e.start_s for e in material.examples}
    assert where == {
        "first": 0, "second": 0, "third": pytest.approx(9, abs=0.5), "fourth": pytest.approx(9, abs=0.5)
    }  # fmt: skip
    assert common(series, least_videos=5).found == 0


@pytest.fixture(scope="module")
def episode(tmp_path_factory):
    """The intro, a scene of the first episode, and one of the film."""
    scenes = clips.scene(70, 3), clips.scene(71, 9)[16:40], clips.scene(80, 4), clips.scene(75, 8)[20:44]
    return clips.clip(tmp_path_factory.mktemp("episode") / "new.mp4", np.concatenate(scenes), crf=26)


def found(library, video, **wanted):
    (answer,) = search(video, library, progress=False, **wanted).answers
    return {match.video_id: match.kind for match in answer.matches}


def test_matches_by_an_intro_alone_are_told_last_and_as_common_material(series, episode):
    kinds = found(series, episode)
    assert kinds == {
        "first": "shared", "film": "shared", "copy": "shared", "excerpt": "contains",
        "second": "common", "third": "common", "fourth": "common",
    }  # fmt: skip
    assert set(list(kinds)[-3:]) == {"second", "third", "fourth"}
    assert "common" not in found(series, episode, top=4).values()
    assert "common material, which many videos show" in run("search", episode, series).output
    assert "fourth: common material" in run("explain", series, episode, "fourth").output


def test_the_intro_can_be_searched_for_on_purpose(series, episode, tmp_path):
    intro = clips.clip(tmp_path / "intro.mp4", clips.scene(70, 3), crf=26)
    assert found(series, intro) == dict.fromkeys(("first", "second", "third", "fourth"), "part")
    on_purpose = list(found(series, episode, common=True))
    assert on_purpose != list(found(series, episode)) and sorted(on_purpose) == sorted(found(series, episode))


def run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_the_command_lists_it(series):
    assert "1 piece of common material in 8 videos" in run("common", series).output
    assert json.loads(run("common", series, "--json").output)["materials"][0]["videos"] == 4
    assert "nothing that 5 of 8 videos show" in run("common", series, "--videos", 5).output


def test_an_index_says_what_it_holds(series):
    (view,) = show_index(series)
    assert (view.videos, view.without_keys, view.gone, view.up_to_date) == (8, 1, 0, True)
    assert view.segments == {0: 1}
    assert view.seconds == pytest.approx(73, abs=1)
    shown = run("show", series, "--indexes").output
    assert "8 videos (1 too dark or flat to be looked up, 0 gone)" in shown
    assert "sureness: assumed from other videos" in shown or "sureness: fitted to" in shown
    assert json.loads(run("show", series, "--indexes", "--json").output)[0]["keys"] == view.keys


def test_a_library_without_an_index_is_one_sentence(films, tmp_path):
    library = clips.extract(tmp_path / "library", {"a": clips.clip(tmp_path / "a.mp4", films["film0"][:16])})
    for command in (("common", library), ("show", library, "--indexes")):
        done = run(*command)
        assert done.exit_code == 2
        assert done.output.strip() == f"Error: {library} has no index; `ndvr index {library}` makes it"
