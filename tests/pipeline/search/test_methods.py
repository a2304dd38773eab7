"""Methods other than thumbprint have keys, too: their features are indexed and searched."""

from __future__ import annotations

import numpy as np
import pytest

from ndvr import models
from ndvr.pipeline.extraction.import_features import import_features
from ndvr.pipeline.search.search import index, search

pytestmark = pytest.mark.slow


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize(("method", "windows"), [("tca", 16), ("csl3d", 16), ("c3dhash", 1)])
def test_the_first_half_of_a_video_with_noise_finds_it(method, windows, tmp_path):
    rng = np.random.default_rng(0)
    shape = (windows, *models.get(method).feature_shape(models.card(method).resolve({})))
    videos = {f"v{n}": rng.standard_normal(shape).astype(np.float32) for n in range(6)}
    half = videos["v2"][: max(1, windows // 2)]
    queries = {"q": half + 0.3 * rng.standard_normal(half.shape).astype(np.float32)}
    for name, features in (("library", videos), ("queries", queries)):
        (tmp_path / f"{name}-features").mkdir()
        for video_id, each in features.items():
            np.save(tmp_path / f"{name}-features" / f"{video_id}.npy", unit(each))
        import_features(tmp_path / f"{name}-features", tmp_path / name, method=method, progress=False)
    settings = {"method": method, "weights": "random", "progress": False}
    assert index(tmp_path / "library", **settings).videos == 6
    result = search(tmp_path / "queries", tmp_path / "library", **settings, false_per_million=1e6)
    assert not result.trained
    match = result.answers[0].matches[0]
    assert (match.video_id, match.kind) == ("v2", "copy" if windows == 1 else "part")
