"""Videos to train on by their frames: decoded once, kept as JPEG, and of some their features beside them.

frames = keep_all("videos/", "out/frames")      # what is there already is not decoded again
frames["a.mp4"][[0, 1]]                         # (2, height, width, 3)
features_of(frames, backbone)                   # by id (T, *feature_shape), as a library has them
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.models.card import Frames
from ndvr.models.method import Model, use_one_thread
from ndvr.models.training.recipe import Videos
from ndvr.operators.features import pca
from ndvr.operators.library.config import Config
from ndvr.operators.library.library import CONFIGS, is_library
from ndvr.operators.sandbox.sandbox import Sandbox
from ndvr.operators.storage.fetch import Fetcher
from ndvr.operators.storage.manifest import read_manifest, stat_files
from ndvr.operators.storage.object_store import Access, is_remote
from ndvr.operators.storage.sealed import is_intact, load_array, save_array
from ndvr.operators.video.frame_files import VIEW, FrameFile, keep_frames, open_frames, sandboxes
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.settings import choose_one, config_of
from ndvr.pipeline.training.material import Features

_AT_ONCE = 64  # frames in memory, of each thread
_PCA_FRAMES, _PCA_DIMS = 10, 512  # frames of a video, and directions, as `ndvr fit-pca` has them
_MOST_NAMED = 3


class Shown:
    """The videos of a folder, list or bucket, by their frames, and the backbone that makes features of them.

    folder   where frames are kept
    own_pca  where the PCA of these videos is kept, or will be, where the backbone needs one and none is given
    """

    def __init__(
        self,
        videos: str,
        folder: str,
        *,
        method: str,
        options: Mapping[str, Any],
        own_pca: str | None,
        seed: int,
        strict: bool,
        progress: bool,
    ):
        self.library, self._own_pca, self._seed, self._progress = videos, own_pca, seed, progress
        self._choose = partial(_load, method, options)
        self.backbone = self._choose(pca="none") if own_pca else self._choose()  # before hours of decoding
        every = keep_all(videos, folder, progress=progress)
        self.frames = {video_id: frames for video_id, frames in every.items() if not frames.failed}
        self.unreadable = {video_id: frames.failed for video_id, frames in every.items() if frames.failed}
        if strict and self.unreadable:
            raise ValueError(f"{videos} has videos that give no frames: {unreadable_text(self.unreadable)}")
        self.contents = {video_id: frames.sha256 for video_id, frames in self.frames.items()}  # SHA-256 of the file
        self.lost: tuple[str, ...] = ()

    def fill(self, videos: Videos) -> Videos:
        """Give videos to train on their frames, and the backbone, whose PCA is fitted to them if it has none."""
        frames = {video_id: self.frames[video_id] for video_id in videos.groups}
        if self._own_pca:
            if not Path(self._own_pca).is_file():
                fit_pca(frames, self.backbone, Path(self._own_pca), seed=self._seed, progress=self._progress)
            self.backbone = self._choose(pca=self._own_pca)
        return replace(videos, frames=frames, backbone=self.backbone)

    @property
    def config(self) -> Config:
        """Describe the features of the backbone as a library does."""
        return config_of(self.backbone, decoder="auto")

    def part(self, ids: Collection[str]) -> Features:
        """Make the features of some of these videos."""
        chosen = {video_id: self.frames[video_id] for video_id in ids}
        by_id = features_of(chosen, self.backbone, progress=self._progress)
        return Features(library=self.library, config=self.config, by_id=by_id, contents=self.contents)


def names_videos(place: str) -> bool:
    """Tell whether a place that is to be trained on names videos, and is no library."""
    if is_remote(place):
        return not is_library(place)
    return Path(place).is_file() or (Path(place).is_dir() and not is_library(place) and not _was_library(place))


def _was_library(place: str) -> bool:
    """Tell whether a folder is what is left of a library, which is said when it is opened."""
    return (Path(place) / CONFIGS).is_dir()


def unreadable_text(unreadable: Mapping[str, str]) -> str:
    """Name some videos that give no frames, and why."""
    first = "; ".join(f"{video_id}: {why}" for video_id, why in list(unreadable.items())[:_MOST_NAMED])
    return first + (f"; and {len(unreadable) - _MOST_NAMED:,} more" if len(unreadable) > _MOST_NAMED else "")


def _load(method: str, options: Mapping[str, Any], **more: Any) -> Model:
    model = choose_one(method, None, {**options, **more}).load("cpu", "embed")
    if not isinstance(model.view, Frames) or model.view != replace(VIEW, crop=model.view.crop):
        raise ValueError("frames are kept as the default sampler picks them: leave out option sampler")
    return model


def threads() -> int:
    """Count the cores of this machine."""
    return os.cpu_count() or 1


def keep_all(videos: str, folder: str | Path, *, progress: bool = False) -> dict[str, FrameFile]:
    """Decode what of VIDEOS is not in `folder` yet; all, by id. ValueError or FileNotFoundError when there are none."""
    manifest = read_manifest(videos)
    stats = manifest.stats or stat_files(manifest.uris)
    paths = {video_id: Path(folder) / f"{_hash(uri, stats[video_id])}.zip" for video_id, uri in manifest.uris.items()}
    every = {video_id: open_frames(path) for video_id, path in paths.items()}
    missing = [video_id for video_id, frames in every.items() if frames is None or frames.may_come_back]
    access, fetchers = Access.here(), dict[int, Fetcher]()  # one for each decoder, which has one video at a time

    def decode(video_id: str, sandbox: Sandbox) -> FrameFile:
        fetcher = fetchers.setdefault(id(sandbox), Fetcher(access))
        return keep_frames(manifest.uris[video_id], paths[video_id], sandbox=sandbox, fetcher=fetcher)

    if missing:
        with Progress("frames", len(missing), "video", show=progress) as bar:
            with sandboxes(min(threads(), len(missing))) as boxes:
                for video_id, frames in zip(missing, boxes.map(decode, missing)):
                    every[video_id] = frames
                    bar.advance(failed=bool(frames.failed))
    return {video_id: frames for video_id, frames in sorted(every.items()) if frames is not None}


def features_of(frames: Mapping[str, FrameFile], backbone: Model, *, progress: bool = False) -> dict[str, np.ndarray]:
    """Make features of whole videos, (T, *feature_shape) by id as a library has them; they are kept beside frames."""
    kind = backbone.digest("embed")[:16]

    def features(file: FrameFile) -> np.ndarray:
        path = Path(file.path).with_suffix(f".{kind}.npy")
        if not is_intact(path):
            save_array(path, np.concatenate([_embed(backbone, file, each) for each in _blocks(np.arange(len(file)))]))
        return load_array(path)

    return dict(zip(frames, _map(features, list(frames.values()), title="features", progress=progress)))


def fit_pca(frames: Mapping[str, FrameFile], raw: Model, path: Path, *, seed: int, progress: bool) -> None:
    """Fit the PCA of a backbone to ten frames of each video, and write it. ValueError when these are too few."""

    def rows(item: tuple[str, FrameFile]) -> np.ndarray:
        video_id, file = item
        numbers, again = np.unique(pca.pick(video_id, len(file), _PCA_FRAMES, seed=seed), return_inverse=True)
        regions = _embed(raw, file, numbers)[again]
        return regions.reshape(-1, regions.shape[-1])

    points = len(frames) * _PCA_FRAMES * math.prod(raw.feature_shape[:-1])
    drawn = _map(rows, list(frames.items()), title="pca", progress=progress)
    try:
        pca.fit(drawn, points=points, dims=_PCA_DIMS).write(path)
    except ValueError as error:
        raise ValueError(
            f"{len(frames)} videos are too few to fit a PCA to: {error}; give more, or --option pca=FILE of "
            "`ndvr fit-pca`"
        ) from error


def _map(
    work: Callable[[Any], np.ndarray], items: Sequence[Any], *, title: str, progress: bool
) -> Iterator[np.ndarray]:
    """Yield the work on each item in their order, done by all cores."""
    with Progress(title, len(items), "video", show=progress) as bar:
        with ThreadPoolExecutor(threads(), title, use_one_thread) as pool:
            for done in pool.map(work, items):
                bar.advance()
                yield done


def _embed(backbone: Model, file: FrameFile, numbers: np.ndarray) -> np.ndarray:
    assert isinstance(backbone.view, Frames)
    return backbone.embed(file.middle(numbers, backbone.view.crop)).astype(backbone.card.feature_dtype)


def _blocks(numbers: np.ndarray) -> list[np.ndarray]:
    return [numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE)]


def _hash(uri: str, stat: tuple[int, int] | None) -> str:
    """Name a file's frames by where it lies, its size and its time: another one in its place is decoded."""
    return hashlib.sha256(f"{uri}\n{stat}".encode()).hexdigest()[:24]
