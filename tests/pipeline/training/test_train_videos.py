"""S2VS from a folder of videos: decoded once, judged by other videos, and what is wrong is a sentence."""

import numpy as np
import pytest
from commands import as_json, ndvr

from ndvr import models
from ndvr.operators.media.encode import write_video
from ndvr.pipeline.training.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six videos of 4 s, of moving noise; a file that is none; a second folder with two; a PCA that keeps numbers."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 256, (9, 24, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        place = folder / ("videos" if number < 6 else "others") / f"v{number}.mp4"
        place.parent.mkdir(exist_ok=True)
        write_video(place, (np.roll(noise, 16 * n, 1)[:, :128] for n in range(8)), fps=2)
    (folder / "videos" / "text.mp4").write_text("no video")
    (folder / "truth.csv").write_text("query_id,video_id\nv6.mp4,v7.mp4\n")
    pca = {"U": np.eye(768, 512), "lams": np.ones(512), "mu": np.zeros((768, 1)), "Utmu": np.zeros((512, 1))}
    np.savez(folder / "pca.npz", **{key: value.astype(np.float32) for key, value in pca.items()})
    return folder


@pytest.mark.slow
def test_a_folder_of_videos_is_trained_on_and_what_comes_out_loads(folder, tmp_path):
    done = as_json(
        *("train", "s2vs", folder / "videos", tmp_path / "out", "--option", "backbone=lite0", "--steps", 1),
        *("--option", f"pca={folder / 'pca.npz'}", "--truth", folder / "truth.csv", "--test", folder / "others"),
        *("--augmentations", "GT,ViV", "--set", "videos=2", "--set", "frames=4", "--quiet"),
    )
    assert done["videos"] == 6 and done["queries"] == 2 and done["curve"][-1]["map"] is not None
    assert list(done["unreadable"]) == ["text.mp4"] and done["trained_features"]
    training = models.load("s2vs", tmp_path / "out", parts=("similarity",), backbone="lite0").training
    assert training["settings"]["augmentations"] == "GT,ViV" and training["test"] == str(folder / "others")
    assert training["unreadable"]["text.mp4"].startswith("corrupt: ") and training["library"] == str(folder / "videos")


@pytest.mark.slow
def test_videos_are_decoded_once_and_the_same_is_learnt_from_what_was_kept(folder, tmp_path):
    given = {"options": {"backbone": "lite0", "pca": str(folder / "pca.npz")}, "frames": folder / "frames"}
    given |= {"steps": 1, "settings": {"videos": "2", "frames": "4"}, "progress": False}
    train("s2vs", folder / "videos", tmp_path / "one", **given)
    before = {path: path.stat().st_mtime_ns for path in (folder / "frames").iterdir()}
    assert len([path for path in before if path.suffix == ".zip"]) == 7
    train("s2vs", folder / "videos", tmp_path / "two", **given)
    assert {path: path.stat().st_mtime_ns for path in (folder / "frames").iterdir()} == before
    assert (tmp_path / "one" / "weights.pth").read_bytes() == (tmp_path / "two" / "weights.pth").read_bytes()


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


@pytest.mark.slow
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
