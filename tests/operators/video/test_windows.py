"""Windows cut from real files: the right frames, upright, complete, in bounded memory."""

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import ORIENTATIONS, numbered_clip, oriented_clip, read_number
from places import GOLDEN_FOLDER

from ndvr.models.card import Frames
from ndvr.operators.errors import DecodeError
from ndvr.operators.video import decoders
from ndvr.operators.video._picture import Picture
from ndvr.operators.video.windows import End, Piece, cut

# 64 x 48 in: the whole picture squashed, so that the number stays readable.
WHOLE = Frames(fps=1, resize=(96, 96), crop=96)
GEOMETRY = json.loads((GOLDEN_FOLDER / "frame_rules.json").read_text())["geometry"]


def windows_of(path, view=WHOLE, decoder="pyav") -> np.ndarray:
    *pieces, end = cut(str(path), {"m": view}, decoder)
    if end.status == "failed":
        raise DecodeError(end.error_class, end.message)
    return np.concatenate([piece.windows for piece in pieces])


def numbers_of(path, view=WHOLE, decoder="pyav") -> list[int]:
    return [read_number(window) for window in windows_of(path, view, decoder)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".mpg", ".mov"])
def test_every_container_gives_the_frames_ffmpeg_gives(tmp_path, suffix):
    clip = tmp_path / f"clip{suffix}"
    numbered_clip(clip, n_frames=80, fps=25)
    assert numbers_of(clip) == [12, 37, 62]


def test_opencv_rule_on_a_real_file(tmp_path):
    numbered_clip(tmp_path / "clip.mp4", n_frames=80, fps=25)
    view = Frames(fps=1, rule="opencv", kernel="cubic", resize=(96, 96), crop=96)
    assert numbers_of(tmp_path / "clip.mp4", view) == [0, 25, 50, 75]


def test_decord_agrees_with_pyav_on_plain_h264(tmp_path):
    numbered_clip(tmp_path / "clip.mp4", n_frames=80, fps=25)
    assert numbers_of(tmp_path / "clip.mp4", decoder="decord") == numbers_of(tmp_path / "clip.mp4")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("view", [WHOLE, replace(WHOLE, kernel="cubic"), replace(WHOLE, kernel="area", grey=True)])
def test_windows_are_turned_and_mirrored_as_the_file_asks(tmp_path, orientation, view):
    assert numbers_of(oriented_clip(tmp_path / "a.mp4", orientation, n_frames=60), view) == [12, 37]


def test_a_clip_shorter_than_a_window_gives_its_first_frame(tmp_path):
    numbered_clip(tmp_path / "clip.mp4", n_frames=5, fps=25)
    assert numbers_of(tmp_path / "clip.mp4") == [0]


def test_one_pass_serves_several_views(tmp_path, monkeypatch):
    numbered_clip(tmp_path / "clip.mp4", n_frames=80, fps=25)
    opened = []
    real = decoders.DECODERS["pyav"]
    monkeypatch.setitem(decoders.DECODERS, "pyav", lambda path: opened.append(path) or real(path))
    views = {"one": WHOLE, "two": Frames(fps=2, resize=(96, 96), crop=96, grey=True, kernel="area")}
    found = {}
    for item in cut(str(tmp_path / "clip.mp4"), views):
        if hasattr(item, "windows"):
            found.setdefault(item.key, []).extend(read_number(window) for window in item.windows)
    assert found == {"one": [12, 37, 62], "two": [6, 18, 31, 43, 56, 68]}
    assert len(opened) == 1


@pytest.mark.parametrize("fps", [25, Fraction(30000, 1001), 12])
def test_frames_that_no_window_needs_are_left_out_and_nothing_changes(tmp_path, fps):
    clip = tmp_path / "clip.mp4"
    numbered_clip(clip, n_frames=200, fps=fps, options={"bf": "3", "b-pyramid": "normal"})
    every_frame = Frames(rule="opencv", kernel="cubic", resize=(96, 96), crop=96)
    lean = list(cut(str(clip), {"m": WHOLE}))
    full = list(cut(str(clip), {"m": WHOLE, "all": every_frame}))  # this rule counts frames, so none is left out
    assert lean[-1].stream.skipped and not full[-1].stream.skipped
    assert lean[-1].stream.decoded == full[-1].stream.decoded == 200
    pieces = [[item for item in items if item.key == "m" and isinstance(item, Piece)] for items in (lean, full)]
    both = [np.concatenate([piece.windows for piece in some]) for some in pieces]
    np.testing.assert_array_equal(*both)


def test_grey_windows_are_full_range_whatever_the_file_says(tmp_path):
    numbered_clip(tmp_path / "clip.mp4", n_frames=30, fps=25)
    view = Frames(fps=1, resize=(96, 96), crop=96, grey=True, kernel="area")
    grey = windows_of(tmp_path / "clip.mp4", view)
    rgb = windows_of(tmp_path / "clip.mp4")
    assert grey.shape == (1, 96, 96) and grey.dtype == np.uint8
    # Kernels differ at the edges of the blocks; the levels inside black, grey and white ones must not.
    levels = (10, 50, 90)
    np.testing.assert_allclose(np.percentile(grey, levels), np.percentile(rgb, levels), atol=3)


def test_a_file_with_sound_only_has_no_picture(tmp_path):
    from ndvr.operators.media.encode import tone, write_video

    write_video(tmp_path / "both.mp4", iter([np.zeros((48, 64, 3), np.uint8)] * 5), fps=5, audio=tone(1.0))
    sound_only(tmp_path / "both.mp4", tmp_path / "sound.mp4")
    assert list(cut(str(tmp_path / "sound.mp4"), {"m": WHOLE})) == [
        End(key="m", status="skipped", message="no picture: sound only")
    ]


def sound_only(source: Path, target: Path) -> None:
    import av

    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [("missing.mp4", None, "io"), ("zero.mp4", b"", "empty"), ("text.mp4", b"<html>404</html>" * 9, "corrupt")],
)
def test_what_is_no_video_says_why(tmp_path, name, content, kind):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError) as error:
        windows_of(tmp_path / name)
    assert error.value.kind == kind


def test_a_directory_and_a_pipe_are_refused_without_opening_them(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path, tmp_path / "pipe.mp4"):
        with pytest.raises(DecodeError, match="not a regular file"):
            windows_of(path)


def test_a_truncated_file_gives_what_is_left(tmp_path):
    numbered_clip(tmp_path / "whole.mkv", n_frames=250, fps=25)
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "half.mkv").write_bytes(data[: len(data) // 2])
    numbers = numbers_of(tmp_path / "half.mkv")
    assert 3 <= len(numbers) < 10
    assert numbers == [12, 37, 62, 87, 112, 137, 162, 187, 212, 237][: len(numbers)]


@pytest.mark.parametrize("row", GEOMETRY, ids=lambda row: "x".join(map(str, row["in"])))
def test_resized_size_and_crop_are_those_of_the_authors_loaders(row):
    import av

    height, width = row["in"]
    # A picture whose red and green are its coordinates tells where a window was cut.
    y, x = np.mgrid[0:height, 0:width]
    ramp = np.stack([x * 255 // width, y * 255 // height, np.zeros_like(x)], -1).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(ramp, format="rgb24")
    for view, size, corner in (
        (Frames(), row["ffmpeg_scale256"], row["ffmpeg_crop_xy"][::-1]),
        (Frames(rule="opencv", kernel="cubic"), row["opencv_resize256"], row["opencv_crop_topleft"]),
    ):
        window = Picture(view)(frame)
        assert list(window.shape[:2]) == row["crop_shape"]
        centre = window[window.shape[0] // 2, window.shape[1] // 2].astype(float)
        expected_x = (corner[1] + window.shape[1] // 2 + 0.5) / size[1] * 255
        expected_y = (corner[0] + window.shape[0] // 2 + 0.5) / size[0] * 255
        assert abs(centre[0] - expected_x) < 2 and abs(centre[1] - expected_y) < 2


def test_opencv_resize_equals_the_reference_pictures(shared):
    import av

    golden = np.load(shared / "golden" / "s2vs" / "frame_resize.npz")
    source = golden[next(key for key in golden.files if golden[key].shape == (180, 320, 3))]
    for name, picture in (
        ("crop224/180x320", source),
        ("crop224/320x180", source.transpose(1, 0, 2)),
        ("crop224/100x120", source[:100, :120]),
    ):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        window = Picture(Frames(rule="opencv", kernel="cubic"))(frame)
        # OpenCV versions differ by one grey level.
        assert np.abs(window.astype(int) - golden[name].astype(int)).max() <= 1


@pytest.mark.slow
def test_a_long_video_needs_no_more_memory_than_a_short_one(tmp_path):
    # 40 minutes at 1 frame/s of full windows would be 360 MB; pieces are 8 MB.
    numbered_clip(tmp_path / "short.mp4", n_frames=60, fps=Fraction(1), size=(320, 240))
    numbered_clip(tmp_path / "long.mp4", n_frames=2400, fps=Fraction(1), size=(320, 240))
    peaks = [peak_mb(tmp_path / name) for name in ("short.mp4", "long.mp4")]
    assert peaks[1] < peaks[0] + 60, f"peak memory in MB of 60 and of 2400 windows: {peaks}"


def peak_mb(path: Path) -> float:
    code = (
        "import resource, sys\n"
        "from ndvr.models.card import Frames\n"
        "from ndvr.operators.video.windows import cut\n"
        "n = sum(len(i.windows) for i in cut(sys.argv[1], {'m': Frames()}) if hasattr(i, 'windows'))\n"
        "assert n in (60, 2400), n\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)
