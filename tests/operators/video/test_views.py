"""What each method is shown is what its authors' loader shows: which frames, in which groups, which pixels."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from clips import numbered_clip, read_number
from places import GOLDEN_FOLDER

from ndvr.models import card
from ndvr.models.card import Clips, Frames, Mel, Overview
from ndvr.operators.media.encode import tone, write_video
from ndvr.operators.video._frame_rules import OverviewSampler, TcaSampler
from ndvr.operators.video.windows import End, Piece, cut

RULES = json.loads((GOLDEN_FOLDER / "view_rules.json").read_text())
WHOLE = {"resize": (96, 96), "crop": 96, "kernel": "cubic"}  # the number stays readable
CLIPS = Clips(rule="opencv", **WHOLE)


def picked(sampler, n_frames: int) -> list[int]:
    times = [Fraction(i, 25) for i in range(n_frames)]
    found = [frame for i, t in enumerate(times) for _, frame in sampler.push(i, t, i)]
    return found + [frame for _, frame in sampler.finish(Fraction(n_frames, 25))]


def windows_of(path, view) -> tuple[np.ndarray, End]:
    *pieces, end = cut(str(path), {"m": view})
    return np.concatenate([piece.windows for piece in pieces]), end


@pytest.mark.parametrize(("n_frames", "rate", "wanted"), RULES["tca"])
def test_tca_shows_the_frames_its_loader_shows(n_frames, rate, wanted):
    assert picked(TcaSampler(1.0, Fraction(rate)), n_frames) == wanted


# Of fewer frames than half of what is asked for, the loader wants one too many and fails; we show the last again.
@pytest.mark.parametrize(("n_frames", "count", "wanted"), RULES["overview"])
def test_an_overview_shows_the_frames_the_c3dhash_loader_shows(n_frames, count, wanted):
    found = picked(OverviewSampler(count, n_frames), n_frames)
    assert len(found) == count and max(found) <= n_frames - 1
    if isinstance(wanted, list):
        assert found == wanted


def test_an_overview_of_a_video_with_fewer_frames_repeats_them_and_says_so(tmp_path):
    numbered_clip(tmp_path / "a.mp4", n_frames=5, fps=25)
    windows, end = windows_of(tmp_path / "a.mp4", Overview(count=8, **WHOLE))
    assert [read_number(picture) for picture in windows[0]] == [0, 1, 1, 2, 2, 3, 4, 4]
    assert end.message == "5 frames, fewer than 8: some are shown more than once"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mpg"])
def test_an_overview_spans_the_video_whether_or_not_the_header_counts_frames(tmp_path, suffix):
    numbered_clip(tmp_path / f"a{suffix}", n_frames=100, fps=25)
    windows, end = windows_of(tmp_path / f"a{suffix}", Overview(count=4, **WHOLE))
    assert windows.shape == (1, 4, 96, 96, 3) and end.status == "done"
    assert [read_number(picture) for picture in windows[0]] == [0, 25, 50, 75]


def test_an_overview_of_a_damaged_file_spans_what_can_be_decoded(tmp_path):
    numbered_clip(tmp_path / "a.mp4", n_frames=200, fps=25)
    whole = bytearray((tmp_path / "a.mp4").read_bytes())
    end_of_data = whole.find(b"moov") - 4
    whole[end_of_data // 2 : end_of_data] = bytes(end_of_data - end_of_data // 2)
    (tmp_path / "b.mp4").write_bytes(whole)
    windows, end = windows_of(tmp_path / "b.mp4", Overview(count=4, **WHOLE))
    n_decoded = end.stream.decoded
    assert windows.shape == (1, 4, 96, 96, 3) and 20 < n_decoded < 180  # the header says 200
    assert [read_number(picture) for picture in windows[0]] == [round(i * n_decoded / 4) for i in range(4)]


@pytest.mark.parametrize(("n_sampled", "n_clips", "kept", "black"), RULES["clips"][:20])
def test_clips_are_filled_or_left_out_as_by_3d_csl(tmp_path, n_sampled, n_clips, kept, black):
    numbered_clip(tmp_path / "a.mp4", n_frames=n_sampled, fps=1)
    windows, end = windows_of(tmp_path / "a.mp4", CLIPS)
    assert windows.shape == (n_clips, 8, 96, 96, 3)
    pictures = windows.reshape(-1, 96, 96, 3)
    assert [read_number(picture) for picture in pictures[:kept]] == list(range(kept))
    assert len(pictures) - kept == black and not pictures[kept:].any()
    assert (end.message is not None) == (black > 0)


def test_clips_start_eight_seconds_apart(tmp_path):
    numbered_clip(tmp_path / "a.mp4", n_frames=20, fps=1)
    starts = np.concatenate(
        [item.start_s for item in cut(str(tmp_path / "a.mp4"), {"m": CLIPS}) if hasattr(item, "windows")]
    )
    assert starts.tolist() == [0, 8, 16]


@pytest.mark.slow
def test_every_published_view_from_one_pass_equals_that_view_alone(tmp_path):
    pictures = [np.full((90, 160, 3), 9 * i % 250, np.uint8) for i in range(100)]
    write_video(tmp_path / "a.mp4", iter(pictures), fps=10, audio=tone(10.0))
    views = {name: card(name).view for name in ("s2vs", "csl3d", "tca", "c3dhash", "ausil")}
    together: dict[str, list[np.ndarray]] = {}
    for item in cut(str(tmp_path / "a.mp4"), views):
        if isinstance(item, Piece):
            together.setdefault(item.key, []).append(item.windows)
    assert together.keys() == views.keys()
    for name, view in views.items():
        alone, _ = windows_of(tmp_path / "a.mp4", view)
        np.testing.assert_array_equal(np.concatenate(together[name]), alone)


def test_a_muted_video_has_pictures_and_no_sound_and_a_silent_one_is_told_apart(tmp_path):
    pictures = [np.full((48, 64, 3), 100, np.uint8)] * 30
    write_video(tmp_path / "muted.mp4", iter(pictures), fps=10)
    write_video(tmp_path / "silent.mp4", iter(pictures), fps=10, audio=0 * tone(3.0))
    for name, reason in (("muted", "no sound stream"), ("silent", "silence")):
        items = list(cut(str(tmp_path / f"{name}.mp4"), {"seen": Frames(), "heard": Mel()}))
        ends = {item.key: item for item in items if isinstance(item, End)}
        assert ends["seen"].status == "done" and {item.key for item in items if isinstance(item, Piece)} == {"seen"}
        assert (ends["heard"].status, ends["heard"].message) == ("skipped", f"no sound: {reason}")


# OpenCV's and our FFmpeg turn YUV into RGB alike up to a grey level, and resize it bit for bit.
@pytest.mark.parametrize(("folder", "name", "stride"), [("3dcsl", "csl3d", 7), ("tca", "tca", 8)])
def test_pixels_of_the_authors_sample_videos(shared, folder, name, stride):
    golden = shared / "golden"
    wanted = np.load(golden / folder / ("preprocess.npz" if name == "csl3d" else "frames.npz"))
    view = replace(card(name).view, crop=224 if name == "csl3d" else 256)
    clips = sorted({key.split("_u8_")[0] for key in wanted if f"_u8_stride{stride}" in key})
    assert len(clips) == 11
    for clip in clips:
        windows, _ = windows_of(golden / "3dcsl" / "videos" / f"{clip}.mkv", view)
        found = windows[..., ::stride, ::stride, :].astype(int)
        np.testing.assert_allclose(found, wanted[f"{clip}_u8_stride{stride}"].astype(int), atol=1, err_msg=clip)
