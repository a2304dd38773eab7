"""C3DHash: one binary code per video, from a 3D ResNet-18 over frames spread along the whole of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import CACHE, Card, File, Option, Overview, View
from ndvr.models.layers.head import exact_convolutions
from ndvr.models.method import Method, Network, Options, Part

# --- The 3D ResNet-18: 512 numbers a moment, with either kind of shortcut
#
# Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?, CVPR 2018. Parameter names are
# those of their Kinetics files. torchvision's r3d_18 is another network.


Shortcut = Literal["A", "B"]
WIDTHS = (64, 128, 256, 512)


class ResNet18(nn.Module):
    """(N, 3, T, H, W) -> (N, 512, T'), the mean over each map; T' is T halved four times, rounded up: 32 -> 2.

    shortcut  how a block's input is brought to the shape of its output where layers 2, 3 and 4 begin:
              A  every second position, channels of zeros appended; no gradient passes, as in the authors' code
              B  a learned 1x1x1 convolution, as in newer Kinetics files
    """

    def __init__(self, shortcut: Shortcut = "A"):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        width_in = 64
        for number, width in enumerate(WIDTHS, 1):
            first = _Block(width_in, width, stride=1 if number == 1 else 2, shortcut=shortcut)
            setattr(self, f"layer{number}", nn.Sequential(first, _Block(width, width, stride=1, shortcut=shortcut)))
            width_in = width

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        maps = self.maxpool(F.relu(self.bn1(self.conv1(clips)), inplace=True))
        for number in range(1, len(WIDTHS) + 1):
            maps = getattr(self, f"layer{number}")(maps)
        return maps.mean((3, 4))


class _Block(nn.Module):
    """Two 3x3x3 convolutions beside a shortcut."""

    def __init__(self, width_in: int, width: int, *, stride: int, shortcut: Shortcut):
        super().__init__()
        self.conv1 = nn.Conv3d(width_in, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.stride, self.n_new = stride, width - width_in
        if stride > 1 and shortcut == "B":
            self.downsample = nn.Sequential(
                nn.Conv3d(width_in, width, 1, stride=stride, bias=False), nn.BatchNorm3d(width)
            )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        hidden = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        return self.bn2(self.conv2(hidden)).add_(self._shortcut(maps)).relu_()

    def _shortcut(self, maps: torch.Tensor) -> torch.Tensor:
        if self.stride == 1:
            return maps
        if hasattr(self, "downsample"):
            return self.downsample(maps)
        # Detached as published: earlier layers learn through the convolutions only.
        every = slice(None, None, self.stride)
        return F.pad(maps.detach()[:, :, every, every, every], (0, 0, 0, 0, 0, 0, 0, self.n_new))


# --- Binary codes: signs of a learned layer, packed eight to a byte, compared by counting


class HashLayer(nn.Module):
    """(N, dims) -> (N, bits) activations in (-1, 1); parameter names are C3DHash's, below `hash_layer.`"""

    def __init__(self, dims: int, bits: int):
        super().__init__()
        self.bits = bits
        self.hashcoder = nn.Sequential(nn.Linear(dims, bits), nn.Tanh())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.hashcoder(features)

    def codes(self, features: torch.Tensor) -> np.ndarray:
        """Binarise (N, dims) -> (N, ceil(bits / 8)) uint8: bit k is set where activation k is above zero.

        The authors keep the sign, which has a third value for an activation of exactly 0. Here that is no bit, as
        for a negative one. Two zeros are alike either way; a zero and a negative one, which they count, are alike.
        """
        return np.packbits((self(features) > 0).cpu().numpy(), axis=1)


def distances(query: np.ndarray, targets: Sequence[np.ndarray]) -> np.ndarray:
    """Count the bits that differ between one code, (bytes,) uint8, and V codes: Hamming distances (V,) int32."""
    import faiss  # here, so that it starts its threads only where codes are compared

    # Codes of a few bytes: comparing a million takes 10 ms, torch.stack of as many tensors 270, this join 80.
    # (The cast: arrays are buffers, but numpy's types say so only from Python 3.12 on.)
    joined = b"".join(cast(Sequence[memoryview], targets))
    rows = np.frombuffer(joined, np.uint8).reshape(len(targets), len(query))
    index = faiss.IndexBinaryFlat(8 * len(query))
    index.add(rows)
    _, differing, numbers = index.range_search(query[None], 8 * len(query) + 1)  # below the radius: all of them
    counts = np.empty(len(targets), np.int32)
    counts[numbers] = differing
    return counts


def distance_matrix(queries: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> np.ndarray:
    """Count the bits that differ between all codes of one side and all of the other: (Q, V) int32."""
    import faiss

    rows, columns = (_padded(codes) for codes in (queries, targets))
    counts = np.empty((len(rows), len(columns)), np.int32)
    pointers = [faiss.swig_ptr(array) for array in (rows, columns, counts)]
    faiss.hammings(*pointers[:2], *counts.shape, rows.shape[1], pointers[2])  # type: ignore[attr-defined]  # C++
    return counts


def _padded(codes: Sequence[np.ndarray]) -> np.ndarray:
    """Fill codes up with zeros to whole words of eight bytes, (N, bytes) uint8: bits that never differ."""
    rows = np.frombuffer(b"".join(cast(Sequence[memoryview], codes)), np.uint8).reshape(len(codes), -1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8)))


# --- The method

CARD = Card(
    title="C3DHash",
    paper="zhongzhh8/Video-Retrieval-C3D, 2019 (code; no paper, no trained weights); after Lai et al., Simultaneous "
    "Feature Learning and Hash Coding with Deep Neural Networks, CVPR 2015",
    view=Overview(count=32, resize=(128, 171), crop=112, kernel="pillow"),
    feature_shape=(512,),
    feature_dtype="float32",  # 2 KB a video; rounding could turn bits of activations near zero
    compares_on_cpu=True,
    symmetric=True,
    range=(0.0, 1.0),
    # The authors published no trained weights. This is where their training starts: features without a hash layer.
    weights={
        "kinetics_backbone": File(
            name="resnet-18-kinetics.pth",
            url="https://drive.google.com/drive/folders/1zvl89AgFAApbH0At-gMuZSeQB_LpNP-M",
            licence="MIT (code)",
        ),
    },
    options={
        "frames": Option(
            default=32,
            help="how many frames are spread over a video: 5, 10, 15, 16 or 32 as trained",
            part="embed",
            small=8,
        ),
        "bits": Option(default=None, help="length of a code: 16, 32, 48 or 64 as trained; default: as the weights are"),
        "cache": CACHE,
    },
)

_MEAN, _STD = (0.434, 0.405, 0.378), (0.152, 0.149, 0.157)
# Windows at a time: the widest maps of 32 frames take 26 MB each, and a CPU gains nothing from more.
_CHUNK_WINDOWS = {"cpu": 2, "cuda": 64}
_RANDOM_BITS = 48

_TRAINED: dict[str, tuple[str, ...]] = {"embed": ("resnet.",), "similarity": ("hash_layer.",)}
_BACKBONE = {"embed": ("conv1.", "bn1.", "layer"), "classifier": ("fc.",)}


class C3DHash(Method):
    """Means of 3D ResNet features over a video, compared by the signs of a learned layer.

    Weights are a file of the authors' training script or its content: `module.resnet.*`, `module.hash_layer.*`, of
    which either may be missing. A Kinetics file (`module.conv1.weight`, ...; its classifier `fc` is left out) gives
    features only. Every other name is an error, where the authors' loader keeps noise for what does not fit.
    """

    def compact(self, options: Options) -> bool:
        return True

    def view(self, options: Options) -> View:
        assert isinstance(self.card.view, Overview)
        return replace(self.card.view, count=_whole(options, "frames"))

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> torch.nn.Module:
        seed = random_weights.seed_of(weights)
        bits = None if options["bits"] is None else _whole(options, "bits")
        if seed is None:
            state, source = _state(weights, options["cache"], part)
        else:
            state, source = {}, str(weights)
        network: torch.nn.Module
        with torch.device("meta"):  # no point in initialising what is loaded next
            if part == "embed":
                network = ResNet18("B" if any(".downsample." in key for key in state) else "A")
            else:
                rows = len(state["hashcoder.0.weight"]) if "hashcoder.0.weight" in state else bits or _RANDOM_BITS
                if bits not in (None, rows):
                    raise ValueError(f"{source} makes codes of {rows} bits, but option bits={bits}; leave it out")
                options["bits"] = rows
                network = HashLayer(self.card.feature_shape[0], rows)
        files.load_into(network, state if seed is None else random_weights.seeded(network, seed), source=source)
        # Windows come with the channels last; pooling them so is ten times faster on a CPU.
        return network.to(memory_format=torch.channels_last_3d) if part == "embed" else network

    def embed(self, network: Network, windows: torch.Tensor) -> torch.Tensor:
        """Embed (N, T, 112, 112, 3) uint8 -> (N, 512) float32, the mean over space and time."""
        mean, std = (torch.tensor(three, device=windows.device) for three in (_MEAN, _STD))
        chunk = _CHUNK_WINDOWS.get(windows.device.type, _CHUNK_WINDOWS["cuda"])
        features = []
        with exact_convolutions():
            for part in windows.split(chunk):
                clips = part.float().div_(255).sub_(mean).div_(std).permute(0, 4, 1, 2, 3)  # (N, 3, T, H, W)
                features.append(network(clips).mean(2))
        return torch.cat(features)

    def signature(self, network: Network, features: torch.Tensor) -> np.ndarray:
        """Make the code of a video, (T, 512) -> (ceil(bits / 8),) uint8, on the host.

        A video is one window; of several the mean is taken, as the network takes it over time.
        """
        return network.codes(features.mean(0, keepdim=True))[0]

    def similarities(self, network: Network, query: np.ndarray, targets: list[np.ndarray]) -> torch.Tensor:
        """Score by the share of equal bits, 1 - Hamming distance / bits: (V,) in [0, 1].

        No more than bits + 1 values, so ties are many and the order of equals decides the mean average precision.
        The authors' depends on the sort at hand; `ndvr evaluate` ranks equals by video id.
        """
        return 1 - torch.from_numpy(distances(query, targets)) / network.bits

    def score_matrix(
        self, network: Network, queries: Sequence[np.ndarray], targets: Sequence[np.ndarray]
    ) -> torch.Tensor:
        """Score all pairs, (Q, V): the very numbers of `similarities`."""
        return 1 - torch.from_numpy(distance_matrix(queries, targets)) / network.bits

    def matrix(self, network: Network, query: np.ndarray, target: np.ndarray) -> torch.Tensor:
        """Give the score as a matrix (1, 1): a video is one window."""
        return self.similarities(network, query, [target])[None]


def _whole(options: Options, key: str) -> int:
    """Read an option that counts something, given as a number or, on the command line, as text."""
    text = str(options[key])
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"option {key}={options[key]!r}: give a whole number above zero")
    return int(text)


def _state(weights: Any, cache: str | None, part: Part) -> tuple[files.State, str]:
    """Return the tensors of one part without their common prefix, and a name for error texts."""
    if weights is None:
        raise files.Absent(
            "the authors of c3dhash published no trained weights: name a file that their training script saved, "
            "kinetics_backbone for features without a hash layer, or random for tests"
        )
    if isinstance(weights, str) and weights in CARD.weights:
        # A folder that a person has to open: there is no address to download it from.
        weights = files.fetch(CARD.weights[weights], cache=cache, download=False)
    everything, source = files.resolve(weights, CARD.weights, cache=cache)
    trained = any(key.removeprefix("module.").startswith(sum(_TRAINED.values(), ())) for key in everything)
    state = files.divide(everything, _TRAINED if trained else _BACKBONE, source=source).get(part, {})
    if not state:
        what = "3D ResNet" if part == "embed" else "hash layer, which has to be trained"
        raise files.Absent(f"{source} holds no {what}")
    prefix = _TRAINED[part][0] if trained else ""
    return {key.removeprefix(prefix): value for key, value in state.items()}, source


METHOD = C3DHash(CARD)
