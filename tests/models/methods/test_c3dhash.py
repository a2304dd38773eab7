"""C3DHash gives the numbers of the authors' code, and takes no file that does not fit."""

import json

import av
import golden_c3dhash
import numpy as np
import pytest
import torch
from golden_c3dhash import backbone, hash_layer
from golden_recipe import blocks_u8
from places import GOLDEN_FOLDER

from ndvr import models
from ndvr.models import weights as files
from ndvr.models.methods.c3dhash import HashLayer, ResNet18, distances
from ndvr.operators.video._picture import Picture

GOLDEN = np.load(GOLDEN_FOLDER / "c3dhash.npz")
ATOL = 2e-5  # what separates two float32 implementations of the same network; values reach 9
STAGES = ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4")


def load(bits: int = 48, frames: int = 16, **changes):
    """A model with the weights of the reference numbers, named as the authors' training script saves them."""
    state = {"module." + key: value for key, value in golden_c3dhash.state(bits).items()} | changes
    return models.load("c3dhash", state, frames=frames)


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "frames"), golden_c3dhash.CASES)
def test_features_activations_and_codes_are_the_authors(bits, frames):
    model, case = load(bits, frames), f"bits{bits}_T{frames}"
    features = model.embed(golden_c3dhash.windows(bits, frames))
    np.testing.assert_allclose(features, GOLDEN[f"{case}_pooled"], atol=ATOL)
    activations = model.network("similarity")(torch.from_numpy(features))
    np.testing.assert_allclose(activations, GOLDEN[f"{case}_hash"], atol=ATOL)
    codes = GOLDEN[f"{case}_code"]
    signatures = [model.signature(features[k : k + 1]) for k in range(len(features))]
    assert [code.shape for code in signatures] == [(bits // 8,)] * len(codes)
    np.testing.assert_array_equal([np.unpackbits(code) * 2 - 1.0 for code in signatures], codes)
    wanted = 1 - (codes[0] != codes).sum(1) / bits
    np.testing.assert_allclose(model.similarities(signatures[0], signatures), wanted, atol=1e-6)


def stages_of(model, windows: np.ndarray) -> dict[str, torch.Tensor]:
    """What each stage of the backbone gave while `windows` were embedded, its input as "input"."""
    network, found = model.network("embed"), {}
    hooks = [network.register_forward_pre_hook(lambda _, given: found.update(input=given[0]))]
    hooks.append(network.register_forward_hook(lambda _, __, made: found.update(resnet=made)))
    for name in STAGES:
        keep = lambda _, __, made, name=name: found.update({name: made.clone()})  # noqa: E731
        hooks.append(getattr(network, name).register_forward_hook(keep))
    model.embed(windows)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.slow
def test_every_stage_of_the_backbone_is_the_authors():
    found = stages_of(load(frames=32), golden_c3dhash.windows(48, 32))
    for name in STAGES:
        assert found[name].shape == tuple(GOLDEN[f"bits48_T32_shape_{name}"])
        np.testing.assert_allclose(found[name].mean((2, 3, 4)), GOLDEN[f"bits48_T32_mean_{name}"], atol=ATOL)
    np.testing.assert_allclose(found["resnet"], GOLDEN["bits48_T32_resnet"], atol=ATOL)


def activations_of(model, windows: np.ndarray) -> torch.Tensor:
    return model.network("similarity")(torch.from_numpy(model.embed(windows)))


@pytest.mark.slow
def test_a_single_video_keeps_its_batch_axis(model):
    found = activations_of(model, blocks_u8(490, (1, 16), 112, 112))
    np.testing.assert_allclose(found, GOLDEN["bits48_single_clip_hash"][None], atol=ATOL)


@pytest.mark.slow
def test_float32_is_close_to_double_precision(model):
    found = activations_of(model, golden_c3dhash.windows(48, 16))
    np.testing.assert_allclose(found, GOLDEN["bits48_T16_hash_f64"], atol=ATOL)


@pytest.mark.slow
def test_no_gradient_passes_shortcuts_that_change_shape():
    model = load(frames=5)
    parts = {"resnet": model.network("embed"), "hash_layer": model.network("similarity")}
    parameters = {f"{name}.{key}": p for name, part in parts.items() for key, p in part.named_parameters()}
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    features = model.method.embed(parts["resnet"], torch.from_numpy(golden_c3dhash.windows(48, 5)))
    parts["hash_layer"](features).square().sum().backward()
    conv1, block = (parameters[f"resnet.{name}.weight"].grad for name in ("conv1", "layer1.0.conv1"))
    # One activation that rounding puts on the other side of zero moves a norm by 5e-4 (double precision does too); a
    # gradient through those shortcuts makes most norms 5 to 180 times as large.
    norms = [parameters[key].grad.norm() for key in sorted(parameters)]
    np.testing.assert_allclose(norms, GOLDEN["bits48_T5_grad_norms"], rtol=1e-3)
    for name, found in {"conv1": conv1[:8, :, 3, 2:5, 2:5], "layer1_0_conv1": block[:8, :8, 1]}.items():
        wanted = GOLDEN[f"bits48_T5_grad_{name}_slice"]
        np.testing.assert_allclose(found, wanted, atol=5e-3 * abs(wanted).max())


@pytest.mark.slow
@pytest.mark.parametrize("seed, size", enumerate(["240x320", "120x160", "96x200", "128x171"], 900))
def test_pictures_are_the_authors(seed, size, model):
    height, width = map(int, size.split("x"))
    pixels = blocks_u8(seed, (1,), height, width, 1 if size == "128x171" else 8)[0]
    picture = Picture(model.view)(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
    found = stages_of(model, np.stack([picture] * 16)[None])["input"][0, :, 7]  # (3, 112, 112)
    np.testing.assert_allclose(found[:, ::3, ::3], GOLDEN[size], atol=1e-6)
    if size == "240x320":
        np.testing.assert_array_equal(picture, GOLDEN["240x320_crop_u8_full"])


@pytest.mark.parametrize("bits", [16, 48, 64])
def test_distances_are_the_authors_but_for_signs_of_zero(bits):
    model = models.load("c3dhash", hash_layer(bits))
    queries, videos = (GOLDEN[f"b{bits}_{side}_codes"] for side in ("query", "db"))
    query_codes, video_codes = (
        [model.signature(np.pad(code, (0, 512 - bits))[None].astype(np.float32)) for code in codes]
        for codes in (queries, videos)
    )
    found = np.stack([model.similarities(code, video_codes) for code in query_codes])
    # The authors count 0 against -1 as different; packed, both are "no bit".
    low = (queries[:, None] != videos) & (queries[:, None] <= 0) & (videos <= 0)
    assert low.any() == (bits == 64)
    np.testing.assert_allclose((1 - found) * bits, GOLDEN[f"b{bits}_hamming"] - low.sum(2), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [7, 16, 32, 48, 64])
def test_many_codes_are_compared_as_one_by_one(bits):
    signs = np.random.default_rng(bits).integers(0, 2, (1000, bits), dtype=np.uint8)
    codes = list(np.packbits(signs, axis=1))
    np.testing.assert_array_equal(distances(codes[0], codes), (signs != signs[0]).sum(1))
    network, method = HashLayer(512, bits), models.get("c3dhash")
    together = method.similarities(network, codes[0], codes)
    np.testing.assert_array_equal(together, torch.cat([method.similarities(network, codes[0], [c]) for c in codes]))
    assert method.matrix(network, codes[0], codes[1]).shape == (1, 1)


@pytest.mark.slow
def test_a_file_of_the_training_script_gives_both_parts(tmp_path, model):
    state = {"module." + key: torch.from_numpy(value) for key, value in golden_c3dhash.state(48).items()}
    torch.save(state, tmp_path / "net_epoch150_mAP0.720400.pth")
    found = models.load("c3dhash", tmp_path / "net_epoch150_mAP0.720400.pth", frames="16", bits="48")
    assert all(found.digest(part) == model.digest(part) for part in ("embed", "similarity"))
    assert found.view == model.view and found.view.count == 16


@pytest.mark.slow
def test_a_kinetics_file_gives_features_but_no_codes(tmp_path, model):
    content = {"epoch": 150, "arch": "resnet-18", "state_dict": backbone(), "optimizer": {"state": {}}}
    path = tmp_path / "resnet-18-kinetics.pth"
    torch.save(content, path, _use_new_zipfile_serialization=False)  # as torch wrote them in 2017
    found = models.load("c3dhash", path, frames=16)
    assert found.digest("embed") == model.digest("embed")
    with pytest.raises(files.Absent, match="resnet-18-kinetics.pth holds no hash layer, which has to be trained"):
        found.signature(np.zeros((1, 512), np.float32))
    cached = models.load("c3dhash", "kinetics_backbone", parts=("embed",), cache=str(tmp_path))
    assert cached.digest("embed") == model.digest("embed")


@pytest.mark.slow
def test_a_kinetics_file_with_learned_shortcuts_is_given_them(model):
    # A convolution that copies every second position and a normalisation that does nothing: shortcut A again.
    learned = {}
    for number, (old, new) in enumerate([(64, 128), (128, 256), (256, 512)], 2):
        key = f"layer{number}.0.downsample."
        learned[key + "0.weight"] = np.eye(new, old, dtype=np.float32).reshape(new, old, 1, 1, 1)
        learned |= {f"{key}1.{name}": np.zeros(new, np.float32) for name in ("bias", "running_mean")}
        learned |= {f"{key}1.weight": np.ones(new, np.float32)}
        learned |= {f"{key}1.running_var": np.full(new, 1 - 1e-5, np.float32)}
    windows = golden_c3dhash.windows(48, 16)
    found = models.load("c3dhash", backbone(**learned), frames=16)
    np.testing.assert_allclose(found.embed(windows), model.embed(windows), atol=ATOL)
    assert found.digest("embed") != model.digest("embed")
    learned["layer3.0.downsample.0.weight"] *= 2
    changed = models.load("c3dhash", backbone(**learned), frames=16).embed(windows)
    assert abs(changed - model.embed(windows)).max() > 0.1
    learned["layer3.0.downsample.0.weight"] = None
    with pytest.raises(files.WeightsError, match="lacks layer3.0.downsample.0.weight"):
        models.load("c3dhash", backbone(**learned))


@pytest.mark.slow
def test_what_their_loader_would_leave_as_noise_is_refused_by_name():
    lost = {key.removeprefix("module."): None for key in backbone() if ".layer4.1." in key}
    with pytest.raises(files.WeightsError, match=r"lacks layer4.1.bn1.bias, .* and 7 more; bn1.weight has shape"):
        models.load("c3dhash", backbone(**lost, **{"bn1.weight": np.ones(32, np.float32)}))
    with pytest.raises(files.WeightsError, match="of another method: it has module.fc.bias that do"):
        load(**{"module.fc.bias": np.zeros(101, np.float32)})
    with pytest.raises(files.WeightsError, match="of another method: it has cnn.conv1.weight"):
        models.load("c3dhash", {"cnn.conv1.weight": np.zeros((64, 3, 7, 7), np.float32)})


def test_without_weights_the_error_says_that_none_were_published(tmp_path):
    with pytest.raises(files.WeightsError, match="published no trained weights: name a file that their training"):
        models.load("c3dhash")
    with pytest.raises(files.WeightsError, match="fetch it from https://drive.google.com/.* and put it at .*resnet-18"):
        models.load("c3dhash", "kinetics_backbone", parts=("embed",), cache=str(tmp_path))


def test_the_length_of_codes_is_read_off_the_weights():
    assert models.load("c3dhash", hash_layer(32)).network("similarity").bits == 32
    assert models.load("c3dhash", "random", parts=("similarity",), bits=64).network("similarity").bits == 64
    assert models.load("c3dhash", hash_layer(32)).options["bits"] == 32
    with pytest.raises(ValueError, match="mapping makes codes of 32 bits, but option bits=48; leave it out"):
        models.load("c3dhash", hash_layer(32), bits="48")


@pytest.mark.parametrize("frames", [0, -1, "many", 2.5])
def test_a_count_of_frames_that_is_none_is_refused(frames):
    with pytest.raises(ValueError, match="option frames=.*: give a whole number above zero"):
        models.get("c3dhash").view({"frames": frames})


@pytest.mark.slow
def test_random_weights_tell_videos_apart():
    model = models.load("c3dhash", "random:3", frames=5)
    features = model.embed(blocks_u8(1, (5, 5), 112, 112, 16))
    signatures = [model.signature(row[None]) for row in features]
    scores = np.stack([model.similarities(code, signatures) for code in signatures])
    assert (scores >= 0).all() and (scores.diagonal() == 1).all() and len(np.unique(scores)) > 2
    np.testing.assert_array_equal(scores, scores.T)


@pytest.mark.slow
def test_names_shapes_and_seeded_values_beside_the_project_are_ours(shared):
    for name, about in json.loads((shared / "golden" / "c3dhash" / "weights_check.json").read_text()).items():
        state = golden_c3dhash.state(int(name.removeprefix("bits")))
        assert {key: list(value.shape) for key, value in state.items()} == {
            key: each["shape"] for key, each in about["keys"].items()
        }
        for key, each in about["keys"].items():
            assert state[key].sum(dtype=np.float64) == pytest.approx(each["sum"], abs=1e-6)


@pytest.mark.slow
def test_their_loader_takes_the_keys_beside_the_project(shared):
    wanted = json.loads((shared / "golden" / "c3dhash" / "load_state.json").read_text())
    ours = ResNet18().state_dict().keys()
    assert len(ours) == wanted["n_keys"]
    given = {key.removeprefix("module.") for key in backbone() if ".layer4.1." not in key} - {"bn1.weight"}
    assert sorted(ours - given) == sorted(wanted["kept_because_wrong_shape"] + wanted["kept_because_absent"])
    assert len(ours & given) == wanted["changed"]


@pytest.mark.slow
def test_all_reference_stages_beside_the_project(shared):
    reference = np.load(shared / "golden" / "c3dhash" / "model.npz")
    for bits, frames in golden_c3dhash.CASES:
        found, case = stages_of(load(bits, frames), golden_c3dhash.windows(bits, frames)[:2]), f"bits{bits}_T{frames}"
        for name in STAGES:
            np.testing.assert_allclose(
                found[name].mean((2, 3, 4)), reference[f"{case}_mean_{name}"][:2], atol=ATOL, err_msg=f"{case} {name}"
            )
        np.testing.assert_allclose(found["resnet"], reference[f"{case}_resnet"][:2], atol=ATOL)
