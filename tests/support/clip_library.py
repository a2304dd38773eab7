"""Small clips that differ as real videos do, edits of them, and libraries of them made in this process, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sounds import RATE

from ndvr.operators.features.embed import Embed
from ndvr.operators.library.library import Library
from ndvr.operators.library.shards import Write
from ndvr.operators.media.encode import write_video
from ndvr.operators.video.decode import Decode, Job
from ndvr.pipeline.settings import choose_one, config_of

FPS = 8
SIZE = (128, 96)  # width, height


def scene(seed: int, seconds: float, *, size: tuple[int, int] = SIZE, still: bool = False) -> np.ndarray:
    """(N, height, width, 3) uint8: a camera that swings over a large picture."""
    rng = np.random.default_rng(seed)
    width, height = size
    n = round(seconds * FPS)
    # Amplitudes fall with frequency, as in pictures of the world.
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    world = np.fft.ifft2(np.fft.fft2(rng.standard_normal((512, 512))) / np.maximum(frequency, 1 / 128)).real
    world = np.clip(128 + 55 * world / world.std(), 0, 255)
    reach = np.zeros(2) if still else rng.uniform(25, 60, 2)
    period, start = rng.uniform(5, 17, 2), rng.uniform(150, 250, 2)  # seconds, pixels
    drift = reach / 8  # so that it does not look the same backward
    frames = np.empty((n, height, width, 3), np.uint8)
    for number in range(n):
        y, x = (start + drift * number / FPS + reach * np.sin(2 * np.pi * number / FPS / period)).astype(int)
        picture = np.take(
            np.take(world, np.arange(y, y + height), 0, mode="wrap"), np.arange(x, x + width), 1, mode="wrap"
        )
        frames[number] = picture[..., None]
    return frames


def clip(path: Path, frames: np.ndarray, *, crf: int = 20, sound: np.ndarray | None = None) -> Path:
    """The frames as an MP4, with sound (n,) int16 at the rate of sounds.tune, or without."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = None if sound is None else sound[None].astype(np.float32) / 32768
    write_video(path, iter(frames), fps=FPS, crf=crf, preset="ultrafast", audio=audio, rate_hz=RATE)
    return path


def videos_in(folder: Path) -> dict[str, Path]:
    """Everything in a folder by the id that `ndvr extract` gives it."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def extract(
    folder: Path,
    videos: Mapping[str, Path],
    *,
    method: str = "thumbprint",
    weights: str | None = None,
    options: dict[str, Any] | None = None,
    run: str = "r1",
) -> Path:
    """A library at `folder` with the features of videos by id; call it again, with another run, to add some."""
    library = Library.create(folder)
    setting = choose_one(method, weights, options)
    model = setting.load("cpu", "embed")
    config = config_of(model, "auto")
    library.add_config(config)
    job = Job(view=setting.view, config=config.name, min_windows=setting.card.min_windows)
    decode = Decode(jobs={method: job}, run=run)
    embed = Embed({method: model})
    rows = pa.table(
        {"video_id": list(videos), "uri": [str(path) for path in videos.values()], "methods": [[method]] * len(videos)}
    )
    try:
        Write(folder, {config.name: config})(pa.concat_tables(embed(table) for table in decode(rows)))
    finally:
        embed.close()
        decode.close()
    return folder


EDITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda frames: frames,
    "mirror": lambda frames: frames[:, :, ::-1],
    "cropped": lambda frames: frames[:, 8:-8, 12:-12],
    "brighter": lambda frames: np.clip(frames * 0.7 + 60, 0, 255).astype(np.uint8),
    "faster": lambda frames: frames[np.arange(0, len(frames), 1.25).astype(int)],
    "reversed": lambda frames: frames[::-1],
}


def lecture(seed: int, pages: int = 6, page_s: float = 2.0) -> np.ndarray:
    """(N, 180, 320, 3) uint8: pages of text on one template, a blue head with a title and a red mark."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(pages):
        page = np.full((180, 320, 3), 255, np.uint8)
        page[:25] = (0, 60, 120)
        page[8:18, 10:170:6] = page[8:18, 12:170:6] = 255
        page[150:175, 280:315] = (200, 30, 30)
        for top in range(40, 145, 19):
            at = 15
            while at < 255:
                word = int(rng.integers(12, 50))
                marks = rng.random((9, word)) < 0.45
                page[top : top + 9, at : at + word][marks] = 0
                at += word + 6
        frames.append(np.repeat(page[None], round(page_s * FPS), 0))
    return np.concatenate(frames)
