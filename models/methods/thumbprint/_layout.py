"""What was put over a picture or beside it: rectangles whose sides stand still while pictures change.

Insets, cells of a split screen, stickers and captions end in straight lines, at which the grey levels jump more than a
few pixels beside them. Each such rectangle proposes two pictures to look up: what is in it, and what is around it, with
the rectangle filled in from its edges.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

from ndvr.models.methods.thumbprint._codes import SIDE

LEAST_SIDE = 4  # pixels
_BESIDE = (2, 3, 4)  # pixels to both sides of a line, where it is looked how much grey levels jump around it
_LEAST = 0.05  # of a rectangle's score
_ONE_LINE = 1.5  # the most that one pixel of a side can say, and _AGAINST the least
_AGAINST = -1.0
_SAME = 2  # pixels: rectangles whose sides are nearer to each other are the same


def rectangles(images: torch.Tensor, *, most: int) -> torch.Tensor:
    """Find rectangles in pictures (T, S, S) of one shot or layout: (R, 4) top, bottom, left, right in pixels,
    the clearest first.
    """
    first, last = _spans()
    across, down = _lines(images)
    upright, level = _along(across), _along(down)  # (P, S + 1) each: a span of a line, and where the line is
    # The weakest side counts as much as all; one on the border of the picture is none.
    sides = torch.stack([upright[:, first], upright[:, last], level[:, first].T, level[:, last].T])
    inner = sides < torch.inf
    count = inner.sum(0)
    score = (sides.amin(0) + sides.where(inner, 0.0).sum(0) / count) / 2 * count.sqrt()
    score[count == 0] = 0.0  # the picture
    clearest: list[list[int]] = []
    while len(clearest) < most and float(score.max()) > _LEAST:
        rows, columns = divmod(int(score.argmax()), len(first))
        clearest.append([int(side) for side in (first[rows], last[rows], first[columns], last[columns])])
        near_rows, near_columns = (
            ((first - first[at]).abs() <= _SAME) & ((last - last[at]).abs() <= _SAME) for at in (rows, columns)
        )
        score[near_rows[:, None] & near_columns] = 0.0
    return torch.tensor(clearest, dtype=torch.long).view(-1, 4)


@cache
def _spans() -> tuple[torch.Tensor, torch.Tensor]:
    """List where spans of a side begin, and where they end: (P,) each, in pixels."""
    first, last = torch.triu_indices(SIDE + 1, SIDE + 1, LEAST_SIDE)
    return first, last


def _lines(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Measure how much more pictures (T, S, S) jump across lines than beside these, pixel by pixel: (S, S + 1) each.

    [r, c] of the first: in row r, between columns c - 1 and c; of the second: in column r, between rows.
    """
    jumps = [images.diff(dim=2).abs().mean(0), images.diff(dim=1).abs().mean(0).T]
    usual = sum(float(each.mean()) for each in jumps) / 2
    lines = []
    for each in jumps:
        reach = max(_BESIDE)
        wide = F.pad(each[None], (reach, reach), mode="reflect")[0]
        n = each.shape[1]
        beside = torch.stack([wide[:, reach + by :][:, :n] for step in _BESIDE for by in (-step, step)]).mean(0)
        more = torch.log((each + usual + 1e-6) / (beside + usual + 1e-6)).clamp(_AGAINST, _ONE_LINE)
        lines.append(F.pad(more, (1, 1)))
    return lines[0], lines[1]


def _along(lines: torch.Tensor) -> torch.Tensor:
    """Average along every span of every line: (S, S + 1) -> (P, S + 1); infinite on the border of the picture."""
    first, last = _spans()
    total = F.pad(lines.cumsum(0), (0, 0, 1, 0))
    mean = (total[last] - total[first]) / (last - first)[:, None]
    mean[:, [0, SIDE]] = torch.inf
    return mean


def filled(images: torch.Tensor, rectangle: list[int]) -> torch.Tensor:
    """Fill a rectangle of pictures (T, S, S) from its edges: as smooth as can be (Laplace's equation)."""
    top, bottom, left, right = rectangle
    edges = torch.zeros(len(images), bottom - top, right - left)
    for inside, row in ((0, top - 1), (-1, bottom)):
        if 0 <= row < SIDE:
            edges[:, inside] += images[:, row, left:right]
    for inside, column in ((0, left - 1), (-1, right)):
        if 0 <= column < SIDE:
            edges[:, :, inside] += images[:, top:bottom, column]
    (rows, of_rows), (columns, of_columns) = _waves(top, bottom), _waves(left, right)
    smooth = rows.T @ edges @ columns / (of_rows[:, None] + of_columns)
    images = images.clone()
    images[:, top:bottom, left:right] = rows @ smooth @ columns.T
    return images


@cache
def _waves(first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve for what sums of neighbours' differences keep their shape: (N, N) a column each, and how large (N,)."""
    n = last - first
    differences = 2 * torch.eye(n, dtype=torch.float64)
    differences[0, 0] -= int(first == 0)  # nothing is known beyond the picture
    differences[-1, -1] -= int(last == SIDE)
    beside = torch.arange(n - 1)
    differences[beside, beside + 1] = differences[beside + 1, beside] = -1
    size, shape = torch.linalg.eigh(differences)
    return shape.float(), size.float()
