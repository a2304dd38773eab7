"""TCA's files: what weights may hold, what is read off them, and what is said where they do not fit."""

import pickle
from pathlib import Path

import golden_tca
import numpy as np
import pytest
import torch

from ndvr import models
from ndvr.models import weights as files

ATOL = 1e-5  # what the reference suggests between two float32 implementations


@pytest.fixture(scope="module")
def resnet50():
    return golden_tca.state("resnet50")


def test_width_and_layers_are_read_off_the_weights():
    found = models.load("tca", golden_tca.state("tca_64x2"))
    assert found.feature_shape == (64,)
    assert len(found.network("similarity").encoder.transformer_encoder.layers) == 2
    whole = models.load("tca", "random", parts=("similarity",)).network("similarity")
    assert sum(value.numel() for value in whole.parameters()) == 8_399_872  # the published configuration


@pytest.mark.slow
def test_the_pooling_is_part_of_what_identifies_features(resnet50):
    digests = {
        models.load("tca", resnet50, parts=("embed",), pca="none", pooling=pooling).digest("embed")
        for pooling in ("imac", "rmac")
    }
    assert len(digests) == 2


@pytest.fixture(scope="module")
def pca_file(tmp_path_factory) -> Path:
    """A PCA as the authors write it, of 40 directions."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.standard_normal((3840, 40)))[0]
    pca = {"U": basis, "lams": np.linspace(2, 1, 40), "mu": 0.01 * rng.standard_normal((3840, 1))}
    pca["Utmu"] = pca["U"].T @ pca["mu"]
    path = tmp_path_factory.mktemp("pca") / "pca.npz"
    np.savez(path, **{key: value.astype(np.float32) for key, value in pca.items()})
    return path


@pytest.mark.slow
def test_files_and_one_mapping_with_everything_are_the_same_model(resnet50, pca_file, tmp_path):
    torch.save({key: torch.from_numpy(value) for key, value in resnet50.items()}, tmp_path / "resnet50.pth")
    encoder = golden_tca.state("tca_32x1_heads4")
    apart = models.load("tca", encoder, backbone=str(tmp_path / "resnet50.pth"), pca=str(pca_file), heads=4)
    pca = {f"pca.{key}": value for key, value in np.load(pca_file).items()}
    together = models.load("tca", {**resnet50, **pca, **encoder}, heads=4)
    assert apart.feature_shape == together.feature_shape == (32,)  # as many as the encoder takes
    again = {**apart.network("embed").state_dict(), **apart.network("similarity").state_dict()}
    for model in (together, models.load("tca", again, heads=4)):
        assert model.digest("embed") == apart.digest("embed")
        assert model.digest("similarity") == apart.digest("similarity")
    windows = golden_tca.frames(61, 2)
    raw = models.load("tca", resnet50, parts=("embed",), pca="none").embed(windows).astype(np.float64)
    arrays = np.load(pca_file)
    wanted = (raw - arrays["mu"].T) @ (arrays["U"] / np.sqrt(arrays["lams"]))[:, :32]
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(apart.embed(windows), wanted, atol=ATOL)


@pytest.mark.slow
def test_the_number_of_features_is_the_encoders_the_pcas_or_the_one_asked_for(pca_file):
    def shape(weights="random", **options):
        return models.load("tca", weights, parts=("embed",), **options).feature_shape

    assert shape() == (1024,)
    assert shape(pca=str(pca_file)) == (40,)
    assert shape(pca=str(pca_file), dims="16") == (16,)
    assert shape(pca="none") == (3840,)


def test_without_files_the_error_says_that_none_were_released_and_what_to_do(tmp_path):
    with pytest.raises(
        files.WeightsError, match="released no PCA file; make one .* --option pca=none.*ndvr fit-pca RAW"
    ):
        models.load("tca", parts=("embed",), cache=str(tmp_path))
    with pytest.raises(files.WeightsError, match="released no weights; name a file of your own .*transformer_encoder"):
        models.load("tca", parts=("similarity",))
    with pytest.raises(files.Absent, match="holds no encoder .*encoder=none does without"):
        models.load("tca", golden_tca.state("comparator"), parts=("similarity",))


def test_of_weights_without_a_backbone_only_embedding_is_an_error(tmp_path):
    model = models.load("tca", golden_tca.state("tca_64x2"), cache=str(tmp_path))
    with pytest.raises(files.Absent, match="released no PCA file"):
        model.embed(golden_tca.frames(61, 1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dims": 128}, "compares features of 64 numbers, but option dims is 128"),
        ({"pca": "none"}, "compares features of 64 numbers, but option pca=none gives 3840"),
        ({"dims": "many"}, "option dims='many': give a whole number above 0"),
        ({"heads": 7}, "is of width 64, which 7 heads cannot share; give option heads"),
        ({"encoder": "lstm"}, "is of another method: it has transformer_encoder"),
        ({"comparator": "on"}, "holds no comparator"),
        ({"comparator": "on", "similarity": "cosine"}, "similarity=cosine keeps one vector a video"),
    ],
)
def test_settings_that_do_not_fit_are_named(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        models.load("tca", golden_tca.state("tca_64x2"), parts=("similarity",), **options)


class Trap:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"U": np.array([Trap()], object)}, "is not a PCA file"),
        ({"V": np.ones((3840, 16))}, r"it needs U \(C, K\), lams \(K,\), mu \(C, 1\), got {}"),
        (
            {"U": np.ones((3840, 3)), "lams": np.ones(4), "mu": np.ones(3840)},
            r"it needs U \(C, K\), lams \(K,\), mu \(C, 1\)",
        ),
        (
            {"U": np.ones((48, 16)), "lams": np.ones(16), "mu": np.ones(48)},
            "not of TCA's frame vectors, which have 3840",
        ),
        ({"U": np.ones((3840, 3)), "lams": np.ones(3), "mu": np.ones(3840)}, "has 3 directions, fewer than the 16"),
    ],
)
def test_files_that_are_no_pca_are_refused_and_nothing_in_them_is_run(content, sentence, tmp_path, capfd):
    np.savez(tmp_path / "pca.npz", **content)
    with pytest.raises(files.WeightsError, match=sentence):
        models.load("tca", "random", parts=("embed",), pca=str(tmp_path / "pca.npz"), dims=16)
    (tmp_path / "pca.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(files.WeightsError, match="is not a PCA file"):
        models.load("tca", "random", parts=("embed",), pca=str(tmp_path / "pca.npz"))
    assert capfd.readouterr().out == ""
