"""The score of two videos: propose placements on key frames, verify the best on all frames, weigh the evidence."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ndvr.models.layers import thumbprint_search as search
from ndvr.models.layers import thumbprint_verify as verify
from ndvr.models.layers.thumbprint_codes import SIDE, decode
from ndvr.models.layers.thumbprint_refine import refine

N_KEYS = 6
N_PROPOSALS = 8
FLAT = 2.0  # grey levels of contrast at which a frame counts half


@dataclass(frozen=True)
class Prepared:
    """What a comparison needs of one video. T frames, K key frames, B boxes."""

    images: torch.Tensor  # (T, S, S)
    weight: torch.Tensor  # (T,) in [0, 1): 0 is a flat frame
    keys: torch.Tensor  # (K,) frames that propose
    full: torch.Tensor  # (8, T, D)
    crops: torch.Tensor  # (K, B, D)
    smooth: torch.Tensor  # (T, S, S), for sampling at half the resolution
    grid: torch.Tensor  # (T, n, n): whole pictures as they are compared


def thumbnails(codes: torch.Tensor) -> torch.Tensor:
    """(T, 512) uint8 -> (T, 1 + S * S): the weight of a frame, then its picture in the box that all frames share."""
    images, box, contrast = decode(codes)
    weight = contrast**2 / (contrast**2 + FLAT**2)
    busy = weight > 0.5
    if busy.any():
        first = box[busy][:, [0, 2]].quantile(0.1, dim=0)
        last = box[busy][:, [1, 3]].quantile(0.9, dim=0)
        images = _rebox(images, box, torch.stack([first[0], last[0], first[1], last[1]]))
    return torch.cat([weight[:, None], images.flatten(1)], 1)


def _rebox(images: torch.Tensor, box: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """Pictures cut or extended from their own boxes (T, 4) to the shared one (4,)."""

    def matrix(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor, stop: torch.Tensor) -> torch.Tensor:
        centre = (torch.arange(SIDE) + 0.5) / SIDE
        at = start + centre * (stop - start)  # window pixels
        at = ((at[None] - a[:, None]) / (b - a)[:, None] * SIDE - 0.5).clamp(0, SIDE - 1)
        return (1 - (at[:, :, None] - torch.arange(SIDE)).abs()).clamp(min=0)

    rows = matrix(box[:, 0], box[:, 1], shared[0], shared[1])
    columns = matrix(box[:, 2], box[:, 3], shared[2], shared[3])
    return rows @ images @ columns.transpose(1, 2)


def prepare(signature: torch.Tensor) -> Prepared:
    """Everything of one video that does not depend on the other."""
    weight, images = signature[:, 0], signature[:, 1:].unflatten(1, (SIDE, SIDE))
    t = len(weight)
    k = min(N_KEYS, t)
    keys = ((torch.arange(k) + 0.5) * t / k).long()
    smooth = verify.blur(images, 1)
    grid = verify.sample(smooth, torch.eye(2, 3)[None])[0][0]
    return Prepared(
        images=images,
        smooth=smooth,
        weight=weight,
        keys=keys,
        full=search.full_descriptors(images),
        crops=search.crop_descriptors(images[keys]),
        grid=grid,
    )


def propose(a: Prepared, b: Prepared) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Best placements of b's whole pictures in boxes of a: box index, turn, coarse score, (P,) each."""
    v, h, group = search.boxes()
    n_groups = int(group.max()) + 1
    crops = a.crops.transpose(0, 1) * a.weight[a.keys][:, None]  # (B, K, D)
    scores = []
    for g in range(search.N_TURNS):
        full = b.full[g] * b.weight[:, None]
        x = crops if g < 2 else crops[_large()]
        s = (x.flatten(0, 1) @ full.T).amax(1).unflatten(0, x.shape[:2])  # (B, K)
        s = s.topk((s.shape[1] + 1) // 2, dim=1).values.mean(1)
        if g >= 2:
            s = torch.full((len(v),), -1.0).index_copy(0, _large(), s)
        scores.append(s)
    scores = torch.stack(scores)  # (8, B)
    best = torch.full((search.N_TURNS, n_groups), -1.0).scatter_reduce(
        1, group.expand(search.N_TURNS, -1), scores, "amax"
    )
    top = best.flatten().topk(N_PROPOSALS)
    turn, grp = top.indices // n_groups, top.indices % n_groups
    masked = torch.where(group[None] == grp[:, None], scores[turn], torch.tensor(-2.0))
    return masked.argmax(1), turn, top.values


def _large() -> torch.Tensor:
    v, h, _ = search.boxes()
    length = search.intervals()[:, 1]
    return torch.nonzero((length[v] > 0.6) & (length[h] > 0.6))[:, 0]


def windows(box: torch.Tensor) -> torch.Tensor:
    """Affine windows (P, 2, 3) of boxes (P,)."""
    v, h, _ = search.boxes()
    table = search.intervals()
    (top, height), (left, width) = table[v[box], :2].T, table[h[box], :2].T
    zero = torch.zeros_like(top)
    rows = [width, zero, 2 * left + width - 1, zero, height, 2 * top + height - 1]
    return torch.stack(rows, 1).unflatten(1, (2, 3))


def place(a: Prepared, b: Prepared) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Verified placements of b in a: scores and (Ta, Tb) matrices."""
    box, turn, _ = propose(a, b)
    crops = a.crops[:, box].transpose(0, 1) * a.weight[a.keys][:, None]  # (P, K, D)
    sims = crops @ (b.full[turn] * b.weight[:, None]).transpose(1, 2)  # (P, K, Tb)
    value, when = sims.max(2)
    k = min(3, value.shape[1])
    best = value.topk(k, dim=1).indices  # (P, k)
    theta = windows(box)
    narrow = theta[:, [0, 1], [0, 1]].amax(1)[:, None, None, None] < 0.6
    index = a.keys[best]
    source = torch.where(narrow, a.images[index], a.smooth[index])
    template = torch.stack(
        [search.turn(b.grid[w], int(g)) for w, g in zip(when.gather(1, best), turn, strict=True)]
    )
    theta, _ = refine(source, template, theta)
    found = []
    for p in range(len(theta)):
        cut, inside = verify.sample(a.images if narrow[p] else a.smooth, theta[p : p + 1])
        fa = verify.local_contrast(cut[0], inside[0])
        fb = verify.local_contrast(search.turn(b.grid, int(turn[p])))
        found.append(evidence(fa, fb, a.weight, b.weight))
    return found


def evidence(fa: torch.Tensor, fb: torch.Tensor, wa: torch.Tensor, wb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Score of one placement and its matrix."""
    matrix = verify.agreement(fa, fb) * wa[:, None] * wb
    m = min(6, *matrix.shape)
    j = matrix.argmax(1)
    rows = verify.robust_agreement(fa, fb[j]) * wa * wb[j]
    i = matrix.argmax(0)
    columns = verify.robust_agreement(fa[i], fb) * wa[i] * wb
    return torch.minimum(rows.topk(m).values.mean(), columns.topk(m).values.mean()), matrix


def best(a: Prepared, b: Prepared) -> tuple[torch.Tensor, torch.Tensor]:
    """The score of the best verified placement and its (Ta, Tb) agreement of frames."""
    found = place(a, b) + [(score, matrix.T) for score, matrix in place(b, a)]
    return max(found, key=lambda pair: float(pair[0]))


def compare(a: Prepared, b: Prepared) -> torch.Tensor:
    """The score, a scalar in [0, 1]."""
    return best(a, b)[0].clamp(0, 1)


def best_matrix(a: Prepared, b: Prepared) -> torch.Tensor:
    """(Ta, Tb) agreement of frames under the best placement, in [0, 1]."""
    return best(a, b)[1].clamp(0, 1)
