"""SSCD: Meta's descriptor of pictures for copy detection; videos are compared by their two frames that agree best."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import ResNet, resnet50

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import CACHE, Card, File, Frames, Option
from ndvr.models.layers.head import exact_convolutions
from ndvr.models.layers.regions import CHUNK_WINDOWS, IMAGENET_MEAN, IMAGENET_STD, folded
from ndvr.models.method import Method, Options, Part

CARD = Card(
    title="SSCD",
    paper="Pizzi et al., A Self-Supervised Descriptor for Image Copy Detection, CVPR 2022 (arXiv 2202.10261)",
    # Of the authors' two ways to show a picture the one that gives all the same shape: 320 x 320, whatever its own.
    view=Frames(fps=1, rule="ffmpeg", resize=(320, 320), crop=320, kernel="pillow"),
    feature_shape=(512,),
    symmetric_if=({"background": None},),
    weights={
        f"sscd_{trained_on}_{augmented}": File(
            name=f"sscd_{trained_on}_{augmented}.torchvision.pt",
            url=f"https://dl.fbaipublicfiles.com/sscd-copy-detection/sscd_{trained_on}_{augmented}.torchvision.pt",
            licence="MIT",
        )
        for trained_on in ("disc", "imagenet")
        for augmented in ("mixup", "advanced", "blur")
    },
    options={
        "background": Option(
            default=None,
            help="file of descriptors of videos that are copies of nothing (.npy, or .npz with `features`, as of "
            "VSC2022): scores are lowered by how well a query's frame agrees with the best of them",
        ),
        "beta": Option(default=1.2, help="how much of that is taken off; 1.2 is the VSC2022 baseline's"),
        "cache": CACHE,
    },
)
DIMS = 512
POWER = 3.0  # of the generalised mean over the places of a picture
_ROWS = 1 << 14  # frames of targets compared at a time


# --- Pictures to descriptors


class GeM(nn.Module):
    """The generalised mean over places: (N, C, H, W) -> (N, C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(min=1e-6).pow(POWER).mean((2, 3)).pow(1 / POWER)


class Descriptor(nn.Module):
    """(N, 320, 320, 3) uint8 -> (N, 512) of length one; parameters have torchvision's names below `cnn.`.

    `fold`, once its weights are there, makes it a tenth faster on a CPU.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.cnn = resnet50(weights=None, num_classes=DIMS)
        self.cnn.avgpool = GeM()
        self.folded: ResNet | None = None

    def fold(self) -> None:
        self.folded = folded(self.cnn)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        assert self.folded is not None
        chunk = CHUNK_WINDOWS.get(frames.device.type, CHUNK_WINDOWS["cuda"])
        with exact_convolutions():
            parts = [self.folded(self._normalised(part)) for part in frames.split(chunk)]
        return functional.normalize(torch.cat(parts), dim=1)

    def _normalised(self, frames: torch.Tensor) -> torch.Tensor:
        return ((frames.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)


# --- Descriptors to scores


class Comparison(nn.Module):
    """The largest product of a query's frame with one of the target; with a background, above that with its nearest.

    Score normalisation of VSC2022's baseline (after the Image Similarity Challenge's): with N the background,
        score(q, r) = max over frames i, j of  q_i . r_j - beta * max over n in N of q_i . n
    Like the baseline it leaves out the number that varies least in the background, to keep 512 with the second term.
    """

    background: torch.Tensor
    left_out: torch.Tensor

    def __init__(self, background: np.ndarray | None = None, *, beta: float = 1.2):
        super().__init__()
        self.normalises, self.beta = background is not None, beta
        if background is not None:
            vectors = torch.from_numpy(background)
            self.register_buffer("left_out", vectors.var(0, correction=0).argmin())
            self.register_buffer("background", self._shortened(vectors))

    def signature(self, features: torch.Tensor) -> torch.Tensor:
        """Make what is compared: (T, 512) -> (T, 512) of length one; with a background 511 and what it takes off."""
        if not self.normalises:
            return functional.normalize(features, dim=1)
        vectors = self._shortened(features)
        nearest = torch.stack([(part @ vectors.t()).amax(0) for part in self.background.split(_ROWS)]).amax(0)
        return torch.cat([vectors, -self.beta * nearest[:, None]], 1)

    def _shortened(self, vectors: torch.Tensor) -> torch.Tensor:
        kept = torch.arange(DIMS, device=vectors.device) != self.left_out
        return functional.normalize(vectors[:, kept], dim=1)

    def similarities(self, query: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """Score a query against V targets of any lengths: (V,) in [-1, 1]."""
        rows = torch.cat(list(targets))
        best = torch.cat([self.matrix(query, part).amax(0) for part in rows.split(_ROWS)])
        return torch.stack([part.amax() for part in best.split([len(target) for target in targets])])

    def matrix(self, query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compare every frame with every frame: (Tq, Tt) in [-1, 1]."""
        if not self.normalises:
            return query @ target.t()
        return (query[:, :-1] @ target[:, :-1].t() + query[:, -1:]).clamp(-1, 1)


def _background(path: str) -> np.ndarray:
    """Read the descriptors of a background, (N, 512) float32; nothing in the file is run."""
    try:
        files.refuse_bomb(Path(path).expanduser())
        content = np.load(Path(path).expanduser(), allow_pickle=False)
        vectors = content if isinstance(content, np.ndarray) else content["features"]
    except files.UNREADABLE as error:
        raise ValueError(f"option background={path} is no .npy, nor .npz with `features`: {error}") from error
    if vectors.ndim != 2 or vectors.shape[1] != DIMS or not len(vectors) or vectors.dtype.kind != "f":
        raise ValueError(
            f"option background={path} holds {vectors.dtype} of shape {vectors.shape}; give descriptors, (N, {DIMS})"
        )
    if not np.isfinite(vectors).all():
        raise ValueError(f"option background={path} has values that are not finite")
    return vectors.astype(np.float32)


# --- The method


class SSCD(Method):
    """Descriptors of frames; a video's score is that of the two frames that agree best.

    Weights are the authors' files of a ResNet-50: torchvision's names, Classy Vision's, or those in a TorchScript
    archive, of which the tensors are read and the program is not.
    """

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> nn.Module:
        if part == "similarity":
            background = None if options["background"] is None else _background(str(options["background"]))
            return Comparison(background, beta=_number(options, "beta"))
        with torch.device("meta"):  # no point in initialising what is loaded next
            network = Descriptor()
        seed = random_weights.seed_of(weights)
        if seed is not None:
            state, source = random_weights.seeded(network, seed), str(weights)
        else:
            state, source = files.resolve(weights, self.card.weights, cache=options["cache"], torchscript=True)
            state = {_ours(key): value for key, value in state.items()}
        files.load_into(network, state, source=source)
        network.fold()
        return network


def _number(options: Options, key: str) -> float:
    try:
        return float(options[key])
    except ValueError as error:
        raise ValueError(f"option {key}={options[key]!r}: give a number") from error


_FIRST = {"0": "conv1", "1": "bn1"}  # of Classy Vision's initial block
_LAYERS = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3"}  # of its convolutional block
_BLOCK = re.compile(
    r"blocks\.(\d)\.(?:block\d-)?(\d+)\.(?:_module\.)?"
    r"(?:convolutional_block\.(?P<layer>[01346])|(?P<norm>bn)|(?P<shortcut>downsample\.[01]))\.(\w+)"
)


def _ours(key: str) -> str:
    """Rename a tensor as `Descriptor` has it; names that are nobody's stay what they are.

    torchvision's names come bare or below `backbone.`; Classy Vision's last layer is `embeddings.1`, or `project`
    where VSC2022's script took the normalisation off.
    """
    name = key.removeprefix("module.").removeprefix("model.").removeprefix("backbone.")
    if re.match(r"(conv1|bn1|layer\d|fc)\.", name):
        return f"cnn.{name}"
    if last := re.fullmatch(r"(?:embeddings\.1|project)\.(weight|bias)", name):
        return f"cnn.fc.{last[1]}"
    if first := re.fullmatch(r"initial_block\._module\.([01])\.(\w+)", name):
        return f"cnn.{_FIRST[first[1]]}.{first[2]}"
    if block := _BLOCK.fullmatch(name):
        layer = _LAYERS[block["layer"]] if block["layer"] else block["shortcut"] or "bn3"
        return f"cnn.layer{int(block[1]) + 1}.{block[2]}.{layer}.{block[6]}"
    return key


METHOD = SSCD(CARD)
