"""Frames of videos, decoded once and kept as JPEG files, one zip a video, of which any frame can be read.

    with sandboxes(2) as boxes, boxes.one() as sandbox:
        frames = keep_frames("s3://bucket/a.mp4", Path("frames/a.zip"), sandbox=sandbox, fetcher=Fetcher())
    frames[[0, 5, 5]]       # (3, height, width, 3) uint8

The zip holds 00000.jpg, 00001.jpg ..., a frame a second, the short side 256 pixels, and video.json: what the file was,
or why it gives no frames. A zip that exists is whole.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ndvr.models.card import Frames
from ndvr.operators.errors import DecodeError
from ndvr.operators.rows import FileFacts
from ndvr.operators.sandbox.sandbox import ChildKilled, Sandbox, Sandboxes
from ndvr.operators.storage.fetch import Fetcher
from ndvr.operators.storage.store import write_whole
from ndvr.operators.video._attempts import Outcome
from ndvr.operators.video._decode_child import File, Seen, Verdict, serve
from ndvr.operators.video._picture import centre_crop
from ndvr.operators.video.windows import Piece

# Whole pictures: what is cropped here is only what is wider than two and a half times its height.
VIEW = Frames(fps=1, rule="ffmpeg", resize=256, crop=640, kernel="swscale")
JPEG_QUALITY = 95
TRIES = 3  # of a decoder that somebody else killed
_KEY, _FACTS = "frames", "video.json"


@dataclass(frozen=True, kw_only=True)
class FrameFile:
    """The frames of one video. `len` counts them, indexing reads some, in the order asked for."""

    path: str
    uri: str  # of the video
    sha256: str | None  # of the video; None where it could not be read
    count: int
    failed: str | None = None  # why there are no frames: the class of the failure, and a sentence

    def __len__(self) -> int:
        return self.count

    @property
    def may_come_back(self) -> bool:
        """Tell whether there are no frames because the file could not be reached, which may be over."""
        return (self.failed or "").startswith("io: ")

    def __getitem__(self, which: np.ndarray) -> np.ndarray:
        """Read frames by number: (T,) -> (T, height, width, 3) uint8 RGB. ValueError when the zip is damaged."""
        try:
            with zipfile.ZipFile(self.path) as file:
                shown = {number: _picture(file.read(_name(number))) for number in np.unique(which).tolist()}
        except (zipfile.BadZipFile, KeyError, ValueError, cv2.error) as error:
            raise ValueError(f"{self.path} is damaged: {error}; remove it, and its frames are decoded again") from error
        return np.stack([shown[number] for number in np.asarray(which).tolist()])

    def middle(self, which: np.ndarray, side: int) -> np.ndarray:
        """Read the middle of frames, (T,) -> (T, side, side, 3): what a method that crops like this is shown."""
        return np.stack([centre_crop(picture, side) for picture in self[which]])


def open_frames(path: Path) -> FrameFile | None:
    """Open what was kept; None when it is not there, or is no such zip."""
    try:
        with zipfile.ZipFile(path) as file:
            facts = json.loads(file.read(_FACTS))
        return FrameFile(path=str(path), **facts)
    except (FileNotFoundError, zipfile.BadZipFile, KeyError, TypeError, ValueError):
        return None


def sandboxes(count: int) -> Sandboxes:
    """Make decoder processes for `keep_frames`."""
    return Sandboxes(partial(Sandbox, serve, records=(File, FileFacts, Seen, Piece, Verdict, Outcome)), count)


def keep_frames(uri: str, path: Path, *, sandbox: Sandbox, fetcher: Fetcher) -> FrameFile:
    """Decode a video and write its frames, or why there are none; never an exception for the video."""

    def write(place: str) -> None:
        with zipfile.ZipFile(place, "w") as file:
            facts = {"uri": uri, **_decode(uri, file, sandbox=sandbox, fetcher=fetcher)}
            file.writestr(_FACTS, json.dumps(facts))

    write_whole(path, write)
    kept = open_frames(path)
    assert kept is not None
    return kept


def _decode(uri: str, file: zipfile.ZipFile, *, sandbox: Sandbox, fetcher: Fetcher) -> dict[str, Any]:
    """Put the frames of a video into a zip; return what is known of them, as FrameFile has it."""
    sha256, count, failed = None, 0, None
    try:
        with fetcher.fetch(uri) as (path, facts):
            for item in _stream(path, facts, sandbox):
                if isinstance(item, File):
                    sha256 = item.facts.sha256
                elif isinstance(item, Piece):
                    for number, picture in enumerate(item.windows, count):
                        file.writestr(_name(number), _jpeg(picture))
                    count += len(item.windows)
                elif isinstance(item, Verdict) and item.outcome.status != "done":
                    failed = f"{item.outcome.error_class or 'skipped'}: {item.outcome.message}"
    except DecodeError as error:
        failed = str(error)
    return {
        "sha256": sha256,
        "count": 0 if failed else count,
        "failed": failed if failed or count else "empty: no frames",
    }


def _stream(path: str, facts: FileFacts, sandbox: Sandbox) -> Iterator[File | Seen | Piece | Verdict]:
    """Yield what the decoder's process says; one that was killed from outside before its first piece is asked again."""
    for tries_left in reversed(range(TRIES)):
        begun = False
        try:
            for item in sandbox.stream({_KEY: VIEW}, "pyav", {}, facts, file=path):
                begun |= isinstance(item, Piece)
                yield item
            return
        except ChildKilled:
            if begun or not tries_left:
                raise


def _name(number: int) -> str:
    """Name a frame as S2VS's authors do."""
    return f"{number:05d}.jpg"


def _jpeg(picture: np.ndarray) -> bytes:
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()


def _picture(data: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("no JPEG")
    return np.ascontiguousarray(picture[..., ::-1])
