"""Make many short, varied videos quickly: a second or two is encoded and its packets repeated to the length wanted.

make_collection(folder, count=200, seed=0)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ndvr.operators.media.encode import write_video

SIZES = ((426, 240), (320, 240), (480, 270), (640, 360), (854, 480), (1280, 720))
RATES = (25, 30, 24, 12)
KINDS = (  # encoder, suffix, how common
    ("libx264", ".mp4", 5),
    ("libvpx-vp9", ".webm", 2),
    ("mpeg4", ".mp4", 1),
    ("libx265", ".mp4", 1),
)
ENCODED_S = 1.0


@dataclass(frozen=True)
class Job:
    """One video to be made."""

    path: Path
    codec: str
    size: tuple[int, int]
    fps: int
    duration_s: float
    crf: int
    coarse: int  # side of the blocks of noise in pixels: the smaller, the more bytes
    seed: int


def make_collection(
    folder: Path, *, count: int = 200, seed: int = 0, duration_s: tuple[float, float] = (3.0, 60.0)
) -> Path:
    """Write `count` videos, lengths spread evenly in their logarithm, and one of 50 that is no video."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    chances = np.array([weight for *_, weight in KINDS], float)
    jobs = []
    for number in range(count):
        codec, suffix, _ = KINDS[rng.choice(len(KINDS), p=chances / chances.sum())]
        job = Job(
            path=folder / f"{number:05d}{suffix}",
            codec=codec,
            size=SIZES[rng.integers(len(SIZES))],
            fps=RATES[rng.integers(len(RATES))],
            duration_s=float(np.exp(rng.uniform(*np.log(duration_s)))),
            crf=int(rng.integers(20, 36)),
            coarse=int(rng.choice([4, 8, 16])),
            seed=int(rng.integers(1 << 31)),
        )
        if number % 50 == 49:
            job.path.write_bytes(rng.bytes(5000))
        else:
            jobs.append(job)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for made in [pool.submit(_make, job) for job in jobs]:
            made.result()
    return folder


def _make(job: Job) -> None:
    seconds = min(ENCODED_S, job.duration_s)
    short = job.path.with_name(f".{job.path.name}.short{job.path.suffix}")
    options = {"b:v": f"{job.size[0] * job.size[1] * job.fps // 10}"} if job.codec == "mpeg4" else None
    write_video(
        short,
        _film(job, max(2, round(seconds * job.fps))),
        fps=job.fps,
        codec=job.codec,
        crf=job.crf,
        preset="ultrafast" if job.codec == "libx265" else "superfast",
        options=options,
    )
    try:
        _repeat(short, job.path, max(1, round(job.duration_s / seconds)), job.fps)
    finally:
        short.unlink()


def _film(job: Job, n_frames: int) -> Iterator[np.ndarray]:
    """Noise that slides, with a brighter block going the other way: (H, W, 3) uint8."""
    rng = np.random.default_rng(job.seed)
    width, height = job.size
    cells = rng.integers(0, 256, (-(-height // job.coarse), -(-(width + 4 * n_frames) // job.coarse), 3), np.uint8)
    wide = cells.repeat(job.coarse, axis=0).repeat(job.coarse, axis=1)
    for step in range(n_frames):
        frame = np.ascontiguousarray(wide[:height, 4 * step : 4 * step + width])
        left = (width - 80) * (n_frames - 1 - step) // n_frames
        frame[height // 3 : height // 2, left : left + 80] |= 128
        yield frame


def _repeat(source: Path, target: Path, times: int, fps: int) -> None:
    """The packets of `source` again and again."""
    with av.open(str(source)) as film, av.open(str(target), "w") as out:
        video = film.streams.video[0]
        stream = out.add_stream_from_template(video)
        packets = [packet for packet in film.demux(video) if packet.dts is not None]
        clock = video.time_base
        assert clock is not None
        length = round(Fraction(len(packets), fps) / clock)
        times_of = [(packet, packet.dts or 0, packet.pts or 0) for packet in packets]
        for lap in range(times):
            for packet, decoded, shown in times_of:
                packet.stream, packet.time_base = stream, clock
                packet.dts, packet.pts = decoded + lap * length, shown + lap * length
                out.mux(packet)
