"""The demo's videos are what its truth table says they are."""

from __future__ import annotations

import csv
from collections import Counter

import numpy as np
import pytest

from ndvr.benchmarks.demo.edits import EDITS, SOURCES_NEEDED
from ndvr.benchmarks.demo.videos import COLUMNS, make_videos
from ndvr.operators.media.clip import Clip, read_clip

pytestmark = pytest.mark.slow  # videos are drawn and encoded
SHORT_S = (1.6, 2.4)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Four short originals and one copy by every edit: the folder and its truth rows."""
    folder = tmp_path_factory.mktemp("demo")
    truth = make_videos(folder, originals=4, copies=len(EDITS), duration_s=SHORT_S, workers=2)
    with truth.open(newline="") as file:
        return folder, list(csv.DictReader(file))


def row_of(rows: list[dict], edit: str) -> dict:
    """The row of the source that gave the copy its name."""
    return next(row for row in rows if row["edit"] == edit and main_source(row["query_id"]) == row["video_id"])


def main_source(copy_id: str) -> str:
    return "originals/" + copy_id.removeprefix("copies/").split("__")[0] + ".mp4"


def pair(demo, edit: str) -> tuple[Clip, Clip, dict]:
    """The copy, its source and their truth row."""
    folder, rows = demo
    row = row_of(rows, edit)
    return read_clip(folder / row["query_id"]), read_clip(folder / row["video_id"]), row


def frame_at(clip: Clip, time_s: float) -> np.ndarray:
    return clip.frames[min(int(time_s * clip.fps + 0.5), len(clip.frames) - 1)].astype(float)


def test_the_truth_table_has_the_agreed_columns_and_every_edit(demo):
    _, rows = demo
    assert tuple(rows[0]) == COLUMNS
    copies = Counter(edit for edit, _ in {(row["edit"], row["query_id"]) for row in rows})
    assert copies == dict.fromkeys(EDITS, 1)


def test_truth_rows_point_at_files_that_were_made_and_every_copy_has_a_row(demo):
    folder, rows = demo
    assert all((folder / row[column]).is_file() for row in rows for column in ("query_id", "video_id"))
    made = {f"copies/{path.name}" for path in (folder / "copies").iterdir()}
    assert made == {row["query_id"] for row in rows}
    assert len(list((folder / "originals").iterdir())) == 4


def test_mixed_copies_have_a_row_for_each_of_their_sources(demo):
    _, rows = demo
    counts = Counter(row["edit"] for row in rows)
    assert {edit: counts[edit] for edit in SOURCES_NEEDED} == SOURCES_NEEDED
    shared = {(row["relation"], row["visual"], row["audio"]) for row in rows if row["edit"] == "audio_replaced"}
    assert shared == {("near_dup", "1", "0"), ("audio_only", "0", "1")}


def test_times_lie_inside_both_videos_and_agree_with_the_speed(demo):
    folder, rows = demo
    length_s = {
        name: read_clip(folder / name).duration_s for row in rows for name in (row["query_id"], row["video_id"])
    }
    for row in rows:
        q_start, q_end, v_start, v_end = (float(row[name]) for name in ("q_start", "q_end", "v_start", "v_end"))
        # 0.01: the table has two decimals.
        assert 0 <= q_start < q_end <= length_s[row["query_id"]] + 0.01, row
        assert 0 <= v_start < v_end <= length_s[row["video_id"]] + 0.01, row
        # 0.1: a changed speed is rounded to whole frames, which last 0.08 s at 12 frames per second.
        assert v_end - v_start == pytest.approx(abs(float(row["speed"])) * (q_end - q_start), abs=0.1), row


def test_sound_is_there_except_where_the_edit_mutes_it(demo):
    folder, rows = demo
    for name in {row[column] for row in rows for column in ("query_id", "video_id")}:
        clip = read_clip(folder / name)
        if "audio_muted" in name:
            assert clip.audio is None
        else:
            assert clip.audio.shape[0] == 2
            assert clip.audio.std() > 0.01, name


# Mean absolute difference of pixels in [0, 255]; "low" blocks most. Frames a quarter second apart differ by less
# in slow scenes, so these only say that the right footage is shown.
@pytest.mark.parametrize("edit", ["low", "tcrop", "speed125", "speed80", "audio_replaced", "logo", "concat"])
def test_the_copy_shows_what_the_source_shows_at_the_stated_time(demo, edit):
    copy, source, row = pair(demo, edit)
    for share in (0.2, 0.5, 0.8):
        q_s = float(row["q_start"]) + share * (float(row["q_end"]) - float(row["q_start"]))
        v_s = float(row["v_start"]) + share * (float(row["v_end"]) - float(row["v_start"]))
        assert np.abs(frame_at(copy, q_s) - frame_at(source, v_s)).mean() < 15


def test_a_mirrored_copy_is_the_source_turned_round(demo):
    copy, source, _ = pair(demo, "mirror")
    assert np.abs(frame_at(copy, 0.5)[:, ::-1] - frame_at(source, 0.5)).mean() < 8


def test_a_reversed_copy_ends_where_the_source_begins(demo):
    copy, source, _ = pair(demo, "reverse")
    assert np.abs(copy.frames[-1].astype(float) - source.frames[0]).mean() < 8


def test_a_trimmed_copy_has_the_sound_of_its_time(demo):
    copy, source, row = pair(demo, "tcrop")
    begin = round(float(row["v_start"]) * source.rate_hz)
    heard, meant = copy.audio[0, 4000:40000], source.audio[0, begin + 4000 : begin + 40000]
    lag = 800  # v_start is rounded to 0.01 s, 441 samples
    around = source.audio[0, begin + 4000 - lag : begin + 40000 + lag]
    peak = np.correlate(around, heard, "valid").max()
    assert peak / (np.linalg.norm(heard) * np.linalg.norm(meant)) > 0.8


def test_replaced_sound_is_the_donors(demo):
    folder, rows = demo
    row = next(row for row in rows if row["relation"] == "audio_only")
    copy, donor = read_clip(folder / row["query_id"]).audio, read_clip(folder / row["video_id"]).audio
    count = min(copy.shape[1], donor.shape[1])
    assert np.corrcoef(copy[0, :count], donor[0, :count])[0, 1] > 0.9


def test_the_same_seed_gives_the_same_pixels_for_any_number_of_workers(tmp_path):
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        make_videos(folder, seed=5, originals=4, copies=7, duration_s=(0.5, 0.7), workers=workers)
    made = sorted(path.relative_to(folder) for path in folder.rglob("*.mp4"))
    assert len(made) == 11
    for name in made:
        one, other = (read_clip(tmp_path / workers / name) for workers in ("1", "3"))
        assert np.array_equal(one.frames, other.frames), name
    assert (tmp_path / "1" / "truth.csv").read_text() == (tmp_path / "3" / "truth.csv").read_text()


def test_another_seed_gives_other_videos(demo, tmp_path):
    folder, _ = demo
    make_videos(tmp_path, seed=1, originals=4, copies=0, duration_s=(0.9, 1.0))
    one, other = (read_clip(place / "originals/landscape_00.mp4") for place in (folder, tmp_path))
    assert one.size == other.size
    assert np.abs(frame_at(one, 0.5) - frame_at(other, 0.5)).mean() > 15


def test_a_finished_demo_is_left_alone_and_a_different_one_refused(demo):
    folder, _ = demo
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    make_videos(folder, originals=4, copies=len(EDITS), duration_s=SHORT_S)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == before
    with pytest.raises(ValueError, match="give an empty folder"):
        make_videos(folder, seed=7, originals=4, copies=len(EDITS), duration_s=SHORT_S)


def test_a_folder_with_somebody_elses_videos_is_refused(tmp_path):
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "mine.mp4").touch()
    with pytest.raises(ValueError, match="not made by the demo"):
        make_videos(tmp_path, originals=4)


def test_progress_counts_every_file(tmp_path):
    seen = []
    make_videos(tmp_path, originals=4, copies=1, duration_s=(0.5, 0.6), progress=lambda *step: seen.append(step))
    assert [done for done, _, _ in seen] == [1, 2, 3, 4, 5]
    assert {total for _, total, _ in seen} == {5}
    assert seen[-1][2].startswith("copies/")
