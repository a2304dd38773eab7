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
    """The lines of a matrix (Tq, Tv), most gain first; none where nothing stands out."""
    matrix = np.asarray(matrix, np.float32)
    if not matrix.size:
        return []
    gains = _stand_out(matrix, chance)
    found: list[Line] = []
    while len(found) < _MOST_LINES:
        line = _best_line(gains, matrix)
        if (
            line is None
            or line.gain < _MIN_SUM
            or (found and (line.gain < 0.02 * found[0].gain or line.first == line.last))
        ):
            break
        found.append(line)
        low, high = sorted((line.begin, line.end))
        rows = slice(line.first, line.last + 1)
        columns = slice(max(0, int(np.floor(low))), int(np.ceil(high)) + 1)
        mean = max(line.gain / (line.last - line.first + 1), _MARGIN)
        # A stretch that shows up twice is worth telling; weaker echoes of the same are not.
        gains[rows, :] -= 0.7 * mean
        gains[:, columns] -= 0.7 * mean
        gains[rows, columns] = -1.0
    return found


def _stand_out(matrix: np.ndarray, chance: float) -> np.ndarray:
    """How much each cell is above what its row and its column have elsewhere, less a margin."""
    rows = np.quantile(matrix, 0.4, axis=1, method="lower", keepdims=True)
    columns = np.quantile(matrix, 0.4, axis=0, method="lower", keepdims=True)
    return matrix - np.clip(np.maximum(rows, columns), chance, _CAP) - _MARGIN


def _best_line(gains: np.ndarray, matrix: np.ndarray) -> Line | None:
    rows, columns = _peaks(gains)
    if not len(rows):
        return None
    weight = gains[rows, columns].astype(np.float64)
    tried = []
    for sign in (1.0, -1.0):
        for speed in SPEEDS:
            slope = sign * speed
            offset = columns - slope * rows
            low = np.floor(offset.min()) - 1
            counts = np.bincount(np.round(offset - low).astype(np.int64), weight)
            votes = np.convolve(counts, (0.5, 1.0, 0.5), "same")
            at = int(votes.argmax())
            prior = 1.0 if slope == 1.0 else 0.9 if slope > 0 else 0.85
            tried.append((votes[at] * prior, slope, at + low))
    tried.sort(reverse=True)
    lines = [_follow(gains, matrix, slope, offset) for _, slope, offset in tried[:_TRIED]]
    best = max((line for line in lines if line is not None), key=lambda line: line[0], default=None)
    return None if best is None else _refined(gains, matrix, best)


def _peaks(gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cells that vote: the highest of each row and of each column that stand out."""
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


def _follow(gains: np.ndarray, matrix: np.ndarray, slope: float, offset: float) -> _Run | None:
    """The run with the largest sum along a line, over small shifts of it."""
    best: _Run | None = None
    prior = 1.0 if slope == 1.0 else 0.97 if slope > 0 else 0.93
    i = np.arange(gains.shape[0])
    for shift in (0.0, -0.5, 0.5, -1.0, 1.0):
        cells = _along(gains, i, slope * i + offset + shift).astype(np.float64)
        total = np.concatenate([[0.0], np.cumsum(cells)])
        low = np.minimum.accumulate(total[:-1])
        rise = total[1:] - low
        last = int(rise.argmax())
        if rise[last] <= 0:
            continue
        first = int(np.flatnonzero(total[: last + 1] == low[last])[-1])
        if best is None or rise[last] * prior > best[0] + 1e-6:
            best = (float(rise[last]) * prior, slope, offset + shift, first, last)
    return best


def _along(gains: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The cells on a line, or a little less of the better neighbour; outside of the matrix far below."""
    width = gains.shape[1]
    middle = np.round(j).astype(np.int64)
    outside = (j < -0.75) | (j > width - 0.25)
    sides = [
        np.where((middle + d >= 0) & (middle + d < width), gains[i, np.clip(middle + d, 0, width - 1)] - cost, -1.0)
        for d, cost in ((0, 0.0), (-1, _JITTER), (1, _JITTER))
    ]
    return np.where(outside, -100.0, np.maximum.reduce(sides))


def _refined(gains: np.ndarray, matrix: np.ndarray, run: _Run) -> Line:
    """Its slope and offset fitted to the cells that agree most, and followed again."""
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
        for tried, weigh in ((fitted, 1.0), *((float(np.sign(slope)) * speed, 1.02) for speed in common)):
            if 0.4 < abs(tried) < 2.5 and tried * slope > 0:
                again = _follow(gains, matrix, tried, float(middle - tried * centre))
                runs += [(again[0] * weigh, again)] if again is not None else []
        _, slope, offset, first, last = max(runs, key=lambda each: each[0])[1]
    i = np.arange(first, last + 1)
    j = np.clip(slope * i + offset, 0, gains.shape[1] - 1)
    gain = float(np.maximum(_along(gains, i, j), -1.0).sum())
    agreement = float(np.maximum(_along(matrix, i, j), 0).mean())
    begin, end = round(float(j[0]), 4), round(float(j[-1]), 4)
    return Line(first=first, last=last, begin=begin, end=end, agreement=agreement, gain=gain)
