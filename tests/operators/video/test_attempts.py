"""What is tried next after an attempt, and what is said of a video in the end; no decoder is started."""

from datetime import datetime, timezone

import pytest

from ndvr.operators.errors import DecodeError
from ndvr.operators.sandbox.sandbox import ChildDied, ChildKilled
from ndvr.operators.video._attempts import (
    KILLS,
    Attempt,
    Outcome,
    Tried,
    deaths,
    final_outcome,
    next_attempts,
)

DONE = Outcome(status="done")
DIED = ChildDied("crash", "the decoder process died", died=True)
KILLED = ChildKilled("crash", "killed from outside with SIGKILL", died=True)
HUNG = DecodeError("timeout", "no progress for 30 s", died=True)
NO_MEMORY = DecodeError("oom", "more than 4 GB", died=True)
CHANGED = DecodeError("io", "the file was changed while it was read")
CORRUPT = Outcome(status="failed", error_class="corrupt", message="no frame")


def tried(decoder: str = "pyav", error: DecodeError | None = None, **outcomes: Outcome | None) -> Tried:
    """An attempt for the methods named; one without an outcome got none before `error` broke the attempt off."""
    lost = Outcome(status="failed", error_class=error.kind, message=error.message) if error else None
    return Tried(
        attempt=Attempt(decoder, tuple(outcomes)),
        started=datetime(2026, 11, 26, tzinfo=timezone.utc),
        outcomes={method: outcome or lost for method, outcome in outcomes.items()},
        error=error,
    )


def following(*history: Tried, decoders: tuple[str, ...] = ("pyav", "decord")) -> list[tuple]:
    """What follows, as (decoder, method, ...); the method `sound` listens."""
    attempts = next_attempts(history, decoders=decoders, sounds={"sound"})
    return [(attempt.decoder, *attempt.methods) for attempt in attempts]


def test_nothing_follows_what_is_done_or_skipped():
    assert following(tried(a=DONE, b=Outcome(status="skipped", message="no picture"))) == []


def test_a_picture_that_one_decoder_cannot_read_goes_to_the_next_one():
    assert following(tried(a=CORRUPT, b=DONE)) == [("decord", "a")]
    assert following(tried(a=CORRUPT), tried("decord", a=CORRUPT)) == []
    assert following(tried(a=CORRUPT), decoders=("pyav",)) == []


@pytest.mark.parametrize("kind", ["io", "empty", "oom", "unsupported"])
def test_what_no_decoder_can_help_with_is_tried_once(kind):
    assert following(tried(a=Outcome(status="failed", error_class=kind, message="why"))) == []


def test_sound_that_cannot_be_read_has_no_other_decoder():
    assert following(tried(sound=CORRUPT, a=DONE)) == []


def test_a_video_whose_decoder_is_killed_from_outside_is_tried_again_as_it_was():
    assert following(tried(error=KILLED, a=None, sound=None)) == [("pyav", "a", "sound")]
    assert following(tried(error=KILLED, a=DONE, sound=None)) == [("pyav", "sound")]
    assert following(tried(error=KILLED, a=DONE)) == []


def test_a_video_whose_decoder_is_killed_too_often_is_given_up_whatever_it_was_at():
    kills = [tried(error=KILLED, a=None)] * KILLS
    assert following(*kills) == [("pyav", "a")]
    assert following(*kills, tried(error=KILLED, a=None)) == []
    assert following(tried(a=CORRUPT), *kills, tried("decord", error=KILLED, a=None)) == []


@pytest.mark.parametrize("error", [DIED, HUNG, NO_MEMORY])
def test_picture_and_sound_that_went_down_together_are_tried_apart(error):
    assert following(tried(error=error, a=None, b=None, sound=None)) == [("pyav", "a", "b"), ("pyav", "sound")]
    assert following(tried(error=error, a=None, sound=DONE)) == [("decord", "a")][: error is not NO_MEMORY]


def test_an_error_that_leaves_the_process_alive_tells_picture_and_sound_nothing_about_each_other():
    assert following(tried(error=CHANGED, a=None, sound=None)) == []


def test_one_death_with_the_only_decoder_may_be_bad_luck_and_two_are_not():
    once = tried(error=DIED, a=None)
    assert following(once, decoders=("pyav",)) == [("pyav", "a")]
    assert following(once, once, decoders=("pyav",)) == []


def test_a_death_is_followed_by_the_next_decoder_whose_death_is_the_last():
    assert following(tried(error=DIED, a=None)) == [("decord", "a")]
    assert following(tried(error=DIED, a=None), tried("decord", error=DIED, a=None)) == []
    assert following(tried(a=CORRUPT), tried("decord", error=DIED, a=None)) == []


def test_sound_that_dies_alone_is_tried_once_more_and_counts_its_deaths_beside_the_picture():
    together = tried(error=DIED, a=None, sound=None)
    assert following(tried(error=DIED, sound=None)) == [("pyav", "sound")]
    assert following(together, tried(a=DONE), tried(error=DIED, sound=None)) == []


def test_a_hang_is_not_repeated_with_the_same_decoder():
    assert following(tried(error=HUNG, a=None), decoders=("pyav",)) == []
    assert following(tried(error=HUNG, sound=None)) == []


def test_only_deaths_of_its_own_doing_count_and_only_for_what_they_failed():
    history = [tried(error=DIED, a=None, b=DONE), tried(error=KILLED, a=None), tried(error=HUNG, a=None)]
    assert (deaths(history, "a"), deaths(history, "b")) == (1, 0)


def final(*history: Tried, decoders: tuple[str, ...] = ("pyav", "decord")) -> tuple:
    outcome = final_outcome(history, "a", decoders=decoders)
    return outcome.status, outcome.error_class, outcome.message


def test_a_success_says_nothing_of_the_attempts_before_it():
    assert final(tried(a=CORRUPT), tried("decord", a=DONE)) == ("done", None, None)


def test_the_first_decoder_names_the_class_and_both_say_why():
    other = Outcome(status="failed", error_class="timeout", message="no progress")
    assert final(tried(a=CORRUPT), tried("decord", a=other)) == (
        "failed",
        "corrupt",
        "no frame; then decord: no progress",
    )


def test_the_second_decoder_killed_from_outside_and_tried_again_does_not_hide_the_first():
    history = tried(a=CORRUPT), tried("decord", error=KILLED, a=None), tried("decord", a=CORRUPT)
    assert final(*history) == ("failed", "corrupt", "no frame; then decord: no frame")


def test_of_several_tries_with_one_decoder_the_last_counts():
    history = tried(error=DIED, a=None, sound=None), tried(error=HUNG, a=None), tried("decord", a=CORRUPT)
    assert final(*history) == ("failed", "timeout", "no progress for 30 s; then decord: no frame")


def test_a_video_given_up_says_how_often_it_was_killed():
    history = [tried(error=KILLED, a=None)] * (KILLS + 1)
    assert final(*history) == ("failed", "crash", "killed from outside with SIGKILL; 6 times")
    assert final(*history[:-1], tried(a=DONE)) == ("done", None, None)


def test_a_corrupt_file_of_decord_alone_is_told_of_the_other_decoder():
    assert final(tried("decord", a=CORRUPT), decoders=("decord",))[2] == "no frame; `--decoder auto` reads more files"
