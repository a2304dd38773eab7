"""Moving patterns of the demo: each function returns a picture of the time, scene(t) -> (H, W, 3) uint8."""

from __future__ import annotations

import numpy as np

from ndvr.benchmarks.demo import _textures as tx
from ndvr.benchmarks.demo._textures import Scene
from ndvr.operators.media import draw


def _polar(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute angle in radians and distance in half heights from the middle, of every pixel."""
    x, y = tx.mesh(width, height)
    x, y = x - width / 2 + 0.5, y - height / 2 + 0.5
    return np.arctan2(y, x), np.hypot(x, y) / (min(width, height) / 2)


def balls(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw shaded balls bouncing in front of a marbled wall."""
    wall = tx.palette(rng)[(tx.fractal(rng, width, height, cells=6) * 255).astype(np.uint8)]
    count = int(rng.integers(4, 10))
    radius = rng.uniform(0.05, 0.15, count) * min(width, height)
    start, speed = rng.uniform(0, 1, (count, 2)), rng.uniform(0.15, 0.6, (count, 2))
    colours = [tx.colour(rng, 40, 230) for _ in range(count)]

    def scene(t: float) -> np.ndarray:
        picture = wall.copy()
        swing = np.abs((start + speed * t) % 2 - 1)
        for place, size, shade in zip(swing, radius, colours):
            centre = size + place * (np.array([width, height]) - 2 * size)
            for part in range(5):
                lighter = draw.colour_of(min(255, value * (0.6 + 0.2 * part)) for value in shade)
                draw.disc(picture, centre - 0.09 * size * part, size * (1 - 0.2 * part), lighter)
        return picture

    return scene


def plasma(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Slow coloured waves, as light on the floor of a pool."""
    x, y = tx.mesh(width // 2, height // 2)
    angles, lengths = rng.uniform(0, 2 * np.pi, 6), rng.uniform(9, 40, 6)
    speed, colours = rng.uniform(0.8, 3, 6), tx.palette(rng)
    warp = tx.fractal(rng, width // 2, height // 2, cells=5) * rng.uniform(10, 60)

    def scene(t: float) -> np.ndarray:
        total = np.zeros_like(x)
        for angle, length, pace in zip(angles, lengths, speed):
            total += np.sin((x * np.cos(angle) + y * np.sin(angle) + warp) / length * 2 + pace * t)
        light = (np.abs(total) * 70).clip(0, 255).astype(np.uint8)
        return draw.resize(colours[255 - light], (width, height), "linear")

    return scene


def stars(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Fly through stars in front of a nebula."""
    nebula = tx.palette(rng)[(tx.fractal(rng, 2 * width, 2 * height, octaves=6) ** 2 * 160).astype(np.uint8)]
    place = rng.uniform(-1, 1, (260, 2)) * (width, height)
    depth, speed, spin = rng.random(260), rng.uniform(0.08, 0.3), rng.uniform(-0.25, 0.25)

    def scene(t: float) -> np.ndarray:
        picture = draw.view_of(nebula, (width, height), centre=(width, height), zoom=1 + 0.03 * t, turn=spin * t / 4)
        near = 1 - (depth + speed * t) % 1
        cos, sin = np.cos(spin * t), np.sin(spin * t)
        seen = place @ np.array([[cos, sin], [-sin, cos]]) * (0.18 / (near + 0.05))[:, None]
        seen += (width / 2, height / 2)
        for (star_x, star_y), away in zip(seen, near):
            if 0 <= star_x < width and 0 <= star_y < height:
                light = int(255 * (1 - 0.7 * away))
                draw.disc(picture, (star_x, star_y), 0.4 + 1.6 * (1 - away), (light, light, light))
        return picture

    return scene


def mandala(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw a kaleidoscope: a wandering texture, folded and turned."""
    angle, radius = _polar(width, height)
    fold = 2 * np.pi / int(rng.integers(5, 11))
    texture = tx.palette(rng)[(tx.fractal(rng, 512, 512, cells=9, octaves=4) * 255).astype(np.uint8)]
    for _ in range(40):
        draw.disc(texture, rng.uniform(0, 512, 2), rng.uniform(4, 24), tx.colour(rng))
    spin, drift = rng.uniform(-0.5, 0.5), rng.uniform(-40, 40, 2)

    def scene(t: float) -> np.ndarray:
        turned = np.abs((angle + spin * t) % fold - fold / 2).astype(np.float32)
        u, v = radius * np.cos(turned) * 150, radius * np.sin(turned) * 150
        return draw.look_up(texture, u + drift[0] * t, v + drift[1] * t)

    return scene


def tunnel(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Fly down a chequered tunnel."""
    angle, radius = _polar(width, height)
    tiles = int(rng.choice([4, 6, 8, 12]))
    x, y = tx.mesh(256, 256)
    chequer = ((x * tiles // 256 + y * 4 // 256) % 2)[..., None]
    walls = chequer * tx.colour(rng, 100, 250) + (1 - chequer) * tx.colour(rng, 10, 120)
    texture = tx.tinted(tx.fractal(rng, 256, 256, cells=16), (255, 255, 255), contrast=0.3) * (walls / 255)
    texture = texture.astype(np.uint8)
    light = np.clip(radius * rng.uniform(0.8, 1.4), 0, 1)[..., None].astype(np.float32)
    speed, spin, sway = rng.uniform(80, 220), rng.uniform(-25, 25), rng.uniform(0, 0.5)

    def scene(t: float) -> np.ndarray:
        turn = angle + sway * np.sin(t) / (radius + 0.2)
        u, v = turn * (256 / (2 * np.pi)) + spin * t, 70 / (radius + 0.03) + speed * t
        return (draw.look_up(texture, u, v) * light).astype(np.uint8)

    return scene


def julia(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Zoom into a Julia set while it changes shape."""
    angle, radius = _polar(width // 3, height // 3)
    plane = (radius * np.exp(1j * angle)).astype(np.complex64)
    seed = complex(*rng.choice([(-0.8, 0.156), (-0.4, 0.6), (0.285, 0.01), (-0.7269, 0.1889)]))
    colours, phase = tx.palette(rng), rng.uniform(0, 6)

    def scene(t: float) -> np.ndarray:
        z = plane * np.exp(1j * 0.1 * t) * np.float32(1.5 * np.exp(-0.12 * t)) + np.complex64(0.3)
        constant = np.complex64(seed + 0.03 * np.exp(1j * (t / 2 + phase)))
        steps = np.zeros(z.shape, np.float32)
        for _ in range(26):
            z = z * z + constant
            inside = z.real**2 + z.imag**2 < 16
            steps += inside
            z[~inside] = 8
        light = (steps * 9.8).astype(np.uint8)
        return draw.resize(colours[light], (width, height), "linear")

    return scene


def fire(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw flames rising from below."""
    noise = tx.fractal(rng, 256, 512, cells=8, octaves=5)
    hot = np.array([tx.colour(rng, 0, 40), tx.colour(rng, 60, 200), (255, 190, 60), (255, 255, 220)])
    hot[1, int(rng.integers(0, 3))] = 230
    steps = np.linspace(0, 3, 256)
    colours = np.stack([np.interp(steps, range(4), hot[:, part]) for part in range(3)], 1).astype(np.uint8)
    x, y = tx.mesh(width, height)
    tall, speed, wind = rng.uniform(0.5, 1.0), rng.uniform(70, 190), rng.uniform(-20, 20)
    heat = (y / height) ** 1.2 * 1.5 * (0.6 + 0.8 * tx.profile(rng, width, cells=3, octaves=2)) * tall

    def scene(t: float) -> np.ndarray:
        flames = draw.look_up(noise, x - wind * t, y + speed * t)
        flames *= draw.look_up(noise, x * 0.6 + 70 + 10 * t, y * 0.5 + speed * 0.7 * t) + 0.35
        return colours[np.clip((flames * 1.7 + heat - 0.6) * 210, 0, 255).astype(np.uint8)]

    return scene
