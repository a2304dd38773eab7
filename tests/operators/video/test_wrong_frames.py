"""Frames that cannot be right: copies in place of others, times that stand still or leap, frames that a file hides."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from bad_decoders import misbehaving, rows_of  # noqa: F401 (a fixture)

from ndvr.operators.errors import DecodeError
from ndvr.operators.media.encode import write_video
from ndvr.operators.video import decoders
from ndvr.operators.video._stream import Frame, Stream
from ndvr.operators.video.decoders import LENIENT, STRICT, watched


def pictures(count: int, *, still: bool = False) -> Iterator[np.ndarray]:
    """Blocks of noise, others in every frame, or the same."""
    rng = np.random.default_rng(0)
    for number in range(count):
        if number == 0 or not still:
            noise = np.kron(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        yield noise


def clip(path: Path, count: int = 60, *, still: bool = False, **settings) -> Path:
    write_video(path, pictures(count, still=still), fps=25, options={"bf": "0"}, **settings)
    return path


def without_first_key_frame(path: Path, count: int = 60) -> Path:
    """A file that starts in the middle, as a cut without re-encoding leaves it: fewer frames than packets."""
    whole = path.with_stem("whole")
    write_video(whole, pictures(count), fps=25, options={"bf": "0", "g": "20"})
    with av.open(str(whole)) as given, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.dts is not None and number >= 10:
                packet.stream = stream
                made.mux(packet)
    return path


def frames_of(path: Path, decoder: str) -> list[Frame]:
    return list(decoders.open_video(path, decoder).frames)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx", "mjpeg"])
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_a_picture_that_stands_still_is_no_copy(tmp_path, codec, decoder):
    suffix = ".webm" if codec == "libvpx" else ".mkv"
    assert len(frames_of(clip(tmp_path / f"a{suffix}", still=True, codec=codec), decoder)) == 60


def given(path: Path, order: list[int], *, codec: str = "h264") -> tuple[Stream, Iterator[Frame]]:
    """The frames of a clip in another order, each with the size of the packet that should have given it."""
    source = frames_of(path, "pyav")
    frames = [Frame(n, Fraction(n, 25), source[of].picture, source[n].packet_bytes) for n, of in enumerate(order)]
    return Stream("a decoder", codec=codec, duration_s=len(order) / 25), iter(frames)


def test_one_copy_in_place_of_a_frame_is_wrong(tmp_path):
    order = [*range(30), 29, 29, *range(32, 60)]
    with pytest.raises(DecodeError, match="wrong frames: the frame before is shown again at frame 31"):
        list(watched(*given(clip(tmp_path / "a.mp4"), order), STRICT))


def test_a_decoder_that_says_what_is_damaged_may_patch_a_tenth(tmp_path):
    path = clip(tmp_path / "a.mp4")
    few, many = [*range(55), *[54] * 5], [*range(45), *[44] * 15]
    assert len(list(watched(*given(path, few), LENIENT))) == 60
    with pytest.raises(DecodeError, match="shown again at 15 of 60 frames"):
        list(watched(*given(path, many), LENIENT))


@pytest.mark.slow
def test_decord_fills_up_with_copies_and_is_caught(tmp_path):
    path = without_first_key_frame(tmp_path / "a.ts")
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    raw = [reader[index].asnumpy() for index in range(len(reader))]
    copies = sum(np.array_equal(a, b) for a, b in zip(raw, raw[1:]))
    assert (len(raw), copies, len(frames_of(path, "pyav"))) == (50, 2, 48)  # else decord has learned
    with pytest.raises(DecodeError, match="wrong frames") as error:
        frames_of(path, "decord")
    assert error.value.kind == "corrupt"


def test_decord_that_shows_what_an_edit_list_hides_is_caught(tmp_path):
    path = clip(tmp_path / "a.mp4", start_s=1)
    data = bytearray(path.read_bytes())
    # ISO/IEC 14496-12: version, flags and count, then (duration, media time, rate) of each edit; ours starts later.
    last = data.index(b"elst") + 4 + 8 + 12 * (struct.unpack_from(">I", data, data.index(b"elst") + 8)[0] - 1)
    struct.pack_into(">I", data, last + 4, 90_000 * 10 // 25)
    path.write_bytes(data)
    assert len(frames_of(path, "pyav")) == 50
    with pytest.raises(DecodeError, match="wrong frames: 60 of a file that shows 50"):
        frames_of(path, "decord")


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([0, 1, 2, 2, 3, 4], "the time stands still at frame 4"),
        ([0, 1, 2, 1, 3, 4], "the time stands still at frame 4"),
        ([0, 1, 2, 9000, 9001, 9002], "one at 9000 s follows one at 2 s of 6 s"),
    ],
)
def test_times_that_do_not_run_on_are_wrong(times, said):
    picture = av.VideoFrame(64, 48, "yuv420p")
    frames = (Frame(number, Fraction(time_s), picture) for number, time_s in enumerate(times))
    with pytest.raises(DecodeError, match=said):
        list(watched(Stream("a decoder", duration_s=6.0), frames, STRICT))


@pytest.mark.slow
def test_decord_alone_fails_and_says_what_would_help(misbehaving, tmp_path):  # noqa: F811
    rows = rows_of(misbehaving("", "decord"), without_first_key_frame(tmp_path / "a.ts"))
    assert (rows[-1]["status"], rows[-1]["error_class"]) == ("failed", "corrupt")
    assert "wrong frames" in rows[-1]["message"] and "`--decoder auto`" in rows[-1]["message"]


@pytest.mark.slow
def test_the_next_decoder_takes_over_from_one_that_shows_copies(misbehaving, tmp_path):  # noqa: F811
    # The first decoder plays the same second again and again.
    code = """
    def pyav(path):
        stream = open_pyav(path)
        frames, kept = stream.frames, []
        def again():
            for frame in frames:
                kept.append(frame)
                yield frame if len(kept) < 10 else frame._replace(picture=kept[8].picture)
        stream.frames = again()
        return stream
    d.DECODERS["pyav"] = pyav
    """
    rows = [row for row in rows_of(misbehaving(code), clip(tmp_path / "a.mp4")) if row["kind"] != "piece"]
    assert [(row["kind"], row["attempt"], row["status"]) for row in rows] == [
        ("attempt", 1, "failed"),
        ("end", 2, "done"),
    ]
    assert "wrong frames" in rows[0]["message"] and rows[1]["decoder"].startswith("decord ")


@pytest.mark.slow
def test_damaged_packets_leave_a_partial_video(misbehaving, tmp_path):  # noqa: F811
    path = clip(tmp_path / "whole.mp4")
    with av.open(str(path)) as source, av.open(str(tmp_path / "a.mp4"), "w") as made:
        stream = made.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is None:
                continue
            data = bytes(packet)
            damaged = av.Packet(data[: len(data) // 3] if 30 <= number < 35 else data)
            damaged.pts, damaged.dts, damaged.time_base = packet.pts, packet.dts, packet.time_base
            damaged.is_keyframe, damaged.stream = packet.is_keyframe, stream
            made.mux(damaged)
    end = rows_of(misbehaving(""), tmp_path / "a.mp4")[-1]
    assert (end["status"], end["attempt"], end["partial"], end["damaged"]) == ("done", 1, True, 5)


@pytest.mark.slow
def test_no_clean_video_is_suspected(shared):
    """Both decoders on real clips, among them black, static and slowly changing ones."""
    media = shared / "media"
    static = ["odd/silent_black_10s.mp4", "odd/mpeg4.ts", "odd/h264_9bit.mkv", "odd/decord_unordered.mov"]
    still = [media / name for name in static if (media / name).exists()]
    real = ["cat.1.h264.mp4", "simili_a-original.mp4", "simili_b-pillarbox.mp4"]
    some = [*still, *(media / "copies" / "real" / name for name in real)]
    for path in some:
        for decoder in ("pyav", "decord"):
            assert frames_of(path, decoder), path
