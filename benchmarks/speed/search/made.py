"""Videos and indexes that a search is measured on, made with a seed; and steps that take turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from ndvr import models
from ndvr.models.keys import Keys
from ndvr.operators.index.lists import Coded, coded, joined
from ndvr.operators.index.segments import IndexedVideo, IndexFiles, Segment
from ndvr.pipeline.extraction.import_features import import_features

SEED = 20261126
SECONDS, FPS = 10, 2
KEYS_PER_VIDEO = 40
_PAUSE_S = 0.5  # before a step: threads of the one before it still turn for a while, and would count

out_option = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON; default: benchmarks/results."
)


def film(seed: int, seconds: int = SECONDS) -> np.ndarray:
    """Make features of a picture that a camera swings over: (T, 512) uint8."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    world = np.fft.ifft2(np.fft.fft2(rng.standard_normal((512, 512))) / np.maximum(frequency, 1 / 128)).real
    world = np.clip(128 + 55 * world / world.std(), 0, 255).astype(np.uint8)
    path = (200 + 60 * np.sin(np.arange(seconds * FPS)[:, None] * rng.uniform(0.2, 0.6, 2))).astype(int)
    windows = np.stack([world[y : y + 128, x : x + 128] for y, x in path])
    return models.load("thumbprint").embed(windows)


def made_library(folder: Path, videos: dict[str, np.ndarray]) -> Path:
    """Put features of made videos into a library at `folder`, beside what is there."""
    with tempfile.TemporaryDirectory(prefix="features-") as features:
        for name, each in videos.items():
            np.save(Path(features) / f"{name}.npy", each)
        import_features(features, folder, method="thumbprint", progress=False)
    return folder


def noise(folder: Path, n_keys: int) -> Segment:
    """Write an index of noise and open it again; four boxes a picture, as thumbprint keeps them."""
    rng = np.random.default_rng(SEED)
    boxes = np.array([[0, 0, w, h] for w in (1, 0.5) for h in (1, 0.5)], np.float32)
    videos, parts = [], []
    for number in range(n_keys // KEYS_PER_VIDEO):
        vectors = rng.standard_normal((KEYS_PER_VIDEO, 55), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        keys = Keys(
            vectors=vectors,
            windows=np.arange(KEYS_PER_VIDEO, dtype=np.int32) // 4,
            boxes=np.tile(boxes, (KEYS_PER_VIDEO // 4, 1)),
            turns=np.zeros(KEYS_PER_VIDEO, np.int8),
            novelty=np.ones(KEYS_PER_VIDEO, np.float32),
        )
        parts.append(coded(keys))
        videos.append(IndexedVideo(video_id=f"{number}", content=f"{number}", windows=20, sha256=""))
    return written(videos, parts, folder)


def written(videos: Sequence[IndexedVideo], parts: Sequence[Coded], folder: Path) -> Segment:
    """Write videos with their keys as a segment, and open it."""
    files = IndexFiles(str(folder))
    keys = joined(parts, [video.windows for video in videos])
    return Segment(files.store, files.write_segment(videos, keys, level=0))


def in_turns(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Measure median CPU seconds of each step; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            time.sleep(_PAUSE_S)
            began = time.process_time()
            step()
            times[name].append(time.process_time() - began)
    return {name: statistics.median(each[1:]) for name, each in times.items()}
