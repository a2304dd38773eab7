"""What `ndvr compare` calls a pair: a copy, a part, the same setting; with times."""

from __future__ import annotations

import clip_library as clips
import numpy as np
import pytest

from ndvr.pipeline.comparison.pair import compare


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    frames = {
        "lecture": clips.lecture(1),
        "copy of it": clips.lecture(1)[:, 4:-4, 6:-6],
        "other lecture": clips.lecture(2),
        "episode": np.concatenate([clips.scene(60, 4), clips.scene(61, 12)]),
        "next episode": np.concatenate([clips.scene(60, 4), clips.scene(62, 12)]),
        "excerpt": clips.scene(61, 12)[24:64],
    }
    return {name: clips.clip(folder / f"{name}.mp4", each, crf=26) for name, each in frames.items()}


@pytest.mark.slow
def test_another_lecture_on_the_same_slides_is_called_the_same_setting_or_nothing(files):
    other = compare(files["lecture"], files["other lecture"])
    assert other.kind in (None, "setting")
    copied = compare(files["lecture"], files["copy of it"])
    assert copied.kind == "copy" and copied.score > other.score
    assert "\na copy\n" in copied.text()


@pytest.mark.slow
def test_a_shared_intro_has_its_times(files):
    pair = compare(files["episode"], files["next episode"])
    assert pair.kind == "shared"
    (segment,) = pair.segments
    assert (segment.q_start_s, segment.v_start_s) == (0, 0)
    assert segment.q_end_s == pytest.approx(4, abs=0.5)
    assert "shared material: they have a part in common" in pair.text()
    assert pair.to_json()["segments"][0]["v_end_s"] == segment.v_end_s


@pytest.mark.slow
def test_an_excerpt_is_a_part(files):
    pair = compare(files["excerpt"], files["episode"])
    assert (pair.kind, pair.a_covered) == ("part", pytest.approx(1, abs=0.1))
    assert pair.segments[0].v_start_s == pytest.approx(7, abs=0.5)


@pytest.mark.slow
def test_what_is_not_alike_has_no_kind(files):
    pair = compare(files["lecture"], files["episode"])
    assert pair.kind is None and len(pair.text().splitlines()) == 1
