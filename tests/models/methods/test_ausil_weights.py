"""AuSiL takes its weights from the authors' files, whatever wrote them, and refuses others by name."""

from __future__ import annotations

import io
import json
import pickletools
import struct

import golden_ausil
import numpy as np
import pytest
import torch
from test_ausil_tensorflow import official_like

from ndvr import models
from ndvr.models import weights as files

CNN_FILE = "mx-h64-1024_0d3-1.17.pkl"


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return {**golden_ausil.cnn_weights(), **golden_ausil.tf_weights()}


@pytest.fixture(scope="module")
def model(weights):
    return models.load("ausil", weights)


@pytest.mark.slow
def test_weights_may_hold_either_part_or_both(weights, model):
    for part, given in (("embed", golden_ausil.cnn_weights()), ("similarity", golden_ausil.tf_weights())):
        # Without a cache, nothing else is at hand.
        alone = models.load("ausil", given, cache="/nonexistent")
        assert alone.digest(part) == model.digest(part)
        other = "similarity" if part == "embed" else "embed"
        with pytest.raises(files.Absent):
            alone.network(other)
    ours = {**model.network("embed").state_dict(), **model.network("similarity").state_dict()}
    again = models.load("ausil", ours)
    assert [again.digest(part) for part in models.BOTH] == [model.digest(part) for part in models.BOTH]


@pytest.mark.slow
def test_what_training_leaves_in_a_checkpoint_is_ignored(weights, model):
    given = {(f"module.{key}" if key.startswith("layer") else f"{key}:0"): value for key, value in weights.items()}
    given |= {"attention_layer/context_vector/Adam": np.ones((2528, 1), np.float32), "beta1_power": np.float32(0)}
    given |= {"video_comparator/conv2d/bias/Adam_1": np.ones(32, np.float32), "global_step": 270_001}
    again = models.load("ausil", given)
    assert [again.digest(part) for part in models.BOTH] == [model.digest(part) for part in models.BOTH]


def test_weights_that_do_not_fit_are_refused_by_name(weights):
    with pytest.raises(files.WeightsError, match="lacks pca.mean"):
        models.load("ausil", {key: value for key, value in weights.items() if key != "PCA/mean_sift"})
    with pytest.raises(files.WeightsError, match="visil_head.conv2.weight has shape"):
        models.load("ausil", weights | {"video_comparator/conv2d_1/kernel": np.zeros((3, 3, 64, 32), np.float32)})
    with pytest.raises(files.WeightsError, match="of another method: it has fc, layers.0.weight"):
        models.load("ausil", weights | {"layers.0.weight": np.zeros(3, np.float32), "fc": np.zeros(3, np.float32)})


def as_python_2_wrote_it(state: dict[str, torch.Tensor]) -> bytes:
    """A torch file of 2017: no zip, byte strings, tensors that were on a GPU."""
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    data, changed = buffer.getvalue(), b""
    at = 0
    while data[at : at + 2] == b"\x80\x02":  # five pickles: magic, version, system, the dictionary, keys of storages
        stop = at
        operations = list(pickletools.genops(data[at:]))
        for (operation, value, start), end in zip(operations, [op[2] for op in operations[1:]] + [None]):
            code = data[at + start : at + end] if end is not None else b"."
            if operation.name == "BINUNICODE":
                value = "cuda:0" if value == "cpu" else value
                code = b"U" + struct.pack("B", len(value)) + value.encode()
            elif operation.name == "GLOBAL" and value == "torch FloatStorage":
                code = b"ctorch.cuda\nFloatStorage\n"
            changed += code
            stop = at + start + 1
        at = stop
    return changed + data[at:]


@pytest.mark.slow
def test_the_sound_networks_file_of_python_2_is_read(tmp_path, model):
    state = golden_ausil.cnn_weights()
    old = {f"module.{key}": torch.from_numpy(value) for key, value in state.items() if not key.endswith("tracked")}
    content = as_python_2_wrote_it(old)
    assert b"ctorch.cuda\nFloatStorage" in content and b"module.layer1.0.weight" in content
    (tmp_path / CNN_FILE).write_bytes(content)
    found = models.load("ausil", tmp_path / CNN_FILE, parts=("embed",))
    assert found.digest("embed") == model.digest("embed")
    with pytest.raises(files.Absent, match="holds no similarity network"):
        models.load("ausil", tmp_path / CNN_FILE).network("similarity")


@pytest.mark.slow
def test_a_checkpoint_is_found_by_its_folder_its_files_or_their_common_beginning(tmp_path, model):
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "feature_extraction").mkdir()
    prefix = official_like(tmp_path / "ckpt" / "model")
    state = {key: torch.from_numpy(value) for key, value in golden_ausil.cnn_weights().items()}
    torch.save(state, tmp_path / "feature_extraction" / CNN_FILE)
    paths = [tmp_path, tmp_path / "ckpt", prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001"]
    for path in paths:
        found = models.load("ausil", str(path))
        assert [found.digest(part) for part in models.BOTH] == [model.digest(part) for part in models.BOTH]
    with pytest.raises(files.WeightsError, match="neither a torch file, nor a folder"):
        models.load("ausil", str(tmp_path / "nonesuch"))


def test_the_sound_networks_file_may_be_named(tmp_path, model):
    state = {key: torch.from_numpy(value) for key, value in golden_ausil.cnn_weights().items()}
    torch.save(state, tmp_path / "other.pth")
    found = models.load("ausil", golden_ausil.tf_weights(), cnn=str(tmp_path / "other.pth"))
    assert found.digest("embed") == model.digest("embed")


def test_another_file_under_a_published_name_is_refused(tmp_path):
    (tmp_path / "ausil").mkdir()
    official_like(tmp_path / "ausil" / "model")
    with pytest.raises(files.WeightsError, match="git would call it .* not d7abe97198b8bc17a5f821d63a268a27c6ee719a"):
        models.load("ausil", parts=("similarity",), cache=str(tmp_path))
    (tmp_path / "ausil" / CNN_FILE).write_text("<html>")
    with pytest.raises(files.WeightsError, match=f"{CNN_FILE} is not the published file"):
        models.load("ausil", parts=("embed",), cache=str(tmp_path))


def test_the_recipe_of_weights_is_that_of_the_reference(shared, weights):
    wanted = json.loads((shared / "golden" / "ausil" / "seeded_weights_check.json").read_text())
    wanted = wanted["cnn"] | wanted["ausil"]
    assert weights.keys() == wanted.keys()
    for key, facts in wanted.items():
        assert list(weights[key].shape) == facts["shape"]
        assert weights[key].sum(dtype=np.float64) == pytest.approx(facts["sum"], rel=1e-9, abs=1e-9)
