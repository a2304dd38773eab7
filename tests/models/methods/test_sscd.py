"""SSCD on files made in the authors' layouts: what they hold is loaded, nothing is run, videos score as published."""

import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet50

from ndvr import models
from ndvr.models import weights as files
from ndvr.models.random_weights import seeded
from ndvr.models.weights import WeightsError

pytestmark = pytest.mark.slow


class Norm(nn.Module):
    def forward(self, x):
        return functional.normalize(x)


class Pool(nn.Module):
    """As the paper writes it: the mean of the cubes over all places, and its cube root."""

    def forward(self, x):
        return (x.flatten(2).clamp(min=1e-6) ** 3).mean(2) ** (1 / 3)


class Layer(nn.Module):
    """A bottleneck with Classy Vision's names: three convolutions in a row, and the last norm beside them."""

    def __init__(self, block):
        super().__init__()
        parts = [block.conv1, block.bn1, nn.ReLU(), block.conv2, block.bn2, nn.ReLU(), block.conv3]
        self.convolutional_block, self.bn = nn.Sequential(*parts), block.bn3
        self.downsample = block.downsample

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(self.bn(self.convolutional_block(x)) + shortcut)


class Stem(nn.Module):
    def __init__(self, cnn):
        super().__init__()
        self._module = nn.Sequential(cnn.conv1, cnn.bn1, nn.ReLU(), nn.MaxPool2d(3, 2, 1))

    def forward(self, x):
        return self._module(x)


class Trunk(nn.Module):
    def __init__(self, cnn):
        super().__init__()
        self.initial_block = Stem(cnn)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(OrderedDict((f"block{s}-{k}", Layer(block)) for k, block in enumerate(stage)))
                for s, stage in enumerate((cnn.layer1, cnn.layer2, cnn.layer3, cnn.layer4))
            )
        )

    def forward(self, x):
        return self.blocks(self.initial_block(x))


class Whole(nn.Module):
    """Backbone and embeddings, as the authors name them."""

    def __init__(self, backbone, embeddings):
        super().__init__()
        self.backbone, self.embeddings = backbone, embeddings

    def forward(self, x):
        return self.embeddings(self.backbone(x))


@pytest.fixture(scope="module")
def torchvision():
    """The network as its authors build it out of torchvision's, with seeded noise."""
    cnn = resnet50(weights=None, num_classes=512)
    cnn.load_state_dict(seeded(cnn, 5))
    cnn.avgpool = Pool()
    return Whole(cnn, Norm()).eval()


@pytest.fixture(scope="module")
def classy(torchvision):
    """The same numbers in the layout of Classy Vision."""
    cnn = torchvision.backbone
    return Whole(Trunk(cnn), nn.Sequential(Pool(), cnn.fc, Norm())).eval()


@pytest.fixture(scope="module")
def archive(classy, tmp_path_factory):
    path = tmp_path_factory.mktemp("sscd") / "sscd_disc_mixup.torchscript.pt"
    with torch.inference_mode():
        torch.jit.trace(classy, torch.zeros(1, 3, 64, 64), check_trace=False).save(str(path))
    return path


@pytest.fixture(scope="module")
def digest(torchvision):
    return models.load("sscd", torchvision.state_dict(), parts=("embed",)).digest("embed")


def test_descriptors_are_those_of_the_network_as_its_authors_put_it_together(torchvision, tmp_path):
    torch.save(torchvision.state_dict(), tmp_path / "sscd_disc_mixup.torchvision.pt")
    model = models.load("sscd", "sscd_disc_mixup", cache=str(tmp_path))
    frames = np.random.default_rng(0).integers(0, 256, (2, 320, 320, 3), np.uint8)
    pictures = (torch.from_numpy(frames).permute(0, 3, 1, 2) / 255).sub(
        torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    )
    with torch.inference_mode():
        expected = torchvision(pictures / torch.tensor([0.229, 0.224, 0.225])[:, None, None])
    np.testing.assert_allclose(model.embed(frames), expected, atol=2e-6)


@pytest.mark.parametrize("prefix", ["", "backbone.", "model.backbone."])
def test_names_of_torchvision_are_known_bare_and_below_a_prefix(torchvision, digest, prefix):
    state = {prefix + key: value for key, value in torchvision.backbone.state_dict().items()}
    assert models.load("sscd", state, parts=("embed",)).digest("embed") == digest


def test_the_layout_of_classy_vision_is_the_same_network(torchvision, classy, digest, tmp_path):
    pictures = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(torchvision(pictures), classy(pictures))
    torch.save(classy.state_dict(), tmp_path / "sscd_disc_mixup.classy.pt")
    assert models.load("sscd", tmp_path / "sscd_disc_mixup.classy.pt", parts=("embed",)).digest("embed") == digest


def test_of_a_torchscript_archive_the_numbers_are_read(archive, digest):
    assert models.load("sscd", archive, parts=("embed",)).digest("embed") == digest


def test_what_vsc2022_made_of_the_archive_loads_too(classy, digest):
    without = nn.Sequential(
        OrderedDict(backbone=classy.backbone, pool=classy.embeddings[0], project=classy.embeddings[1])
    )
    assert models.load("sscd", without.state_dict(), parts=("embed",)).digest("embed") == digest


def rewritten(archive, path, change):
    """Copy an archive with files changed: change(name, bytes) -> bytes, or None to leave it out."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            if (content := change(name, source.read(name))) is not None:
                target.writestr(name, content)
    return path


class Touch:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_an_archive_that_calls_something_is_refused_and_its_program_never_matters(archive, digest, tmp_path):
    buffer = io.BytesIO()
    pickle.Pickler(buffer, 2).dump(Touch(tmp_path / "owned"))
    evil = rewritten(archive, tmp_path / "evil.pt", lambda name, old: buffer.getvalue() if "data.pkl" in name else old)
    with pytest.raises(WeightsError, match=r"evil.pt wants to run code when loaded \((_io|io).open\); refused"):
        models.load("sscd", evil)
    assert not (tmp_path / "owned").exists()
    broken = rewritten(archive, tmp_path / "x.pt", lambda name, old: b"import os" if name.endswith(".py") else old)
    assert models.load("sscd", broken, parts=("embed",)).digest("embed") == digest


@pytest.mark.parametrize("lost", ["data/7", "data.pkl"])
def test_a_damaged_archive_says_so(archive, tmp_path, lost):
    path = rewritten(archive, tmp_path / "x.pt", lambda name, old: None if name.endswith(lost) else old)
    with pytest.raises(WeightsError, match="x.pt is a damaged TorchScript archive .*; fetch it again"):
        models.load("sscd", path)


def test_of_a_damaged_archive_nothing_but_a_sentence_or_tensors_comes(tmp_path):
    small = tmp_path / "small.pt"
    torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))).save(str(small))
    rng, whole, sentences = np.random.default_rng(0), small.read_bytes(), 0
    with zipfile.ZipFile(small) as opened:
        (pickled,) = (opened.read(name) for name in opened.namelist() if name.endswith("/data.pkl"))
    for number in range(200):
        damaged = bytearray(pickled if number % 2 else whole)
        for place in rng.integers(len(damaged), size=2):
            damaged[place] = rng.integers(256)
        path = tmp_path / "x.pt"
        if number % 2:
            rewritten(small, path, lambda name, old, new=bytes(damaged): new if name.endswith("data.pkl") else old)
        else:
            path.write_bytes(damaged)
        try:
            assert all(isinstance(each, torch.Tensor) for each in files.read(path, torchscript=True).values())
        except WeightsError:
            sentences += 1
    assert 80 < sentences < 200


def test_an_archive_of_another_network_is_refused_by_its_names(tmp_path):
    torch.jit.script(nn.Linear(3, 3)).save(str(tmp_path / "x.pt"))
    with pytest.raises(WeightsError, match="x.pt does not fit .*it has bias, weight that do not belong here"):
        models.load("sscd", tmp_path / "x.pt")


def test_a_resnet50_that_is_not_sscd_is_refused():
    state = seeded(resnet50(weights=None), 1)
    with pytest.raises(WeightsError, match=r"cnn.fc.weight has shape \(1000, 2048\), expected \(512, 2048\)"):
        models.load("sscd", state)


def descriptors(count, seed):
    vectors = np.random.default_rng(seed).standard_normal((count, 512)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_video_scores_by_the_two_frames_that_agree_best():
    model = models.load("sscd", parts=("similarity",))
    query, target, other = descriptors(5, 1), descriptors(7, 2), descriptors(9, 3)
    scores = model.similarities(model.signature(query), [model.signature(target), model.signature(other)])
    np.testing.assert_allclose(scores, [(query @ target.T).max(), (query @ other.T).max()], atol=1e-6)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_background_takes_off_what_a_frame_has_in_common_with_anything(tmp_path, kind):
    query, target, others = descriptors(5, 1), descriptors(7, 2), descriptors(40, 3)
    query[2] = others[8]  # a frame that is everywhere, such as a black one
    target[4] = others[8]
    path = tmp_path / f"others.{kind}"
    ids, times = np.repeat(["a", "b"], 20), np.arange(40.0)
    np.save(path, others) if kind == "npy" else np.savez(path, video_ids=ids, features=others, timestamps=times)
    model = models.load("sscd", parts=("similarity",), background=str(path), beta="1.2")
    assert not model.symmetric
    # As the authors of VSC2022 write it: one number of each vector makes room for the term, which the other meets by 1.
    weakest = others.var(0).argmin()
    q, t, n = (np.delete(each, weakest, 1) for each in (query, target, others))
    q, t, n = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (q, t, n))
    longer = np.concatenate([q, -1.2 * (q @ n.T).max(1, keepdims=True)], 1)
    expected = (longer @ np.concatenate([t, np.ones((7, 1))], 1).T).max()
    assert model.similarity(model.signature(query), model.signature(target)) == pytest.approx(expected, abs=1e-6)
    plain = models.load("sscd", parts=("similarity",))
    assert plain.similarity(plain.signature(query), plain.signature(target)) == pytest.approx(1, abs=1e-6)


def test_a_background_of_something_else_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 7)))
    with pytest.raises(ValueError, match=r"background=.*x.npy holds float64 of shape \(4, 7\); give descriptors"):
        models.load("sscd", parts=("similarity",), background=str(tmp_path / "x.npy"))
    with pytest.raises(ValueError, match="background=.*nowhere.npy is no .npy, nor .npz"):
        models.load("sscd", parts=("similarity",), background=str(tmp_path / "nowhere.npy"))
    with pytest.raises(ValueError, match="option beta='much': give a number"):
        models.load("sscd", parts=("similarity",), beta="much")
