"""Small libraries from which something can be learnt that holds for others, and a training on them."""

from __future__ import annotations

import numpy as np
from published_features import hdf5, imported

from ndvr.pipeline.training.train import Trained, train

WIDTH = 64


def families(count: int, *, copies: int, seed: int) -> dict[str, np.ndarray]:
    """Videos f0_0 ...: a family has a direction of its own, and each copy a stronger one out of a few that say nothing.

    Which few say nothing is the same in all families, so that it can be learnt.
    """
    rng = np.random.default_rng(seed)
    nothing = np.linalg.qr(np.random.default_rng(7).standard_normal((WIDTH, 8)))[0]
    videos = {}
    for family in range(count):
        own = unit(rng.standard_normal(WIDTH))
        for copy in range(copies):
            other = 1.2 * unit(nothing @ rng.standard_normal(8))
            frames = own + other + 0.02 * rng.standard_normal((int(rng.integers(3, 7)), WIDTH))
            videos[f"f{family}_{copy}"] = unit(frames).astype(np.float32)
    return videos


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def pairs(path, videos: dict[str, np.ndarray]):
    """Every copy with the first of its family."""
    rows = [f"{video_id},{video_id.split('_')[0]}_0" for video_id in videos if not video_id.endswith("_0")]
    path.write_text("\n".join(["query_id,video_id", *rows]) + "\n")
    return path


SMALL = {"pairs": "8", "negatives": "2", "queue": "128", "rate": "3e-4", "gamma": "64"}


def make_libraries(folder) -> None:
    """Make a library to train on, another to hold out, and the pairs of each, in `folder`."""
    for name, seed, count in (("library", 1, 60), ("others", 2, 12)):
        videos = families(count, copies=3, seed=seed)
        imported(hdf5(folder / f"{name}.hdf5", videos), folder / name, method="tca", options={"dims": str(WIDTH)})
        pairs(folder / f"{name}.csv", videos)


def trained(place, out, **settings) -> Trained:
    given = {"related": place / "library.csv", "steps": 6, "every": 3, "settings": SMALL} | settings
    return train("tca", place / "library", out, progress=False, **given)
