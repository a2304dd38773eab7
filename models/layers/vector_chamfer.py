"""Chamfer similarity of videos that are sets of vectors, one query against many targets of any lengths.

chamfer(a, b) = mean over the vectors of a of the best dot product with a vector of b. It is not symmetric.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

# Bytes of joined target vectors, and of their products with the query, alive at a time. On a CPU both should stay in
# its cache: beyond, the product of a short query runs at half its speed. A GPU is kept busy by larger ones.
BLOCK_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}
QUERY_VECTORS = 1024  # at a time, so that the products with one block do not grow with the query


def chamfer(
    query: torch.Tensor, targets: Sequence[torch.Tensor], *, symmetric: bool = False, top_k: int | None = None
) -> torch.Tensor:
    """Scores (V,) of query (Tq, D) against V targets (T_v, D), T >= 1, as one by one up to float rounding.

    symmetric  the mean of both directions
    top_k      the mean of the k best-matched query vectors only, of all where there are fewer; one direction only
    """
    if symmetric and top_k is not None:
        raise ValueError(f"top_k={top_k} looks for the query in the target; it has no symmetric form")
    n_rows = BLOCK_BYTES.get(query.device.type, BLOCK_BYTES["cuda"]) // (4 * query.shape[1])
    groups = [_of_group(query, group, n_rows, symmetric, top_k) for group in _groups(targets, n_rows)]
    return torch.cat(groups) if groups else query.new_zeros(0)


def _groups(targets: Sequence[torch.Tensor], n_rows: int) -> Iterator[list[torch.Tensor]]:
    """All targets in order, in groups of at most `n_rows` vectors; a longer target is a group of its own."""
    group: list[torch.Tensor] = []
    n = 0
    for target in targets:
        if group and n + len(target) > n_rows:
            yield group
            group, n = [], 0
        group.append(target)
        n += len(target)
    if group:
        yield group


def _of_group(
    query: torch.Tensor, group: Sequence[torch.Tensor], n_rows: int, symmetric: bool, top_k: int | None
) -> torch.Tensor:
    lengths = [len(target) for target in group]
    rows = torch.cat(list(group)) if len(group) > 1 else group[0]
    owner = torch.as_tensor(np.repeat(np.arange(len(group)), lengths), device=query.device)
    total = query.new_zeros(len(group))
    largest = query.new_empty(len(group), 0)  # of the best of each query vector, when top_k
    best_in_query = query.new_full((len(rows),), -torch.inf)
    for part in query.split(QUERY_VECTORS):
        best = query.new_full((len(group), len(part)), -torch.inf)
        step = max(1, min(n_rows, n_rows * query.shape[1] // len(part)))
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            # A short query is multiplied from the left: on a CPU up to twice as fast, the turning included.
            products = torch.mm(part, rows[block].t()).t().contiguous()  # (rows, Tq)
            best.scatter_reduce_(0, owner[block, None].expand_as(products), products, "amax")
            if symmetric:
                best_in_query[block] = torch.maximum(best_in_query[block], products.amax(1))
        if top_k is None:
            total += best.sum(1)
        else:
            largest = torch.cat([largest, best], 1)
            largest = largest.topk(min(top_k, largest.shape[1]), dim=1).values
    if top_k is not None:
        return largest.mean(1)
    forward = total / len(query)
    if not symmetric:
        return forward
    backward = torch.zeros_like(total).index_add_(0, owner, best_in_query) / query.new_tensor(lengths)
    return (forward + backward) / 2
