"""Frames to region features, shared by S2VS, ViSiL, DnS: ResNet-50 or EfficientNet-Lite0, nine regions, whitening."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet, resnet50
from torchvision.models.resnet import Bottleneck

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import Card
from ndvr.models.layers import lite0
from ndvr.models.layers.head import exact_convolutions
from ndvr.models.layers.whitening import Whitening, fitted_projection, projection, read_pca

# --- ResNet-50 with its batch normalisation folded into the convolutions: a tenth less time on a CPU


def folded(cnn: ResNet) -> ResNet:
    """Copy a ResNet-50 into one without batch normalisation that computes the same, up to float rounding.

    Its weights are constants that move with the module but are no part of its state: what identifies and saves a
    network stays the weights it was given.
    """
    twin = copy.deepcopy(cnn).eval()
    twin.conv1, twin.bn1 = fuse_conv_bn_eval(twin.conv1, twin.bn1), nn.Identity()
    for block in twin.modules():
        if isinstance(block, Bottleneck):
            for number in "123":
                convolution, norm = getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
                setattr(block, f"conv{number}", fuse_conv_bn_eval(convolution, norm))
                setattr(block, f"bn{number}", nn.Identity())
            if block.downsample is not None:
                block.downsample = fuse_conv_bn_eval(*block.downsample)
    for module in twin.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, value.detach(), persistent=False)
    return twin


# --- Region vectors of frames: max-pooled activations of ResNet-50's four stages (L3-iMAC, Kordopatis-Zilos 2017, 2019)


STAGE_KERNELS = (28, 14, 6, 3)  # the third ignores two rows and columns at 224 pixels; kept for parity
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normaliser(nn.Module):
    """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32, ImageNet statistics."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([255.0]))
        self.mean = nn.Parameter(torch.tensor(IMAGENET_MEAN))
        self.std = nn.Parameter(torch.tensor(IMAGENET_STD))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        if frames.dtype != torch.uint8:
            raise TypeError(f"frames are uint8 in [0, 255], got {frames.dtype}")
        return ((frames.float() / self.scale - self.mean) / self.std).permute(0, 3, 1, 2)


class LiMAC(nn.Module):
    """Regions of pictures: (N, 3, H, W) -> (N, R, 3840), by ResNet-50 without its classifier.

    `fold`, once its weights are there, makes it a tenth faster on a CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cnn = resnet50(weights=None)
        del self.cnn.fc, self.cnn.avgpool
        self.folded: ResNet | None = None

    def fold(self) -> None:
        self.folded = folded(self.cnn)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return region_vectors(stage_maps(self.folded or self.cnn, pictures))


def stage_maps(cnn: ResNet, pictures: torch.Tensor) -> list[torch.Tensor]:
    """Run pictures (N, 3, H, W) through ResNet-50's four stages: (N, C_i, H_i, W_i), C = 256, 512, 1024, 2048."""
    x = cnn.maxpool(cnn.relu(cnn.bn1(cnn.conv1(pictures))))
    maps = []
    for stage in (cnn.layer1, cnn.layer2, cnn.layer3, cnn.layer4):
        maps.append(x := stage(x))
    return maps


def region_vectors(maps: Sequence[torch.Tensor], kernels: Sequence[int] = STAGE_KERNELS) -> torch.Tensor:
    """Pool the maps (N, C_i, H_i, W_i) of the stages -> (N, R, sum C_i), length one, regions row by row.

    R is 9 for 224 x 224 pixels; for other sizes it is the grid of the last stage, to which the others are max-pooled.
    """
    pooled = [
        functional.normalize(functional.max_pool2d(stage, kernel, (kernel + 1) // 2), dim=1)
        for stage, kernel in zip(maps, kernels)
    ]
    grid = pooled[-1].shape[2:]
    aligned = [functional.normalize(functional.adaptive_max_pool2d(stage, grid), dim=1) for stage in pooled]
    return functional.normalize(torch.cat(aligned, dim=1).flatten(2).transpose(1, 2), dim=-1)


# --- The extractor and its weights

# Windows at a time: ResNet-50's widest maps take 10 MB each, and a CPU gains nothing from more.
CHUNK_WINDOWS = {"cpu": 8, "cuda": 256}

# The same three parts under other names -> S2VS's: those of a whole ViSiL model, then those of DnS's extractor.
_PREFIXES = {
    "cnn.normalizer.": "0.",
    "cnn.cnn.": "1.0.cnn.",
    "cnn.pca.": "1.1.",
    "normalizer.": "0.",
    "cnn.": "1.0.cnn.",
    "pca.": "1.1.",
}
PARTS = ("0.", "1.0.cnn.", "1.1.")


class Extractor(nn.Sequential):
    """(N, H, W, 3) uint8 -> (N, R, dims), length one; R is 9 at 224 x 224. Parameter names are S2VS's."""

    def __init__(self, dims: int = 512):
        super().__init__(Normaliser(), nn.Sequential(LiMAC(), Whitening(dims)))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        chunk = CHUNK_WINDOWS.get(frames.device.type, CHUNK_WINDOWS["cuda"])
        with exact_convolutions():
            return torch.cat([self[1](self[0](part)) for part in frames.split(chunk)])


def build_extractor(weights: Any, options: Mapping[str, Any], card: Card, *, dims: int, fetch: bool) -> nn.Module:
    """Build the extractor with the tensors that `weights` has of it.

    What it has none of comes from the files named in options "backbone" and "pca", else from `card.requires`: the
    published files leave both out. With backbone=lite0 it is `LiteRegions`.
    """
    if on_lite0(options):
        return _lite_regions(weights, options, card, dims)
    with torch.device("meta"):  # no point in initialising what is loaded next
        network = Extractor(dims)
    seed = random_weights.seed_of(weights)
    if seed is not None:
        state, source = random_weights.seeded(network, seed) | constants_state(), str(weights)
    else:
        state, source = _extractor_state(weights, options, card, dims, fetch)
    files.load_into(network, state, source=source)
    for module in list(network.modules()):
        if isinstance(module, LiMAC):
            module.fold()
    return network


def _extractor_state(
    weights: Any, options: Mapping[str, Any], card: Card, dims: int, fetch: bool
) -> tuple[files.State, str]:
    given: files.State = {}
    source = "the ResNet-50 or PCA file"
    if not (weights is None or (isinstance(weights, str) and weights in card.weights)):
        everything, name = files.resolve(weights, card.weights, cache=options["cache"])
        given, _ = split_state(everything)
        source = name if given else source
    state = {**constants_state(), **given}
    if not any(key.startswith("1.0.cnn.") for key in given):
        path = options["backbone"] or files.fetch(card.requires["resnet50"], cache=options["cache"], download=fetch)
        state |= backbone_state(files.state_of(files.read(path)))
    if not any(key.startswith("1.1.") for key in given):
        path = options["pca"] or files.fetch(card.requires["pca"], cache=options["cache"], download=fetch)
        pca = projection(files.state_of(files.read(path)), dims, source=str(path))
        state |= {"1.1." + key: value for key, value in pca.items()}
    return state, source


def head_state(weights: Any, options: Mapping[str, Any], card: Card) -> tuple[files.State, str]:
    """Find the similarity network's tensors in `weights`, and a name for error texts; Absent when there are none."""
    refuse_published(weights, options, card)
    everything, source = files.resolve(weights, card.weights, cache=options["cache"])
    _, state = split_state(everything)
    if not state:
        raise files.Absent(f"{source} holds no similarity network")
    return state, source


def split_state(state: Mapping[str, torch.Tensor]) -> tuple[files.State, files.State]:
    """Divide tensors into (the extractor's under S2VS's names, all others), without ResNet-50's unused classifier.

    "module.", which data-parallel training puts before every name, is taken off.
    """
    extractor, rest = {}, {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        if name.startswith(PARTS):
            extractor[name] = value
        elif prefix := next((start for start in _PREFIXES if name.startswith(start)), None):
            extractor[_PREFIXES[prefix] + name.removeprefix(prefix)] = value
        else:
            rest[name] = value
    return {key: value for key, value in extractor.items() if not key.startswith("1.0.cnn.fc.")}, rest


def backbone_state(resnet50: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the tensors of torchvision's ResNet-50 as the extractor has them."""
    return {"1.0.cnn." + key: value for key, value in resnet50.items() if not key.startswith("fc.")}


def constants_state() -> dict[str, torch.Tensor]:
    """Return ImageNet's statistics as tensors of the extractor, which no file needs to hold."""
    return {
        "0.scale": torch.tensor([255.0]),
        "0.mean": torch.tensor(IMAGENET_MEAN),
        "0.std": torch.tensor(IMAGENET_STD),
    }


# --- The same regions of EfficientNet-Lite0, which is installed with ndvr; nobody has published what compares them

LITE0 = "lite0"  # the option's value, and what features of it are called
LITE0_NUMBERS = sum(lite0.CHANNELS)
LITE0_KERNELS = (28, 14, 6, 6, 3, 3)  # as those of ResNet-50's stages of the same size
_NO_PCA = (
    "nobody has published a PCA for backbone=lite0; make one from your own videos: `ndvr extract VIDEOS RAW --method "
    "METHOD --option backbone=lite0 --option pca=none`, then `ndvr fit-pca RAW pca.npz`, and give option pca=pca.npz"
)


class LiteRegions(nn.Module):
    """(N, 224, 224, 3) uint8 -> (N, 9, dims), length one; with dims None the 768 numbers of six stages as they are."""

    def __init__(self, dims: int | None):
        super().__init__()
        self.lite0 = lite0.Lite0()
        if dims is not None:
            self.pca = Whitening(dims, n_in=LITE0_NUMBERS)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        chunk = lite0.CHUNK_FRAMES.get(frames.device.type, lite0.CHUNK_FRAMES["cuda"])
        with exact_convolutions():
            parts = [region_vectors(self.lite0.stages(part), LITE0_KERNELS) for part in frames.split(chunk)]
        regions = torch.cat(parts)
        return self.pca(regions) if hasattr(self, "pca") else regions


def on_lite0(options: Mapping[str, Any]) -> bool:
    """Say whether features are EfficientNet-Lite0's under these options."""
    return options.get("backbone") == LITE0


def region_shape(options: Mapping[str, Any], dims: int) -> tuple[int, ...]:
    """Return the shape of a window's features where whitening keeps `dims` numbers a region."""
    return (9, LITE0_NUMBERS if on_lite0(options) and options["pca"] == "none" else dims)


def refuse_published(weights: Any, options: Mapping[str, Any], card: Card) -> None:
    """Raise WeightsError when the authors' weights are asked for, or nothing is given, where features are Lite0's."""
    if not on_lite0(options):
        return
    if weights is None:
        raise files.WeightsError(
            f"nobody has published weights of {card.title} for backbone=lite0; give a file of your own"
        )
    if isinstance(weights, str) and weights in card.weights:
        raise files.WeightsError(
            f"{weights} was trained on ResNet-50 and knows nothing of backbone=lite0; give weights of your own"
        )


def _lite_regions(weights: Any, options: Mapping[str, Any], card: Card, dims: int) -> LiteRegions:
    if weights is not None:
        refuse_published(weights, options, card)
    whitened = options["pca"] != "none"
    network = LiteRegions(dims if whitened else None)
    seed = random_weights.seed_of(weights)
    state, source = {}, str(weights)
    if seed is not None:
        state = random_weights.seeded(network, seed)
    else:
        state, source = lite0_state(options["cache"]), lite0.LITE0.name
    if whitened and (seed is None or options["pca"]):
        if not options["pca"]:
            raise files.Absent(_NO_PCA)
        pca = fitted_projection(read_pca(options["pca"]), dims, smooth=True, source=str(options["pca"]))
        state |= {"pca." + key: value for key, value in pca.items()}
    files.load_into(network, state, source=source)
    return network.to(memory_format=torch.channels_last)


def lite0_state(cache: str | None) -> files.State:
    """Return the published tensors below `lite0.`."""
    path = lite0.published_file(cache)
    published = files.state_of(files.read(path))
    return {"lite0." + key: value for key, value in lite0.read_state(published, source=str(path)).items()}
