"""What to try next when decoding fails, and what became of a video in the end: decided from its history alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ndvr.operators.errors import DecodeError
from ndvr.operators.rows import Status
from ndvr.operators.sandbox.sandbox import ChildDied, ChildKilled

QUARANTINE = 2  # decoder processes that a file may bring down
KILLS = 5  # of its decoder from outside after which a video is tried once more
# With any decoder: PyAV knows every codec that decord does.
_HOPELESS = ("io", "empty", "oom", "unsupported", "conflict")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a video for one method, in one attempt."""

    status: Status
    error_class: str | None = None  # of a failure
    message: str | None = None  # why failed or skipped; of a done video: what to know about it
    decoder: str | None = None  # name, and version where it opened the file
    pieces: int = 0
    windows: int = 0
    decode_s: float | None = None  # CPU seconds of the decoder; of an attempt that broke off: how long it took
    frames: int | None = None  # decoded pictures
    damaged: int | None = None  # packets that gave no frame
    partial: bool | None = None  # something is missing: damaged packets, or the end
    duration_s: float | None = None

    @property
    def failed(self) -> bool:
        return self.status == "failed"


@dataclass(frozen=True)
class Attempt:
    """A decoder to try, and for which methods."""

    decoder: str
    methods: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """An attempt that is over."""

    attempt: Attempt
    started: datetime
    outcomes: Mapping[str, Outcome]  # by method
    error: DecodeError | None = None  # that broke the attempt off

    @property
    def failed(self) -> tuple[str, ...]:
        """The methods that it failed for."""
        return tuple(method for method, outcome in self.outcomes.items() if outcome.failed)


def next_attempts(history: Sequence[Tried], *, decoders: Sequence[str], sounds: Collection[str]) -> list[Attempt]:
    """List the attempts that follow from how the latest one failed, each for some of the methods that failed.

    decoders  by preference
    sounds    the methods that listen; one library decodes sound, whichever decoder is named

    The first line that fits a failed method decides:

        the latest attempt ...                                      next
        ----------------------------------------------------------  ---------------------------------------------
        was killed from outside, or could not start                 the same, unless it was killed KILLS times before
        lost its process (died, hung, no memory), and was for       the same decoder for the pictures,
        both pictures and sound: either may have done it            then the same decoder for the sound
        failed for pictures, the class says nothing about other     the next decoder
        decoders, and there is one
        died, is the only decoder tried for the method, and the     the same decoder again
        method has seen fewer than QUARANTINE deaths
        failed in any other way                                     nothing
    """
    latest = history[-1]
    decoder, failed, error = latest.attempt.decoder, latest.failed, latest.error
    if not failed:
        return []
    if isinstance(error, ChildKilled):
        return [Attempt(decoder, failed)] if kills(history) <= KILLS else []
    sound = tuple(method for method in failed if method in sounds)
    picture = tuple(method for method in failed if method not in sounds)
    if error is not None and error.died and sound and picture:
        return [Attempt(decoder, picture), Attempt(decoder, sound)]
    others = tuple(decoders)[decoders.index(decoder) + 1 :]
    with_other = tuple(method for method in picture if others and _others_may_read_it(latest.outcomes[method]))
    again = tuple(method for method in failed if method not in with_other and _may_be_bad_luck(history, method))
    attempts = [Attempt(others[0], with_other)] if with_other else []
    return [*attempts, Attempt(decoder, again)] if again else attempts


def _others_may_read_it(outcome: Outcome) -> bool:
    return outcome.error_class not in _HOPELESS


def _may_be_bad_luck(history: Sequence[Tried], method: str) -> bool:
    """Tell whether the latest death of a decoder is worth a second try with the same one."""
    only_one = len({tried.attempt.decoder for tried in history if method in tried.outcomes}) == 1
    return isinstance(history[-1].error, ChildDied) and only_one and deaths(history, method) < QUARANTINE


def deaths(history: Sequence[Tried], method: str) -> int:
    """Count the decoder processes that went down by their own doing while they worked for a method."""
    return sum(isinstance(tried.error, ChildDied) and method in tried.failed for tried in history)


def kills(history: Sequence[Tried]) -> int:
    """Count the decoder processes that somebody else killed."""
    return sum(isinstance(tried.error, ChildKilled) for tried in history)


def final_outcome(history: Sequence[Tried], method: str, *, decoders: Sequence[str]) -> Outcome:
    """Sum up all attempts for one method: the latest outcome, with what earlier decoders said of a failure."""
    tries = [tried for tried in history if method in tried.outcomes]
    latest = tries[-1]
    outcome, decoder = latest.outcomes[method], latest.attempt.decoder
    if not outcome.failed:
        return outcome
    message = outcome.message or ""
    if isinstance(latest.error, ChildKilled):
        message += f"; {kills(history)} times" if kills(history) > KILLS else ""
    if before := [tried for tried in tries if tried.attempt.decoder != decoder]:
        # The class of the first decoder stands: it opens more files, so it says more about this one.
        first = final_outcome(before, method, decoders=decoders)
        return replace(outcome, error_class=first.error_class, message=f"{first.message}; then {decoder}: {message}")
    if outcome.error_class == "corrupt" and tuple(decoders) == ("decord",):
        message += "; `--decoder auto` reads more files"
    return replace(outcome, message=message)
