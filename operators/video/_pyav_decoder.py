"""Decode with PyAV, which brings its own FFmpeg: tolerant of damage, exact, and no more work than the windows need."""

from __future__ import annotations

import contextlib
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.stream import Disposition

from ndvr.operators.errors import DecodeError, NoPicture, NoSound
from ndvr.operators.sandbox.handed_file import HandedFile, open_container
from ndvr.operators.video._sound import best_sound
from ndvr.operators.video._stream import Frame, Hear, Stream

_STILLS = {"mjpeg", "png", "bmp", "webp", "tiff"}  # codecs of covers

# --- Decode sound with PyAV: packet by packet beside the pictures, or on its own


class Track:
    """The sound stream of an opened container: give it its packets, then `close`; `stream` says what was heard.

    `hear` gets every frame with the time of the file's start on the frames' clock, in seconds.
    """

    def __init__(self, container: Any, hear: Hear):
        self.stream = Stream(f"pyav {av.__version__}")
        self.track: av.AudioStream | None = None
        self._hear = hear
        self._origin_s = Fraction(container.start_time or 0, av.time_base)
        try:
            self.track = best_sound(container)
        except DecodeError as error:
            self.stream.failure = error
            return
        if self.track is None:
            self.stream.failure = NoSound("no sound stream")
        else:
            self.stream.codec = self.track.codec_context.name
            self.track.codec_context.thread_count = 1

    def packet(self, packet: av.Packet) -> None:
        """Decode one packet of the track; a damaged one is counted and left out."""
        try:
            frames = packet.decode()
        except (av.FFmpegError, UnicodeDecodeError):
            self.stream.errors += 1
            return
        self._give(frames)

    def _give(self, frames: Any) -> None:
        for frame in frames:
            self.stream.decoded += 1
            if frame.sample_rate:
                self.stream.end_s += Fraction(frame.samples, frame.sample_rate)
            self._hear(frame, self._origin_s)

    def close(self) -> Stream:
        """Take what is still inside the decoder, and return the verdict."""
        if self.track is not None:
            with contextlib.suppress(av.EOFError, av.FFmpegError):  # the demuxer's last packet may have flushed it
                self._give(self.track.codec_context.decode(None))
            if self.stream.decoded == 0 and self.stream.errors:
                message = f"{self.stream.errors} damaged packets and no sound ({self.stream.codec})"
                self.stream.failure = DecodeError("corrupt", message)
        return self.stream


def listen(file: HandedFile, hear: Hear, heartbeat: Callable[[], None] = lambda: None) -> Stream:
    """Give every frame of the best sound stream of a file to `hear`; the Stream says what there was, or why nothing."""
    try:
        container = open_container(file)
    except DecodeError as error:
        return Stream(f"pyav {av.__version__}", failure=error)
    except av.FFmpegError as error:
        reason = (getattr(error, "strerror", None) or str(error)).strip()
        return Stream(f"pyav {av.__version__}", failure=DecodeError("corrupt", f"cannot open: {reason}"))
    with container:
        track = Track(container, hear)
        if track.track is not None:
            try:
                for packet in container.demux(track.track):
                    track.packet(packet)
                    heartbeat()
            except av.FFmpegError:
                track.stream.errors += 1  # the container breaks off: keep what came before
        if container.duration:
            track.stream.duration_s = container.duration / av.time_base
        return track.close()


# --- Decode pictures: all of them in order, without those that nothing needs


def open_pyav(file: HandedFile) -> Stream:
    """Open the best video stream through PyAV, tolerant of damaged packets, one thread.

    One thread because many single-threaded decoders use a machine better than few threaded ones.
    """
    try:
        container = open_container(file)
    except av.FFmpegError as error:
        raise DecodeError("corrupt", f"cannot open: {_reason(_fatal_or(error))}") from error
    video = best_video(container)
    video.codec_context.thread_count = 1
    rate = video.average_rate or video.base_rate
    duration = None
    if video.duration and video.time_base:
        duration = float(video.duration * video.time_base)
    elif container.duration:
        duration = container.duration / av.time_base
    stream = Stream(f"pyav {av.__version__}", rate, duration, video.codec_context.name, can_hear=True)
    stream.frames = _pyav_frames(container, video, stream)
    stream.count = lambda: video.frames or _count(file, video.index)
    return stream


def _count(file: HandedFile, index: int) -> int:
    """Count packets with a picture to show, without decoding; for containers whose header has no number of frames."""
    with open_container(file) as container:
        try:
            return sum(
                1 for packet in container.demux(container.streams[index]) if packet.size and not packet.is_discard
            )
        except av.FFmpegError:
            return 1  # breaks off: any number will do, the pass over the frames tells the true one


def best_video(container: av.container.InputContainer) -> av.VideoStream:
    """Find the stream to decode: a real video before a cover. NoPicture, DecodeError when there is none to decode."""
    if not container.streams.video:
        raise NoPicture("sound only" if container.streams.audio else "no video stream")
    video = container.streams.best("video") or container.streams.video[0]
    assert isinstance(video, av.VideoStream)
    if _may_be_cover(video):  # a cover may be marked as the default track
        moving = [each for each in container.streams.video if not _may_be_cover(each)]
        video = max(moving, key=lambda each: each.width * each.height, default=video)
    if video.codec_context is None:
        raise DecodeError("unsupported", "no decoder for this video codec")
    return video


def _may_be_cover(video: av.VideoStream) -> bool:
    """Tell whether a track may be a single picture: attached, or of a codec of stills and not known to be longer."""
    if video.disposition & Disposition.attached_pic or video.codec_context is None:
        return True
    seconds = float(video.duration * video.time_base) if video.duration and video.time_base else 0.0
    return video.codec_context.name in _STILLS and video.frames <= 1 and (video.frames == 1 or seconds <= 1)


def _reason(error: Exception) -> str:
    """Read what FFmpeg said, without the path, which the row already has."""
    return (getattr(error, "strerror", None) or str(error)).strip() or type(error).__name__


def _pyav_frames(container, video, stream: Stream) -> Iterator[Frame]:
    start_s = Fraction(container.start_time or 0, av.time_base)
    track = Track(container, stream.hear) if stream.hear else None
    step_s = 1 / stream.rate if stream.rate else Fraction(1, 25)
    last_s: Fraction | None = None
    reason = ""
    length_s = step_s  # of the frame before
    sizes: dict[int | None, int] = {}
    for result in _packets(container, video, _skipping(container, video, stream, start_s, track), sizes):
        if isinstance(result, Exception):
            stream.errors += 1
            reason = _reason(result)
            continue
        for picture in result:
            if picture.pts is None or picture.time_base is None:
                time_s = Fraction(0) if last_s is None else last_s + step_s
            else:
                time_s = picture.pts * picture.time_base
                time_s = time_s - start_s if start_s else time_s
            # Times that run backwards (broken files) would unpick windows already given away.
            time_s = time_s if last_s is None or time_s > last_s else last_s
            last_s = time_s
            length_s = picture.duration * picture.time_base if picture.duration and picture.time_base else step_s
            stream.decoded += 1
            yield Frame(stream.decoded - 1, time_s, picture, sizes.pop(picture.pts, 0))
    if last_s is not None:
        stream.end_s = last_s + min(Fraction(length_s), Fraction(10))
    stream.sound = track.close() if track else None
    container.close()
    if stream.decoded == 0:
        raise _no_frames(stream, reason)
    if stream.skipped:
        stream.decoded = max(stream.decoded, stream.packets - stream.errors)


def _no_frames(stream: Stream, reason: str) -> DecodeError:
    if stream.errors:
        return DecodeError("corrupt", f"{stream.errors} damaged packets and no frame ({stream.codec}): {reason}")
    return DecodeError("empty", f"a {stream.codec} stream without frames")


def _packets(
    container, video, packets: Iterator[av.Packet], sizes: dict[int | None, int]
) -> Iterator[list[av.VideoFrame] | Exception]:
    """Yield frames packet by packet, with an exception in place of those of a damaged packet.

    Into `sizes` goes, by its time, the length of every packet that depends on others.
    """
    whole = video.codec_context.codec.intra_only
    try:
        for packet in packets:
            if packet.has_sidedata("encryption_info"):  # else what comes out is noise, and no error
                raise DecodeError("unsupported", f"an encrypted {video.codec_context.name} stream")
            if packet.pts is not None and not packet.is_keyframe and not whole:
                sizes[packet.pts] = packet.size
                if len(sizes) > 4 * _LOOKAHEAD:  # packets without a frame
                    del sizes[next(iter(sizes))]
            try:
                yield packet.decode()
            except (av.FFmpegError, UnicodeDecodeError) as error:
                yield _fatal_or(error)
    except av.FFmpegError as error:  # the container itself breaks off: keep what came before
        yield _fatal_or(error)
    for _ in range(64):  # frames still inside the decoder when demuxing broke off
        try:
            delayed = video.codec_context.decode(None)
        except av.EOFError:
            return
        except av.FFmpegError as error:
            yield _fatal_or(error)
            return
        if not delayed:
            return
        yield delayed


# H.264 reorders at most 16 frames, so the next frame in time is among so many packets.
_LOOKAHEAD = 40
# Containers that keep every packet's display time; AVI does not.
_TIMED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "flv")


def _skipping(container, video, stream: Stream, start_s: Fraction, track: Track | None) -> Iterator[av.Packet]:
    """Yield the packets of pictures and give those of sound to their track.

    The decoder drops the pictures that no window needs and no other frame refers to.

    Half of the frames of a usual H.264 file are such: decoding takes two thirds of the time and the frames that
    come out are the same, bit for bit. Only H.264 says reliably, packet by packet, what is referred to: in HEVC
    a higher temporal layer may refer to a frame marked as unreferenced.
    """
    queue = _Lookahead(container, video, stream, start_s)
    broken: av.FFmpegError | None = None
    try:
        for packet in container.demux([video, track.track] if track and track.track else [video]):
            if packet.stream is not video:
                assert track is not None
                track.packet(packet)
                continue
            queue.put(packet)
            if stream.needs is None or len(queue.waiting) > _LOOKAHEAD:
                yield queue.release()
    except av.FFmpegError as error:
        broken = error
    while queue.waiting:
        yield queue.release()
    if broken is not None:
        raise broken


class _Lookahead:
    """Packets of pictures on their way to the decoder, with the times of those that come after."""

    def __init__(self, container: Any, video: Any, stream: Stream, start_s: Fraction):
        self.waiting: deque[av.Packet] = deque()
        self._times: list[Fraction] = []  # of `waiting` and some before, sorted
        self._context, self._stream, self._needs, self._start_s = video.codec_context, stream, stream.needs, start_s
        self._trusted = self._context.name == "h264" and container.format.name in _TIMED
        self._last_dts: int | None = None

    def put(self, packet: av.Packet) -> None:
        if packet.dts is not None and self._last_dts is not None and packet.dts < self._last_dts:
            self._trusted = False  # time runs backwards: take no chances with what is left
        self._last_dts = packet.dts if packet.dts is not None else self._last_dts
        if packet.pts is None or packet.time_base is None:
            self._trusted = self._trusted and packet.size == 0
        elif not packet.is_discard:
            self._stream.packets += 1
            if self._needs is not None:
                insort(self._times, packet.pts * packet.time_base - self._start_s)
        self.waiting.append(packet)

    def release(self) -> av.Packet:
        """Release the next packet; the decoder is told whether its picture may be left out."""
        packet, needs, skip = self.waiting.popleft(), self._needs, False
        if needs is not None and packet.pts is not None and packet.time_base is not None:
            time_s = packet.pts * packet.time_base - self._start_s
            later = bisect_right(self._times, time_s)
            # After damage the decoder patches pictures from its neighbours: let it have all of them.
            known = self._trusted and not self._stream.errors and 0 < later < len(self._times)
            skip = known and not needs(time_s, self._times[later])
        self._context.skip_frame = "NONREF" if skip else "DEFAULT"
        self._stream.skipped |= skip
        if len(self._times) > 4 * _LOOKAHEAD:  # times long past are no one's next
            del self._times[: 2 * _LOOKAHEAD]
        return packet


def _fatal_or(error: Exception) -> Exception:
    """Return the error, unless it is one that no further packet can mend: that is raised."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == 12:
        raise DecodeError("oom", f"the decoder ran out of memory: {_reason(error)}") from error
    return error
