"""Real clips and edits of them, where they lie beside the project: what is said, and when it happens."""

from __future__ import annotations

import clip_library as clips
import pytest

from ndvr.pipeline.search.search import Index

pytestmark = pytest.mark.slow

LIBRARY = ("videos/chaplin.mp4", "videos/cups.mp4", "videos/dog_park.mp4", "videos/moon.mp4", "videos/yoga.mp4")
STRIP = "copies/real/simili_a-original.mp4"


@pytest.fixture(scope="module")
def index(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    videos = {name: shared / "media" / name for name in (*LIBRARY, STRIP)}
    return Index.open(clips.extract(folder / "library", videos)).update()


@pytest.mark.parametrize(
    ("copy", "video", "kind", "placement", "times", "speed"),
    [
        ("chaplin__mirror", "videos/chaplin.mp4", "copy", "mirrored", (0, 9.64, 0, 9.64), 1.0),
        ("dog_park__speed125", "videos/dog_park.mp4", "copy", "", (0, 7.73, 0, 9.66), 1.25),
        ("yoga__tcrop", "videos/yoga.mp4", "part", "", (0, 5, 2.5, 7.5), 1.0),
    ],
)
def test_an_edit_is_found_with_its_kind_and_times(index, shared, copy, video, kind, placement, times, speed):
    (answer,) = index.search(shared / "media" / "copies" / "derived" / f"{copy}.mp4").answers
    (match,) = answer.matches
    assert (match.video_id, match.kind, match.placement) == (video, kind, placement)
    (segment,) = match.segments
    measured = (segment.q_start_s, segment.q_end_s, segment.v_start_s, segment.v_end_s)
    assert measured == pytest.approx(times, abs=0.5)
    assert segment.speed == pytest.approx(speed, abs=0.06)  # half a second of eight


def test_a_quarter_turn_is_undone_on_the_right_side(index, shared):
    for name, words in (("rot90", "turned right by 90 degrees"), ("rot270", "turned left by 90 degrees")):
        (answer,) = index.search(shared / "media" / "copies" / "real" / f"simili_a-{name}.mp4").answers
        (match,) = answer.matches
        assert (match.video_id, match.placement) == (STRIP, words)


def test_what_only_looks_alike_is_not_seen(index, shared):
    (answer,) = index.search(shared / "media" / "copies" / "real" / "earth.mov").answers
    assert (answer.status, answer.matches) == ("searched", [])
