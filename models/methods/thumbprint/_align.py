"""The score of two videos: propose placements on key frames, verify the best on all frames, weigh the evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from ndvr.models.keys import NEGATIVE, Judged, cell_step
from ndvr.models.methods.thumbprint import _search as search
from ndvr.models.methods.thumbprint._evidence import (
    FITTED,
    GRID,
    NOISE,
    SCALES,
    agreement,
    blur,
    evidence,
    information_of_pairs,
    local_contrast,
    see,
)
from ndvr.models.methods.thumbprint._search import Prepared
from ndvr.models.methods.thumbprint._setting import LEFT, without_setting

# --- Refinement: an affine window is moved until what it shows fits a template (Gauss-Newton on local contrast)


_DAMPING = 0.02


def slopes(images: torch.Tensor) -> torch.Tensor:
    """Stack picture, horizontal and vertical slope per unit of [-1, 1] coordinates: (..., S, S) -> (..., 3, S, S)."""
    half = images.shape[-1] / 4
    padded = F.pad(images.flatten(0, -3), (1, 1, 1, 1), mode="replicate").unflatten(0, images.shape[:-2])
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * half
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * half
    return torch.stack([images, dx, dy], -3)


def _detail(x: torch.Tensor, radius: int) -> torch.Tensor:
    """Subtract surroundings from channels (P, K, C, n, n), over the local strength of the first."""
    if radius > 2:
        x = blur(x, radius // 2)
    x = x - blur(x, radius)
    return x * torch.rsqrt(blur(x[:, :, :1].square(), radius) + NOISE**2)


def refine(
    channels: torch.Tensor,
    template: torch.Tensor,
    theta: torch.Tensor,
    radii: tuple[int, ...],
) -> torch.Tensor:
    """Improve windows (P, 2, 3) on (P, K, 3, S, S) of `slopes`, for (P, K, n, n); a window is shared by its K pairs.

    One step per radius, of the neighbourhood that detail stands out from. Pixels count by how well their
    surroundings agree, so that a logo or another picture on top does not pull.
    """
    n = template.shape[-1]
    at = F.affine_grid(torch.eye(2, 3, device=theta.device)[None], [1, 1, n, n], align_corners=False)
    at = torch.cat([at.flatten(0, 2), torch.ones(n * n, 1, device=theta.device)], 1).T  # (3, n * n)
    goals = {radius: _detail(template[:, :, None], radius) for radius in set(radii)}  # (P, K, 1, n, n)
    for radius in radii:
        goal = goals[radius]
        seen = _detail(
            see(channels.flatten(1, 2), theta, n)[0].unflatten(1, channels.shape[1:3]),
            radius,
        )
        weight = blur(seen[:, :, 0] * goal[:, :, 0], radius).clamp(min=0.05)  # about the local correlation
        error = (goal - seen)[:, :, 0].flatten(-2)
        slope = seen[:, :, 1:].flatten(-2)  # (P, K, 2, n * n)
        jacobian = (slope[:, :, :, None] * at).flatten(2, 3)  # (P, K, 6, n * n), rows of theta
        pulled = jacobian * weight.flatten(-2)[:, :, None]
        jacobian, pulled = (x.transpose(1, 2).flatten(2) for x in (jacobian, pulled))  # (P, 6, K * n * n)
        normal = pulled @ jacobian.transpose(1, 2)
        push = pulled @ error.flatten(1)[..., None]
        ridge = normal.diagonal(dim1=1, dim2=2) * _DAMPING + 1e-3
        move = torch.linalg.solve(normal + torch.diag_embed(ridge), push)[..., 0]
        reach = theta[:, :2, :2].abs().amax((1, 2))[:, None] * 0.15
        theta = theta + torch.maximum(torch.minimum(move, reach), -reach).unflatten(1, (2, 3))
    return theta


MAX_DENSE = 48  # frames; of a longer video every second is searched
_PRODUCTS = 1 << 17  # at a time: they stay in the cache until the highest is taken
N_PROPOSALS = 8  # boxes that are tried out, beside the whole picture
MIN_COARSE = 0.33  # of a box worth trying
N_PAIRS = 3  # pairs of frames a placement is tried on
N_CLOSE = 3  # placements that are refined closely
N_VERIFIED = 2  # placements that are judged on all frames
PRIOR = 9.0  # nats that a placement other than picture on picture has to make up: so many were tried


@dataclass(frozen=True)
class Proposal:
    """b's whole picture, turned, may appear in a window of a; seen at these pairs of frames."""

    score: float
    swapped: bool  # a is the second video
    theta: torch.Tensor  # (2, 3)
    turn: int
    sign: int  # -1: as a negative
    a_at: torch.Tensor  # (N_PAIRS,) frames
    b_at: torch.Tensor


def _pairs(value: torch.Tensor, at: torch.Tensor, when: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the N_PAIRS best frames (repeated where there are fewer): values, frames of a, frames of b, (n,) each."""
    k = min(N_PAIRS, len(value))
    best = value.topk(k).indices[torch.arange(N_PAIRS) % k]
    return at[best], when[best]


def propose_whole(a: Prepared, b: Prepared) -> list[Proposal]:
    """Propose whole picture on whole picture, all frames: as it is, mirrored, negative, and the best other turn."""
    frames = torch.arange(len(a.weight))
    m = min(N_PAIRS * 2, len(a.weight), len(b.weight))
    proposals = []
    for g in range(search.N_TURNS):
        similarity = a.spectra @ b.probes[g].T
        for sign in (1, -1) if g == 0 else (1,):
            value, when = (sign * similarity).max(1)
            score = float(value.topk(m).values.mean())
            proposals.append(Proposal(score, False, torch.eye(2, 3), g, sign, *_pairs(value, frames, when)))
    return proposals[:3] + [max(proposals[3:], key=lambda p: p.score)]


def _strongest(crops: torch.Tensor, probes: torch.Tensor) -> torch.Tensor:
    """Find the strongest over all frames, per key frame, box and turn: (K, B, D), (G, T, D) -> (K, B, G).
    Few boxes at a time.
    """
    frames = probes.flatten(0, 1)
    best = [
        (frames @ part.T).unflatten(0, probes.shape[:2]).amax(1)
        for part in crops.flatten(0, 1).split(max(1, _PRODUCTS // len(frames)))
    ]
    return torch.cat(best, 1).T.unflatten(0, crops.shape[:2])


@dataclass(frozen=True)
class _Boxed:
    """b's whole picture, turned, may appear in this box of a."""

    score: float
    swapped: bool  # a is the second video
    box: torch.Tensor  # scalar
    turn: int


def propose_boxes(a: Prepared, b: Prepared) -> list[Proposal]:
    """Propose placements of the whole picture of one video in a box of the other's key frames, the best first."""
    boxed = sorted([*_boxed(a, b, False), *_boxed(b, a, True)], key=lambda each: -each.score)
    proposals = []
    for each in boxed[:N_PROPOSALS]:
        x, y = (b, a) if each.swapped else (a, b)
        value, when = ((x.crops[:, each.box] * x.strength[:, each.box, None]) @ y.probes[each.turn].T).max(1)
        window, pairs = search.windows(each.box[None])[0], _pairs(value, x.keys, when)
        proposals.append(Proposal(each.score, each.swapped, window, each.turn, 1, *pairs))
    return proposals


def _boxed(a: Prepared, b: Prepared, swapped: bool) -> list[_Boxed]:
    """Find the best boxes of a's key frames, of different sizes and turns, best first."""
    _, _, group = search.boxes()
    large = search.large_boxes()
    probes = b.probes[:, :: 2 if len(b.weight) > MAX_DENSE else 1]
    upright = _strongest(a.crops, probes[:2]) * a.strength[..., None]  # (K, B, 2)
    turned = _strongest(a.crops[:, large], probes[2:]) * a.strength[:, large, None]  # (K, L, 6)
    half = (len(a.keys) + 1) // 2
    half = min(half, 4)
    upright = upright.topk(half, dim=0).values.mean(0).T  # (2, B)
    turned = turned.topk(half, dim=0).values.mean(0).T
    n_groups = int(group.max()) + 1
    best = torch.full((8, n_groups), -1.0)
    best[:2].scatter_reduce_(1, group.expand(2, -1), upright, "amax")
    best[2:].scatter_reduce_(1, group[large].expand(6, -1), turned, "amax")
    top = best.flatten().topk(N_PROPOSALS)
    boxed = []
    for score, index in zip(top.values.tolist(), top.indices.tolist(), strict=True):
        if score < MIN_COARSE:
            break
        g, member = index // n_groups, index % n_groups
        if g < 2:
            box = torch.where(group == member, upright[g], -2.0).argmax()
        else:
            box = large[torch.where(group[large] == member, turned[g - 2], -2.0).argmax()]
        boxed.append(_Boxed(score, swapped, box, g))
    return boxed


def refined(a: Prepared, b: Prepared, proposals: list[Proposal]) -> list[tuple[float, Proposal, torch.Tensor, int]]:
    """Return the best proposals with their nats per pair of frames, window and scale:
    all roughly, then a few closely.
    """
    rough = _tried(a, b, proposals, [p.theta for p in proposals], size=GRID // 2, radii=(3, 3, 2))
    rough = rough[:N_CLOSE]
    return _tried(a, b, [r[1] for r in rough], [r[2] for r in rough], size=GRID, radii=(3, 2, 2))


def _tried(
    a: Prepared,
    b: Prepared,
    proposals: list[Proposal],
    start: list[torch.Tensor],
    *,
    size: int,
    radii: tuple,
) -> list[tuple[float, Proposal, torch.Tensor, int]]:
    """Refine windows by some steps, at `size` pixels per side, best first."""
    sources, turned = [], []
    for p in proposals:
        x, y = (b, a) if p.swapped else (a, b)
        sources.append((x.images if _is_narrow(p) else x.smooth)[p.a_at])
        turned.append(search.turn(y.grid[p.b_at], p.turn) * p.sign)
    channels, templates = slopes(torch.stack(sources)), torch.stack(turned)
    if size < GRID:
        templates = torch.nn.functional.avg_pool2d(templates, GRID // size)
    first = torch.stack(start)
    both = torch.cat([first, refine(channels, templates, first, radii=radii)])  # (2 * P, 2, 3)
    seen, inside = see(channels[:, :, 0].repeat(2, 1, 1, 1), both, size)
    nats = []
    for scale in range(len(SCALES)):
        goal = local_contrast(templates, scale)
        shown = local_contrast(seen, scale, inside[:, None])
        nats.append(information_of_pairs(shown, goal).mean(1))
    nats = torch.stack(nats).unflatten(1, (2, -1))  # (scale, before or after, P)
    away = torch.tensor([_away(p, theta) for p, theta in zip(proposals * 2, both, strict=True)])
    value, at = (nats - PRIOR * away.unflatten(0, (2, -1))).flatten(0, 1).max(0)
    order = value.argsort(descending=True, stable=True).tolist()
    return [
        (
            float(value[i]),
            proposals[i],
            both[int(at[i]) % 2 * len(proposals) + i],
            int(at[i]) // 2,
        )
        for i in order
    ]


def _is_narrow(p: Proposal) -> bool:
    """Say whether the window is so small that the source must not be smoothed before sampling."""
    return bool(p.theta[[0, 1], [0, 1]].max() < 0.6)


def _away(p: Proposal, theta: torch.Tensor) -> float:
    """Measure how far a placement is from picture on picture, as it is: 0, to 1 for every other one."""
    if p.turn or p.sign < 0:
        return 1.0
    return min(float((theta - torch.eye(2, 3)).abs().max()) / 0.15, 1.0)


@dataclass(frozen=True)
class Verified:
    """A placement that was judged on all frames."""

    nats: torch.Tensor
    matrix: torch.Tensor  # (Ta, Tb) correlations of frames
    proposal: Proposal
    theta: torch.Tensor  # (2, 3), refined

    def swapped(self) -> Verified:
        """Exchange the two videos."""
        p = self.proposal
        return replace(self, matrix=self.matrix.T, proposal=replace(p, swapped=not p.swapped))


def best(a: Prepared, b: Prepared, least: float = -math.inf) -> Verified:
    """Find the placement with the most evidence.

    Where that is not more than `least` nats, it may be another one, and its nats too many, but not above `least`.
    """
    if b.rank < a.rank:
        return best(b, a, least).swapped()
    top = None
    for _, p, theta, scale in refined(a, b, propose_whole(a, b) + propose_boxes(a, b))[:N_VERIFIED]:
        each = _verified(a, b, p, theta, scale, least)
        if top is None or each.nats > top.nats:
            top, least = each, max(least, float(each.nats))
    assert top is not None
    return top


def _verified(a: Prepared, b: Prepared, p: Proposal, theta: torch.Tensor, scale: int, least: float) -> Verified:
    """Judge a placement on all frames, unless it turns out on the way that it has no more than `least` nats."""
    x, y = (b, a) if p.swapped else (a, b)
    seen, inside = see((x.images if _is_narrow(p) else x.smooth)[None], theta[None])
    turned = search.turn(y.grid, p.turn) * p.sign
    fx, fy = local_contrast(seen[0], scale, inside[0]), local_contrast(turned, scale)
    away = _away(p, theta)
    weights = {"wa": x.weight, "wb": y.weight}
    score, matrix = evidence(fx, fy, **weights, fitted=FITTED * away, least=least + PRIOR * away)
    if score > LEFT and score - PRIOR * away > least:
        if scale:
            fx, fy = local_contrast(seen[0], 0, inside[0]), local_contrast(turned, 0)
        score = without_setting(score, fx, fy, **weights)
    nats = torch.where(score > 0, score - PRIOR * away, -1e4)
    return Verified(nats, matrix.T if p.swapped else matrix, p, theta)


def compare(a: Sequence[Prepared], b: Sequence[Prepared]) -> torch.Tensor:
    """Score a pair, a scalar in [0, 1]: that of the best parts."""
    return compare_all([a], [b])[0, 0]


def compare_all(queries: Sequence[Sequence[Prepared]], targets: Sequence[Sequence[Prepared]]) -> torch.Tensor:
    """Score all pairs of videos, (Q, V) in [0, 1], making the parts of long ones as seldom as their memory allows."""
    nats = [[torch.tensor(-torch.inf)] * len(targets) for _ in queries]
    for at_once in _at_once(queries):
        for v, target in enumerate(targets):
            for y in target:
                for q, x in at_once:
                    nats[q][v] = torch.maximum(nats[q][v], best(x, y).nats)
    # One by one: whole rows of exponentials may differ from single ones in the last digit.
    return torch.stack([torch.stack([calibrated(each) for each in row]) for row in nats])


def _at_once(videos: Sequence[Sequence[Prepared]]) -> Iterator[list[tuple[int, Prepared]]]:
    """List (number of the video, part) of as many parts as may be in memory: all, but of a long video a few."""
    short = [(n, part) for n, video in enumerate(videos) if not isinstance(video, search.Parts) for part in video]
    if short:
        yield short
    for n, video in enumerate(videos):
        if isinstance(video, search.Parts):
            start = 0
            while start < len(video):
                parts = [video[start]]  # then it is known how many fit
                parts += [video[k] for k in range(start + 1, min(start + video.at_once, len(video)))]
                yield [(n, part) for part in parts]
                start += len(parts)


def best_matrix(a: Sequence[Prepared], b: Sequence[Prepared]) -> torch.Tensor:
    """Show how frames agree, (Ta, Tb) in [0, 1], under the best placement of each pair of parts."""
    return torch.cat([torch.cat([best(x, y).matrix for y in b], 1) for x in a]).clamp(0, 1)


def own_matrix(a: Sequence[Prepared]) -> torch.Tensor:
    """Show how the frames of a video agree with each other as they are: (T, T) in [0, 1]."""
    contrast, weight = torch.cat([local_contrast(x.grid, 0) for x in a]), torch.cat([x.weight for x in a])
    return (agreement(contrast, contrast) * weight[:, None] * weight).clamp(0, 1)


def judge(a: Sequence[Prepared], b: Sequence[Prepared], least: float = -math.inf) -> Judged:
    """Do what `compare` and `best_matrix` do at once, and say what the placement of the best parts is.

    A score below `least` may be another one below it, and so may be what comes with it.
    """
    enough, step = _nats(least), _step(a, b)
    top: Verified | None = None
    rows = []
    for x in a:
        row = [best(x, y, enough) for y in b]
        strongest = max(row, key=lambda each: float(each.nats))
        top = strongest if top is None or strongest.nats > top.nats else top
        rows.append(torch.cat([_coarse(each.matrix, step) for each in row], 1))
    assert top is not None
    box, turn = placed(top)
    matrix = torch.cat(rows).clamp(0, 1)
    return Judged(score=float(calibrated(top.nats)), matrix=matrix.numpy(), box=box, turn=turn, step=step)


def _step(a: Sequence[Prepared], b: Sequence[Prepared]) -> int:
    """Say how many windows a cell of the matrix of two videos stands for: so many that parts are whole cells."""
    least = cell_step(search.n_frames(a), search.n_frames(b))
    return next(step for step in range(least, search.MAX_FRAMES + 1) if search.MAX_FRAMES % step == 0)


def _coarse(matrix: torch.Tensor, step: int) -> torch.Tensor:
    """Keep the largest of every step x step cells."""
    return matrix if step == 1 else F.max_pool2d(matrix[None], step, ceil_mode=True)[0]


def placed(verified: Verified) -> tuple[tuple[float, float, float, float], int]:
    """Say where the whole picture of b lies in a's, as centre and half sides, and the turn that brings it there."""
    p = verified.proposal
    (width, _, x), (_, height, y) = verified.theta.tolist()
    turn = p.turn
    if p.swapped:  # a's picture, turned, lies in b's: turn back, and see b's from a's
        width, height, x, y = 1 / max(width, 1e-3), 1 / max(height, 1e-3), -x / max(width, 1e-3), -y / max(height, 1e-3)
        x, y = (-x if turn & 1 else x), (-y if turn & 2 else y)
        if turn & 4:
            width, height, x, y = height, width, y, x
            turn = 4 | (turn & 1) << 1 | (turn & 2) >> 1
    return (x, y, width, height), turn + (NEGATIVE if p.sign < 0 else 0)


def calibrated(nats: torch.Tensor) -> torch.Tensor:
    """Bring evidence in nats to [0, 1]; a half at 12 nats, which chance does not reach."""
    positive = 3 * torch.nn.functional.softplus(nats / 3)
    return positive / (positive + 12)


def _nats(score: float) -> float:
    """Return evidence that is surely `calibrated` to less than a score in [0, 1):
    a little less than the score stands for.
    """
    if score <= 0:
        return -math.inf
    positive = 12 * score / (1 - score)
    return 3 * math.log(math.expm1(positive / 3)) - 0.01 if positive < 600 else 600.0
