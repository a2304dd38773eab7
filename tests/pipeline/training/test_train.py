"""Training from a library: it is killed and goes on as if it had never stopped, and it helps on videos held out."""

import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from published_features import features, hdf5, imported, run
from training_library import SMALL, WIDTH, families, trained

from ndvr import models
from ndvr.benchmarks.evaluate import evaluate
from ndvr.pipeline.comparison.similarity import similarity
from ndvr.pipeline.training.train import train


@pytest.mark.slow
def test_training_helps_on_videos_it_has_not_seen_and_what_comes_out_loads(place, tmp_path):
    done = trained(place, tmp_path / "out", truth=place / "others.csv", test=place / "others", steps=60, every=20)
    assert done.best.map > done.curve[0].map + 0.2
    assert [point.step for point in done.curve] == [0, 20, 40, 60]
    rows = [json.loads(line) for line in (tmp_path / "out/curve.jsonl").read_text().splitlines()]
    assert [row["map"] for row in rows] == [point.map for point in done.curve]
    model = models.load("tca", tmp_path / "out")
    assert model.training["videos"] == 180 and model.training["pairs"] == 120
    assert model.training["step"] == done.best.step and model.training["library"] == str(place / "library")
    scores = similarity(place / "others", place / "others", tmp_path / "scores", method="tca", workers=0,
                        weights=str(tmp_path / "out"), progress=False).scores  # fmt: skip
    judged = evaluate(scores, truth=place / "others.csv", symmetric=True).tasks["overall"]
    assert judged.map == pytest.approx(done.best.map, abs=1e-3)  # half floats of the library, float32 in training


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_as_if_it_had_never_been(place, tmp_path):
    settings = {"steps": 24, "every": 3, "truth": str(place / "others.csv"), "test": str(place / "others")}
    trained(place, tmp_path / "whole", **settings)
    given = settings | {"related": str(place / "library.csv"), "settings": SMALL, "progress": False}
    code = "from ndvr.pipeline.training.train import train\n"
    code += f"train('tca', {str(place / 'library')!r}, {str(tmp_path / 'killed')!r}, **{given!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    curve = tmp_path / "killed" / "curve.jsonl"
    while not (curve.is_file() and len(curve.read_text().splitlines()) >= 3):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert len(curve.read_text().splitlines()) < 9, "it was killed too late"
    trained(place, tmp_path / "killed", resume=True, **settings)
    for name in ("weights.pth", "curve.jsonl", "training.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_without_labels_parts_of_one_video_are_pairs_and_a_training_that_does_not_get_better_stops(place, tmp_path):
    done = trained(place, tmp_path / "out", related=None, truth=place / "others.csv", test=place / "others",
                   steps=1000, every=1, patience=2, settings=SMALL | {"rate": "0"})  # fmt: skip
    assert done.pairs == 0 and done.steps == 2 and done.best.step == 0
    assert "no step was better than the start" in done.text() and "stopped early" in done.text()


def test_weights_are_of_use_for_features_like_those_they_were_trained_on(place, tmp_path):
    trained(place, tmp_path / "out")
    others = families(2, copies=1, seed=3)
    imported(
        hdf5(tmp_path / "x.hdf5", others), tmp_path / "x", method="tca", options={"dims": str(WIDTH)}, label="mine"
    )
    with pytest.raises(ValueError, match="was trained on features of 'imported, as published', and knows nothing of"):
        similarity(tmp_path / "x", tmp_path / "x", tmp_path / "scores", method="tca", weights=str(tmp_path / "out"))
    with pytest.raises(ValueError, match="was trained with option heads=8, not 4; give that option"):
        models.load("tca", tmp_path / "out", heads=4)
    with pytest.raises(ValueError, match="was trained for tca, not for s2vs"):
        models.load("s2vs", tmp_path / "out")


def test_videos_of_the_truth_are_not_trained_on(place, tmp_path):
    held = tmp_path / "held.csv"
    held.write_text("query_id,video_id\nf0_1,f0_0\nf1_1,f1_0\n")
    done = trained(place, tmp_path / "out", truth=held)
    assert done.queries == 4 and done.videos == 174


def test_a_folder_is_not_used_twice_unless_it_is_the_same_training(place, tmp_path):
    out = tmp_path / "out"
    trained(place, out)
    with pytest.raises(ValueError, match="holds a training; give --resume"):
        trained(place, out)
    with pytest.raises(ValueError, match="was begun with other settings: .*--resume goes on with the same"):
        trained(place, out, resume=True, settings=SMALL | {"margin": "0.3"})
    before = (out / "weights.pth").read_bytes()
    assert trained(place, out, resume=True).steps == 6  # nothing is left to do
    assert (out / "weights.pth").read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and holds no training"):
        trained(place, tmp_path / "other")


BAD_FILES = {
    "query_id,video_id\nx,y\n": "none of the videos in .*, such as 'x', are in",
    "query_id,video_id\nf0_0,x\n": "'f0_0' is the only video of its pair",
    "video_id,class\nf0_0,dog\nf1_0,cat\nf2_0,cat\n": "class 'dog' .* has one video, 'f0_0'",
    "video_id,class\nf0_0,dog\nf1_0,dog\nf0_0,cat\nf2_0,cat\n": "puts 'f0_0' into several classes",
    "f0_0\n": "line 1: give a CSV with the columns query_id and video_id, or video_id and class",
    "query_id,video_id\n": "names no videos that show the same",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_what_is_wrong_with_the_data_is_a_sentence_before_the_first_step(place, tmp_path, text):
    (tmp_path / "bad.csv").write_text(text)
    out = tmp_path / "out"
    said = run("train", "tca", place / "library", out, "--related", tmp_path / "bad.csv")
    assert said.exit_code == 2 and re.search(BAD_FILES[text], said.stderr), said.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"queue": "100"}, "queue=100 does not hold a whole number of steps of 16"),
        ({"speed": "1"}, "unknown setting 'speed' of training tca; choose from pairs, negatives"),
        ({"pairs": "many"}, "setting pairs=many: give a value like 16"),
        ({"pairs": "0"}, "setting pairs=0: give a whole number above zero"),
    ],
)
def test_a_wrong_setting_is_a_sentence_before_the_first_step(place, tmp_path, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        trained(place, tmp_path / "out", settings=SMALL | settings)


def test_out_is_a_local_folder(place):
    with pytest.raises(ValueError, match="a training is kept in a local folder"):
        trained(place, "s3://bucket/out")


def test_too_few_videos_are_a_sentence(tmp_path):
    videos = families(2, copies=1, seed=3)
    imported(hdf5(tmp_path / "one.hdf5", {"f0_0": videos["f0_0"]}), tmp_path / "one", method="tca",
             options={"dims": str(WIDTH)})  # fmt: skip
    with pytest.raises(ValueError, match="has 1 videos to train on; give at least two"):
        train("tca", tmp_path / "one", tmp_path / "out", progress=False)


@pytest.mark.slow
def test_bits_are_learnt_from_a_list_of_classes_and_help_on_others(tmp_path):
    """Classes a and b differ in a few of 512 numbers; what is in no class is left out."""
    rng = np.random.default_rng(4)
    shown = rng.standard_normal((4, 512))
    for name in ("library", "others"):
        videos, lines = {}, []
        for number in range(60):
            videos[f"v{number}"] = (0.3 * shown[number % 4] + rng.standard_normal((1, 512))).astype(np.float32)
            lines += [f"v{number} {'abcd'[number % 4]}"] if number < 56 else []
        imported(hdf5(tmp_path / f"{name}.hdf5", videos), tmp_path / name, method="c3dhash")
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="C3DHash learns from classes.*--related FILE"):
        train("c3dhash", tmp_path / "library", tmp_path / "none", progress=False)
    done = train("c3dhash", tmp_path / "library", tmp_path / "out", related=tmp_path / "library.txt", steps=100,
                 truth=tmp_path / "others.txt", test=tmp_path / "others", options={"bits": "16"},
                 settings={"margin": "6", "rate": "1e-3"}, progress=False)  # fmt: skip
    assert done.videos == 56 and done.best.map > done.curve[0].map + 0.2
    assert models.load("c3dhash", tmp_path / "out", parts=("similarity",)).options["bits"] == 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "shape", "settings", "options"),
    [
        ("s2vs", (9, 512), {"videos": "2", "frames": "8"}, {"pca": "own.npz"}),
        ("tca", (768,), {"pairs": "2", "negatives": "1", "queue": "8"}, {"pca": "none"}),
    ],
)
def test_networks_are_trained_on_features_of_another_backbone(tmp_path, method, shape, settings, options):
    options = {"backbone": "lite0", **options}
    videos = {f"v{number}": features(12, number, shape) for number in range(4)}
    imported(hdf5(tmp_path / "x.hdf5", videos), tmp_path / "library", method=method, options=options, label="lite0")
    done = train(method, tmp_path / "library", tmp_path / "out", steps=2, settings=settings, progress=False)
    assert done.features == "imported: lite0" and done.trained_features
    scores = similarity(tmp_path / "library", tmp_path / "library", tmp_path / "scores", method=method, workers=0,
                        weights=str(tmp_path / "out"), options=options, progress=False)  # fmt: skip
    assert scores.pairs == 16
    assert models.load(method, tmp_path / "out", parts=("similarity",), **options).training["steps"] == 2
