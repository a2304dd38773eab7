"""Chamfer similarity: of frames by their regions, of videos by their frames (or by what a network made of them).

chamfer(a, b) = mean over the parts of a of the best similarity among the parts of b. It is not symmetric; the
symmetric variant is the mean of both directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

# Bytes of region-to-region products alive at a time. On a CPU they should stay in its cache between being made and
# being reduced: then the reductions cost a tenth of the product; on a GPU a larger product keeps it busy.
BLOCK_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}

# Bytes of target frames multiplied at a time: 128 frames of 9 x 512. Threads wait for each other after every product,
# which on a busy machine costs milliseconds, so short targets are joined; but only as many as stay in a CPU's cache
# until they are multiplied.
JOINED_BYTES = {"cpu": 128 * 9 * 512 * 4, "cuda": 8 << 30}


def frame_rows(
    query: torch.Tensor, targets: Sequence[torch.Tensor], *, symmetric: bool = False, scale: float = 1.0
) -> torch.Tensor:
    """Compare frames, target-major: query (Tq, R, D), targets (T_v, R, D) -> (sum T_v, Tq).

    Row u, column t is mean over the regions o of query frame t of max over the regions p of target frame u of
    their dot product, times `scale`. `symmetric` averages this with the same the other way round.
    """
    n_query, n_regions, dims = query.shape
    # Columns ordered (region, frame): a block of products is (frames, R, R, Tq), and both reductions run over
    # outer axes with long contiguous rows inside, which is what vectorises.
    columns = query.permute(1, 0, 2).reshape(n_regions * n_query, dims).t().contiguous()
    block_bytes = BLOCK_BYTES.get(query.device.type, BLOCK_BYTES["cuda"])
    block_frames = max(1, block_bytes // (n_regions**2 * n_query * 4))
    result = query.new_empty(sum(len(target) for target in targets), n_query)
    products = query.new_empty(min(block_frames, len(result)) * n_regions, n_regions * n_query)
    joined_bytes = JOINED_BYTES.get(query.device.type, JOINED_BYTES["cuda"])
    joined = query.new_empty(min(max(1, joined_bytes // query[0].nbytes), block_frames, len(result)), n_regions, dims)
    start = 0
    for block in _blocks(targets, block_frames):
        stop = start + sum(len(part) for part in block)
        dots = _products(block, columns, products[: (stop - start) * n_regions], joined)
        dots = dots.view(stop - start, n_regions, n_regions, n_query)  # (frames, p, o, Tq)
        torch.mean(dots.amax(1), 1, out=result[start:stop])
        if symmetric:
            result[start:stop].add_(dots.amax(2).mean(1)).mul_(0.5)
        start = stop
    return result if scale == 1.0 else result.mul_(scale)


def _products(
    block: Sequence[torch.Tensor], columns: torch.Tensor, out: torch.Tensor, joined: torch.Tensor
) -> torch.Tensor:
    """Multiply all regions of all frames (rows) with all columns, into `out`; `joined` (F, R, D) is room for some."""
    start = 0
    for group in _blocks(block, len(joined)):
        frames = group[0]
        if len(group) > 1:  # into memory that is there: to get new memory takes as long as to copy
            frames = torch.cat(group, out=joined[: sum(len(part) for part in group)])
        rows = frames.reshape(-1, columns.shape[0])
        torch.mm(rows, columns, out=out[start : start + len(rows)])
        start += len(rows)
    return out


def _blocks(targets: Sequence[torch.Tensor], block_frames: int) -> Iterator[list[torch.Tensor]]:
    """Group all targets in order, at most `block_frames` frames a group; longer ones are split."""
    block: list[torch.Tensor] = []
    n_frames = 0
    for target in targets:
        for part in target.split(block_frames) if len(target) > block_frames else (target,):
            if n_frames + len(part) > block_frames:
                yield block
                block, n_frames = [], 0
            block.append(part)
            n_frames += len(part)
    yield block


def of_matrix(matrix: torch.Tensor, *, symmetric: bool = False) -> torch.Tensor:
    """Average the best of each row of similarities (..., Tq, Tt) -> (...):
    the mean over the query of the best in the target.
    """
    forward = matrix.amax(-1).mean(-1)
    return (forward + matrix.amax(-2).mean(-1)) / 2 if symmetric else forward


# --- Videos that are sets of vectors: one query against many targets of any lengths
#
# chamfer(a, b) = mean over the vectors of a of the best dot product with a vector of b. It is not symmetric.


# Bytes of joined target vectors, and of their products with the query, alive at a time. On a CPU both should stay in
# its cache: beyond, the product of a short query runs at half its speed. A GPU is kept busy by larger ones.
QUERY_VECTORS = 1024  # at a time, so that the products with one block do not grow with the query


def chamfer(
    query: torch.Tensor, targets: Sequence[torch.Tensor], *, symmetric: bool = False, top_k: int | None = None
) -> torch.Tensor:
    """Score a video (Tq, D) against V others (T_v, D), T >= 1: (V,), as one by one up to float rounding.

    symmetric  the mean of both directions
    top_k      the mean of the k best-matched query vectors only, of all where there are fewer; one direction only
    """
    if symmetric and top_k is not None:
        raise ValueError(f"top_k={top_k} looks for the query in the target; it has no symmetric form")
    n_rows = BLOCK_BYTES.get(query.device.type, BLOCK_BYTES["cuda"]) // (4 * query.shape[1])
    groups = [_of_group(query, group, n_rows, symmetric, top_k) for group in _groups(targets, n_rows)]
    return torch.cat(groups) if groups else query.new_zeros(0)


def _groups(targets: Sequence[torch.Tensor], n_rows: int) -> Iterator[list[torch.Tensor]]:
    """Group all targets in order, at most `n_rows` vectors a group; a longer target is a group of its own."""
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
