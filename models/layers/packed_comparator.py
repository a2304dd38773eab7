"""One query against many targets of any lengths: their matrices go through the comparator as one picture.

Targets lie below each other in a strip (rows: target frames, columns: query frames), each starting at a multiple of
four and followed by at least one empty row at each of the three resolutions. Where the comparator pads with zeros:

    target a, 10 frames   rows  0..9    the comparator halves twice: 10 -> 5 -> 2 rows of output
    empty                 rows 10..11
    target b,  7 frames   rows 12..18   7 -> 3 -> 1
    empty                 rows 19..19

Empty rows are set to zero again before every convolution, and so are rows of which the pooling saw only one half
(row 18 above): every target meets the same zeros as if it were alone, and the score is the same. The authors'
padded batches keep those half rows and give other scores.

Where it repeats borders instead, two neighbours need an empty row each, so each has four rows more, before it:

    empty                 rows  0..3    row 3 is made a copy of row 4, then (at half size) 1 of 2, then 0 of 1
    target a, 10 frames   rows  4..13
    empty                 rows 14..19   row 14 is made a copy of row 13, then 7 of 6, then 3 of 2

What does not fit is cut into tiles which overlap by the comparator's reach, so the memory needed does not grow with
the matrix and nothing is averaged over pieces. Whatever is padded at the border of a tile inside a video reaches only
cells that are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ndvr.models.layers.chamfer import frame_rows
from ndvr.models.layers.comparator import CELL, HALO, Comparator

# The first convolution makes 128 bytes of each cell of a strip: 16 MiB on a CPU.
STRIP_CELLS = {"cpu": 1 << 17, "cuda": 1 << 22}
TILE_FRAMES = 1024

# Frame similarities of query (Tq, ...) and targets (T_v, ...), target-major: (sum T_v, Tq) float32.
FrameRows = Callable[[torch.Tensor, Sequence[torch.Tensor]], torch.Tensor]


@dataclass(frozen=True)
class Span:
    """Frames [start, stop) of a video, of whose rows of output `keep` count, after the first `skip`."""

    start: int
    stop: int
    skip: int
    keep: int


def spans(n_frames: int, limit: int, *, cell: int = CELL, halo: int = HALO) -> list[Span]:
    """Cut a video into overlapping spans of at most about `limit` frames; together their outputs are the whole's."""
    n_cells = n_frames // cell
    if n_frames <= limit:
        return [Span(0, n_frames, 0, n_cells)]
    step = max(1, (limit - 2 * halo) // cell)
    cut = []
    for first in range(0, n_cells, step):
        last = min(first + step, n_cells)
        start = max(0, first * cell - halo)
        stop = n_frames if last == n_cells else min(n_frames, last * cell + halo)
        cut.append(Span(start, stop, first - start // cell, last - first))
    return cut


@dataclass(frozen=True)
class Piece:
    """One span of target number `target`; its first output cell is the `cell`-th of all targets'."""

    target: int
    span: Span
    cell: int


def similarities(
    query: torch.Tensor,
    targets: Sequence[torch.Tensor],
    comparator: Comparator | None,
    *,
    rows: FrameRows = frame_rows,
    symmetric: bool = False,
    tile_frames: int = TILE_FRAMES,
) -> torch.Tensor:
    """Score query (Tq, R, D) against V targets (T_v, R, D): (V,), equal to one by one up to float rounding.

    Signatures are cut in time and given to `rows`, nothing else: of what shape and type they are is between the two.
    `symmetric` averages both directions of the last step, from cells to scores; `rows` knows what to do with frames.
    Without a comparator the frame similarities are compared as they are.
    """
    cell, halo = (CELL, HALO) if comparator else (1, 0)
    if min(len(query), *(len(target) for target in targets)) < cell:
        raise ValueError(f"the comparator needs signatures of at least {cell} windows; `signature` repeats short ones")
    n_cells = np.array([len(target) // cell for target in targets])
    firsts = np.concatenate([[0], np.cumsum(n_cells)])
    owner = torch.as_tensor(np.repeat(np.arange(len(targets)), n_cells), device=query.device)
    layers = Layers.of(comparator) if comparator else None
    pieces: list[Piece] = []
    for number, target in enumerate(targets):
        pieces += _pieces(number, int(firsts[number]), spans(len(target), tile_frames, cell=cell, halo=halo))
    best_in_query = torch.full((int(firsts[-1]),), -torch.inf, device=query.device)
    total = torch.zeros(len(targets), device=query.device)
    for columns in spans(len(query), tile_frames, cell=cell, halo=halo):
        part = query[columns.start : columns.stop]
        best = torch.full((len(targets), columns.keep), -torch.inf, device=query.device)  # per target and query cell
        for strip in _strips(pieces, len(part), query.device.type, layers.gap if layers else 1):
            cells = _cells(part, targets, strip, layers, rows)[:, columns.skip : columns.skip + columns.keep]
            index = torch.as_tensor(_ranges([p.cell for p in strip], [p.span.keep for p in strip]), device=query.device)
            best.scatter_reduce_(0, owner[index][:, None].expand_as(cells), cells, "amax")
            if symmetric:
                best_in_query[index] = torch.maximum(best_in_query[index], cells.amax(1))
        total += best.sum(1)
    forward = total / (len(query) // cell)
    if not symmetric:
        return forward
    sums = torch.zeros_like(forward).index_add_(0, owner, best_in_query)
    return (forward + sums / torch.as_tensor(n_cells, device=query.device)) / 2


def _pieces(target: int, first: int, cuts: Sequence[Span]) -> Iterator[Piece]:
    """Cut one target into spans; its first output cell is the `first`-th of all targets'."""
    for span in cuts:
        yield Piece(target, span, first)
        first += span.keep


def _strips(pieces: Sequence[Piece], n_query: int, device: str, gap: int) -> Iterator[list[Piece]]:
    """Group pieces in order, as many at a time as make a strip of the device's size."""
    limit = STRIP_CELLS.get(device, STRIP_CELLS["cuda"]) // n_query
    strip: list[Piece] = []
    n_rows = 0
    for piece in pieces:
        rows = piece.span.stop - piece.span.start + gap
        if strip and n_rows + rows > limit:
            yield strip
            strip, n_rows = [], 0
        strip.append(piece)
        n_rows += rows
    if strip:
        yield strip


def _ranges(starts: Sequence[int] | np.ndarray, counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Join the ranges [s, s + 1, ..., s + n - 1] of each start and count."""
    first, n = np.asarray(starts), np.asarray(counts)
    return np.arange(n.sum()) + np.repeat(first - (np.cumsum(n) - n), n)


def _cells(
    query: torch.Tensor,
    targets: Sequence[torch.Tensor],
    strip: Sequence[Piece],
    layers: Layers | None,
    rows: FrameRows,
) -> torch.Tensor:
    """Run a strip through the comparator; keep the cells that count, in [-1, 1]: (sum of keep, query cells)."""
    parts = [targets[piece.target][piece.span.start : piece.span.stop] for piece in strip]
    frames = rows(query, parts)
    lengths = np.array([len(part) for part in parts])
    if layers is None:
        starts = np.cumsum(lengths) - lengths
        output = frames
    else:
        slots = lengths // CELL * CELL + layers.gap
        starts = np.cumsum(slots) - slots + layers.gap - CELL
        picture = frames.new_zeros(int(slots.sum()), len(query))
        picture[torch.as_tensor(_ranges(starts, lengths), device=query.device)] = frames
        output = layers.compare(picture, starts=starts, lengths=lengths).clamp_(-1, 1)
        starts = starts // CELL
    counted = _ranges(starts + [piece.span.skip for piece in strip], [piece.span.keep for piece in strip])
    return output[torch.as_tensor(counted, device=query.device)]


@dataclass(frozen=True)
class Layers:
    """The comparator's kernels and biases for strips, whose rows are target frames: theirs are query frames.

    Channels come last in memory, which makes pooling ten times faster on a CPU, and pooling was half the time.
    """

    convolutions: Sequence[tuple[torch.Tensor, torch.Tensor]]
    repeat: bool  # borders, instead of padding with zeros

    @classmethod
    def of(cls, comparator: Comparator) -> Layers:
        convolutions = []
        for conv in (comparator.conv1, comparator.conv2, comparator.conv3, comparator.fconv):
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None  # as `comparator.packs` promises
            weight = conv.weight.transpose(2, 3).contiguous(memory_format=torch.channels_last)
            convolutions.append((weight, conv.bias))
        return cls(convolutions, repeat=comparator.mode == "replicate")

    @property
    def gap(self) -> int:
        """Rows of a strip that a target takes beyond its whole cells."""
        return 2 * CELL if self.repeat else CELL

    def compare(self, picture: torch.Tensor, *, starts: np.ndarray, lengths: np.ndarray) -> torch.Tensor:
        """Run a strip (S, Tq) -> (S // 4, Tq // 4) through the layers, unclipped;
        what comes out of empty rows is noise.
        """
        x = picture[None, None]
        for shift, (weight, bias) in enumerate(self.convolutions[:3]):
            if self.repeat:
                x = _with_borders(x, starts >> shift, lengths >> shift)
            elif shift:  # the picture comes with zeros in its empty rows
                empty = np.ones(x.shape[2], bool)
                empty[_ranges(starts >> shift, lengths >> shift)] = False
                x.index_fill_(2, torch.as_tensor(np.flatnonzero(empty), device=x.device), 0.0)
            x = functional.conv2d(x, weight, bias, padding=(1, 0 if self.repeat else 1))
            x = functional.max_pool2d(x, 2, 2) if shift < 2 else x
            x = x.relu_()  # the same before pooling as after, on a quarter of the cells
        return functional.conv2d(x, *self.convolutions[3])[0, 0]


def _with_borders(x: torch.Tensor, starts: np.ndarray, lengths: np.ndarray) -> torch.Tensor:
    """Repeat borders, (1, C, S, W) -> (1, C, S, W + 2): rows and columns around each target copy its outermost."""
    ends = starts + lengths
    borders, outermost = np.concatenate([starts - 1, ends]), np.concatenate([starts, ends - 1])
    copies = x.index_select(2, torch.as_tensor(outermost, device=x.device))
    x.index_copy_(2, torch.as_tensor(borders, device=x.device), copies)
    return functional.pad(x, (1, 1, 0, 0), "replicate")
