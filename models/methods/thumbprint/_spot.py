"""A cheap look at many candidates at once: the placements that the index proposes, on three pairs of frames each.

Only the frames in question are decoded. Windows are refined roughly, at half the pixels, and of candidates that this
leaves the best ones closely, at all pixels. What is far from any evidence there has none in the full comparison, which
costs some twenty times as much.
"""

from __future__ import annotations

from collections import Counter
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
    agreement,
    blur,
    information_of_pairs,
    local_contrast,
    see,
    see_whole,
)

_TRIED = 4  # placements of a candidate
_CLOSE = 2  # of them that are looked at closely
_NARROW = 0.6  # of the picture: a smaller window is cut out of pictures that were not smoothed
# Nats of the rough look. None of 386 pairs of real clips that the full comparison calls copies had less than the least;
# of 5,300 candidates one in eleven lay between the two, and is looked at closely.
_LEAST_ROUGH, _SURE_ROUGH = -2.0, 3.0
# Of the close look: 3 of the 386 had less than 1.0 (insets that the votes did not place), of 915 others 9 in 10. An
# inset that a rectangle of its query places, a pixel too large, had 0.93; one in a hundred others lies between.
LEAST = 0.8
# Frames of the query and of a candidate of which the pairs that agree most are tried picture on picture, which votes do
# not propose where something large covers the middle.
_OF_QUERY, _OF_VIDEO = 6, 12
_CHOSEN = 2.0  # nats that they have to make up, as pairs are chosen by what they agree
_BATCH = 64  # placements at a time


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


@dataclass(frozen=True)
class _Pictures:
    """Decoded frames of the query, or of all candidates."""

    sharp: torch.Tensor  # (N, S, S)
    smooth: torch.Tensor  # (N, S, S)
    grid: torch.Tensor  # (N, n, n): whole pictures as they are compared

    @classmethod
    def of(cls, images: torch.Tensor) -> _Pictures:
        """Smooth pictures (N, S, S)."""
        smooth = blur(images, 1)
        return cls(images, smooth, see_whole(smooth))


@torch.inference_mode()
def spot(query: torch.Tensor, videos: Sequence[torch.Tensor], places: Sequence[Sequence[Place]]) -> np.ndarray:
    """Score each candidate's best placement in nats, (V,) float32;
    codes (T, 512) uint8 of the query and of V videos.
    """
    frames = [_Decoded() for _ in range(2)]
    trials = [trial for of, mine in enumerate(places) for trial in _trials(of, mine, frames[0], frames[1])]
    some = [frames[0].place(0, window) for window in _spread(len(query), _OF_QUERY)]
    of_videos = [[frames[1].place(of, w) for w in _spread(len(video), _OF_VIDEO)] for of, video in enumerate(videos)]
    pictures = [_Pictures.of(frames[0].images([query])), _Pictures.of(frames[1].images(list(videos)))]
    rough, theta = _all_tried(trials, pictures, _windows(trials), size=GRID // 2, radii=(3, 3, 2))
    best = _best_of_each(len(videos), trials, rough)
    doubtful = (best >= _LEAST_ROUGH) & (best < _SURE_ROUGH)
    chosen = _best_trials(trials, rough, doubtful.tolist())
    close, _ = _all_tried([trials[n] for n in chosen], pictures, theta[chosen], size=GRID, radii=(3, 2, 2))
    best[doubtful] = _best_of_each(len(videos), [trials[n] for n in chosen], close)[doubtful]
    over = _picture_on_picture(pictures, some, of_videos)
    covered, _ = _all_tried(over, pictures, _windows(over), size=GRID // 2, radii=())
    return torch.maximum(best, covered - _CHOSEN).numpy()


def _spread(n_windows: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, n_windows - 1, min(most, n_windows)).astype(int)).tolist()


def _picture_on_picture(pictures: Sequence[_Pictures], query: list[int], videos: Sequence[list[int]]) -> list[_Trial]:
    """Propose one trial a candidate: its whole picture on the query's, at the pairs of some frames that agree most."""
    shown = [
        local_contrast(each.grid[at], 0)
        for each, at in zip(pictures, (query, [place for mine in videos for place in mine]))
    ]
    agrees, trials, start = agreement(*shown), [], 0
    for of, mine in enumerate(videos):
        best, when = agrees[:, start : start + len(mine)].max(1)
        start += len(mine)
        rows = best.topk(min(N_PAIRS, len(query))).indices[torch.arange(N_PAIRS) % min(N_PAIRS, len(query))].tolist()
        at = [query[row] for row in rows], [mine[int(when[row])] for row in rows]
        trials.append(_Trial(of, True, (0.0, 0.0, 1.0, 1.0), 0, 1, *at))
    return trials


def _best_of_each(n_videos: int, trials: Sequence[_Trial], nats: torch.Tensor) -> torch.Tensor:
    """Find the most nats of any trial of each candidate, (V,)."""
    of = torch.tensor([trial.of for trial in trials], dtype=torch.long)
    return torch.full((n_videos,), -1e4).scatter_reduce_(0, of, nats, "amax")


def _best_trials(trials: Sequence[_Trial], nats: torch.Tensor, doubtful: Sequence[bool]) -> list[int]:
    """Choose the trials that are looked at closely: the best _CLOSE of each candidate in doubt."""
    chosen: list[int] = []
    count: Counter[int] = Counter()
    for n in nats.argsort(descending=True, stable=True).tolist():
        of = trials[n].of
        if doubtful[of] and count[of] < _CLOSE:
            count[of] += 1
            chosen.append(n)
    return chosen


def _all_tried(
    trials: Sequence[_Trial], pictures: Sequence[_Pictures], theta: torch.Tensor, *, size: int, radii: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run `_tried`, some at a time."""
    parts = [
        _tried(trials[start : start + _BATCH], pictures, theta[start : start + _BATCH], size=size, radii=radii)
        for start in range(0, len(trials), _BATCH)
    ]
    nats, windows = zip(*parts) if parts else ((), ())
    return torch.cat([torch.zeros(0), *nats]), torch.cat([torch.zeros(0, 2, 3), *windows])


class _Decoded:
    """Which frames of which video are needed, each once."""

    def __init__(self) -> None:
        self._wanted: dict[tuple[int, int], int] = {}

    def place(self, of: int, window: int) -> int:
        return self._wanted.setdefault((of, window), len(self._wanted))

    def images(self, codes: Sequence[torch.Tensor]) -> torch.Tensor:
        """Decode pictures (N, S, S), as `thumbnails` shows them."""
        by_video: dict[int, list[tuple[int, int]]] = {}
        for (of, window), place in self._wanted.items():
            by_video.setdefault(of, []).append((window, place))
        images = torch.empty(len(self._wanted), search.SIDE, search.SIDE)
        rows, around, places = [], [], []
        for of, mine in by_video.items():
            windows = [window for window, _ in mine]
            rows.append(codes[of][windows])
            around.append(search.headers_around(codes[of], windows))
            places += [place for _, place in mine]
        if rows:
            images[places] = search.shown(torch.cat(rows), torch.cat(around))
        return images


def _trials(of: int, places: Sequence[Place], query: _Decoded, video: _Decoded) -> list[_Trial]:
    """Take the first distinct placements of one candidate, with the pairs of windows that speak for each."""
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
                [query.place(0, pair.query_window) for pair in pairs],
                [video.place(of, pair.video_window) for pair in pairs],
            )
        )
    return trials


def _windows(trials: Sequence[_Trial]) -> torch.Tensor:
    """Make the windows that votes propose, (P, 2, 3)."""
    if not trials:
        return torch.zeros(0, 2, 3)
    zero = torch.zeros(len(trials))
    x, y, width, height = torch.tensor([trial.window for trial in trials]).T
    return torch.stack([width, zero, x, zero, height, y], 1).unflatten(1, (2, 3))


def _tried(
    trials: Sequence[_Trial], pictures: Sequence[_Pictures], theta: torch.Tensor, *, size: int, radii: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score trials in nats per pair of frames (P,), less what other placements than picture on picture cost; refine
    windows (P, 2, 3).

    Those of before or after refinement, whichever say more. Pictures of the query and of the candidates.
    """
    channels = _slopes(trials, pictures)
    templates = []
    for trial in trials:
        kept, at = (pictures[1], trial.video_frames) if trial.in_query else (pictures[0], trial.query_frames)
        templates.append(search.turn(kept.grid[at], trial.turn) * trial.sign)
    goal = torch.stack(templates)
    if size < GRID:
        goal = F.avg_pool2d(goal, GRID // size)
    both = [theta, refine(channels, goal, theta, radii=radii)] if radii else [theta]
    seen, inside = (torch.cat(each) for each in zip(*(see(channels[:, :, 0], each, size) for each in both)))
    nats = []
    for scale in range(len(SCALES)):
        cut = local_contrast(seen, scale, inside[:, None])
        nats.append(information_of_pairs(cut, local_contrast(goal, scale)).mean(1))
    windows = torch.stack(both)  # (1 or 2, P, 2, 3)
    away = ((windows - torch.eye(2, 3)).abs().amax((2, 3)) / 0.15).clamp(max=1.0)
    turned = torch.tensor([bool(trial.turn or trial.sign < 0) for trial in trials])
    away = torch.where(turned, 1.0, away)
    best, at = (torch.stack(nats).amax(0).unflatten(0, (len(both), -1)) - PRIOR * away).max(0)
    return best, windows[at, torch.arange(len(trials))]


def _slopes(trials: Sequence[_Trial], pictures: Sequence[_Pictures]) -> torch.Tensor:
    """Stack what is looked at through the window of each trial, (P, N_PAIRS, 3, S, S) of `slopes`; each frame once."""
    places: dict[tuple[int, bool, int], int] = {}
    rows = []
    for trial in trials:
        source, at = (0, trial.query_frames) if trial.in_query else (1, trial.video_frames)
        narrow = max(trial.window[2:]) < _NARROW
        rows.append([places.setdefault((source, narrow, frame), len(places)) for frame in at])
    frames = [(pictures[source].sharp if narrow else pictures[source].smooth)[at] for source, narrow, at in places]
    return slopes(torch.stack(frames))[torch.tensor(rows)]
