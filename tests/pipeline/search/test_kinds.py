"""What two videos have in common is called by its name: a template, an intro, a whole film."""

from __future__ import annotations

import clip_library as clips
import numpy as np
import pytest

from ndvr.operators.index.kinds import Stretch
from ndvr.pipeline.search.answers import where_text
from ndvr.pipeline.search.search import Index


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    intro = clips.scene(60, 4)
    frames = {
        "lecture": clips.lecture(1),
        "episode": np.concatenate([intro, clips.scene(61, 12)]),
        "still": clips.scene(63, 6, still=True),
    }
    videos = {name: clips.clip(folder / f"{name}.mp4", each) for name, each in frames.items()}
    return Index.open(clips.extract(folder / "library", videos)).update()


def kinds(index, path, frames) -> dict[str, str]:
    (answer,) = index.search(clips.clip(path, frames, crf=28)).answers
    return {match.video_id: match.kind for match in answer.matches}


@pytest.mark.slow
def test_another_lecture_on_the_same_slides_is_the_same_setting_and_a_copy_is_a_copy(index, tmp_path):
    assert kinds(index, tmp_path / "other.mp4", clips.lecture(2)).get("lecture") in (None, "setting")
    assert kinds(index, tmp_path / "copy.mp4", clips.lecture(1)[:, 4:-4, 6:-6]) == {"lecture": "copy"}


@pytest.mark.slow
def test_a_shared_intro_is_a_segment_and_no_copy(index, tmp_path):
    frames = np.concatenate([clips.scene(60, 4), clips.scene(62, 12)])
    (answer,) = index.search(clips.clip(tmp_path / "next.mp4", frames, crf=28)).answers
    (match,) = answer.matches
    assert (match.video_id, match.kind) == ("episode", "shared")
    (segment,) = match.segments
    assert (segment.q_start_s, segment.v_start_s) == (0, 0)
    assert segment.q_end_s == pytest.approx(4, abs=0.5)
    assert kinds(index, tmp_path / "copy.mp4", np.concatenate([clips.scene(60, 4), clips.scene(61, 12)])) == {
        "episode": "copy"
    }


@pytest.mark.slow
def test_a_still_picture_can_be_copied(index, tmp_path):
    assert kinds(index, tmp_path / "still.mp4", clips.scene(63, 6, still=True)) == {"still": "copy"}


def test_what_a_window_shows_for_long_is_said_to_be_held_still():
    held = Stretch(q_start_s=1, q_end_s=3, v_start_s=2, v_end_s=2.5, speed=0, reversed=False, agreement=0.9)
    assert where_text(held) == "00:01.0-00:03.0 at 00:02.0-00:02.5, held still"
