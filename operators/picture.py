"""Turn one decoded frame into a window: colour, display rotation, resize, crop."""

from __future__ import annotations

import struct
from math import ceil

import av
import cv2
import numpy as np

from ndvr.models.card import Frames

_LUMA_FIRST = ("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p", "nv12", "nv21", "gray")


def window(frame: av.VideoFrame, view: Frames) -> np.ndarray:
    """The window of a frame: `view.window_shape` uint8, upright as displayed, pixel aspect ratio ignored."""
    turn = _display_turn(frame)
    if view.grey:
        picture = _grey(frame, turn, view)
    elif view.kernel == "swscale":
        picture = _swscale(frame, turn, view)
    else:
        rgb = turn.upright(_to_array(frame, "rgb24"))
        picture = _resize(rgb, view)
    return np.ascontiguousarray(centre_crop(picture, view.crop))


def centre_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """The middle size x size, offset int((side - size) / 2) as every published loader here does."""
    top, left = (max(0, (side - size) // 2) for side in picture.shape[:2])
    return picture[top : top + size, left : left + size]


class _Turn:
    """A display matrix reduced to what it does to a picture: maybe transpose, then maybe flip."""

    def __init__(self, transpose: bool, flip_x: bool, flip_y: bool):
        self.transpose, self.flip_x, self.flip_y = transpose, flip_x, flip_y

    def upright(self, picture: np.ndarray) -> np.ndarray:
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        if self.flip_x:
            picture = picture[:, ::-1]
        if self.flip_y:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)


def _display_turn(frame: av.VideoFrame) -> _Turn:
    """What the container asks a player to do; ffmpeg and OpenCV, so the published loaders, obey it as well.

    The matrix (a b . / c d . / x y .) in 16.16 fixed point shows the pixel (p, q) at (ap + cq, bp + dq).
    """
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("9i", bytes(data))
            if abs(b) > abs(a):
                return _Turn(True, c < 0, b < 0)
            return _Turn(False, a < 0, d < 0)
    return _Turn(False, False, False)


def _to_array(frame: av.VideoFrame, pixel_format: str) -> np.ndarray:
    return frame.to_ndarray(format=pixel_format)


def _swscale(frame: av.VideoFrame, turn: _Turn, view: Frames) -> np.ndarray:
    """RGB through libswscale's bicubic, both sides rounded up to even numbers, as the ffmpeg loaders ask for."""
    sides = frame.width, frame.height
    if view.squash:
        width, height = view.resize, view.resize
    else:
        ratio = view.resize / min(sides)
        width, height = (ceil(side * ratio / 2) * 2 for side in sides)
    try:
        scaled = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC")
    except (ValueError, av.FFmpegError):
        # libswscale refuses pictures of a few pixels.
        rgb = cv2.resize(_to_array(frame, "rgb24"), (width, height), interpolation=cv2.INTER_CUBIC)
        return turn.upright(rgb)
    return turn.upright(scaled.to_ndarray())


def _resize(rgb: np.ndarray, view: Frames) -> np.ndarray:
    """OpenCV's resize; the short side becomes `view.resize`, OpenCV rounds the other."""
    kernel = {"cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}[view.kernel]
    if view.squash:
        return cv2.resize(rgb, (view.resize, view.resize), interpolation=kernel)
    factor = view.resize / min(rgb.shape[:2])
    return cv2.resize(rgb, (0, 0), fx=factor, fy=factor, interpolation=kernel)


def _grey(frame: av.VideoFrame, turn: _Turn, view: Frames) -> np.ndarray:
    """The luma plane, resized, in full range 0 to 255 whatever range the file uses."""
    if frame.format.name not in _LUMA_FIRST:
        return _resize(turn.upright(_to_array(frame, "gray")), view)
    plane = frame.planes[0]
    luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    small = _resize(np.ascontiguousarray(luma), view)
    full_range = frame.format.name.startswith("yuvj") or int(frame.color_range) == 2
    if not full_range:
        # Studio range 16 to 235, stretched after the resize: far fewer pixels. 10-bit files are stretched by
        # libswscale, so leaving this out would tell copies of different bit depth apart.
        small = np.clip((small.astype(np.float32) - 16) * (255 / 219) + 0.5, 0, 255).astype(np.uint8)
    return turn.upright(small) if view.squash else centre_crop(turn.upright(small), view.crop)
