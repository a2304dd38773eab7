"""Textures, colours and layered backdrops that the demo's scenes are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ndvr.operators.media import draw

Scene = Callable[[float], np.ndarray]  # seconds -> (H, W, 3) uint8


def palette(rng: np.random.Generator) -> np.ndarray:
    """Choose 256 colours from dark to light through random hues, (256, 3) uint8."""
    ramp = np.linspace(10, 235, 5)[:, None]
    anchors = 0.6 * ramp + 0.4 * rng.uniform(0, 255, (5, 3))
    steps = np.linspace(0, 4, 256)
    colours = [np.interp(steps, np.arange(5), anchors[:, channel]) for channel in range(3)]
    return np.stack(colours, axis=1).astype(np.uint8)


def colour(rng: np.random.Generator, low: int = 30, high: int = 240) -> draw.Colour:
    """Choose a random, muted colour.

    Muted because loud colours alone would tell the originals apart, which no real footage allows.
    """
    parts = rng.uniform(low, high, 3)
    return draw.colour_of(parts.mean() + 0.6 * (parts - parts.mean()))


def fractal(rng, width: int, height: int, *, cells: int = 4, octaves: int = 5) -> np.ndarray:
    """Make fractal value noise in [0, 1] that repeats without a seam, (height, width) float32."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        columns = cells * 2**octave
        rows = max(2, round(columns * height / width))
        grid = rng.random((rows, columns)).astype(np.float32)
        x, y = mesh(width, height)
        total += draw.look_up(grid, x * (columns / width), y * (rows / height)) / 2**octave
    total -= total.min()
    return total / total.max()


def profile(rng, width: int, *, cells: int = 5, octaves: int = 5) -> np.ndarray:
    """Draw a noisy line in [0, 1] that repeats without a seam, (width,) float32."""
    total = np.zeros(width)
    for octave in range(octaves):
        points = rng.random(cells * 2**octave)
        steps = np.arange(width) * (len(points) / width)
        total += np.interp(steps, np.arange(len(points) + 1), np.append(points, points[0])) / 2**octave
    return ((total - total.min()) / np.ptp(total)).astype(np.float32)


def mesh(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Make x and y of every pixel, float32 (height, width) each."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x, y


def gradient(width: int, height: int, top, bottom) -> np.ndarray:
    """Blend two colours from top to bottom, (height, width, 3) uint8."""
    blend = np.linspace(0, 1, height)[:, None, None]
    rows = np.asarray(top) * (1 - blend) + np.asarray(bottom) * blend
    return np.repeat(rows, width, axis=1).astype(np.uint8)


def tinted(noise: np.ndarray, base, *, contrast: float = 0.5) -> np.ndarray:
    """Shade a colour by noise in [0, 1], (H, W, 3) uint8."""
    shade = 1 + contrast * (noise[..., None] - 0.5) * 2
    return np.clip(shade * np.asarray(base, np.float32), 0, 255).astype(np.uint8)


class Layer:
    """A wide strip that covers part of what is behind it and slides past at its own speed."""

    def __init__(self, strip: np.ndarray, mask: np.ndarray, *, speed: float, width: int):
        """`strip` (H, L, 3), `mask` (H, L) bool, repeating every L >= width; `speed` in pixels a second."""
        self.length, self.speed, self.width = strip.shape[1], speed, width
        rows = np.flatnonzero(mask.any(axis=1))
        self.top = int(rows[0]) if len(rows) else strip.shape[0]
        self.strip = np.concatenate([strip, strip[:, :width]], axis=1)[self.top :]
        self.mask = np.concatenate([mask, mask[:, :width]], axis=1)[self.top :].astype(np.uint8)

    def cover(self, picture: np.ndarray, t: float) -> None:
        """Draw in place."""
        x = int(self.speed * t) % self.length
        part = slice(x, x + self.width)
        draw.cover(picture[self.top :], self.strip[:, part], self.mask[:, part])


def parallax(back: np.ndarray, layers: list[Layer]) -> Scene:
    """Slide layers in front of a backdrop, given from far to near."""

    def scene(t: float) -> np.ndarray:
        picture = back.copy()
        for layer in layers:
            layer.cover(picture, t)
        return picture

    return scene
