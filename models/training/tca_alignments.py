"""Three similarities of TCA's published code that its paper (Shao et al., WACV 2021) does not use.

Numbers are the authors'. `models.load("tca")` offers none of these; they are here to repeat an experiment.
"""

from __future__ import annotations

import numpy as np
import torch


def dynamic_programming(query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Run the code's `dp` on unit rows (Tq, D), (Tt, D), a number. It finds no alignment.

    A stray `continue` leaves all but the first row and the first column of the table zero; what remains is the mean
    over the query of the largest number in its row.
    """
    table = query @ target.t()
    table[1:, 1:] = 0
    return table.amax(1).mean()


def euclidean(queries: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute 1 - d / (the largest d of this target to any query), to six digits: (Q, D), (V, D) -> (Q, V) in [0, 1].

    It depends on the other queries and rescales every target differently, so it ranks no targets. A target equal to
    all queries scores 1, where the authors divide by zero.
    """
    # Differences, not products: those lose half the digits of near duplicates.
    distances = torch.cdist(queries, targets, compute_mode="donot_use_mm_for_euclid_dist")
    largest = distances.amax(0)
    return torch.round(1 - distances / largest.masked_fill(largest == 0, 1), decimals=6)


def temporal_network(
    query: torch.Tensor, target: torch.Tensor, *, top: int = 5, threshold: float = 0.8, step: int = 10
) -> float:
    """Sum of frame similarities along the best path of matches that moves forward in both videos; 0 without a path.

    The code's `tn` (after Tan et al., ACM Multimedia 2009). Unit rows (Tq, D), (Tt, D). Nodes are each query frame's
    `top` best target frames that reach `threshold`; an edge leads forward by 1 to `step` frames in both videos and
    weighs the similarity it leads to; a virtual node lies at (-1, -1). The heaviest path is taken, so the similarity
    of a path's first match drives the choice only where the match lies within `step` of the start of both videos,
    though it counts in the sum. Equal weights: the earliest match.
    """
    sims = query @ target.t()
    best = sims.topk(min(top, sims.shape[1]), dim=1)
    matches = [
        (row, column, sim)
        for row, (columns, values) in enumerate(zip(best.indices.tolist(), best.values.tolist()))
        for column, sim in zip(columns, values)
        if sim >= threshold
    ]
    nodes = np.array([(-1, -1, 0.0), *matches])
    places, weights = nodes[:, :2], nodes[:, 2]
    gains, before = np.zeros(len(nodes)), np.arange(len(nodes))
    for node in range(1, len(nodes)):
        ahead = places[node] - places[:node]
        linked = ((ahead > 0) & (ahead <= step)).all(1)
        if linked.any():
            last = np.where(linked, gains[:node], -np.inf).argmax()
            gain = gains[last] + weights[node]
            if gain >= 0:
                gains[node], before[node] = gain, last
    node = int(gains.argmax())
    total = weights[node]
    while before[node] != node:
        node = before[node]
        total += weights[node]
    return float(total)
