"""The child of Decode: it hashes a file, cuts it into windows and reports what became of every view."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from ndvr.models.card import Mel, View
from ndvr.operators.errors import DecodeError
from ndvr.operators.rows import REMOVED_CONTENT, FileFacts
from ndvr.operators.sandbox.handed_file import HandedFile
from ndvr.operators.video._attempts import Outcome
from ndvr.operators.video._stream import Stream, sha256_of
from ndvr.operators.video.windows import End, Piece, cut, use_one_core


class File(NamedTuple):
    """What is known of the file; sent again when more is known."""

    facts: FileFacts


class Seen(NamedTuple):
    """The bytes are those that are settled for this method."""

    method: str


class Verdict(NamedTuple):
    """What became of the video for a method; its pieces were sent before."""

    method: str
    outcome: Outcome


class Content(NamedTuple):
    """Which bytes a file has to have, and which it must not have."""

    expected: str | None = None  # SHA-256; None: any
    elsewhere: str = ""  # where the video lies that has them
    removed: frozenset[str] = frozenset()  # SHA-256 of what is to be left out


ANY = Content()


def serve(
    beat: Callable[[], None],
    file: HandedFile,
    views: dict[str, View],
    decoder: str,
    settled: dict[str, str],
    facts: FileFacts,
    content: Content = ANY,
) -> Iterator[File | Seen | Piece | Verdict]:
    """Yield pieces as they are cut and, at the end, the Verdict of every view; Seen for those that are `settled`.

    settled  by method the SHA-256 of what is known under it
    content  DecodeError(conflict) where the file holds other bytes than expected; skipped where they were removed
    facts    of the file, when an attempt before this one found them: it is not read for its hash again
    """
    use_one_core(views.values())
    if facts.sha256 is None:
        facts = _stat(file)
        yield File(facts)  # before anything can go wrong: the next run knows the file by them
        facts = replace(facts, sha256=sha256_of(file, beat))
        yield File(facts)
    if content.expected not in (None, facts.sha256):
        raise DecodeError(
            "conflict", f"another video than {content.elsewhere}, which has this id: give --prefix TEXT or --id-from"
        )
    if facts.sha256 in content.removed:
        yield from (Verdict(method, Outcome(status="skipped", message=REMOVED_CONTENT)) for method in views)
        return
    seen = [method for method in views if settled.get(method) == facts.sha256]
    yield from map(Seen, seen)
    views = {method: view for method, view in views.items() if method not in seen}
    began = time.process_time()
    ends = []
    for item in cut(file, views, decoder, heartbeat=beat):
        if isinstance(item, End):
            ends.append(item)
        else:
            yield item
    decode_s = time.process_time() - began
    if replace(_stat(file), sha256=facts.sha256) != facts:
        raise DecodeError("io", "the file was changed while it was read")
    for end in ends:
        yield Verdict(end.key, _outcome(end, views[end.key], decode_s))


def _stat(file: HandedFile) -> FileFacts:
    return FileFacts(bytes=file.stat.st_size, mtime_ns=file.stat.st_mtime_ns)


def _outcome(end: End, view: View, decode_s: float) -> Outcome:
    outcome = Outcome(status=end.status, error_class=end.error_class, message=end.message, decode_s=decode_s)
    if end.stream is None:
        return outcome
    return replace(
        outcome,
        decoder=end.stream.decoder,
        frames=None if isinstance(view, Mel) else end.stream.decoded,  # counted of pictures only
        damaged=end.stream.errors,
        partial=bool(end.stream.errors or _is_cut_short(end.stream)),
        duration_s=float(end.stream.end_s),
    )


def _is_cut_short(stream: Stream) -> bool:
    """Tell whether the file holds less than its header, or than its packets, promise."""
    duration_s = float(stream.end_s)
    # Containers overstate by rounding and by sound that is longer; a tenth and a second is more than that.
    claimed_s = stream.duration_s or duration_s
    too_short = claimed_s < 12 * 3600 and claimed_s - duration_s > max(1.0, 0.1 * claimed_s)
    # Some packets have nothing to show, and an interlaced frame may come in two.
    frames_per_packet = (stream.decoded + stream.errors) / stream.packets if stream.packets else 1.0
    return too_short or (frames_per_packet < 0.9 and not 0.45 < frames_per_packet < 0.55)
