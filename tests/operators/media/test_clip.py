"""The start of anybody's file, read in a decoder's process."""

from __future__ import annotations

import numpy as np
import pytest
from clips import numbered_clip

from ndvr.operators.errors import DecodeError
from ndvr.operators.media.clip import new_sandbox, read_clip, read_start


def test_the_start_is_that_of_the_whole_file(tmp_path):
    video = numbered_clip(tmp_path / "a.mp4", n_frames=30)
    whole = read_clip(video)
    with new_sandbox() as sandbox:
        start = read_start(str(video), float(12 / whole.fps), sandbox=sandbox)
        np.testing.assert_array_equal(start.frames, whole.frames[:12])
        assert start.fps == whole.fps and len(read_start(str(video), 999.0, sandbox=sandbox).frames) == 30


@pytest.mark.parametrize(
    ("data", "kind"), [(b"#EXTM3U\n#EXTINF:5,\n{}\n", "unsupported"), (b"no video at all" * 99, "corrupt")]
)
def test_what_names_other_files_or_is_no_video_is_refused(tmp_path, data, kind):
    video = numbered_clip(tmp_path / "a.mp4", n_frames=3)
    (tmp_path / "list.mp4").write_bytes(data.replace(b"{}", str(video).encode()))
    with new_sandbox() as sandbox, pytest.raises(DecodeError) as error:
        read_start(str(tmp_path / "list.mp4"), 5.0, sandbox=sandbox)
    assert error.value.kind == kind, error.value
