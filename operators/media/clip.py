"""A short video held in memory, picture and sound: read_clip("a.mp4").

For making and editing test material; extraction streams its videos and never holds one whole. `read_clip` is for files
that ndvr made; the start of anybody's file is read in a decoder's process:

    with new_sandbox() as sandbox:
        clip = read_start("a.mp4", 15.0, sandbox=sandbox)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ndvr.operators.errors import DecodeError, NoPicture
from ndvr.operators.sandbox.handed_file import HandedFile, open_container
from ndvr.operators.sandbox.sandbox import Sandbox
from ndvr.operators.storage.video_files import local_path


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Frames (N, H, W, 3) uint8 RGB at a constant rate, sound (channels, samples) float32 or None."""

    frames: np.ndarray
    fps: Fraction
    audio: np.ndarray | None = None
    rate_hz: int = 44100

    @property
    def duration_s(self) -> float:
        return float(len(self.frames) / self.fps)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.frames.shape[2], self.frames.shape[1]

    def cut(self, start_s: float, end_s: float) -> Clip:
        """Take picture and sound of [start_s, end_s), on whole frames."""
        first, last = (round(time_s * self.fps) for time_s in (start_s, end_s))
        audio = self.audio
        if audio is not None:
            begin, end = (round(frame / self.fps * self.rate_hz) for frame in (first, last))
            audio = audio[:, begin:end]
        return replace(self, frames=self.frames[first:last], audio=audio)

    def at_rate(self, fps: Fraction) -> Clip:
        """Make the same clip at another frame rate, by repeating or leaving out frames."""
        count = round(len(self.frames) / self.fps * fps)
        picks = np.minimum((np.arange(count) * float(self.fps / fps) + 1e-6).astype(int), len(self.frames) - 1)
        return replace(self, frames=self.frames[picks], fps=fps)

    def __repr__(self) -> str:
        audio = None if self.audio is None else self.audio.shape
        return f"Clip(frames={self.frames.shape}, fps={self.fps}, audio={audio}, rate_hz={self.rate_hz})"


def read_clip(path: str | Path) -> Clip:
    """Read the whole file, the first stream of each kind. Sound is cut or padded to the picture's length."""
    frames: list[np.ndarray] = []
    chunks: list[np.ndarray] = []
    with av.open(f"file:{path}") as container:
        video = container.streams.video[0]
        video.codec_context.thread_count = 1
        fps = video.average_rate
        if fps is None:
            raise ValueError(f"{path} has no frame rate: give a file of a constant one")
        sound = next(iter(container.streams.audio), None)
        converter = VideoReformatter()
        to_float = av.AudioResampler(format="fltp")
        for frame in container.decode(*(stream for stream in (video, sound) if stream)):
            if isinstance(frame, av.VideoFrame):
                frames.append(converter.reformat(frame, format="rgb24", threads=1).to_ndarray())
            elif isinstance(frame, av.AudioFrame):
                chunks += [piece.to_ndarray() for piece in to_float.resample(frame)]
    if sound is None or not chunks:
        return Clip(frames=np.stack(frames), fps=fps)
    rate_hz = sound.codec_context.sample_rate
    samples = to_length(np.concatenate(chunks, axis=1), round(len(frames) / fps * rate_hz))
    return Clip(frames=np.stack(frames), fps=fps, audio=samples, rate_hz=rate_hz)


def new_sandbox() -> Sandbox:
    """Make a decoder process for `read_start`."""
    return Sandbox(serve_start)


def read_start(uri: str, seconds: float, *, sandbox: Sandbox) -> Clip:
    """Read the picture of the first seconds, of the first stream. DecodeError or NoPicture when there is none."""
    (numerator, denominator), *frames = sandbox.stream(seconds, file=local_path(uri))
    if not frames:
        raise DecodeError("empty", f"no frames: {uri}")
    return Clip(frames=np.stack(frames), fps=Fraction(numerator, denominator))


def serve_start(beat: Callable[[], None], file: HandedFile, seconds: float) -> Iterator[tuple[int, int] | np.ndarray]:
    """Decode for `read_start`: the rate, then the frames; runs in the child."""
    try:
        yield from _start(beat, file, seconds)
    except av.FFmpegError as error:
        raise DecodeError("corrupt", f"{file.name}: {error}") from error


def _start(beat: Callable[[], None], file: HandedFile, seconds: float) -> Iterator[tuple[int, int] | np.ndarray]:
    with open_container(file) as container:
        if not container.streams.video:
            raise NoPicture(f"no picture: {file.name}")
        video, converter = container.streams.video[0], VideoReformatter()
        video.codec_context.thread_count = 1
        if (fps := video.average_rate) is None:
            raise DecodeError("unsupported", f"{file.name} has no frame rate: give a file of a constant one")
        yield fps.numerator, fps.denominator
        left = round(seconds * fps)
        for frame in container.decode(video):
            if left <= 0:
                return
            beat()
            yield converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            left -= 1


def change_tempo(audio: np.ndarray, rate_hz: int, factor: float) -> np.ndarray:
    """Play sound `factor` times faster at the same pitch, as FFmpeg's atempo does."""
    layout = "mono" if len(audio) == 1 else "stereo"
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="fltp", sample_rate=rate_hz, layout=layout, time_base=Fraction(1, rate_hz))
    steps = [
        graph.add("atempo", str(factor)),
        graph.add("aformat", "sample_fmts=fltp"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(source, *steps).configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout=layout)
    frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), 0
    graph.push(frame)
    graph.push(None)
    pieces = []
    while True:
        try:
            pieces.append(graph.pull().to_ndarray())
        except (av.EOFError, av.BlockingIOError):
            break
    return to_length(np.concatenate(pieces, axis=1), round(audio.shape[1] / factor))


def to_length(audio: np.ndarray, count: int) -> np.ndarray:
    """Cut (channels, samples), or fill it up with silence, to `count` samples."""
    return np.pad(audio, ((0, 0), (0, max(0, count - audio.shape[1]))))[:, :count]
