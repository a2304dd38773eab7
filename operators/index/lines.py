"""Which stretch of a query shows which stretch of a video: straight lines in a window-to-window matrix.

    speed 1       \\            a line is steeper or flatter by its speed, and rises where the query plays
    reversed      /             backward; a cut ends a line and begins another

Cells that stand out from their row and column vote for lines of every speed; along the best ones the run of cells
with the largest sum is the stretch; then what it explains is taken away, and the next is looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPEEDS = tuple(2.0 ** (step / 8) for step in range(-9, 10))  # 0.46 to 2.18 windows of the video per window of the query
_COMMON_SPEEDS = (0.5, 2 / 3, 0.75, 0.8, 1.0, 1.25, 4 / 3, 1.5, 2.0)
CHANCE = 0.2  # agreement of windows that says nothing
_CAP = 0.35  # agreement with all the rest that is taken off, at most
_MARGIN = 0.05  # that a cell must stand out, to count for a line rather than against it
_MIN_SUM = 0.5  # of what a line's cells stand out
_MOST_LINES = 24
_PEAKS = 4  # cells of each row and each column that vote
_TRIED = 6  # lines that are followed cell by cell
_JITTER = 0.03  # what it costs to look one window beside the line
_SHIFTS = np.array([0.0, -0.5, 0.5, -1.0, 1.0])  # windows, of a line that is followed
_SLOPES = np.array([sign * speed for sign in (1.0, -1.0) for speed in SPEEDS])
_PRIORS = np.where(_SLOPES == 1.0, 1.0, np.where(_SLOPES > 0, 0.9, 0.85))


@dataclass(frozen=True, kw_only=True)
class Line:
    """[first, last] windows of the query that show [begin, end] windows of the video, which may fall."""

    first: int
    last: int
    begin: float
    end: float
    agreement: float  # mean along the line
    gain: float  # sum of what its cells stand out

    @property
    def speed(self) -> float:
        """Windows of the video per window of the query; negative: played backward."""
        return (self.end - self.begin) / (self.last - self.first) if self.last > self.first else 1.0


def find_lines(matrix: np.ndarray, *, chance: float = CHANCE) -> list[Line]:
    """Find the lines of a matrix (Tq, Tv), most gain first; none where nothing stands out."""
    matrix = np.asarray(matrix, np.float32)
    if not matrix.size:
        return []
    gains = _stand_out(matrix, chance)
    lines: list[Line] = []
    while len(lines) < _MOST_LINES:
        line = _best_line(gains, matrix)
        if line is None or line.gain < _MIN_SUM:
            break
        if lines and (line.gain < 0.02 * lines[0].gain or line.first == line.last):
            break
        lines.append(line)
        low, high = sorted((line.begin, line.end))
        rows = slice(line.first, line.last + 1)
        columns = slice(max(0, int(np.floor(low))), int(np.ceil(high)) + 1)
        mean = max(line.gain / (line.last - line.first + 1), _MARGIN)
        # A stretch that shows up twice is worth telling; weaker echoes of the same are not.
        gains[rows, :] -= 0.7 * mean
        gains[:, columns] -= 0.7 * mean
        gains[rows, columns] = -1.0
    return lines


def _stand_out(matrix: np.ndarray, chance: float) -> np.ndarray:
    """Compute how much each cell is above what its row and its column have elsewhere, less a margin."""
    rows = np.quantile(matrix, 0.4, axis=1, method="lower", keepdims=True)
    columns = np.quantile(matrix, 0.4, axis=0, method="lower", keepdims=True)
    return matrix - np.clip(np.maximum(rows, columns), chance, _CAP) - _MARGIN


def _best_line(gains: np.ndarray, matrix: np.ndarray) -> Line | None:
    rows, columns = _peaks(gains)
    if not len(rows):
        return None
    wide = _widened(gains)
    runs = [run for run in _follow(wide, *_proposed(rows, columns, gains[rows, columns])) if run is not None]
    return _refined(wide, gains, matrix, max(runs, key=lambda run: run[0])) if runs else None


def _proposed(rows: np.ndarray, columns: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find slopes and offsets (L,) of the lines that most cells (P,), by weight, vote for: the best of each slope."""
    offset = columns - _SLOPES[:, None] * rows  # (S, P)
    low = np.floor(offset.min(1)) - 1
    place = np.round(offset - low[:, None]).astype(np.int64)
    n = int(place.max()) + 2
    place += n * np.arange(len(_SLOPES))[:, None]
    counts = np.bincount(place.ravel(), np.tile(weight.astype(np.float64), len(_SLOPES)), n * len(_SLOPES))
    votes = counts.reshape(len(_SLOPES), n)
    votes = votes + 0.5 * (np.roll(votes, 1, 1) + np.roll(votes, -1, 1))  # the outer ones are empty
    at = votes.argmax(1)
    strength = votes[np.arange(len(at)), at] * _PRIORS
    best = np.lexsort((at + low, _SLOPES, strength))[::-1][:_TRIED]
    return _SLOPES[best], (at + low)[best]


def _peaks(gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the cells that vote: the highest of each row and of each column that stand out."""
    cells = []
    for axis in (0, 1):
        k = min(_PEAKS, gains.shape[axis])
        best = np.argpartition(-gains, k - 1, axis=axis).take(range(k), axis=axis)
        other = np.broadcast_to(np.expand_dims(np.arange(gains.shape[1 - axis]), axis), best.shape)
        i, j = (best, other) if axis == 0 else (other, best)
        cells.append((i * gains.shape[1] + j).ravel())
    rows, columns = np.divmod(np.unique(np.concatenate(cells)), gains.shape[1])
    out = gains[rows, columns] > 0
    return rows[out], columns[out]


_Run = tuple[float, float, float, int, int]  # gain with the prior, slope, offset, first and last row


def _follow(wide: np.ndarray, slopes: np.ndarray, offsets: np.ndarray) -> list[_Run | None]:
    """Find the run with the largest sum along each of (L,) lines, over small shifts of it."""
    i = np.arange(len(wide))
    cells = _along(wide, i, slopes[:, None, None] * i + offsets[:, None, None] + _SHIFTS[:, None])
    total = np.zeros((*cells.shape[:2], len(i) + 1))
    np.cumsum(cells, 2, out=total[..., 1:], dtype=np.float64)
    low = np.minimum.accumulate(total[..., :-1], 2)
    rise = total[..., 1:] - low
    last = rise.argmax(2)
    rises = np.take_along_axis(rise, last[..., None], 2)[..., 0]
    runs: list[_Run | None] = []
    for line, (slope, offset) in enumerate(zip(slopes.tolist(), offsets.tolist())):
        prior = 1.0 if slope == 1.0 else 0.97 if slope > 0 else 0.93
        best: _Run | None = None
        for k, shift in enumerate(_SHIFTS.tolist()):
            gain, end = float(rises[line, k]), int(last[line, k])
            if gain > 0 and (best is None or gain * prior > best[0] + 1e-6):
                first = int(np.flatnonzero(total[line, k, : end + 1] == low[line, k, end])[-1])
                best = (gain * prior, slope, offset + shift, first, end)
        runs.append(best)
    return runs


def _widened(cells: np.ndarray) -> np.ndarray:
    """Widen each cell (T, U) to a little less of the better neighbour, with a column more on both sides: (T, U + 2)."""
    wide = np.full((len(cells), cells.shape[1] + 4), -1.0, np.float32)
    wide[:, 2:-2] = cells
    return np.maximum(wide[:, 1:-1], np.maximum(wide[:, :-2], wide[:, 2:]) - np.float32(_JITTER))


def _along(wide: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Look up what `_widened` has at rows i and columns j; outside of the matrix far below."""
    width = wide.shape[1] - 2
    cells = wide[i, np.clip(np.round(j).astype(np.int64) + 1, 0, width + 1)]
    return np.where((j < -0.75) | (j > width - 0.25), np.float32(-100.0), cells)


def _refined(wide: np.ndarray, gains: np.ndarray, matrix: np.ndarray, run: _Run) -> Line:
    """Fit slope and offset to the cells that agree most, and follow the line again."""
    _, slope, offset, first, last = run
    i = np.arange(first, last + 1)
    if last - first >= 7:
        near = np.round(slope * i + offset).astype(np.int64)[:, None] + np.arange(-2, 3)
        inside = (near >= 0) & (near < gains.shape[1])
        cells = np.where(inside, gains[i[:, None], np.clip(near, 0, gains.shape[1] - 1)], -1.0)
        weight = np.maximum(cells.max(1), 0) + 1e-3
        power = np.maximum(cells, 0) ** 2 + 1e-9 * inside
        j = (near * power).sum(1) / power.sum(1)
        centre, middle = np.average(i, weights=weight), np.average(j, weights=weight)
        spread = np.average((i - centre) ** 2, weights=weight)
        fitted = float(np.average((i - centre) * (j - middle), weights=weight) / max(spread, 1e-9))
        if abs(abs(fitted) - 1) < max(0.03, 1.5 / len(i)):  # nobody plays a copy at 1.01
            fitted = float(np.sign(fitted))
        # Where moments hardly differ the fit leans to slower lines; people choose round speeds.
        common = sorted(_COMMON_SPEEDS, key=lambda speed: abs(np.log(speed / abs(slope))))[:2]
        runs = [(run[0] * 0.9, run)]
        weighed = [(fitted, 1.0), *((float(np.sign(slope)) * speed, 1.02) for speed in common)]
        weighed = [(tried, weigh) for tried, weigh in weighed if 0.4 < abs(tried) < 2.5 and tried * slope > 0]
        slopes = np.array([tried for tried, _ in weighed])
        again = _follow(wide, slopes, float(middle) - slopes * float(centre))
        runs += [(each[0] * weigh, each) for each, (_, weigh) in zip(again, weighed) if each is not None]
        _, slope, offset, first, last = max(runs, key=lambda each: each[0])[1]
    i = np.arange(first, last + 1)
    j = np.clip(slope * i + offset, 0, gains.shape[1] - 1)
    gain = float(np.maximum(_along(wide, i, j), -1.0).sum())
    agreement = float(np.maximum(_along(_widened(matrix[first : last + 1]), i - first, j), 0).mean())
    begin, end = round(float(j[0]), 4), round(float(j[-1]), 4)
    return Line(first=first, last=last, begin=begin, end=end, agreement=agreement, gain=gain)
