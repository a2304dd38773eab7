"""What one original of the demo shows: a few shots of seeded scenes, filmed by an unsteady camera."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from ndvr.benchmarks.demo import _people as demo_people
from ndvr.benchmarks.demo import _places as demo_places
from ndvr.benchmarks.demo import _shapes as demo_shapes
from ndvr.operators.media import draw

SCENES = {
    function.__name__: function
    for function in (
        demo_places.landscape, demo_people.presenter, demo_places.city, demo_shapes.mandala, demo_people.fish,
        demo_places.road, demo_people.walkers, demo_places.waves, demo_shapes.balls, demo_places.forest,
        demo_people.pages, demo_people.rain, demo_shapes.tunnel, demo_places.aerial, demo_shapes.plasma,
        demo_places.clouds, demo_shapes.stars, demo_shapes.fire, demo_shapes.julia,
    )
}  # fmt: skip


def shots(rng: np.random.Generator, first: str, n_frames: int) -> list[tuple[str, int]]:
    """Choose the scenes of a video and their lengths in frames: `first`, then up to two others."""
    count = int(rng.choice([1, 2, 3], p=[0.3, 0.4, 0.3]))
    others = [name for name in SCENES if name != first]
    names = [first, *(str(name) for name in rng.choice(others, count - 1, replace=False))]
    # The first shot stays the longest: it is what the video is named after.
    shares = np.array([1.6, 1.0, 0.8])[:count] * rng.uniform(0.85, 1.15, count)
    cuts = np.round(np.cumsum(shares) / shares.sum() * n_frames).astype(int)
    return list(zip(names, np.diff(cuts, prepend=0).tolist()))


def film(
    rng: np.random.Generator, first: str, *, n_frames: int, fps: Fraction, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Draw the frames of one original, (H, W, 3) uint8 RGB, `size` is (width, height)."""
    width, height = size
    for name, count in shots(rng, first, n_frames):
        scene = SCENES[name](rng, width, height)
        shake, phase = rng.uniform(0.3, 1.6), rng.uniform(0, 6, 3)
        light, start_s = rng.uniform(0.0, 0.08), rng.uniform(0, 20)
        grain = rng.normal(0, rng.uniform(1, 3), (height + 16, width + 16, 1)).repeat(3, axis=2).astype(np.int16)
        for i in range(count):
            t = float(i / fps)
            picture = _filmed(scene(start_s + t), t, shake=shake, phase=phase)
            x, y = rng.integers(0, 16, 2)
            brighter = 255 * light * np.sin(0.7 * t + phase[2])
            yield draw.brighten(picture, grain[y : y + height, x : x + width] + np.int16(brighter))


def _filmed(picture: np.ndarray, t: float, *, shake: float, phase: np.ndarray) -> np.ndarray:
    """Show the picture as by a hand-held camera that slowly moves in and out."""
    height, width = picture.shape[:2]
    sway = np.sin(np.array([1.1, 1.7]) * t + phase[:2]) + 0.4 * np.sin(np.array([3.1, 2.3]) * t + phase[1:])
    centre = np.array([width, height]) / 2 + shake * sway
    zoom = 1.06 + 0.04 * np.sin(t / 3 + phase[2])
    return draw.view_of(picture, (width, height), centre=centre, zoom=zoom)
