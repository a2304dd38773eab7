"""Write a video file from pictures and sound: write_video("a.mp4", frames, fps=25, audio=samples)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain, count
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

_NTSC = Fraction(1000, 1001)
_SAMPLES_PER_CHUNK = 4096
_SOUND_OF = {".webm": "libopus", ".avi": "libmp3lame", ".mpg": "mp2", ".wmv": "wmav2"}  # everything else: aac
_CLOCK = Fraction(1, 90_000)  # of times off the grid of the rate; what MPEG-TS counts in


def exact_rate(fps: Fraction | float) -> Fraction:
    """Find the frame rate as a fraction: 29.97 and its like become 30000/1001."""
    ntsc = round(float(fps)) * _NTSC
    if float(fps) != round(float(fps)) and abs(float(fps) - ntsc) < 0.005:
        return ntsc
    return Fraction(fps).limit_denominator(1001)


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    *,
    fps: Fraction | float,
    audio: np.ndarray | None = None,
    rate_hz: int = 44100,
    codec: str = "libx264",
    crf: int = 23,
    preset: str = "veryfast",
    options: dict[str, str] | None = None,
    times_s: Iterable[Fraction | float] | None = None,
    start_s: Fraction | float = 0,
    audio_codec: str | None = None,
) -> None:
    """Encode (H, W, 3) uint8 RGB frames and sound (channels, samples) float32 in [-1, 1] into one file.

    The suffix names the container. Odd sides grow by one repeated line, as 4:2:0 needs even ones. `crf` and
    `preset` are used by the codecs that have them; `options` go to the video encoder as they are. `times_s`
    gives each frame its own time (variable rate) instead of i / fps; `start_s` moves picture and sound. One
    thread, so that the same frames give the same file on every machine. Written under a temporary name, then
    renamed.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        with av.open(f"file:{partial}", "w") as container:
            settings = _settings(codec, crf, preset) | (options or {})
            rate = exact_rate(fps)
            frames = (_even(frame) for frame in frames)
            first = next(frames, None)
            if first is None:
                raise ValueError(f"a video needs at least one frame; `frames` gave none for {path}")
            clock = _CLOCK if times_s is not None or start_s else 1 / rate
            pictures = _Pictures(container, codec, settings, first, rate=rate, clock=clock)
            sound = None
            if audio is not None:
                sound = _Sound(container, audio_codec or _SOUND_OF.get(path.suffix, "aac"), audio, rate_hz)
            _interleave(pictures, sound, chain([first], frames), times_s=times_s, start_s=Fraction(start_s))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _settings(codec: str, crf: int, preset: str) -> dict[str, str]:
    if codec in ("libx264", "libx265"):
        # x265 and x264 choose their own thread pools by the machine, which changes the bits they make.
        quiet = {"x265-params": "log-level=error:pools=none:frame-threads=1"} if codec == "libx265" else {}
        return {"crf": str(crf), "preset": preset, **quiet}
    if codec.startswith("libvpx"):
        return {
            "crf": str(crf),
            "b": "0" if codec.endswith("vp9") else "2M",
            "deadline": "realtime",
            "cpu-used": "8",
        }
    return {}


def _interleave(pictures: _Pictures, sound: _Sound | None, frames, *, times_s, start_s: Fraction) -> None:
    """Encode sound just ahead of the picture, so that neither piles up in the muxer."""
    steps = (i / pictures.rate for i in count()) if times_s is None else iter(times_s)
    pictures.start_s = start_s
    if sound:
        sound.start_s = start_s
    for frame in frames:
        time_s = Fraction(next(steps))
        if sound:
            sound.encode_until(float(time_s) + 0.5)
        pictures.encode(frame, time_s)
    pictures.flush()
    if sound:
        sound.encode_until(float("inf"))
        sound.flush()


class _Pictures:
    """The video stream of a file being written."""

    start_s = Fraction(0)

    def __init__(self, container, codec: str, settings: dict[str, str], first: np.ndarray, *, rate, clock):
        self.container, self.rate, self.clock = container, rate, clock
        # Sizes must be known before the first sound is written: that writes the header.
        self.stream = container.add_stream(codec, rate=rate, options=settings)
        self.stream.height, self.stream.width = first.shape[:2]
        self.stream.thread_count = 1
        self.stream.codec_context.time_base = self.clock
        formats = [f.name for f in self.stream.codec.video_formats or ()]
        self.stream.pix_fmt = "yuv420p" if "yuv420p" in formats or not formats else formats[0]
        if codec == "mjpeg":
            self.stream.pix_fmt = "yuvj420p"  # FFmpeg's encoder refuses studio range
        # Frame.reformat sets up a new converter for every frame, which costs more than converting.
        self.converter = VideoReformatter()

    def encode(self, frame: np.ndarray, time_s: Fraction) -> None:
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture = self.converter.reformat(picture, format=self.stream.pix_fmt, threads=1)
        picture.time_base = self.clock
        picture.pts = round((time_s + self.start_s) / self.clock)
        self.container.mux(self.stream.encode(picture))

    def flush(self) -> None:
        self.container.mux(self.stream.encode(None))


class _Sound:
    """The audio stream of a file being written, fed in pieces."""

    start_s = Fraction(0)

    def __init__(self, container, codec: str, samples: np.ndarray, rate_hz: int):
        if samples.ndim != 2 or samples.shape[0] not in (1, 2):
            raise ValueError(f"audio must be (1 or 2 channels, samples), got shape {samples.shape}")
        self.container, self.samples, self.rate_hz, self.done = container, samples, rate_hz, 0
        self.layout = "mono" if len(samples) == 1 else "stereo"
        stream_rate_hz = 48000 if codec == "libopus" else rate_hz
        # The default search of FFmpeg's AAC encoder takes longer than a small picture does.
        settings = {"aac_coder": "fast"} if codec == "aac" else {}
        self.stream = container.add_stream(codec, rate=stream_rate_hz, layout=self.layout, options=settings)
        if codec == "wmav2":
            self.stream.bit_rate = 128_000  # its default is refused at 44.1 kHz

    def encode_until(self, time_s: float) -> None:
        while self.done < self.samples.shape[1] and self.done / self.rate_hz < time_s:
            piece = self.samples[:, self.done : self.done + _SAMPLES_PER_CHUNK]
            piece = np.ascontiguousarray(np.clip(piece, -1, 1), np.float32)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=self.layout)
            frame.sample_rate = self.rate_hz
            frame.time_base = Fraction(1, self.rate_hz)
            frame.pts = self.done + round(self.start_s * self.rate_hz)
            self.done += piece.shape[1]
            self.container.mux(self.stream.encode(frame))

    def flush(self) -> None:
        self.container.mux(self.stream.encode(None))


def _even(frame: np.ndarray) -> np.ndarray:
    """Give the frame even sides, C-contiguous."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"frames must be (height, width, 3) uint8, got {frame.shape} {frame.dtype}")
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


def silence(duration_s: float, *, rate_hz: int = 44100, channels: int = 2) -> np.ndarray:
    """Make (channels, samples) float32 zeros, for a file that has an audio stream with nothing in it."""
    return np.zeros((channels, round(duration_s * rate_hz)), np.float32)


def tone(duration_s: float, *, hz: float = 440.0, rate_hz: int = 44100, channels: int = 2) -> np.ndarray:
    """Make a (channels, samples) float32 sine at half scale."""
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(duration_s * rate_hz)) / rate_hz)
    return np.tile(wave.astype(np.float32), (channels, 1))
