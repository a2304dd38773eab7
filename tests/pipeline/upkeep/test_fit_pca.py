"""A PCA of one's own: the authors' directions, the same file however it is made, and the way from videos to scores."""

import json
import shutil
from pathlib import Path

import clip_library
import numpy as np
import pytest
from click.testing import CliRunner
from clips import numbered_clip
from places import GOLDEN_FOLDER
from published_features import features, hdf5, imported

from ndvr.operators.features import pca
from ndvr.operators.library.library import Library
from ndvr.pipeline.cli import main
from ndvr.pipeline.extraction.extract import extract
from ndvr.pipeline.upkeep.fit_pca import fit_pca

GOLDEN = np.load(GOLDEN_FOLDER / "tca.npz")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("case", ["primal", "dual", "full"])
def test_directions_and_variances_are_the_authors(case):
    points = GOLDEN[f"pca/{case}_x"]
    variances = np.sort(GOLDEN[f"pca/{case}_lams"])[::-1]
    found = pca.fit([points], points=len(points), dims=len(variances)).arrays()
    # The reference computes in float32.
    np.testing.assert_allclose(found["lams"], variances, rtol=1e-4)
    np.testing.assert_allclose(found["mu"], GOLDEN[f"pca/{case}_mu"], atol=1e-6)
    order = np.argsort(-GOLDEN[f"pca/{case}_lams"])
    agreement = (found["U"] * GOLDEN[f"pca/{case}_U"][:, order]).sum(0)
    np.testing.assert_allclose(np.abs(agreement), 1, atol=1e-4)  # signs are arbitrary
    wanted = np.sign(agreement)[:, None] * GOLDEN[f"pca/{case}_Utmu"][order]
    np.testing.assert_allclose(found["Utmu"], wanted, atol=1e-4)


def test_points_may_come_in_pieces_of_any_size(monkeypatch):
    monkeypatch.setattr(pca, "BLOCK_ROWS", 7)
    points = GOLDEN["pca/primal_x"]
    pieces = np.split(points, [1, 4, 40, 40, 199])
    found, wanted = (pca.fit(some, points=200, dims=16) for some in (pieces, [points]))
    np.testing.assert_allclose(found.variances, wanted.variances, rtol=1e-10)
    assert 0.5 < found.explained < 1


def test_both_ways_to_solve_it_agree():
    points = GOLDEN["pca/dual_x"].astype(np.float64)
    primal, dual = (solve(iter([points]), 12) for solve in (pca._primal, pca._dual))
    np.testing.assert_allclose(primal[2], dual[2], rtol=1e-9)
    np.testing.assert_allclose(np.abs((primal[3] * dual[3]).sum(0)), 1, atol=1e-9)


@pytest.mark.parametrize(
    ("points", "dims", "sentence"),
    [
        (np.eye(5, 8), 5, "5 points span at most 4 directions, fewer than dims=5"),
        (np.repeat(np.eye(3, 8), 4, axis=0), 3, "the 12 points vary in only 2 directions, fewer than dims=3"),
        (np.repeat(np.eye(8, 20), 2, axis=0), 9, "the 16 points vary in only 7 directions, fewer than dims=9"),
        (np.zeros((0, 8)), 1, "0 points span at most 0 directions"),
        (np.random.default_rng(0).random((30, 8)), 9, "vectors of 8 numbers have no 9 directions"),
    ],
)
def test_points_that_vary_in_too_few_directions_are_refused(points, dims, sentence):
    with pytest.raises(ValueError, match=sentence):
        pca.fit([points], points=len(points), dims=dims)


def test_which_windows_are_drawn_depends_on_the_video_and_the_seed_only():
    drawn = pca.pick("a.mp4", 100, 10, seed=0)
    np.testing.assert_array_equal(drawn, pca.pick("a.mp4", 100, 10, seed=0))
    assert drawn.min() >= 0 and drawn.max() < 100
    assert not np.array_equal(drawn, pca.pick("b.mp4", 100, 10, seed=0))
    assert not np.array_equal(drawn, pca.pick("a.mp4", 100, 10, seed=1))
    assert len(pca.pick("a.mp4", 3, 10, seed=0)) == 10  # with replacement
    assert pca.pick("a.mp4", 3, 0, seed=0).tolist() == [0, 1, 2]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(("a.mp4", "b.mp4", "c.mp4")):
        numbered_clip(folder / name, n_frames=6, fps=1, numbers=range(600 * number, 600 * number + 300, 50))
    return folder


@pytest.fixture(scope="module")
def raw(videos, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "lib"
    clip_library.extract(
        path, clip_library.videos_in(videos), method="tca", weights="random:1", options={"pca": "none"}
    )
    return path


def test_from_videos_through_a_pca_of_their_own_to_scores(raw, videos, tmp_path, ray_cluster):
    made = run("fit-pca", raw, tmp_path / "pca.npz", "--dims", 8, "--frames-per-video", 0, "--json", "--quiet")
    assert made.exit_code == 0, made.output
    found = json.loads(made.stdout)
    assert (found["videos"], found["frames"], found["dims"], found["trained"]) == (3, 21, 8, False)
    arrays = np.load(tmp_path / "pca.npz")
    assert {key: value.shape for key, value in arrays.items()} == {
        "U": (3840, 8), "lams": (8,), "mu": (3840, 1), "Utmu": (8, 1)
    }  # fmt: skip
    assert (np.diff(arrays["lams"]) <= 0).all()

    library = tmp_path / "lib"
    options = {"pca": str(tmp_path / "pca.npz")}
    done = extract(videos, library, methods=["tca"], weights={"tca": "random:1"}, options=options, progress=False)
    assert (done.done, done.windows) == (3, 21)  # the last frame of each comes twice
    opened = Library(library)
    (config,) = opened.configs
    whitened = {video: rows for video, _, rows in opened.read(opened.entries(config).values())}
    original = Library(raw)
    (config,) = original.configs
    for video, _, rows in original.read(original.entries(config).values()):
        wanted = (rows.astype(np.float64) - arrays["mu"].T) @ (arrays["U"] / np.sqrt(arrays["lams"]))
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
        # The raw vectors were stored as half floats; the whitened ones come from float32.
        np.testing.assert_allclose(whitened[video].astype(np.float64), wanted, atol=0.02)

    scores = tmp_path / "scores"
    done = run("similarity", library, library, scores, "--method", "tca", "--option", "encoder=none",
               "--format", "json", "--workers", 0, "--quiet")  # fmt: skip
    assert done.exit_code == 0, done.output
    table = json.loads((scores / "similarities.json").read_text())
    assert all(max(row, key=row.get) == query for query, row in table.items())


@pytest.mark.slow
def test_all_regions_of_the_frames_of_lite0_are_learnt_from_and_512_directions_kept(tmp_path):
    options = {"backbone": "lite0", "pca": "none"}
    videos = {f"v{number}": features(40, number, (9, 768)) for number in range(2)}
    imported(hdf5(tmp_path / "s2vs.hdf5", videos), tmp_path / "raw", method="s2vs", options=options)
    made = run("fit-pca", tmp_path / "raw", tmp_path / "pca.npz", "--frames-per-video", 0, "--json", "--quiet")
    assert made.exit_code == 0, made.output
    found = json.loads(made.stdout)
    assert (found["videos"], found["frames"], found["dims"]) == (2, 80, 512)
    regions = np.concatenate([videos[name].astype(np.float16).reshape(-1, 768) for name in ("v0", "v1")])
    wanted = pca.fit([regions], points=720, dims=512).arrays()
    np.testing.assert_allclose(np.load(tmp_path / "pca.npz")["lams"], wanted["lams"], rtol=1e-4)
    frames = {name: array[:, 0] for name, array in videos.items()}
    imported(hdf5(tmp_path / "tca.hdf5", frames), tmp_path / "raw", method="tca", options=options)
    with pytest.raises(ValueError, match="raw vectors of several configurations; choose one with --config"):
        fit_pca(tmp_path / "raw", tmp_path / "pca.npz", progress=False)


@pytest.mark.slow
def test_the_same_library_and_seed_give_the_same_file(raw, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit_pca(raw, tmp_path / name, dims=4, seed=seed, progress=False)
    first, again, other = (np.load(tmp_path / name)["mu"] for name in "abc")
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.slow
def test_what_cannot_be_learnt_from_is_one_sentence_and_exit_code_2(raw, tmp_path):
    narrow = tmp_path / "narrow"
    shutil.copytree(raw, narrow)
    (about,) = (narrow / "configs").glob("*.json")
    about.write_text(json.dumps(json.loads(about.read_text()) | {"feature_shape": [1024]}))
    about.with_suffix(".sha256").unlink()
    for library, options, sentence in (
        (tmp_path / "nowhere", (), "no library at "),
        (
            narrow,
            (),
            r"(1024,); a PCA is learnt from raw vectors of 3840 numbers: `ndvr extract VIDEOS RAW --method tca",
        ),
        (raw, (), "has 3 videos: 30 points span at most 29 directions, fewer than dims=1024; extract more videos"),
        (raw, ("--dims", 25), "has 3 videos: the 30 points vary in only "),
        (raw, ("--config", "other"), "a PCA is learnt from raw vectors"),
    ):
        done = run("fit-pca", library, tmp_path / "pca.npz", "--quiet", *options)
        assert done.exit_code == 2
        assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "pca.npz").exists()
