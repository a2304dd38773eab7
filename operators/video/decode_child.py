"""What runs in the child of Decode: hash a file, cut it into windows, say what became of every view."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import cv2

from ndvr.models.card import Mel, View
from ndvr.operators.errors import DecodeError
from ndvr.operators.video.stream import Stream, check_readable, sha256_of
from ndvr.operators.video.windows import End, Piece, cut


class File(NamedTuple):
    """What is known of the file, as columns of its rows; said again when more is known."""

    facts: dict[str, Any]


class Seen(NamedTuple):
    """The bytes are those that are settled for this method."""

    key: str


class Verdict(NamedTuple):
    """What became of a view, as columns of its end row."""

    key: str
    columns: dict[str, Any]


def serve(
    beat: Callable[[], None],
    path: str,
    views: dict[str, View],
    decoder: str,
    settled: dict[str, str],
    facts: dict[str, Any],
) -> Iterator[File | Seen | Piece | Verdict]:
    """Pieces as they are cut, and of every view, at the end, its Verdict; of those that are `settled`, Seen.

    settled  by method the SHA-256 of what is known under it
    facts    of the file, when an attempt before this one found them: it is not read for its hash again
    """
    use_one_core(views.values())
    if "sha256" not in facts:
        facts = dict(zip(_STAT, _stat(path)))
        yield File(facts)  # before anything can go wrong: the next run knows the file by them
        check_readable(path)
        facts = facts | {"sha256": sha256_of(path, beat)}
        yield File(facts)
    seen = [key for key in views if settled.get(key) == facts["sha256"]]
    yield from map(Seen, seen)
    views = {key: view for key, view in views.items() if key not in seen}
    began = time.process_time()
    ends = []
    for item in cut(path, views, decoder, heartbeat=beat):
        if isinstance(item, End):
            ends.append(item)
        else:
            yield item
    decode_s = time.process_time() - began
    if dict(zip(_STAT, _stat(path))) != {name: facts[name] for name in _STAT}:
        raise DecodeError("io", "the file was changed while it was read")
    for end in ends:
        verdict = {"status": end.status, "error_class": end.error_class, "message": end.message}
        of_stream = _facts(end.stream) if end.stream else {}
        if isinstance(views[end.key], Mel):
            of_stream["frames"] = None  # counted of pictures only
        yield Verdict(end.key, {"decode_s": decode_s} | verdict | of_stream)


_STAT = ("bytes", "mtime_ns")


def _stat(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise DecodeError("io", f"{error.strerror}: {path}") from error
    return found.st_size, found.st_mtime_ns


def use_one_core(views: Iterable[View]) -> None:
    """Keep the libraries that cut windows of these views to one core, as a decoder has one."""
    cv2.setNumThreads(1)
    if any(isinstance(view, Mel) for view in views):
        from ndvr.models.method import use_one_thread  # torch, which picture methods can do without

        use_one_thread()


def _facts(stream: Stream) -> dict[str, Any]:
    duration_s = float(stream.end_s)
    # Containers overstate by rounding and by sound that is longer; a tenth and a second is more than that.
    claimed_s = stream.duration_s or duration_s
    missing = claimed_s < 12 * 3600 and claimed_s - duration_s > max(1.0, 0.1 * claimed_s)
    # Some packets have nothing to show, and an interlaced frame may come in two.
    given = (stream.decoded + stream.errors) / stream.packets if stream.packets else 1.0
    missing |= given < 0.9 and not 0.45 < given < 0.55
    return {
        "decoder": stream.decoder,
        "frames": stream.decoded,
        "damaged": stream.errors,
        "partial": bool(stream.errors or missing),
        "duration_s": duration_s,
    }
