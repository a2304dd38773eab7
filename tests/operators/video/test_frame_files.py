"""Frames that are kept: whole pictures, a frame a second, any of which can be read; or why there are none."""

import numpy as np
import pytest
from clips import numbered_clip, oriented_clip, read_number

from ndvr.operators.storage.fetch import Fetcher
from ndvr.operators.video.frame_files import keep_frames, open_frames, sandboxes


def kept(video, place):
    with sandboxes(1) as boxes, boxes.one() as sandbox:
        return keep_frames(str(video), place, sandbox=sandbox, fetcher=Fetcher())


def test_any_frame_of_the_whole_picture_is_read(tmp_path):
    frames = kept(numbered_clip(tmp_path / "a.mp4", n_frames=100, size=(128, 72)), tmp_path / "a.zip")
    assert frames == open_frames(tmp_path / "a.zip") and len(frames) == 4
    pictures = frames[np.array([3, 0, 3])]
    assert pictures.shape == (3, 256, 456, 3)
    assert [read_number(picture) for picture in pictures] == [87, 12, 87]  # as ffmpeg's rule has it
    assert frames.middle(np.arange(2), 224).shape == (2, 224, 224, 3)


def test_a_picture_is_kept_upright(tmp_path):
    clip = oriented_clip(tmp_path / "a.mp4", "a quarter turn clockwise", n_frames=25, size=(96, 64))
    (picture,) = kept(clip, tmp_path / "a.zip")[np.array([0])]
    assert read_number(picture) == 12


def test_what_gives_no_frames_says_why(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    frames = kept(tmp_path / "a.mp4", tmp_path / "a.zip")
    assert len(frames) == 0 and frames.failed.startswith("corrupt: ")
    assert kept(tmp_path / "none.mp4", tmp_path / "none.zip").failed.startswith("io: ")


def test_a_damaged_file_is_named(tmp_path):
    frames = kept(numbered_clip(tmp_path / "a.mp4", n_frames=25), tmp_path / "a.zip")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[2000:2100] = bytes(100)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"a.zip is damaged: .*remove it, and its frames are decoded again"):
        frames[np.array([0])]
    (tmp_path / "a.zip").write_bytes(b"")
    assert open_frames(tmp_path / "a.zip") is None
