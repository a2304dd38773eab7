"""An opened video: its frames in order, and what is known of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import av

from ndvr.operators.errors import DecodeError, NoSound
from ndvr.operators.sandbox.handed_file import HandedFile


class Frame(NamedTuple):
    """One decoded frame: its number, its time in seconds since the file's start, its picture."""

    number: int
    time_s: Fraction
    picture: av.VideoFrame
    packet_bytes: int = 0  # what it was made of, if that depends on frames before; 0: unknown, or a picture in itself


Hear = Callable[[av.AudioFrame, Fraction], None]  # given a frame of sound, and when the file starts on its clock


@dataclass
class Stream:
    """An opened stream of pictures or sound. Iterating `frames` fills in what follows it.

    Set `needs` before iterating to leave out frames: it is asked with the time of a frame and of the next one.
    A decoder may give frames that are not needed, and every frame comes out as if all had been decoded.
    Set `hear` before iterating, where `can_hear`, to be given every frame of sound in the same pass.
    """

    decoder: str  # name and version
    rate: Fraction | None = None  # frames per second as the header says
    duration_s: float | None = None  # as the header says
    codec: str = "?"
    frames: Iterator[Frame] = field(default_factory=lambda: iter(()), repr=False)
    count: Callable[[], int] = field(default=lambda: 0, repr=False)  # how many frames there seem to be
    needs: Callable[[Fraction, Fraction], bool] | None = field(default=None, repr=False)
    can_hear: bool = False
    hear: Hear | None = field(default=None, repr=False)
    first: Frame | None = field(default=None, repr=False)
    decoded: int = 0  # frames, those left out included
    packets: int = 0  # that should give a frame
    skipped: bool = False  # some frames were left out
    errors: int = 0  # packets that gave no frame because they are damaged
    end_s: Fraction = Fraction(0)  # when the last frame ends
    sound: Stream | None = field(default=None, repr=False)  # what `hear` was given
    failure: DecodeError | NoSound | None = None  # of sound: why there is none


def sha256_of(file: HandedFile, heartbeat: Callable[[], None] = lambda: None) -> str:
    """Hash a file, which identifies its content. DecodeError(io) when it cannot be read to the end."""
    digest, source = hashlib.sha256(), file.again()
    try:
        while block := source.read(1 << 20):
            digest.update(block)
            heartbeat()
    except OSError as error:
        raise DecodeError("io", f"{error.strerror}: {file.name}") from error
    return digest.hexdigest()
