"""The score of two videos: propose placements on key frames, verify the best on all frames, weigh the evidence."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ndvr.models.layers import thumbprint_search as search
from ndvr.models.layers import thumbprint_verify as verify
from ndvr.models.layers.thumbprint_codes import SIDE, decode

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
    fine: torch.Tensor  # (T, 16, p)


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
    weight, images = signature[:, 0], signature[:, 1:].unflatten(1, (SIDE, SIDE))
    t = len(weight)
    k = min(N_KEYS, t)
    keys = ((torch.arange(k) + 0.5) * t / k).long()
    # prefer informative frames
    whole = verify.box_theta(0, 1, 0, 1)
    return Prepared(
        images,
        weight,
        keys,
        search.full_descriptors(images),
        search.crop_descriptors(images[keys]),
        verify.local_contrast(verify.sample(images, whole)),
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


def verify_matrix(a: Prepared, b: Prepared, box: int, turn: int) -> torch.Tensor:
    v, h, _ = search.boxes()
    table = search.intervals()
    theta = verify.box_theta(
        float(table[v[box], 0]), float(table[v[box], 1]), float(table[h[box], 0]), float(table[h[box], 1])
    )
    cut = verify.local_contrast(verify.sample(a.images, theta))
    other = (
        b.fine
        if turn == 0
        else verify.local_contrast(search.turn(verify.sample(b.images, verify.box_theta(0, 1, 0, 1)), turn))
    )
    return verify.agreement(cut, other) * a.weight[:, None] * b.weight


def evidence(matrix: torch.Tensor) -> torch.Tensor:
    m = min(6, *matrix.shape)
    rows = matrix.amax(1).topk(m).values.mean()
    columns = matrix.amax(0).topk(m).values.mean()
    return torch.minimum(rows, columns)


def best(a: Prepared, b: Prepared) -> tuple[torch.Tensor, torch.Tensor]:
    """The score of the best verified placement and its (Ta, Tb) agreement of frames."""
    found = []
    for x, y in ((a, b), (b, a)):
        for box, turn, _ in zip(*(z.tolist() for z in propose(x, y)), strict=True):
            matrix = verify_matrix(x, y, box, turn)
            found.append((evidence(matrix), matrix if x is a else matrix.T))
    return max(found, key=lambda pair: float(pair[0]))


def compare(a: Prepared, b: Prepared) -> torch.Tensor:
    """The score, a scalar in [0, 1]."""
    return best(a, b)[0].clamp(0, 1)


def best_matrix(a: Prepared, b: Prepared) -> torch.Tensor:
    """(Ta, Tb) agreement of frames under the best placement, in [0, 1]."""
    return best(a, b)[1].clamp(0, 1)
