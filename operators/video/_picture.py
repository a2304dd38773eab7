"""Turn one decoded frame into a window: colour, display rotation, resize, crop."""

from __future__ import annotations

import struct
from math import ceil
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from ndvr.models.card import Raster

_LUMA_FIRST = ("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p", "nv12", "nv21", "gray")
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG


class Upright:
    """Decoded frames as RGB in their own size, upright; views that ask for the same frame share the work.

    Reads the display rotation off the first frame and keeps one libswscale context: PyAV's per-frame side data
    and per-call contexts are freed only by the cycle collector, gigabytes late on 1080p video.
    """

    def __init__(self) -> None:
        self._turn: Turn | None = None
        self._scale = VideoReformatter()
        self._last: tuple[av.VideoFrame, np.ndarray] | None = None

    def turn(self, frame: av.VideoFrame) -> Turn:
        """Read what the file asks to do with its pictures."""
        self._turn = self._turn or display_turn(frame)
        return self._turn

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Turn a frame into (height, width, 3) uint8."""
        if self._last is None or self._last[0] is not frame:
            rgb = self._scale.reformat(frame, format="rgb24", interpolation="BICUBIC").to_ndarray()
            self._last = frame, self.turn(frame).upright(rgb)
        return self._last[1]


class Picture:
    """Makes the windows of one video through one view: call it with each picked frame."""

    def __init__(self, view: Raster, upright: Upright | None = None):
        self.view, self.upright = view, upright or Upright()
        self._scale = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Turn a frame into `view.picture_shape` uint8, upright; the pixel aspect ratio is ignored, as everywhere."""
        if self.view.grey:
            picture = self._grey(frame, self.upright.turn(frame))
        elif self.view.kernel == "swscale":
            picture = self._swscale(frame, self.upright.turn(frame))
        else:
            picture = _resize(self.upright(frame), self.view)
        # What loads with Pillow crops with torchvision.
        return np.ascontiguousarray(centre_crop(picture, self.view.crop, nearest=self.view.kernel == "pillow"))

    def _convert(self, frame: av.VideoFrame, pixel_format: str, width: int = 0, height: int = 0) -> np.ndarray:
        size = (width or frame.width, height or frame.height)
        return self._scale.reformat(frame, *size, format=pixel_format, interpolation="BICUBIC").to_ndarray()

    def _swscale(self, frame: av.VideoFrame, turn: Turn) -> np.ndarray:
        """Convert to RGB through libswscale's bicubic, both sides rounded up to even, as the ffmpeg loaders ask for."""
        size, sides = self.view.resize, (frame.width, frame.height)
        if isinstance(size, tuple):
            height, width = turn.stored(size)
        else:
            width, height = (ceil(side * size / min(sides) / 2) * 2 for side in sides)
        try:
            return turn.upright(self._convert(frame, "rgb24", width, height))
        except (ValueError, av.FFmpegError):  # libswscale refuses pictures of a few pixels
            rgb = self._convert(frame, "rgb24")
            return turn.upright(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC))

    def _grey(self, frame: av.VideoFrame, turn: Turn) -> np.ndarray:
        """Resize the luma plane, in full range 0 to 255 whatever range the file uses."""
        if frame.format.name not in _LUMA_FIRST:
            return turn.upright(_resize(self._convert(frame, "gray"), self.view))
        plane = frame.planes[0]
        luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        small = _resize(np.ascontiguousarray(luma), self.view)
        if not frame.format.name.startswith("yuvj") and int(frame.color_range) != _FULL_RANGE:
            # Studio range 16 to 235, stretched after the resize: far fewer pixels. libswscale stretches 10-bit
            # files, so leaving this out would tell copies of different bit depth apart.
            small = np.clip((small.astype(np.float32) - 16) * (255 / 219) + 0.5, 0, 255).astype(np.uint8)
        return turn.upright(small)


def centre_crop(picture: np.ndarray, size: int, *, nearest: bool = False) -> np.ndarray:
    """Cut out the middle size x size. Half a pixel is dropped, or rounded to even as torchvision does (`nearest`)."""
    top, left = (
        max(0, round((side - size) / 2) if nearest else (side - size) // 2)  # 171 to 112: 30 or 29
        for side in picture.shape[:2]
    )
    return picture[top : top + size, left : left + size]


class Turn:
    """A display matrix reduced to what it does to a picture: maybe transpose, then maybe flip."""

    def __init__(self, transpose: bool, flip_x: bool, flip_y: bool):
        self.transpose, self.flip_x, self.flip_y = transpose, flip_x, flip_y

    def stored(self, size: tuple[int, int]) -> tuple[int, int]:
        """Find (height, width) as it lies in the file of a picture that is shown as `size`."""
        return size[::-1] if self.transpose else size

    def upright(self, picture: np.ndarray) -> np.ndarray:
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        if self.flip_x:
            picture = picture[:, ::-1]
        if self.flip_y:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)


def display_turn(frame: av.VideoFrame) -> Turn:
    """Read what the container asks a player to do; ffmpeg and OpenCV, so the published loaders, obey it as well.

    The matrix (a b . / c d . / x y .) in 16.16 fixed point shows the pixel (p, q) at (ap + cq, bp + dq).
    """
    side_data: Any = frame.side_data  # the stub of PyAV knows motion vectors only
    for data in side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("9i", bytes(data))
            if abs(b) > abs(a):
                return Turn(True, c < 0, b < 0)
            return Turn(False, a < 0, d < 0)
    return Turn(False, False, False)


def _resize(picture: np.ndarray, view: Raster) -> np.ndarray:
    """Resize with OpenCV, or with Pillow, whose bilinear kernel averages over what it shrinks."""
    height, width = picture.shape[:2]
    kernels = {"cubic": cv2.INTER_CUBIC, "linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}
    if isinstance(view.resize, tuple):
        size = view.resize[::-1]
        if view.kernel == "pillow":
            return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
        return cv2.resize(picture, size, interpolation=kernels[view.kernel])
    short = min(height, width)
    if view.long_side == "floor":
        size = width * view.resize // short, height * view.resize // short  # of the short side: view.resize
        return cv2.resize(picture, size, interpolation=kernels[view.kernel])
    factor = view.resize / short
    return cv2.resize(picture, (0, 0), fx=factor, fy=factor, interpolation=kernels[view.kernel])
