"""Frame picking equals what ffmpeg and the authors' loaders pick."""

import json
from fractions import Fraction

import pytest
from places import GOLDEN_FOLDER

from ndvr.models.card import Frames
from ndvr.operators.video._frame_rules import LONGEST_STILL_S, FfmpegSampler, OpencvSampler, sampler

RULES = json.loads((GOLDEN_FOLDER / "frame_rules.json").read_text())["sampling"]


def name_of(row: dict) -> str:
    return f"{row['fps'].replace('/', '_')}x{row['n_frames']}"


def picked(some_sampler, times: list[Fraction], end: Fraction) -> list[int]:
    """Numbers of the frames that become windows."""
    found = []
    for index, time_s in enumerate(times):
        found += [frame for _, frame in some_sampler.push(index, time_s, index)]
    return found + [frame for _, frame in some_sampler.finish(end)]


def constant_rate(fps: str, n_frames: int) -> tuple[list[Fraction], Fraction]:
    return [Fraction(i) / Fraction(fps) for i in range(n_frames)], Fraction(n_frames) / Fraction(fps)


@pytest.mark.parametrize("row", RULES, ids=name_of)
def test_ffmpeg_rule_picks_the_frames_ffmpeg_picks(row):
    assert picked(FfmpegSampler(1), *constant_rate(row["fps"], row["n_frames"])) == row["ffmpeg"]


# Below half a frame a second the loaders themselves divide by zero; the last test here says what we do.
@pytest.mark.parametrize("row", [row for row in RULES if isinstance(row["opencv"], list)], ids=name_of)
def test_opencv_rule_picks_the_frames_the_loaders_pick(row):
    rate = Fraction(row["fps"])
    assert picked(OpencvSampler(1, rate), *constant_rate(row["fps"], row["n_frames"])) == row["opencv"]


def test_ffmpeg_rule_repeats_frames_of_a_slide_show():
    slides = [Fraction(0), Fraction(3), Fraction(6)]
    assert picked(FfmpegSampler(1), slides, Fraction(9)) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_windows_carry_the_time_they_stand_for():
    times = [Fraction(i, 25) for i in range(75)]
    rule = FfmpegSampler(2)
    windows = [pick for i, t in enumerate(times) for pick in rule.push(i, t, i)] + list(rule.finish(Fraction(3)))
    assert [float(t) for t, _ in windows] == [0, 0.5, 1, 1.5, 2, 2.5]


def test_a_header_that_claims_a_day_does_not_become_a_day_of_windows():
    assert len(picked(FfmpegSampler(1), [Fraction(0)], Fraction(86_400))) == LONGEST_STILL_S


@pytest.mark.parametrize("rate", [None, Fraction(0), Fraction(90_000)], ids=["unknown", "zero", "absurd"])
def test_opencv_rule_takes_an_unusable_rate_for_25(rate):
    times, end = constant_rate("25", 60)
    assert picked(sampler(Frames(rule="opencv"), rate, None), times, end) == [0, 25, 50]


def test_opencv_rule_below_one_frame_a_second_keeps_every_frame():
    times, end = constant_rate("1/4", 3)
    assert picked(OpencvSampler(1, Fraction(1, 4)), times, end) == [0, 1, 2]
