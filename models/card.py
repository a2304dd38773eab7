"""What a method is, as data: its card and the views it can ask for. Imports nothing heavy.

A view says which windows of a video a method wants to be shown; `ndvr.operators.views` cuts them.
Every method file assigns one `CARD = Card(...)` out of literals and the names of this module, so that a
listing can read it without importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Single pictures at a fixed rate: windows (N, crop, crop, 3) uint8 RGB, or (N, crop, crop) when grey.

    Frame k stands for the time k / fps. Which source frame that is depends on the rule:
      ffmpeg  last frame i with t_i * fps < k + 1/2, as ffmpeg's fps filter: 12, 37, 62 ... at 25 fps
      opencv  every round(rate / fps)-th frame (half to even): 0, 25, 50 ... at 25 fps
    """

    fps: float = 1.0
    rule: Literal["ffmpeg", "opencv"] = "ffmpeg"
    resize: int = 256  # short side in pixels, before the crop; both sides when `squash`
    crop: int = 224  # centre crop
    kernel: Literal["swscale", "cubic", "area"] = "swscale"
    squash: bool = False  # resize to resize x resize and forget the aspect ratio
    grey: bool = False

    @property
    def window_shape(self) -> tuple[int, ...]:
        return (self.crop, self.crop) if self.grey else (self.crop, self.crop, 3)

    @property
    def windows_per_s(self) -> float:
        return self.fps


View = Frames  # the views of clips, overviews and sound join this union with their methods


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
    """A setting of a method. `part` says what it changes: stored features, or only the comparison."""

    default: Any
    help: str
    choices: tuple = ()
    part: Literal["embed", "similarity"] = "similarity"


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything about a method that can be told without building it."""

    title: str
    paper: str
    view: View
    feature_shape: tuple[int, ...]  # of one window
    feature_dtype: Literal["float16", "float32", "uint8"] = "float16"  # as stored in shards
    min_windows: int = 1
    symmetric: bool = False  # similarity(a, b) == similarity(b, a)
    range: tuple[float, float] = (-1.0, 1.0)
    # published name -> file; the first is the default. Empty: the method needs no weights.
    weights: dict[str, File] = field(default_factory=dict)
    requires: dict[str, File] = field(default_factory=dict)  # files that every published weight needs beside it
    options: dict[str, Option] = field(default_factory=dict)

    def resolve(self, options: dict[str, Any]) -> dict[str, Any]:
        """Defaults overlaid with `options`; ValueError names an unknown option or a value outside its choices."""
        for key, value in options.items():
            if key not in self.options:
                known = ", ".join(self.options) or "none"
                raise ValueError(f"unknown option {key!r}; this method's options are: {known}")
            choices = self.options[key].choices
            if choices and value not in choices:
                raise ValueError(f"option {key}={value!r}: choose one of {', '.join(map(str, choices))}")
        return {key: option.default for key, option in self.options.items()} | options
