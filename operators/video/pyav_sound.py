"""Decode sound with PyAV: packet by packet beside the pictures, or on its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av

from ndvr.operators.errors import DecodeError, NoSound
from ndvr.operators.video.sound import best_sound
from ndvr.operators.video.stream import Hear, Stream


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
        """What is still inside the decoder, and the verdict."""
        if self.track is not None:
            with contextlib.suppress(av.EOFError, av.FFmpegError):  # the demuxer's last packet may have flushed it
                self._give(self.track.codec_context.decode(None))
            if self.stream.decoded == 0 and self.stream.errors:
                message = f"{self.stream.errors} damaged packets and no sound ({self.stream.codec})"
                self.stream.failure = DecodeError("corrupt", message)
        return self.stream


def listen(path: str, hear: Hear, heartbeat: Callable[[], None] = lambda: None) -> Stream:
    """Give every frame of the best sound stream of a file to `hear`; the Stream says what there was, or why nothing."""
    try:
        container = av.open(f"file:{path}", metadata_errors="replace")
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
