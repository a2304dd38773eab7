"""Lines in a matrix: where they begin and end, how fast, in which direction, and that noise has none."""

import numpy as np
import pytest

from ndvr.operators.index.kinds import stretches
from ndvr.operators.index.lines import Line, find_lines


def noise(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 0.15, (rows, columns)).astype(np.float32)


def planted(*runs: tuple[int, int, float, float], shape: tuple[int, int] = (60, 120), value: float = 0.8) -> np.ndarray:
    """Runs of (first row, rows, first column, columns per row) on noise."""
    matrix = noise(*shape)
    for first, count, start, slope in runs:
        for step in range(count):
            matrix[first + step, round(start + slope * step)] = value
    return matrix


def test_unrelated_videos_share_no_line():
    assert find_lines(noise(80, 200)) == []
    assert find_lines(np.zeros((0, 5), np.float32)) == []


def test_an_excerpt_is_found_where_it_lies():
    (line,) = find_lines(planted((10, 20, 70, 1.0)))
    assert (line.first, line.last, line.begin, line.end) == (10, 29, 70, 89)
    assert line.speed == 1.0


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 1.5, 2.0])
def test_a_change_of_speed_is_measured(speed):
    (line, *_) = find_lines(planted((5, 40, 10, speed)))
    assert line.speed == pytest.approx(speed, rel=0.03)
    assert (line.first, line.last) == (5, 44)
    assert line.begin == pytest.approx(10, abs=1.5)


def test_a_reversed_excerpt_runs_backward():
    (line,) = find_lines(planted((10, 30, 99, -1.0)))
    assert (line.speed, line.begin, line.end) == (-1.0, 99, 70)


def test_a_montage_has_a_line_for_each_of_its_parts():
    lines = find_lines(planted((0, 12, 50, 1.0), (20, 15, 100, -1.0), (40, 20, 5, 1.0)))
    assert sorted((line.first, line.last) for line in lines) == [(0, 11), (20, 34), (40, 59)]


def test_a_loop_shows_the_same_stretch_twice():
    lines = find_lines(planted((0, 20, 30, 1.0), (30, 20, 30, 1.0)))
    assert sorted((line.first, round(line.begin)) for line in lines) == [(0, 30), (30, 30)]


def test_five_seconds_in_ten_minutes_are_found():
    matrix = noise(1200, 1200)
    for step in range(10):
        matrix[700 + step, 300 + step] = 0.7
    (line,) = find_lines(matrix)
    assert (line.first, line.last, line.begin) == (700, 709, 300)


def test_a_scene_that_hardly_moves_is_laid_moment_on_moment():
    rows = np.arange(30)
    matrix = 0.6 + 0.3 * np.exp(-((rows[:, None] - rows[None, : 40 - 10]) ** 2) / 4)
    (line, *_) = find_lines(matrix.astype(np.float32))
    assert (line.first, line.last, line.begin, line.end) == (0, 29, 0, 29)


def test_a_window_that_is_held_still_lasts_as_long_as_a_window_does():
    held = Line(first=2, last=3, begin=4.0, end=4.0, agreement=0.9, gain=1.0)
    (stretch,) = stretches([held], np.arange(6) * 0.5, np.arange(9) * 0.5)
    assert (stretch.q_start_s, stretch.q_end_s, stretch.v_start_s, stretch.v_end_s) == (1.0, 2.0, 2.0, 2.5)


def test_times_are_in_seconds_and_end_where_the_last_window_does():
    (stretch,) = stretches(find_lines(planted((10, 20, 70, 1.0))), np.arange(60) * 0.5, np.arange(120) * 0.5)
    assert (stretch.q_start_s, stretch.q_end_s, stretch.v_start_s, stretch.v_end_s) == (5.0, 15.0, 35.0, 45.0)
    assert (stretch.speed, stretch.reversed) == (1.0, False)
