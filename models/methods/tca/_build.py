"""TCA's two networks out of the authors' names of tensors, torchvision's ResNet-50 and PCA files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import Card
from ndvr.models.layers.comparator import Comparator
from ndvr.models.layers.regions import LITE0_NUMBERS, lite0_state, on_lite0
from ndvr.models.layers.whitening import MOST_DIMS, fitted_projection, read_pca
from ndvr.models.methods.tca._compare import Comparison
from ndvr.models.methods.tca._encoders import Encoder, make_encoder, width_of
from ndvr.models.methods.tca._frames import CHANNELS, FrameVectors, LiteVectors, constants_state

Options = dict[str, Any]
State = dict[str, torch.Tensor]

NO_PCA = (
    "the authors of TCA released no PCA file; make one from your own videos: "
    "`ndvr extract VIDEOS RAW --method tca --option pca=none`, then `ndvr fit-pca RAW pca.npz`, "
    "and give option pca=pca.npz"
)
NO_WEIGHTS = (
    "the authors of TCA released no weights; name a file of your own with the tensors of {encoder}, "
    "or compare the features as they are with option encoder=none"
)
_RESNET = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.", "fc.")
_COMPARATOR = ("conv1.", "conv2.", "conv3.", "fconv.")
_GATE = ("bn2.", "bn3.", "bn4.", "fc1.", "fc2.", "fc3.")
# How the authors' names begin. Without an encoder, a file that has one is still welcome.
_ENCODERS = {
    "transformer": ("transformer_encoder.",),
    "none": ("transformer_encoder.",),
    "netvlad": ("bn1.", "conv.", "centroids", *_GATE),
    "nextvlad": ("bn1.", "conv1.", "conv2.", "conv3.", "centroids", *_GATE),
    "lstm": ("bn1.", "LSTM."),
    "gru": ("bn1.", "GRU."),
}
_PARTS = ("cnn", "pca", "encoder", "comparator")


def tensors_of(weights: Any, options: Options, card: Card) -> tuple[dict[str, State], str]:
    """Divide `weights` into "cnn", "pca", "encoder" and "comparator", and say what to call them in errors."""
    if is_unreleased(weights, card) or random_weights.seed_of(weights) is not None:
        return {part: {} for part in _PARTS}, "the weights"
    state, source = files.resolve(weights, card.weights, cache=options["cache"])
    # A bare conv1 is ResNet-50's where the rest of it is there; else NeXtVLAD's, if asked for; else the comparator's.
    bare = _RESNET if any(key.removeprefix("module.").startswith("layer1.") for key in state) else ()
    starts = {
        "constants": ("normalise.", "grid"),
        "cnn": ("cnn.", *bare),
        "pca": ("pca.",),
        "encoder": ("encoder.", *_ENCODERS[options["encoder"]]),
        "comparator": ("comparator.", *_COMPARATOR),
    }
    parts = files.divide(state, starts, source=source)
    return {part: _without(parts[part], f"{part}.") for part in _PARTS}, source


def is_unreleased(weights: Any, card: Card) -> bool:
    """Say whether `weights` asks for what the authors never released."""
    return weights is None or (isinstance(weights, str) and weights in card.weights)


def _without(state: Mapping[str, torch.Tensor], prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _under(prefix: str, state: Mapping[str, torch.Tensor]) -> State:
    return {prefix + key: value for key, value in state.items()}


def whole(options: Options, key: str) -> int | None:
    """Read an option that is a positive whole number, or None."""
    value = options[key]
    if value is None:
        return None
    if not str(value).isdecimal() or int(value) < 1:
        raise ValueError(f"option {key}={value!r}: give a whole number above 0")
    return int(value)


def channels(options: Options) -> int:
    """Count the numbers of a frame before any PCA."""
    return LITE0_NUMBERS if on_lite0(options) else CHANNELS


def settle_dims(given: Mapping[str, State], options: Options, *, source: str) -> None:
    """Set option dims to the width that the encoder was made for; an error where it was set to something else."""
    dims = channels(options) if options["pca"] == "none" else whole(options, "dims")
    width = width_of(options["encoder"], given["encoder"])
    if width and dims and width != dims:
        raise files.WeightsError(
            f"{source} compares features of {width} numbers, but option "
            f"{f'pca=none gives {dims}' if options['pca'] == 'none' else f'dims is {dims}'}"
        )
    if options["pca"] != "none":
        options["dims"] = dims or width


def build_frames(weights: Any, options: Options, card: Card, *, fetch: bool) -> torch.nn.Module:
    """Build what makes features: of files named in options first, then of `weights`, then of what is published."""
    given, source = tensors_of(weights, options, card)
    settle_dims(given, options, source=source)
    seed = random_weights.seed_of(weights)
    pca = {} if options["pca"] == "none" else _pca(given["pca"], options, source, random=seed is not None)
    if on_lite0(options):
        return _on_lite0(options, pca, seed)
    cnn = given["cnn"]
    if options["backbone"] or not (cnn or seed is not None):
        path = options["backbone"] or files.fetch(card.requires["resnet50"], cache=options["cache"], download=fetch)
        cnn, source = files.state_of(files.read(path)), str(path)
    with torch.device("meta"):  # no point in initialising what is loaded next
        network = FrameVectors(options["pooling"], None if options["pca"] == "none" else options["dims"])
    noise = {} if seed is None else random_weights.seeded(network, seed)
    state = {key: value for key, value in _under("cnn.", cnn).items() if not key.startswith("cnn.fc.")}
    files.load_into(network, noise | state | _under("pca.", pca) | constants_state(options["pooling"]), source=source)
    return network


def _on_lite0(options: Options, pca: State, seed: int | None) -> LiteVectors:
    network = LiteVectors(options["pooling"], None if options["pca"] == "none" else options["dims"])
    state = lite0_state(options["cache"]) if seed is None else random_weights.seeded(network, seed)
    grid = {"grid": constants_state(options["pooling"])["grid"]}
    files.load_into(network, state | _under("pca.", pca) | grid, source="the installed network or the PCA")
    return network.to(memory_format=torch.channels_last)


def _pca(given: State, options: Options, source: str, *, random: bool) -> State:
    """Find the state of the whitening, and set option dims. Absent when there is none at all."""
    arrays = {key: value.numpy() for key, value in given.items()} if "U" in given else {}
    if options["pca"]:
        arrays, source = read_pca(options["pca"]), str(options["pca"])
    if options["pca"] or arrays:
        given = fitted_projection(arrays, options["dims"], whiten=options["whitening"] == "on", source=source)
    if not given and not random:
        raise files.Absent(NO_PCA)
    if given and given.get("mean", torch.empty(0)).shape != (channels(options),):
        raise files.WeightsError(
            f"the PCA of {source} is not of TCA's frame vectors, which have {channels(options)} numbers"
        )
    options["dims"] = given["DVt"].shape[-1] if "DVt" in given else options["dims"] or min(MOST_DIMS, channels(options))
    return given


def build_comparison(weights: Any, options: Options, card: Card) -> Comparison:
    """Build what compares features, and set option dims."""
    given, source = tensors_of(weights, options, card)
    settle_dims(given, options, source=source)
    kind, seed = options["encoder"], random_weights.seed_of(weights)
    if kind != "none" and not given["encoder"] and seed is None:
        wanted = ", ".join(_ENCODERS[kind])
        if is_unreleased(weights, card):
            raise files.WeightsError(NO_WEIGHTS.format(encoder=wanted))
        raise files.Absent(f"{source} holds no encoder ({wanted}); option encoder=none does without")
    comparator = _comparator(given["comparator"], options, source)
    with torch.device("meta"):
        network = Comparison(
            _encoder(given["encoder"], options, source),
            comparator=Comparator(padding="replicate") if comparator else None,
            similarity=options["similarity"],
        )
    noise = {} if seed is None else random_weights.seeded(network, seed)
    encoder = {} if kind == "none" else _under("encoder.", given["encoder"])
    files.load_into(network, noise | encoder | _under("comparator.", comparator), source=source)
    return network


def _encoder(state: State, options: Options, source: str) -> Encoder:
    width = channels(options) if options["pca"] == "none" else options["dims"] or min(MOST_DIMS, channels(options))
    heads = whole(options, "heads") or 8
    return make_encoder(options["encoder"], state, width=width, heads=heads, source=source)


def _comparator(given: State, options: Options, source: str) -> State:
    """Find the tensors of the CNN; none where it is not used."""
    choice = options["comparator"]
    if options["similarity"] == "cosine" and choice not in (None, "off"):
        raise ValueError(
            f"option comparator={choice} looks at a matrix of frames; similarity=cosine keeps one vector a video"
        )
    if choice == "off" or options["similarity"] == "cosine" or (choice is None and not given):
        return {}
    if choice not in (None, "on"):
        state = files.state_of(files.read(choice))
        tensors = files.divide(state, {"comparator": ("comparator.", *_COMPARATOR)}, source=str(choice))
        return _without(tensors["comparator"], "comparator.")
    if not given:
        raise files.Absent(f"{source} holds no comparator ({', '.join(_COMPARATOR)}); name its file as the option")
    return given
