"""Draw on and bend pictures, (H, W, 3) uint8 RGB or (H, W) planes: what made-up videos and edits need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import cv2
import numpy as np

Colour = tuple[int, int, int]
_KERNELS = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}


def colour_of(parts: Iterable[float]) -> Colour:
    """Round red, green and blue down to the plain integers that OpenCV asks for."""
    red, green, blue = (int(part) for part in parts)
    return red, green, blue


def resize(picture: np.ndarray, size: tuple[int, int], kernel: Literal["area", "linear", "cubic"] = "area"):
    """Resize the picture to (width, height)."""
    return cv2.resize(picture, size, interpolation=_KERNELS[kernel])


def blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a Gaussian, sigma in pixels."""
    return cv2.GaussianBlur(picture, (0, 0), sigma)


def look_up(texture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Look the texture up at positions in pixels within +-30000; it repeats without end; bilinear."""
    x, y = (part.astype(np.float32, copy=False) for part in (x, y))
    return cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def cover(picture: np.ndarray, strip: np.ndarray, mask: np.ndarray) -> None:
    """Copy the strip over the picture in place where the (H, W) uint8 mask is not 0."""
    cv2.copyTo(strip, mask, picture)


def brighten(picture: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Add int16 amounts of the same shape to the picture, held within 0 to 255."""
    return cv2.add(picture, amount, dtype=cv2.CV_8U)


def view_of(picture: np.ndarray, size: tuple[int, int], *, centre, zoom: float = 1.0, turn: float = 0.0):
    """Show what a camera above `centre` (x, y) sees, `size` pixels, `zoom` times larger, turned by radians."""
    cos, sin = np.cos(turn) * zoom, np.sin(turn) * zoom
    x, y = centre
    matrix = np.array(
        [[cos, -sin, size[0] / 2 - cos * x + sin * y], [sin, cos, size[1] / 2 - sin * x - cos * y]],
        np.float32,
    )
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def disc(picture: np.ndarray, centre, radius: float, colour: Colour) -> None:
    """Fill a circle in place, smooth at its edge."""
    x, y = (round(float(part) * 16) for part in centre)
    cv2.circle(picture, (x, y), max(1, round(radius * 16)), colour, -1, cv2.LINE_AA, 4)


def polygon(picture: np.ndarray, points, colour: Colour) -> None:
    """Fill a polygon of (N, 2) points x, y in place."""
    cv2.fillPoly(picture, [np.round(np.asarray(points, float) * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)


def lines(picture: np.ndarray, points, colour: Colour, thickness: int = 1) -> None:
    """Draw (N, M, 2) open lines of M points in place."""
    fixed = np.round(np.asarray(points, float) * 16).astype(np.int32)
    cv2.polylines(picture, list(fixed), False, colour, thickness, cv2.LINE_AA, 4)


def text(picture: np.ndarray, words: str, at: tuple[int, int], colour: Colour, *, height: float = 12) -> None:
    """Write in place; `at` is the lower left corner, `height` that of a capital letter in pixels."""
    scale = height / 22
    cv2.putText(picture, words, at, cv2.FONT_HERSHEY_DUPLEX, scale, colour, max(1, round(scale)), cv2.LINE_AA)


def text_width(words: str, *, height: float = 12) -> int:
    """Measure the width in pixels that `text` will take."""
    scale = height / 22
    return cv2.getTextSize(words, cv2.FONT_HERSHEY_DUPLEX, scale, max(1, round(scale)))[0][0]
