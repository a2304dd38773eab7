"""S2VS from a folder of videos: decoded once, killed and continued to the byte, by one process."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import as_json, ndvr

from ndvr import models
from ndvr.operators.features import pca
from ndvr.operators.media.encode import write_video
from ndvr.pipeline.training.train import train

SMALL = {"videos": "2", "frames": "4", "rate": "1e-3"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six videos of 4 s, of moving noise; a file that is none; a second folder with two of them; a PCA of noise."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "videos").mkdir()
    (folder / "others").mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 256, (9, 24, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        for place, name in [("videos", f"v{number}.mp4")] + [("others", f"w{number}.mp4")] * (number > 3):
            shown = noise if place == "videos" else noise[:, ::-1]
            write_video(folder / place / name, (np.roll(shown, 8 * n, 1)[:, :128] for n in range(16)), fps=4)
    (folder / "videos" / "text.mp4").write_text("no video")
    (folder / "truth.csv").write_text("query_id,video_id\nv4.mp4,v5.mp4\n")
    points = np.random.default_rng(0).standard_normal((900, 768)) / 30
    pca.fit([points], points=900, dims=512).write(folder / "pca.npz")
    return folder


def trained(folder, out, **settings):
    given = {"steps": 2, "every": 1, "settings": SMALL, "frames": folder / "frames", "progress": False} | settings
    given["options"] = {"backbone": "lite0", "pca": str(folder / "pca.npz")}
    return train("s2vs", folder / "videos", out, **given)


def test_a_folder_of_videos_is_trained_on_and_what_comes_out_loads(folder, tmp_path):
    done = as_json(
        *("train", "s2vs", folder / "videos", tmp_path / "out", "--option", "backbone=lite0", "--steps", 1),
        *("--option", f"pca={folder / 'pca.npz'}", "--truth", folder / "truth.csv", "--frames", folder / "frames"),
        *("--augmentations", "GT,ViV", "--set", "videos=2", "--set", "frames=4", "--quiet"),
    )
    assert done["videos"] == 4 and done["queries"] == 2 and done["curve"][-1]["map"] is not None
    assert list(done["unreadable"]) == ["text.mp4"] and done["trained_features"]
    model = models.load("s2vs", tmp_path / "out", parts=("similarity",), backbone="lite0")
    assert model.training["settings"]["augmentations"] == "GT,ViV" and model.training["steps"] == 1
    assert model.training["unreadable"]["text.mp4"].startswith("corrupt: ")


def test_videos_are_decoded_once(folder, tmp_path):
    trained(folder, tmp_path / "one")
    before = {path: path.stat().st_mtime_ns for path in (folder / "frames").iterdir()}
    assert len([path for path in before if path.suffix == ".zip"]) == 7
    trained(folder, tmp_path / "two")
    assert {path: path.stat().st_mtime_ns for path in (folder / "frames").iterdir()} == before
    assert (tmp_path / "one" / "weights.pth").read_bytes() == (tmp_path / "two" / "weights.pth").read_bytes()


@pytest.mark.slow
def test_a_training_on_videos_that_was_killed_goes_on_to_the_byte(folder, tmp_path):
    settings = {"steps": 6, "truth": folder / "truth.csv", "frames": None}
    trained(folder, tmp_path / "whole", **settings)
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\nfrom pathlib import Path\nfrom test_train_videos import trained\n"
        f"trained(Path({str(folder)!r}), {str(tmp_path / 'killed')!r}, steps=6, "
        f"truth={str(folder / 'truth.csv')!r}, frames=None)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    curve = tmp_path / "killed" / "curve.jsonl"
    while not (curve.is_file() and len(curve.read_text().splitlines()) >= 3):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert len(curve.read_text().splitlines()) < 7, "it was killed too late"
    trained(folder, tmp_path / "killed", resume=True, **settings)
    for name in ("weights.pth", "curve.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_what_is_wrong_is_a_sentence_before_anything_is_decoded(folder, tmp_path):
    videos, out = folder / "videos", tmp_path / "out"
    for arguments, sentence in (
        (("tca", videos, out), "is no library, and tca is trained on features: `ndvr extract"),
        (("s2vs", videos, out, "--option", "backbone=lite0", "--augmentations", "XX"), "unknown augmentation 'XX'"),
        (("s2vs", videos, folder / "videos", "--option", "backbone=lite0"), "exists and holds no training"),
        (("s2vs", videos, out, "--option", "backbone=lite0", "--option", "sampler=opencv", "--option", "pca=none"),
         "leave out option sampler"),
    ):  # fmt: skip
        assert sentence in ndvr("train", *arguments, code=2)
    assert not out.exists()


def test_too_little_is_a_sentence_before_the_first_step(folder, tmp_path):
    lone = tmp_path / "list.csv"
    lone.write_text(f"video_id,path\na,{folder / 'videos' / 'v0.mp4'}\n")
    options = ("--option", "backbone=lite0", "--option")
    given = ("--frames", folder / "frames")
    said = ndvr("train", "s2vs", lone, tmp_path / "out", *options, f"pca={folder / 'pca.npz'}", *given, code=2)
    assert "list.csv has 1 videos to train on; give at least two" in said
    said = ndvr("train", "s2vs", folder / "videos", tmp_path / "out", *options[:2], *given, code=2)
    assert "6 videos are too few to fit a PCA to: " in said
    said = ndvr("train", "s2vs", folder / "videos", tmp_path / "out", *options, "pca=none", *given, code=2)
    assert "regions of 768 numbers are given, and S2VS compares 512" in said
    said = ndvr("train", "s2vs", folder / "videos", tmp_path / "out", *options, f"pca={folder / 'pca.npz'}", *given,
                "--strict", code=2)  # fmt: skip
    assert "has videos that give no frames: text.mp4: corrupt" in said
    assert not (tmp_path / "out" / "training.json").exists()


def test_a_network_is_judged_by_another_folder_of_videos(folder, tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("query_id,video_id\nw4.mp4,w5.mp4\n")
    done = trained(folder, tmp_path / "out", steps=1, truth=truth, test=folder / "others")
    assert done.videos == 6 and done.queries == 2
    described = json.loads((tmp_path / "out" / "training.json").read_text())
    assert described["test"] == str(folder / "others") and described["library"] == str(folder / "videos")
