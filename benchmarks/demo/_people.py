"""Scenes of the demo with somebody or something in them; scene(t) -> (H, W, 3) uint8."""

from __future__ import annotations

import numpy as np

from ndvr.benchmarks.demo import _textures as tx
from ndvr.benchmarks.demo._textures import Scene
from ndvr.operators.media import draw

WORDS = ("river keeps turning under old bridges while lamps burn late and nobody counts the boats again").split(" ")  # noqa: SIM905


def walkers(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw people walking past a brick wall."""
    wall = tx.tinted(tx.fractal(rng, width, height, cells=30, octaves=3), tx.colour(rng, 90, 200), contrast=0.3)
    brick, mortar = int(rng.integers(9, 18)), tx.colour(rng, 60, 160)
    wall[::brick] = mortar
    for row in range(0, height, brick):
        wall[row : row + brick, (row // brick % 2) * brick :: 2 * brick] = mortar
    floor = int(height * rng.uniform(0.72, 0.85))
    wall[floor:] = tx.tinted(tx.fractal(rng, width, height - floor, cells=20), tx.colour(rng, 50, 140))
    count = int(rng.integers(3, 7))
    start, speed = rng.uniform(0, width, count), rng.choice([-1, 1], count) * rng.uniform(20, 60, count)
    tall, coats = rng.uniform(0.3, 0.6, count) * height, [tx.colour(rng, 5, 200) for _ in range(count)]

    def scene(t: float) -> np.ndarray:
        picture = wall.copy()
        for i, x in enumerate((start + speed * t) % (1.3 * width) - 0.15 * width):
            _walker(picture, (x, floor + 0.12 * height), tall[i], np.sin(speed[i] * t / 6), coats[i])
        return picture

    return scene


def _walker(picture: np.ndarray, foot, tall: float, swing: float, coat) -> None:
    x, ground = foot
    hip, neck, reach = ground - 0.48 * tall, ground - 0.83 * tall, 0.2 * tall * swing
    thick = max(2, int(tall * 0.09))
    dark = draw.colour_of(part / 2 for part in coat)
    draw.lines(picture, [[(x, hip), (x + reach, ground)], [(x, hip), (x - reach, ground)]], dark, thick)
    draw.lines(picture, [[(x, neck), (x, hip)]], coat, thick * 2)
    arms = [[(x, neck), (x - reach, hip)], [(x, neck), (x + reach, hip)]]
    draw.lines(picture, arms, coat, max(1, thick - 1))
    draw.disc(picture, (x, ground - 0.92 * tall), 0.085 * tall, (205, 165, 135))


def presenter(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw somebody talking in front of a studio wall, with a line of text running below."""
    studio = tx.palette(rng)[(tx.fractal(rng, width, height, cells=3, octaves=3) * 180).astype(np.uint8)]
    for _ in range(3):
        x, y = rng.uniform(0, width), rng.uniform(0, height * 0.6)
        box = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * rng.uniform(0.1, 0.3, 2) * (width, height)
        draw.polygon(studio, box + (x, y), tx.colour(rng))
    skin = draw.colour_of(np.array([225, 178, 148]) * rng.uniform(0.45, 1.1))
    coat, hair = tx.colour(rng, 20, 180), tx.colour(rng, 10, 120)
    size, place = min(width, height) * rng.uniform(0.16, 0.24), rng.uniform(0.3, 0.7)
    ticker, bar = " ".join(rng.choice(WORDS, 60)), tx.colour(rng, 20, 150)

    def scene(t: float) -> np.ndarray:
        picture = studio.copy()
        x = width * place + 0.12 * size * np.sin(1.3 * t)
        y = height * 0.42 + 0.05 * size * np.sin(2.7 * t)
        shoulders = np.array([(-1.9, 4), (-1.6, 1.7), (-0.5, 1.2), (0.5, 1.2), (1.6, 1.7), (1.9, 4)])
        draw.polygon(picture, shoulders * size + (x, y), coat)
        draw.disc(picture, (x, y - 0.2 * size), 1.08 * size, hair)
        draw.disc(picture, (x, y + 0.1 * size), 0.95 * size, skin)
        closed = (t + place) % 3 < 0.15
        for side in (-0.35, 0.35):
            draw.disc(picture, (x + side * size, y), size * (0.03 if closed else 0.11), (25, 25, 35))
        mouth = 0.08 + 0.2 * abs(np.sin(9 * t) * np.sin(2.3 * t + place))
        lips = np.array([(-0.3, 0), (0, -mouth), (0.3, 0), (0, mouth)]) * size + (x, y + 0.5 * size)
        draw.polygon(picture, lips, (120, 30, 40))
        picture[int(height * 0.86) :] = bar
        draw.text(picture, ticker, (int(width * 0.5 - 60 * t), int(height * 0.96)), (255, 255, 255), height=9)
        return picture

    return scene


def fish(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw fish and bubbles in an aquarium."""
    water = tx.gradient(width, height, tx.colour(rng, 60, 190), tx.colour(rng, 10, 90)) * (0.5, 0.9, 1.0)
    noise = tx.fractal(rng, 256, 256, cells=12, octaves=3)
    sand = height - (0.08 + 0.08 * tx.profile(rng, width, cells=3)) * height
    water[np.arange(height)[:, None] > sand] = tx.colour(rng, 120, 220)
    x, y = tx.mesh(width, height)
    count = int(rng.integers(6, 13))
    start, speed = rng.uniform(0, 1.4, count), rng.uniform(0.05, 0.2, count) * rng.choice([-1, 1], count)
    level, size = rng.uniform(0.1, 0.85, count), rng.uniform(0.03, 0.09, count) * min(width, height) * 1.4
    colours, bubbles = [tx.colour(rng, 80, 255) for _ in range(count)], rng.uniform(0, 1, (25, 2))
    body = np.array([(1.6, 0), (0.7, -0.6), (-0.4, -0.55), (-1.1, 0), (-0.4, 0.55), (0.7, 0.6)])

    def scene(t: float) -> np.ndarray:
        light = draw.look_up(noise, x + 14 * t, y * 1.6 + 9 * np.sin(t))
        picture = np.clip(water * (0.75 + 0.5 * light[..., None]), 0, 255).astype(np.uint8)
        for i in range(count):
            way = np.sign(speed[i])
            place = ((start[i] + speed[i] * t) % 1.4 - 0.2) * width, (level[i] + 0.02 * np.sin(2 * t + i)) * height
            wag = 0.35 * np.sin(9 * t + i)
            tail = np.array([(-0.9, 0), (-1.9, -0.6 + wag), (-1.9, 0.6 + wag)])
            dark = draw.colour_of(part * 2 // 3 for part in colours[i])
            draw.polygon(picture, tail * (way * size[i], size[i]) + place, dark)
            draw.polygon(picture, body * (way * size[i], size[i]) + place, colours[i])
            draw.disc(picture, (place[0] + way * size[i], place[1] - 0.12 * size[i]), 0.13 * size[i], (10, 10, 10))
        for bubble_x, bubble_y in bubbles:
            rise = (bubble_y - 0.15 * t * (0.6 + bubble_x)) % 1 * height
            draw.disc(picture, (bubble_x * width + 3 * np.sin(3 * t + bubble_y * 9), rise), 2, (215, 235, 245))
        return picture

    return scene


def rain(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw rain, or snow, in front of the blurred lights of a street."""
    street = tx.gradient(width, height, tx.colour(rng, 5, 60), tx.colour(rng, 30, 110))
    for _ in range(int(rng.integers(12, 30))):
        lamp = tx.colour(rng, 80, 255)
        draw.disc(street, rng.uniform(0, 1, 2) * (width, height * 0.8), rng.uniform(3, 16), lamp)
    street = draw.blur(street, rng.uniform(1.5, 4))
    drops = rng.uniform(0, 1, (170, 2))
    snow = rng.random() < 0.4
    speed, slant = (0.3, 0.1) if snow else (rng.uniform(1.5, 2.6), rng.uniform(-0.3, 0.3))
    pan = rng.uniform(-6, 6)

    def scene(t: float) -> np.ndarray:
        centre = (width / 2 + pan * t, height / 2)
        picture = draw.view_of(street, (width, height), centre=centre, zoom=1.2)
        fall = (drops + np.array([slant, speed]) * t * (0.7 + drops[:, :1] * 0.6)) % 1.1 * (width, height)
        if snow:
            for flake, size in zip(fall + 4 * np.sin(t + drops * 9), drops[:, 0]):
                draw.disc(picture, flake, 0.8 + 1.8 * size, (240, 240, 245))
        else:
            streak = np.array([slant * 14, 12.0]) * height / 180
            draw.lines(picture, np.stack([fall, fall - streak], axis=1), (165, 175, 190))
        return picture

    return scene


def pages(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw a document being scrolled: headings, paragraphs, coloured figures."""
    paper = np.full((5 * height + 300, width, 3), tx.colour(rng, 205, 255), np.uint8)
    ink, accent = tx.colour(rng, 10, 70), tx.colour(rng, 40, 200)
    margin, y = int(width * rng.uniform(0.04, 0.1)), 24
    letter = rng.uniform(5.5, 8)
    while y < 5 * height:
        draw.text(paper, " ".join(rng.choice(WORDS, 3)).title(), (margin, y), accent, height=letter * 1.6)
        y += int(letter * 3)
        for _ in range(int(rng.integers(3, 8))):
            line = " ".join(rng.choice(WORDS, 14))
            while draw.text_width(line, height=letter) > width - 2 * margin:
                line = line[:-1]
            draw.text(paper, line, (margin, y), ink, height=letter)
            y += int(letter * 2.1)
        wide, tall = int(width * rng.uniform(0.3, 0.8)), int(rng.integers(25, 60))
        figure = tx.palette(rng)[(tx.fractal(rng, wide, tall, cells=5) * 255).astype(np.uint8)]
        paper[y : y + tall, margin : margin + wide] = figure
        y += tall + int(letter * 4)
    speed = rng.uniform(18, 45)

    def scene(t: float) -> np.ndarray:
        top = int(speed * (t + 0.8 * np.sin(t))) % (4 * height)
        return paper[top : top + height]

    return scene
