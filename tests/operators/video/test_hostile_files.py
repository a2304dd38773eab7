"""Files made to stop a run: each ends as its class, within its deadline."""

import os
import struct
import time
import zlib
from pathlib import Path

import pytest
from bad_decoders import VIEW, rows_of
from clips import numbered_clip

from ndvr.operators.video.decode import Decode, Job, Limits

STALL_S, TOTAL_S = 15, 30


@pytest.fixture(scope="module")
def decode():
    limits = Limits(memory_gb=0.5, stall_s=STALL_S, total_s=TOTAL_S)
    made = Decode(jobs={"m": Job(view=VIEW, config="m-1")}, run="r", limits=limits)
    yield made
    made.close()


def end_of(decode: Decode, path: Path) -> dict:
    """The end row, which is there within the deadline of both decoders and the start of their children."""
    began = time.monotonic()
    rows = rows_of(decode, path)
    assert time.monotonic() - began < 2 * TOTAL_S + 60
    assert [row["kind"] for row in rows].count("end") == 1
    return rows[-1]


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def loop(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


def below_a_file(path: Path) -> Path:
    path.write_text("a file")
    return path / "a.mp4"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (pipe, "not a regular file"),
        (lambda path: path.mkdir() or path, "not a regular file"),
        (lambda path: Path("/dev/zero"), "not a regular file"),
        (loop, "symbolic links"),
        (lambda path: path, "No such file"),
        (below_a_file, "Not a directory"),
        (lambda path: path.with_name("x" * 300), "name too long"),
    ],
    ids=["pipe", "directory", "device", "symlink loop", "missing", "below a file", "long name"],
)
def test_what_is_no_file_is_io(decode, tmp_path, make, said):
    end = end_of(decode, make(tmp_path / "a.mp4"))
    assert (end["status"], end["error_class"], end["sha256"]) == ("failed", "io", None)
    assert said in end["message"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "kind"), [(b"", "empty"), (b"a page, not a video\n" * 50, "corrupt"), (bytes(1 << 20), "corrupt")]
)
def test_what_is_no_video_says_so(decode, tmp_path, content, kind):
    (tmp_path / "a.mp4").write_bytes(content)
    end = end_of(decode, tmp_path / "a.mp4")
    assert (end["status"], end["error_class"], end["bytes"]) == ("failed", kind, len(content))


def test_a_file_without_its_end_gives_what_is_left(decode, tmp_path):
    data = numbered_clip(tmp_path / "whole.mkv", n_frames=250).read_bytes()
    (tmp_path / "half.mkv").write_bytes(data[: len(data) // 2])
    end = end_of(decode, tmp_path / "half.mkv")
    assert end["status"] == "done" and end["partial"] and 0 < end["frames"] < 250


def test_a_movie_without_its_index_is_corrupt(decode, tmp_path):
    data = numbered_clip(tmp_path / "whole.mp4", n_frames=50).read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    end = end_of(decode, tmp_path / "half.mp4")
    assert (end["status"], end["error_class"]) == ("failed", "corrupt")


def claiming(path: Path, frames: int, *, sizes: bool) -> Path:
    """An MP4 of 80 frames whose header promises others: their times, and on request their sizes too."""
    data = bytearray(numbered_clip(path, n_frames=80, options={"bf": "0"}).read_bytes())
    # ISO/IEC 14496-12: after version and flags come counts; stts (count, delta), mdhd its duration.
    times = data.index(b"stts") + 4
    delta = struct.unpack_from(">I", data, times + 12)[0]
    struct.pack_into(">I", data, times + 8, frames)
    struct.pack_into(">I", data, data.index(b"mdhd") + 4 + 16, frames * delta)
    if sizes:  # all of 64 bytes, in one chunk
        struct.pack_into(">II", data, data.index(b"stsz") + 8, 64, frames)
        struct.pack_into(">I", data, data.index(b"stsc") + 4 + 12, frames)
    path.write_bytes(data)
    return path


def test_a_header_that_promises_a_million_frames_costs_no_more_than_those_there_are(decode, tmp_path):
    end = end_of(decode, claiming(tmp_path / "a.mp4", 10**6, sizes=False))
    assert (end["status"], end["frames"], end["windows_count"]) == ("done", 80, 3)


@pytest.mark.slow
def test_a_million_frames_that_are_not_there_are_corrupt(decode, tmp_path):
    end = end_of(decode, claiming(tmp_path / "a.mp4", 10**6, sizes=True))
    assert (end["status"], end["error_class"]) == ("failed", "corrupt")


def picture_bomb(path: Path, side: int) -> Path:
    """A PNG of side x side grey zeros of 16 bit: a thousandth of its size when packed."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(1)
    lines = b"".join(packer.compress(bytes(1 + 2 * side)) for _ in range(side)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", lines) + chunk(b"IEND", b""))
    return path


@pytest.mark.slow
def test_a_picture_of_256_million_pixels_meets_the_memory_limit(decode, tmp_path):
    # FFmpeg refuses 16384 x 16384 by itself; this is the largest round number that it does not.
    end = end_of(decode, picture_bomb(tmp_path / "bomb.mp4", 16_000))
    assert (end["status"], end["error_class"], end["deaths"]) == ("failed", "oom", 0)
    numbered_clip(tmp_path / "next.mp4", n_frames=30)
    assert end_of(decode, tmp_path / "next.mp4")["status"] == "done"
