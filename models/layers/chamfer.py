"""Chamfer similarity: of frames by their regions, of videos by their frames (or by what a network made of them).

chamfer(a, b) = mean over the parts of a of the best similarity among the parts of b. It is not symmetric; the
symmetric variant is the mean of both directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    """Frame similarities, target-major: query (Tq, R, D), targets (T_v, R, D) -> (sum T_v, Tq).

    Row u, column t is mean over the regions o of query frame t of max over the regions p of target frame u of
    their dot product, times `scale`. `symmetric` averages this with the same the other way round.
    """
    n_query, n_regions, dims = query.shape
    # Columns ordered (region, frame): a block of products is (frames, R, R, Tq), and both reductions run over
    # outer axes with long contiguous rows inside, which is what vectorises.
    columns = query.permute(1, 0, 2).reshape(n_regions * n_query, dims).t()
    block_bytes = BLOCK_BYTES.get(query.device.type, BLOCK_BYTES["cuda"])
    block_frames = max(1, block_bytes // (n_regions**2 * n_query * 4))
    result = query.new_empty(sum(len(target) for target in targets), n_query)
    products = query.new_empty(min(block_frames, len(result)) * n_regions, n_regions * n_query)
    start = 0
    for block in _blocks(targets, block_frames):
        stop = start + sum(len(part) for part in block)
        found = _products(block, columns, products[: (stop - start) * n_regions])
        found = found.view(stop - start, n_regions, n_regions, n_query)  # (frames, p, o, Tq)
        torch.mean(found.amax(1), 1, out=result[start:stop])
        if symmetric:
            result[start:stop].add_(found.amax(2).mean(1)).mul_(0.5)
        start = stop
    return result if scale == 1.0 else result.mul_(scale)


def _products(block: Sequence[torch.Tensor], columns: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Dot products of all regions of all frames (rows) with all columns, into `out`."""
    start = 0
    joined_bytes = JOINED_BYTES.get(out.device.type, JOINED_BYTES["cuda"])
    for group in _blocks(block, max(1, joined_bytes // (4 * block[0][0].numel()))):
        joined = torch.cat(group) if len(group) > 1 else group[0]
        rows = joined.reshape(-1, columns.shape[0])
        torch.mm(rows, columns, out=out[start : start + len(rows)])
        start += len(rows)
    return out


def _blocks(targets: Sequence[torch.Tensor], block_frames: int) -> Iterator[list[torch.Tensor]]:
    """All targets in order, in groups of at most `block_frames` frames; longer ones are split."""
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
    """Similarities (..., Tq, Tt) -> (...): the mean over the query of the best in the target."""
    forward = matrix.amax(-1).mean(-1)
    return (forward + matrix.amax(-2).mean(-1)) / 2 if symmetric else forward
