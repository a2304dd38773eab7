"""Learn a PCA from a library of raw features: TCA's, whose authors released none, or that of a backbone of one's own.

ndvr extract VIDEOS RAW --method tca --option pca=none
ndvr extract VIDEOS RAW --method s2vs --option backbone=lite0 --option pca=none
ndvr fit-pca RAW pca.npz

Where a window has several vectors, its regions, all of them are learnt from.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.operators.features import pca
from ndvr.operators.library.config import Config
from ndvr.operators.library.feature_reader import LeavesOut, without_lost
from ndvr.operators.library.library import Library
from ndvr.operators.storage.sealed import Damaged
from ndvr.pipeline.progress import Progress

METHOD, SIZE = "tca", 3840
DIMS, LITE0_DIMS = 1024, 512  # kept unless asked for others


@dataclass(frozen=True, kw_only=True)
class Fitted(LeavesOut):
    """What was learnt from what."""

    pca: str
    library: str
    config: str
    trained: bool  # whether the frame vectors came from real weights
    videos: int
    frames: int  # drawn from them, some more than once
    dims: int
    explained: float  # share of the variance kept
    frames_per_video: int
    seed: int
    lost: tuple[str, ...]  # ids of videos that were left out: their features are gone or damaged
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """Say in one line what was learnt from what."""
        return (
            f"{self.pca}: {self.dims:,} directions from {self.frames:,} frames of {self.videos:,} videos, "
            f"{self.explained:.1%} of their variance ({self.seconds:.1f} s)"
        )


def fit_pca(
    library: str | Path,
    out: str | Path,
    *,
    dims: int | None = None,
    frames_per_video: int = 10,
    seed: int = 0,
    config: str | None = None,
    strict: bool = False,
    progress: bool = True,
) -> Fitted:
    """Write the `dims` strongest directions of the raw features in LIBRARY to the file OUT (.npz).

    `dims` None: 1024, of EfficientNet-Lite0's vectors 512. Every video gives `frames_per_video` frames drawn with
    replacement, as in the paper; 0 takes each frame once; of a frame with regions all are taken.
    Videos whose features are missing or damaged are left out by name; with `strict` they are Damaged. ValueError or
    FileNotFoundError when LIBRARY holds no raw vectors, or too few.
    """
    began = time.monotonic()
    if (dims is not None and dims < 1) or frames_per_video < 0 or seed < 0:
        raise ValueError(f"dims={dims}, frames_per_video={frames_per_video}, seed={seed}: give whole numbers >= 0")
    opened = Library(library)
    name = _raw_config(opened, config)
    shape = opened.configs[name].feature_shape
    dims = dims or (DIMS if shape == (SIZE,) else LITE0_DIMS)
    drawing = partial(_Draw, library=opened, config=name, frames_per_video=frames_per_video, seed=seed, strict=strict)
    draw = drawing(read=False)
    try:
        learnt = draw.learn(dims, progress=progress)
    except Damaged:  # all is read beforehand only when something in it turned out to be damaged
        if strict:
            raise
        draw = drawing(read=True)
        learnt = draw.learn(dims, progress=progress)
    learnt.write(out)
    return Fitted(
        pca=str(out),
        library=str(library),
        config=name,
        trained=opened.configs[name].trained,
        videos=len(draw.entries),
        frames=draw.frames,
        dims=dims,
        explained=learnt.explained,
        frames_per_video=frames_per_video,
        seed=seed,
        lost=tuple(draw.lost),
        seconds=round(time.monotonic() - began, 3),
    )


class _Draw:
    """The frames that are learnt from.

    read  look for damage in all features beforehand; else Damaged may come while they are read
    """

    def __init__(self, *, library: Library, config: str, frames_per_video: int, seed: int, strict: bool, read: bool):
        self._library, self._count, self._seed = library, frames_per_video, seed
        every, self.lost = without_lost(library, library.entries(config), strict=strict, read=read)
        self.entries = [entry for entry in every.values() if entry.pieces]
        self.frames = sum(frames_per_video or entry.windows for entry in self.entries)
        self._vectors = math.prod(library.configs[config].feature_shape[:-1])  # of a frame

    def learn(self, dims: int, *, progress: bool) -> pca.Components:
        with Progress("fit-pca", len(self.entries), "video", show=progress) as bar:
            try:
                return pca.fit(self._rows(bar), points=self.frames * self._vectors, dims=dims)
            except Damaged:
                raise
            except ValueError as error:
                advice = "extract more videos, use all their frames (--frames-per-video 0), or keep fewer --dims"
                raise ValueError(f"{self._library} has {len(self.entries)} videos: {error}; {advice}") from error

    def _rows(self, bar: Progress) -> Iterator[np.ndarray]:
        for video_id, _, features in self._library.read(self.entries):
            picked = features[pca.pick(video_id, len(features), self._count, seed=self._seed)]
            yield picked.reshape(-1, picked.shape[-1])
            bar.advance()


def _is_raw(config: Config) -> bool:
    if config.options.get("backbone") == "lite0":
        return config.options.get("pca") == "none"
    return config.method == METHOD and config.feature_shape == (SIZE,)


def _raw_config(library: Library, config: str | None) -> str:
    """Find the configuration that holds features before any PCA."""
    configs = library.configs
    raw = [name for name, each in configs.items() if _is_raw(each)]
    if config is not None:
        raw = [name for name in raw if name == config]
    if len(raw) == 1:
        return raw[0]
    if raw:
        raise ValueError(
            f"{library} holds raw vectors of several configurations; choose one with --config: {', '.join(raw)}"
        )
    holds = ", ".join(f"{name} {each.feature_shape}" for name, each in configs.items()) or "nothing yet"
    raise ValueError(
        f"{library} holds {holds}; a PCA is learnt from raw vectors of {SIZE} numbers: "
        f"`ndvr extract VIDEOS RAW --method {METHOD} --option pca=none` makes them"
    )
