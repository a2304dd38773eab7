"""Chamfer similarity: of frames by their regions, of videos by their frames (or by what a network made of them).

chamfer(a, b) = mean over the parts of a of the best similarity among the parts of b. It is not symmetric; the
symmetric variant is the mean of both directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

# Bytes of region-to-region products alive at a time. On a CPU they should stay in its cache between being made and
# being reduced: then the reductions cost a tenth of the product; on a GPU a larger product keeps it busy.
BLOCK_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}


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
        stop = start + len(block)
        found = torch.mm(block.reshape(-1, dims), columns, out=products[: len(block) * n_regions])
        found = found.view(len(block), n_regions, n_regions, n_query)  # (frames, p, o, Tq)
        torch.mean(found.amax(1), 1, out=result[start:stop])
        if symmetric:
            result[start:stop].add_(found.amax(2).mean(1)).mul_(0.5)
        start = stop
    return result if scale == 1.0 else result.mul_(scale)


def _blocks(targets: Iterable[torch.Tensor], block_frames: int) -> Iterator[torch.Tensor]:
    """The frames of all targets in order, at most `block_frames` at a time; short targets are joined."""
    waiting, n_waiting = [], 0
    for target in targets:
        if n_waiting + len(target) > block_frames and waiting:
            yield torch.cat(waiting) if len(waiting) > 1 else waiting[0]
            waiting, n_waiting = [], 0
        if len(target) > block_frames:
            yield from target.split(block_frames)
        else:
            waiting.append(target)
            n_waiting += len(target)
    if waiting:
        yield torch.cat(waiting) if len(waiting) > 1 else waiting[0]


def of_matrix(matrix: torch.Tensor, *, symmetric: bool = False) -> torch.Tensor:
    """Similarities (..., Tq, Tt) -> (...): the mean over the query of the best in the target."""
    forward = matrix.amax(-1).mean(-1)
    return (forward + matrix.amax(-2).mean(-1)) / 2 if symmetric else forward
