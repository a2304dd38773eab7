"""A cheap look at many candidates at once: the placements that the index proposes, on three pairs of frames each.

Only the frames in question are decoded; windows are refined roughly, at half the pixels. What is far from any evidence
there has none in the full comparison, which costs some twenty times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ndvr.models.keys import NEGATIVE, Place
from ndvr.models.methods.thumbprint import _search as search
from ndvr.models.methods.thumbprint._align import N_PAIRS, PRIOR, refine, slopes
from ndvr.models.methods.thumbprint._evidence import (
    GRID,
    SCALES,
    agreement_of_pairs,
    blur,
    freedom,
    information,
    local_contrast,
    see,
)

_TRIED = 4  # placements of a candidate
_SIZE = GRID // 2
_RADII = (3, 3, 2)
_NARROW = 0.6  # of the picture: a smaller window is cut out of pictures that were not smoothed
LEAST = -3.0  # nats: of 222 real copies 4 had less (edits of one source, not of each other), of others 4 in 5
_BATCH = 256  # placements at a time


@dataclass(frozen=True)
class _Trial:
    """Candidate `of`; frames by their places in the decoded ones, N_PAIRS each."""

    of: int
    in_query: bool  # the candidate's whole picture lies in the query's; otherwise the other way round
    window: tuple[float, float, float, float]  # centre x, y, half width, height
    turn: int
    sign: int
    query_frames: list[int]
    video_frames: list[int]


@torch.inference_mode()
def spot(query: torch.Tensor, videos: Sequence[torch.Tensor], places: Sequence[Sequence[Place]]) -> np.ndarray:
    """Nats of each candidate's best placement, (V,) float32; codes (T, 512) uint8 of the query and of V videos."""
    frames = [_Decoded() for _ in range(2)]
    trials = [trial for of, mine in enumerate(places) for trial in _trials(of, mine, frames[0], frames[1])]
    images = [frames[0].images([query] * len(videos)), frames[1].images(list(videos))]
    best = torch.full((len(videos),), -1e4)
    for start in range(0, len(trials), _BATCH):
        batch = trials[start : start + _BATCH]
        nats = _tried(batch, *images)
        best.scatter_reduce_(0, torch.tensor([trial.of for trial in batch]), nats, "amax")
    return best.numpy()


class _Decoded:
    """Which frames of which video are needed, each once."""

    def __init__(self) -> None:
        self._wanted: dict[tuple[int, int], int] = {}

    def place(self, of: int, window: int) -> int:
        return self._wanted.setdefault((of, window), len(self._wanted))

    def images(self, codes: Sequence[torch.Tensor]) -> torch.Tensor:
        """(N, S, S), as `thumbnails` shows them."""
        by_video: dict[int, list[tuple[int, int]]] = {}
        for (of, window), place in self._wanted.items():
            by_video.setdefault(of, []).append((window, place))
        images = torch.empty(len(self._wanted), search.SIDE, search.SIDE)
        rows, boxes, shared, places = [], [], [], []
        for of, mine in by_video.items():
            windows = [window for window, _ in mine]
            box, shot = search.boxes_of(codes[of], windows)
            rows.append(codes[of][windows])
            boxes.append(box)
            shared.append(shot)
            places += [place for _, place in mine]
        if rows:
            images[places] = search.shown(torch.cat(rows), torch.cat(boxes), torch.cat(shared))
        return images


def _trials(of: int, places: Sequence[Place], query: _Decoded, video: _Decoded) -> list[_Trial]:
    """The first distinct placements of one candidate, with the pairs of windows that speak for each."""
    groups: dict[tuple, list[Place]] = {}
    for place in places:
        x, y, width, height = place.placement
        key = (place.turn, *(round(4 * v) for v in (np.log2(width), np.log2(height), x / width, y / height)))
        groups.setdefault(key, []).append(place)
    trials = []
    for mine in list(groups.values())[:_TRIED]:
        x, y, width, height = mine[0].placement
        turn, sign = mine[0].turn & 7, -1 if mine[0].turn & NEGATIVE else 1
        in_query = width * height <= 1
        if not in_query:
            x, y, width, height = -x / width, -y / height, 1 / width, 1 / height
            x, y = (-x if turn & 1 else x), (-y if turn & 2 else y)
            if turn & 4:
                x, y, width, height = y, x, height, width
                turn = 4 | (turn & 1) << 1 | (turn & 2) >> 1
        pairs = [mine[k % len(mine)] for k in range(N_PAIRS)]
        trials.append(
            _Trial(
                of,
                in_query,
                (x, y, width, height),
                turn,
                sign,
                [query.place(of, pair.query_window) for pair in pairs],
                [video.place(of, pair.video_window) for pair in pairs],
            )
        )
    return trials


def _tried(trials: Sequence[_Trial], query: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
    """Nats per pair of frames (P,) after refinement, less what other placements than picture on picture cost."""
    smooth = [blur(query, 1), blur(video, 1)]
    sharp = [query, video]
    sources, templates = [], []
    for trial in trials:
        at = [torch.tensor(trial.query_frames), torch.tensor(trial.video_frames)]
        source, other = (0, 1) if trial.in_query else (1, 0)
        narrow = max(trial.window[2:]) < _NARROW
        sources.append((sharp if narrow else smooth)[source][at[source]])
        templates.append(search.turn(smooth[other][at[other]], trial.turn) * trial.sign)
    whole = torch.eye(2, 3).expand(len(trials), 2, 3)
    goal = see(torch.stack(templates), whole, GRID)[0]
    goal = F.avg_pool2d(goal, GRID // _SIZE)
    zero = torch.zeros(len(trials))
    x, y, width, height = torch.tensor([trial.window for trial in trials]).T
    theta = torch.stack([width, zero, x, zero, height, y], 1).unflatten(1, (2, 3))
    channels = slopes(torch.stack(sources))
    both = torch.cat([theta, refine(channels, goal, theta, radii=_RADII)])
    seen, inside = see(channels[:, :, 0].repeat(2, 1, 1, 1), both, _SIZE)
    nats = []
    for scale in range(len(SCALES)):
        own = local_contrast(goal, scale).repeat(2, 1, 1, 1)
        cut = local_contrast(seen, scale, inside[:, None])
        r, best = agreement_of_pairs(cut, own)
        nats.append(information(r, best, freedom(cut, own)).mean(1))
    away = ((both - whole.repeat(2, 1, 1)).abs().amax((1, 2)) / 0.15).clamp(max=1.0)
    turned = torch.tensor([bool(trial.turn or trial.sign < 0) for trial in trials]).repeat(2)
    away = torch.where(turned, 1.0, away)
    return (torch.stack(nats).amax(0) - PRIOR * away).unflatten(0, (2, -1)).amax(0)
