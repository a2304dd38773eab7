"""Every method from video files to scores, through the same commands, from one pass over the videos."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from clips import numbered_clip

from ndvr import models
from ndvr.models.card import Mel
from ndvr.operators.library.library import Library
from ndvr.pipeline.comparison.pair import compare
from ndvr.pipeline.comparison.similarity import similarity
from ndvr.pipeline.extraction.extract import extract

METHODS = models.names()
HEARD = [name for name in METHODS if isinstance(models.card(name).view, Mel)]
WEIGHTS = {name: "random" for name in METHODS if models.card(name).weights}
ON_RAY = (
    "thumbprint",
    "visil",
    "c3dhash",
)  # windows, regions and codes: each starts workers
OPTIONS = {"size": "small"}  # of 3D-CSL: four times faster


@pytest.fixture(scope="module")
def library(tmp_path_factory, ray_cluster):
    """Two videos with sound, one without, through all methods at once."""
    folder = tmp_path_factory.mktemp("all")
    (folder / "videos").mkdir()
    numbered_clip(folder / "videos" / "a.mp4", n_frames=30, fps=10, audio_s=3.0)
    numbered_clip(folder / "videos" / "b.mp4", n_frames=20, fps=10, audio_s=2.5, numbers=range(100, 120))
    numbered_clip(folder / "videos" / "muted.mp4", n_frames=15, fps=10)
    summary = extract(folder / "videos", folder / "library", methods=METHODS, weights=WEIGHTS, options=OPTIONS)
    assert (summary.done, summary.failed) == (3, {})
    assert summary.without == {f"{name} (no sound: no sound stream)": 1 for name in HEARD}
    assert summary.frames == 30 + 20 + 15  # every frame decoded once, whatever the number of methods
    return Library(folder / "library")


@pytest.mark.parametrize("name", METHODS)
def test_features_of_every_video_are_in_shards_as_the_card_says(library, name):
    config = library.config_of(name)
    recorded = library.configs[config]
    entries = library.entries(config)
    assert {video_id: entry.status for video_id, entry in entries.items()} == {
        "a.mp4": "done", "b.mp4": "done", "muted.mp4": "skipped" if name in HEARD else "done"
    }  # fmt: skip
    for _, start_s, features in library.read(entries.values()):
        assert features.shape == (len(start_s), *recorded.feature_shape) and len(features) > 0
        assert features.dtype == np.dtype(models.card(name).feature_dtype)
    assert not recorded.trained or not models.card(name).weights


@pytest.mark.parametrize("name", METHODS)
def test_scores_through_the_command_are_those_of_the_model(library, name, tmp_path):
    options = {key: value for key, value in OPTIONS.items() if key in models.card(name).options}
    given = {"weights": WEIGHTS.get(name), "options": options, "workers": None if name in ON_RAY else 0}
    done = similarity(str(library), str(library), tmp_path, method=name, **given)
    model = models.load(name, WEIGHTS.get(name), parts=("similarity",), **options)
    entries = library.entries(library.config_of(name))
    signatures = {video_id: model.signature(found) for video_id, _, found in library.read(entries.values())}
    table = pq.ParquetDataset(tmp_path / "parts").read().to_pylist()
    assert len(table) == done.pairs == len(signatures) ** 2
    for row in table:
        wanted = model.similarity(signatures[row["query_id"]], signatures[row["video_id"]])
        assert row["score"] == pytest.approx(wanted, abs=1e-5)
    assert done.missing_videos == 3 - len(signatures)


def test_a_video_without_sound_cannot_be_compared_by_sound_and_the_reason_is_given(library, tmp_path):
    paths = [library.store.folder.parent / "videos" / name for name in ("a.mp4", "muted.mp4")]
    with pytest.raises(ValueError, match=r"muted.mp4: skipped: no sound: no sound stream"):
        compare(*paths, method="ausil", weights="random")
