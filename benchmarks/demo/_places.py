"""Outdoor scenes of the demo: each function returns a picture of the time, scene(t) -> (H, W, 3) uint8."""

from __future__ import annotations

import numpy as np

from ndvr.benchmarks.demo import _textures as tx
from ndvr.benchmarks.demo._textures import Layer, Scene
from ndvr.operators.media import draw


def landscape(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw mountain ridges sliding past each other under a sky with a sun."""
    sky = tx.gradient(width, height, tx.colour(rng, 60, 200), tx.colour(rng, 150, 255))
    sun = (rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.3) * height)
    draw.disc(sky, sun, height * rng.uniform(0.04, 0.1), (255, 245, 210))
    near, far = np.array(tx.colour(rng, 20, 130)), np.array(tx.colour(rng, 110, 210))
    speed, layers, length = rng.uniform(8, 30) * rng.choice([-1, 1]), [], 3 * width
    for depth in np.linspace(0, 1, int(rng.integers(3, 6))):
        ridge = tx.profile(rng, length, cells=int(4 + 5 * depth), octaves=6)
        top = height * (0.35 + 0.45 * depth + 0.3 * (1 - 0.5 * depth) * (0.5 - ridge))
        below = np.arange(height)[:, None] - top
        noise = tx.fractal(rng, length, height, cells=24, octaves=4)
        lit = np.clip(1.25 - below / height, 0.5, 1.25)[..., None]
        strip = np.clip(tx.tinted(noise, far * (1 - depth) + near * depth, contrast=0.6) * lit, 0, 255)
        layers.append(Layer(strip.astype(np.uint8), below > 0, speed=speed * (0.2 + depth), width=width))
    return tx.parallax(sky, layers)


def city(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw a skyline at dusk: rows of houses with lit windows."""
    sky = tx.gradient(width, height, tx.colour(rng, 5, 90), tx.colour(rng, 70, 200))
    speed, layers, length = rng.uniform(12, 45), [], 2 * width
    wall = np.array(tx.colour(rng, 40, 110))
    for depth in (0.0, 0.5, 1.0):
        strip = np.zeros((height, length, 3), np.uint8)
        mask = np.zeros((height, length), bool)
        x = 0
        while x < length:
            house = int(rng.uniform(0.06, 0.16) * height * (2 + depth))
            top = int(height * rng.uniform(0.15 + 0.3 * depth, 0.55 + 0.25 * depth))
            mask[top:, x : x + house] = True
            strip[top:, x : x + house] = np.clip(wall * rng.uniform(0.6, 1.4) * (1.3 - depth), 0, 255)
            gap = int(rng.integers(6, 11))
            lit = np.array(tx.colour(rng, 140, 255))
            for window_y in range(top + 4, height - 4, gap):
                for window_x in range(x + 3, min(x + house, length) - 4, gap):
                    if rng.random() < 0.45:
                        strip[window_y : window_y + gap // 2, window_x : window_x + gap // 2] = lit
            x += house
        layers.append(Layer(strip, mask, speed=speed * (0.25 + depth), width=width))
    return tx.parallax(sky, layers)


def forest(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw trunks in fog, the nearer the darker and the faster."""
    fog = np.array(tx.colour(rng, 120, 230))
    back = tx.tinted(tx.fractal(rng, width, height, cells=8), fog, contrast=0.25)
    bark = np.array(tx.colour(rng, 10, 80))
    speed, layers, length = rng.uniform(20, 60) * rng.choice([-1, 1]), [], 2 * width
    for depth in (0.15, 0.4, 0.7, 1.0):
        noise = tx.fractal(rng, length, height, cells=64, octaves=3)
        strip = tx.tinted(noise, fog * (1 - depth) + bark * depth, contrast=0.7)
        mask = np.arange(height)[:, None] > height * (0.75 + 0.2 * depth) - 14 * tx.profile(rng, length)
        x, y = tx.mesh(length, height)
        for _ in range(int(rng.integers(7, 14) * (1.6 - depth))):
            middle, thick = rng.uniform(0, length), width * rng.uniform(0.008, 0.03) * (0.5 + depth)
            lean = rng.uniform(-0.12, 0.12)
            mask |= np.abs(x - middle - lean * y) < thick * (0.6 + 0.5 * y / height)
        layers.append(Layer(strip, mask, speed=speed * depth, width=width))
    return tx.parallax(back, layers)


def clouds(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw two sheets of cloud drifting over hills."""
    first, second = (tx.fractal(rng, 2 * width, 2 * height, cells=5, octaves=6) for _ in range(2))
    colours = np.linspace(tx.colour(rng, 30, 170), tx.colour(rng, 215, 255), 256).astype(np.uint8)
    thin, thick = np.sort(rng.uniform(0.25, 0.7, 2))
    drift = rng.uniform(-22, 22, (2, 2))
    x, y = tx.mesh(width, height)
    hills = np.arange(height)[:, None] - height * (0.93 - 0.15 * tx.profile(rng, 2 * width, cells=4))
    ground = tx.tinted(tx.fractal(rng, 2 * width, height, cells=30), tx.colour(rng, 20, 110))
    front = Layer(ground, hills > 0, speed=rng.uniform(0, 15), width=width)

    def scene(t: float) -> np.ndarray:
        sheet = draw.look_up(first, x + drift[0, 0] * t, y + drift[0, 1] * t)
        sheet += draw.look_up(second, x * 1.3 + drift[1, 0] * t, y * 1.3 + drift[1, 1] * t)
        density = np.clip((sheet / 2 - thin) / (thick - thin + 0.15), 0, 1) * 255
        picture = colours[density.astype(np.uint8)]
        front.cover(picture, t)
        return picture

    return scene


def waves(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw a sea running to the horizon with light on the water."""
    horizon = int(height * rng.uniform(0.3, 0.5))
    sky = tx.gradient(width, horizon, tx.colour(rng, 60, 200), tx.colour(rng, 170, 255))
    sun_x = rng.uniform(0.2, 0.8) * width
    draw.disc(sky, (sun_x, horizon * rng.uniform(0.4, 0.9)), height * 0.06, (255, 240, 190))
    noise = tx.fractal(rng, 512, 512, cells=16, octaves=4)
    colours = tx.palette(rng)
    x, y = tx.mesh(width, height - horizon)
    distance = 1 / (y + 4)
    glint = 60 * np.exp(-(((x - sun_x) / (0.06 * width + 0.4 * y)) ** 2))
    speed = rng.uniform(0.6, 1.6)

    def scene(t: float) -> np.ndarray:
        u, v = (x - width / 2) * distance * 160, distance * 9000
        swell = draw.look_up(noise, u + 12 * t, v + 60 * speed * t)
        swell += draw.look_up(noise, u * 1.7 - 17 * t, v * 1.6 + 90 * speed * t)
        light = np.clip((swell - 0.6) * 170 + glint * swell + 20, 0, 255).astype(np.uint8)
        return np.concatenate([sky, colours[light]])

    return scene


def road(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Drive along a road with posts and trees passing by."""
    horizon = int(height * rng.uniform(0.38, 0.5))
    sky = tx.gradient(width, horizon, tx.colour(rng, 60, 180), tx.colour(rng, 180, 250))
    ridge = np.arange(horizon)[:, None] > horizon * (1 - 0.35 * tx.profile(rng, width, cells=4))
    sky[ridge] = tx.colour(rng, 50, 140)
    ground = tx.tinted(tx.fractal(rng, 256, 256, cells=32, octaves=3), tx.colour(rng, 60, 170))
    ground[:, 96:160] = tx.tinted(tx.fractal(rng, 64, 256, cells=32, octaves=2), (95, 95, 100), contrast=0.25)
    ground[:, 98:100] = ground[:, 156:158] = (225, 225, 225)
    ground[:120, 127:129] = (240, 235, 200)
    x, y = tx.mesh(width, height - horizon)
    depth = 1 / (y + 2)
    speed, bend = rng.uniform(150, 330), rng.uniform(-20, 20)
    crown = tx.colour(rng, 20, 140)
    trees = [(rng.choice([-1, 1]) * rng.uniform(60, 140), rng.uniform(0, 900)) for _ in range(14)]

    def scene(t: float) -> np.ndarray:
        u = 128 + (x - width / 2) * depth * 80 + bend * np.sin(t / 3) * depth * 60
        picture = np.concatenate([sky, draw.look_up(ground, u, depth * 5000 + speed * t)])
        for side, start in sorted(trees, key=lambda tree: -((tree[1] - speed * t * 0.4) % 900)):
            far = (start - speed * t * 0.4) % 900 + 25
            scale = 40 * height / 180 / far
            foot = (width / 2 + side * scale * 2, horizon + 42 * scale)
            draw.lines(picture, [[foot, (foot[0], foot[1] - 45 * scale)]], (60, 45, 35), max(1, int(5 * scale)))
            draw.disc(picture, (foot[0], foot[1] - 55 * scale), 22 * scale, crown)
        return picture

    return scene


def aerial(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Fly over fields, rivers and roads."""
    side = 700
    seeds = rng.uniform(0, side, (45, 2)).astype(np.float32)
    x, y = tx.mesh(side // 2, side // 2)
    away = (x[..., None] * 2 - seeds[:, 0]) ** 2 + (y[..., None] * 2 - seeds[:, 1]) ** 2
    field = np.argmin(away, axis=2).repeat(2, 0).repeat(2, 1)
    shades = np.array([tx.colour(rng, 50, 190) for _ in seeds], np.float32) * (0.8, 1, 0.6)
    noise = tx.fractal(rng, side, side, cells=70, octaves=3)[..., None]
    ploughed = 0.12 * np.sin(np.arange(side) * rng.uniform(0.5, 1.2))[:, None, None]
    land = np.clip(shades[field] * (0.7 + 0.6 * noise + ploughed), 0, 255).astype(np.uint8)
    across = np.arange(0, side, 10)
    for _ in range(4):
        bends = rng.uniform(0.1, 0.9) * side + 120 * (tx.profile(rng, len(across), octaves=2) - 0.5)
        way = np.stack([across, bends], axis=1)
        draw.lines(land, [way if rng.random() < 0.5 else way[:, ::-1]], tx.colour(rng, 90, 220), 5)
    heading, spin = rng.uniform(0, 2 * np.pi), rng.uniform(-0.12, 0.12)
    step = rng.uniform(14, 34) * np.array([np.cos(heading), np.sin(heading)])

    def scene(t: float) -> np.ndarray:
        zoom = 1.1 + 0.25 * np.sin(t / 4 + heading)
        return draw.view_of(land, (width, height), centre=side / 2 + step * t, zoom=zoom, turn=spin * t)

    return scene
