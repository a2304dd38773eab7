"""S2VS's weak and strong views of videos, made of their frames (Kordopatis-Zilos et al., CVPRW 2023).

    views = PictureViews(backbone, kinds_of("GT,FT,TT,ViV"), threads=2)
    features, shown = views.batch([(frames, frames), ...], 32, rng)     # (2 N, 32, R, D), (N, N)

GT   global transformations: RandAugment, the same for all frames of a view
FT   frame transformations: text, a drawn face and blur, for each frame anew
TT   temporal transformations: order, speed, pauses, black or noise in place of frames
ViV  video in video: a view that is shrunk and put into that of another video

Names, order and odds are the authors'. Their fonts and emojis come with AugLy; here the font is Pillow's own and faces
are drawn. Everything comes from one generator and not from who computes what: a batch does not depend on `threads`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torchvision import transforms
from torchvision.transforms import functional

from ndvr.models.method import Model, use_one_thread
from ndvr.models.training import views

KINDS = ("GT", "FT", "TT", "ViV")
SIDE = 224  # of a view, in pixels
_OVERLAY, _BLUR, _IN_VIDEO = 0.3, 0.5, 0.3  # odds of text and of a face, of blur, of video in video
_BLACK, _NOISE = -1, -2  # numbers of frames that are none
_LETTERS = [chr(code) for code in range(33, 127)]  # that the font has
_TORCH_RANDOM = threading.Lock()  # torchvision draws from torch's one generator


class Frames(Protocol):
    """The frames of a video."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: np.ndarray, /) -> np.ndarray:
        """Read frames by number: (T,) -> (T, height, width, 3) uint8 RGB."""


def kinds_of(text: str) -> frozenset[str]:
    """Read `GT,FT,TT,ViV`, or some of them; ValueError for anything else."""
    kinds = {kind.strip() for kind in text.split(",")} - {""}
    if unknown := sorted(kinds - set(KINDS)):
        raise ValueError(f"unknown augmentation {unknown[0]!r}; choose from {', '.join(KINDS)}, with commas between")
    return frozenset(kinds)


class PictureViews:
    """Makes views, and features of views, with `threads` at work."""

    def __init__(self, backbone: Model, kinds: frozenset[str], *, threads: int):
        self._backbone, self._kinds = backbone, kinds
        self._pool = ThreadPoolExecutor(threads, "views", use_one_thread)
        self._weak = transforms.Compose(
            [transforms.RandomResizedCrop(SIDE, scale=(0.8, 1.0)), transforms.RandomHorizontalFlip()]
        )
        strong: list[Any] = [transforms.RandomResizedCrop(SIDE, scale=(0.5, 1.0)), transforms.RandomHorizontalFlip()]
        self._strong = transforms.Compose(strong + ([transforms.RandAugment(2, 9)] if "GT" in kinds else []))

    def batch(
        self, sources: Sequence[tuple[Frames, Frames]], count: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features (2 N, count, R, D) of weak views of N first videos, then strong ones of the second; what these show.

        (N, N), above 0 where strong view i shows video j. The two of a source may be the same: then both views are of
        one window of 2 * count frames.
        """
        pictures, shown = self.pictures(sources, count, rng)
        if self._backbone.device.type != "cpu":
            features = self._backbone.embed(np.concatenate(pictures))
            return features.reshape(len(pictures), count, *features.shape[1:]), shown
        return np.stack(list(self._pool.map(self._backbone.embed, pictures))), shown

    def pictures(
        self, sources: Sequence[tuple[Frames, Frames]], count: int, rng: np.random.Generator
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Make the 2 N views themselves, (count, 224, 224, 3) uint8 each; say what the strong ones show."""
        makers, at = [], []
        for (first, second), own in zip(sources, rng.spawn(len(sources))):
            window = views.window(np.arange(len(first)), 2 * count, own)
            other = window if second is first else views.window(np.arange(len(second)), 2 * count, own)
            at += [views.window(window, count, own)]
            makers += [(partial(self._weak_view, first, at[-1]), partial(self._strong_view, second, other, count))]
        rngs = rng.spawn(2 * len(sources))
        every = [maker for kind in zip(*makers) for maker in kind]
        clips = list(self._pool.map(lambda maker, own: maker(own), every, rngs))
        shown = np.eye(len(sources))
        if "ViV" in self._kinds and len(sources) > 1:
            clips[len(sources) :], shown = video_in_video(clips[len(sources) :], rng)
        return clips, shown

    def _weak_view(self, frames: Frames, which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return _transformed(self._weak, frames[which], rng)

    def _strong_view(self, frames: Frames, which: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        if "TT" in self._kinds:
            which = views.changed_in_time(which, rng, replaced=_no_frames)
        clip = _transformed(self._strong, _read(frames, views.window(which, count, rng), rng), rng)
        return np.stack([_frame_view(frame, rng) for frame in clip]) if "FT" in self._kinds else clip


def _transformed(transform: Any, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply one of torchvision's transforms to all frames of a clip alike, (T, H, W, 3) -> (T, 224, 224, 3)."""
    seed = int(rng.integers(2**62))
    with _TORCH_RANDOM, torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        made = transform(torch.from_numpy(clip).permute(0, 3, 1, 2))
    return made.permute(0, 2, 3, 1).contiguous().numpy()


def _no_frames(which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(len(which)) < 0.5, _BLACK, _NOISE)


def _read(frames: Frames, which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Read frames, and make those that are none: black, or uniform noise."""
    clip = frames[np.maximum(which, 0)]
    clip[which == _BLACK] = 0
    noise = which == _NOISE
    clip[noise] = rng.integers(0, 256, (int(noise.sum()), *clip.shape[1:]), np.uint8)
    return clip


# --- One frame -------------------------------------------------------------------------------------------------------


def _frame_view(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put text and a face on it, and blur it, each by its odds."""
    image = Image.fromarray(frame)
    if rng.random() < _OVERLAY:
        image = _with_text(image, rng)
    if rng.random() < _OVERLAY:
        image = _with_face(image, rng)
    if rng.random() < _BLUR:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0)))
    return np.asarray(image)


@lru_cache(maxsize=SIDE)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _with_text(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Write random letters, at most as many as fit, in any colour, nearly opaque, anywhere."""
    font = _font(int(min(image.size) * rng.uniform(0.2, 0.5)))
    letters = "".join(_LETTERS[number] for number in rng.integers(len(_LETTERS), size=100))
    fitting = next((count for count in range(99) if font.getlength(letters[: count + 1]) > image.width), 99)
    if not fitting:
        return image
    text = letters[: rng.integers(1, fitting + 1)]
    left, top, right, bottom = font.getbbox(text)
    place = [rng.uniform(0, max(side - size, 0)) for side, size in zip(image.size, (right - left, bottom - top))]
    colour = (*rng.integers(0, 256, 3).tolist(), int(rng.uniform(0.7, 1.0) * 255 + 0.5))
    layer = Image.new("RGBA", image.size, (255, 255, 255, 0))
    ImageDraw.Draw(layer).text((place[0] - left, place[1] - top), text, fill=colour, font=font)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def _with_face(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Put a drawn face, nearly opaque, anywhere; a fifth to a half of the short side."""
    side = int(min(image.size) * rng.uniform(0.2, 0.5))
    face = _face(rng).resize((side, side), Image.Resampling.BILINEAR)
    left, top = (int(rng.uniform(0, 1) * (length - side)) for length in image.size)
    opacity = rng.uniform(0.7, 1.0)
    image.paste(face, (left, top), face.getchannel("A").point(lambda value: int(value * opacity)))
    return image


def _face(rng: np.random.Generator) -> Image.Image:
    """Draw a face, 72 x 72, of any colour and mood."""
    face = Image.new("RGBA", (72, 72), (0, 0, 0, 0))
    draw = ImageDraw.Draw(face)
    dark = (*rng.integers(0, 90, 3).tolist(), 255)
    draw.ellipse((1, 1, 70, 70), fill=(*rng.integers(90, 256, 3).tolist(), 255))
    for x in (24, 48):
        draw.ellipse((x - 5, 26 - int(rng.integers(2, 9)), x + 5, 32), fill=dark)
    mouth = (18, int(rng.integers(24, 42)), 54, 58)
    smile = (20, 160) if rng.random() < 0.7 else (200, 340)
    (draw.arc if rng.random() < 0.5 else draw.chord)(mouth, *smile, fill=dark)
    return face


# --- One view in another ---------------------------------------------------------------------------------------------


def video_in_video(clips: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Shrink some of N clips (T, H, W, 3) and put each into another one of them; (N, N) says what clip i shows now.

    The box has a share 1 - x of the picture, x in [0.3, 0.7), and its centre anywhere: what is beyond the border is
    cut off the box, not of the clip.
    """
    made, shown = [clip.copy() for clip in clips], np.eye(len(clips))
    for number, clip in enumerate(clips):
        if rng.random() >= _IN_VIDEO:
            continue
        host = int(rng.choice([other for other in range(len(clips)) if other != number]))
        left_out = rng.uniform(0.3, 0.7)
        (top, bottom), (left, right) = (_side(length, math.sqrt(1 - left_out), rng) for length in clip.shape[1:3])
        small = functional.resize(torch.from_numpy(clip).permute(0, 3, 1, 2), [bottom - top, right - left])
        made[number] = clips[host].copy()
        made[number][:, top:bottom, left:right] = small.permute(0, 2, 3, 1).numpy()
        shown[number, host] = left_out
    return made, shown


def _side(length: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    """Choose from where to where a side of the box goes."""
    half, centre = int(length * share) // 2, int(rng.integers(length))
    return max(centre - half, 0), min(centre + half, length)
